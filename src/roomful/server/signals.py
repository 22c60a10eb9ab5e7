"""SIGTERM and SIGINT for a Roomful that somebody else's server runs.

Such a server tells a mounted application nothing of its end (no lifespan), and waits for streams to end by themselves.
So we hear the signal first, let our clients go, and hand it on to whoever had it before.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def on_termination(act: Callable[[], None]) -> Callable[[], None]:
    """Calls `act` on the running loop when the process is told to end; what undoes that.

    Does nothing outside the main thread, where signals can't be had.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    undo = [_chain(number, loop, act) for number in SIGNALS]

    def undo_all() -> None:
        for one in undo:
            one()

    return undo_all


def _chain(number: signal.Signals, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> Callable[[], None]:
    before = signal.getsignal(number)

    def handle(got: int, frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(act)
        if callable(before):
            before(got, frame)
        elif before is not signal.SIG_IGN:
            undo()
            signal.raise_signal(got)

    def undo() -> None:
        if signal.getsignal(number) is handle:
            signal.signal(number, before if before is not None else signal.SIG_DFL)

    signal.signal(number, handle)
    return undo
