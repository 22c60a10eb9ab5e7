"""All deadlines of a node's connections, on one timer of the event loop.

A timer for each connection's next ping, pong and expiry would cost a heap operation and 200 bytes a connection; here a
connection stands in one slot of `TICK_S` and costs a list entry.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Protocol

TICK_S = 0.1
"""Slots are this wide; a deadline is met at most this much late."""

HORIZON_S = 60.0
"""Who has a deadline further off is asked anew after this long."""

STALE_MIN = 64
"""Entries that nobody needs any more are swept out when there are more than this, and more than of all others."""


class Timed(Protocol):
    wheel_slot: int
    """The wheel's own note: the slot it stands in, 0 for none."""

    def on_due(self, now: float) -> float | None:
        """Does what is due, which may be nothing; the time of the next deadline, None for none. Never raises."""
        ...


class Sleeper:
    """Whose deadline is the end of a wait."""

    __slots__ = ("over", "wheel_slot")

    def __init__(self, over: asyncio.Future[None]) -> None:
        self.over = over
        self.wheel_slot = 0

    def on_due(self, now: float) -> None:
        if not self.over.done():
            self.over.set_result(None)


class Wheel:
    """Calls `on_due` at the time that was asked for, or earlier to ask anew.

    now: a monotonic clock in seconds, the event loop's by default.
    """

    __slots__ = ("_at", "_entries", "_now", "_slots", "_stale", "_timer", "_times")

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now
        self._slots: dict[int, list[Timed]] = {}
        self._times: list[int] = []
        self._entries = 0
        self._stale = 0  # of them, entries of who has been moved or has gone; a few more while a slot is being called
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0

    def now(self) -> float:
        return self._now() if self._now else asyncio.get_running_loop().time()

    def schedule(self, timed: Timed, at: float | None) -> None:
        """Makes `at` its next deadline, if it isn't due earlier already. None changes nothing."""
        if at is None:
            return
        now = self.now()
        slot = int(min(max(at, now), now + HORIZON_S) / TICK_S) + 1  # never one that is being advanced through
        if 0 < timed.wheel_slot <= slot:
            return  # it is asked earlier anyway, and then says when next
        self._stale += timed.wheel_slot > 0
        self._entries += 1
        timed.wheel_slot = slot
        waiting = self._slots.get(slot)
        if waiting is None:
            self._slots[slot] = [timed]
            heapq.heappush(self._times, slot)
            self._arm()
        else:
            waiting.append(timed)

    def sleep(self, seconds: float) -> asyncio.Future[None]:
        """Done after so long (at most `HORIZON_S`), or as soon as somebody sets its result."""
        sleeper = Sleeper(asyncio.get_running_loop().create_future())
        self.schedule(sleeper, self.now() + seconds)
        return sleeper.over

    def forget(self, timed: Timed) -> None:
        """It has gone: it is not asked again, and soon not held any more either. In the meantime it would keep alive
        all that a connection has, 60 s long for each that came and went."""
        if timed.wheel_slot:
            timed.wheel_slot = 0
            self._stale += 1
            if self._stale > STALE_MIN and 2 * self._stale > self._entries:
                self._sweep()

    def advance(self) -> None:
        """Calls whatever is due by now. The timer does it; a test with its own clock does it by hand."""
        now = self.now()
        current = int(now / TICK_S)
        while self._times and self._times[0] <= current:
            slot = heapq.heappop(self._times)
            waiting = self._slots.pop(slot)
            self._entries -= len(waiting)
            self._stale -= sum(timed.wheel_slot != slot for timed in waiting)
            for timed in waiting:
                if timed.wheel_slot != slot:
                    continue  # it was moved to an earlier slot, or has gone
                timed.wheel_slot = 0
                self.schedule(timed, timed.on_due(now))
        self._arm()

    def stop(self) -> None:
        """Forgets everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()
        self._times.clear()
        self._entries = self._stale = 0

    def _sweep(self) -> None:
        for slot, waiting in self._slots.items():
            waiting[:] = dict.fromkeys(timed for timed in waiting if timed.wheel_slot == slot)
        self._entries, self._stale = len(self), 0

    def _arm(self) -> None:
        if self._now is not None or not self._times:
            return
        slot = self._times[0]
        if self._timer is not None:
            if self._at <= slot:
                return
            self._timer.cancel()
        self._at = slot
        self._timer = asyncio.get_running_loop().call_at(slot * TICK_S, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.advance()

    def __len__(self) -> int:
        """Who has a deadline; who was moved counts twice until its earlier one is over."""
        return sum(map(len, self._slots.values()))
