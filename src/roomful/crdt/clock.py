"""Clocks that stamp writes: logical (Lamport 1978) and hybrid (Kulkarni et al. 2014, "Logical physical clocks").

Stamps only order *concurrent* writes. A write that has seen another replaces it by its dot, whatever both clocks said
(see `stamped.py`), so a wrong wall clock can win a race but never undo what came later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from roomful.crdt.errors import Exhausted, FutureClock
from roomful.crdt.value import MAX_SAFE

MAX_SEQ = 0xFFFF
"""Events within one millisecond. A stamp beyond is malformed; a clock that gets there borrows the next millisecond."""

DEFAULT_MAX_AHEAD_MS = 60_000
"""More than the clocks of maintained machines differ, less than a person would call the future."""


class Stamp(NamedTuple):
    """When a write happened. ms: since 1970, or a logical clock's; seq: tells the events of one millisecond apart."""

    ms: int
    seq: int


class Clock(Protocol):
    """What the last-writer-wins kinds need. One clock may serve many objects of one replica."""

    def tick(self) -> Stamp:
        """The stamp of an event that happens now, greater than all ticked and observed before."""
        ...

    def observe(self, stamp: Stamp) -> None:
        """Another replica's stamp has been seen. Raises FutureClock if it can't be believed; nothing changes then."""
        ...


class Lamport:
    """Counts; believes every stamp. Among replicas that trust each other, and where no wall clock is at hand."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = Stamp(0, 0)

    def tick(self) -> Stamp:
        self._last = after(self._last)
        return self._last

    def observe(self, stamp: Stamp) -> None:
        self._last = max(self._last, stamp)


class HLC:
    """Wall-clock time that never runs backwards and never falls behind what it has seen.

    now: milliseconds since 1970, may jump. max_ahead_ms: how far ahead of it a stamp may lie (a server's bound); None
    believes every stamp (a client that hears nobody but its server).
    """

    __slots__ = ("_last", "_now", "max_ahead_ms", "offset_ms")

    def __init__(self, now: Callable[[], int], *, max_ahead_ms: int | None = DEFAULT_MAX_AHEAD_MS) -> None:
        self._now = now
        self._last = Stamp(0, 0)
        self.max_ahead_ms = max_ahead_ms
        self.offset_ms = 0
        """What is added to `now`; see `correct`."""

    def read(self) -> int:
        """The corrected wall clock, in milliseconds since 1970."""
        return max(0, self._now() + self.offset_ms)

    def tick(self) -> Stamp:
        wall = self.read()
        self._last = Stamp(wall, 0) if wall > self._last.ms else after(self._last)
        return self._last

    def observe(self, stamp: Stamp) -> None:
        if self.max_ahead_ms is not None:
            ahead_ms = stamp.ms - self.read()
            if ahead_ms > self.max_ahead_ms:
                raise FutureClock(ahead_ms, self.max_ahead_ms)
        self._last = max(self._last, stamp)

    def correct(self, reference_ms: int) -> None:
        """Learns its offset from the server's clock, for example after the server refused a stamp as future.

        Time may go back here, the only place: what was stamped too far ahead has been refused, so nobody holds it.
        """
        self.offset_ms = reference_ms - self._now()
        limit_ms = DEFAULT_MAX_AHEAD_MS if self.max_ahead_ms is None else self.max_ahead_ms
        if self._last.ms > reference_ms + limit_ms:
            self._last = Stamp(max(0, reference_ms), 0)


def after(stamp: Stamp) -> Stamp:
    """The next greater stamp. Raises Exhausted."""
    if stamp.seq < MAX_SEQ:
        return Stamp(stamp.ms, stamp.seq + 1)
    if stamp.ms >= MAX_SAFE:
        raise Exhausted("no stamp can follow")
    return Stamp(stamp.ms + 1, 0)
