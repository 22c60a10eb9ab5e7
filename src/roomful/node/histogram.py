"""How long things took: counts between fixed bounds, cheap enough to be kept where things happen."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From one write of a loop turn to the deadlines of hooks and engines, a factor of about two apart."""


class Histogram:
    """counts: how many took at most `BOUNDS_S[i]` and longer than the one before; the last one: longer than all.

    total_s: of all together."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def __len__(self) -> int:
        """How often it was observed."""
        return sum(self.counts)
