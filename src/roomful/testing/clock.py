"""A clock that a test moves, in place of sleeping."""

from __future__ import annotations


class VirtualClock:
    """Seconds that pass only when the test says so. Give it wherever something takes a `clock`:

        clock = VirtualClock()
        engine = MemoryEngine(clock=clock)
        …
        clock.advance(300.0)        # everything that lives for five minutes is over now

    It has no timers: what should happen at a time is found to be due by the next call, or tidied up by the next tick.
    """

    __slots__ = ("_now",)

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """The time."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Lets time pass. Raises ValueError for a negative number: clocks of a loop never go back."""
        if seconds < 0:
            raise ValueError(f"time doesn't go back, got {seconds} s")
        self._now += seconds
