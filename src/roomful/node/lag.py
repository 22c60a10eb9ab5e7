"""How late the event loop is, and which code holds it up.

A beat that comes late was held up by something that didn't give the loop back. A thread looks on: while a beat is
overdue, what the loop's thread is just running is the culprit, and is named in the log once for each stall.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import sysconfig
import threading
import time
import traceback
from types import FrameType

from roomful.node.histogram import Histogram

log = logging.getLogger("roomful.lag")

BEAT_S = 0.25
STALL_S = 0.5
"""A beat that is overdue by this much is told."""
FRAMES_MAX = 12
INSTALLED = ("<", *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")))
"""Where code lies that the application only uses; "<": frozen modules."""


class LagMonitor:
    """The lag of the loop that it is started on. lag: of each beat. stalls: how often it was at least `stall_s`."""

    def __init__(self, beat_s: float = BEAT_S, stall_s: float = STALL_S) -> None:
        self.lag = Histogram()
        self.stalls = 0
        self._beat_s = beat_s
        self._stall_s = stall_s
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._over = threading.Event()
        self._told = 0.0

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._over = threading.Event()
        self._next(loop)
        watch = threading.Thread(
            target=self._watch, args=(threading.get_ident(), self._over), name="roomful-lag", daemon=True
        )
        watch.start()

    def stop(self) -> None:
        self._over.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = time.monotonic() + self._beat_s
        self._timer = loop.call_later(self._beat_s, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        late_s = max(0.0, time.monotonic() - self._due)
        self.lag.observe(late_s)
        self.stalls += late_s >= self._stall_s
        self._next(loop)

    def _watch(self, loop_thread: int, over: threading.Event) -> None:
        while not over.wait(self._stall_s / 4):
            due = self._due
            late_s = time.monotonic() - due
            if late_s < self._stall_s or due == self._told:
                continue
            self._told = due
            frame = sys._current_frames().get(loop_thread)
            if frame is not None:
                where = culprit(frame)
                log.warning("the event loop has been held up for %.1f s by %s", late_s, where, extra=_stack(frame))


def culprit(frame: FrameType | None) -> str:
    """The innermost function that is no part of the standard library or of an installed package: the application's
    own, mostly a hook; the innermost of all if there is none."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    own = (each for each in frames if not each.f_code.co_filename.startswith(INSTALLED))
    found = next(own, frames[0])
    return f"{found.f_globals.get('__name__', '?')}.{found.f_code.co_qualname} (line {found.f_lineno})"


def _stack(frame: FrameType) -> dict[str, str]:
    return {"stack": "".join(traceback.format_stack(frame, FRAMES_MAX))}
