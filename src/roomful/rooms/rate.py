"""Token buckets: so many at once, so many a second. Time is an argument."""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

SWEEP_MIN = 1024
"""Fewer buckets than this aren't worth looking through."""


class Rate(msgspec.Struct, frozen=True):
    """per_s: how fast a bucket fills. burst: how much it holds, at least one."""

    per_s: float
    burst: float


class Buckets:
    """A bucket of one rate for each key; a key that wasn't seen for a while has a full one.

    Each is a single number, the time at which it will be full again: one that lies in the past says nothing and can be
    forgotten. So what is remembered is bounded by what was spent within `burst / per_s` seconds.
    Source: the generic cell rate algorithm (ITU-T I.371).
    """

    __slots__ = ("_full_at", "_interval_s", "_sweep_at", "_tolerance_s", "rate")

    def __init__(self, rate: Rate) -> None:
        """Raises ValueError for a rate that lets nothing through."""
        if rate.per_s <= 0:
            raise ValueError(f"a rate is more than nothing, got {rate.per_s}")
        self.rate = rate
        self._interval_s = 1.0 / rate.per_s
        self._tolerance_s = (max(1.0, rate.burst) - 1.0) * self._interval_s
        self._full_at: dict[Hashable, float] = {}
        self._sweep_at = SWEEP_MIN

    def wait_s(self, key: Hashable, now: float) -> float:
        """0.0 if there is one in the key's bucket; else how long until there is."""
        return max(0.0, self._full_at.get(key, now) - self._tolerance_s - now)

    def spend(self, key: Hashable, now: float) -> None:
        """Takes one out; `wait_s` has said that there is one."""
        self._full_at[key] = max(self._full_at.get(key, now), now) + self._interval_s
        if len(self._full_at) >= self._sweep_at:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        """Each time that their number has doubled, so that it costs each of them little."""
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        self._sweep_at = max(SWEEP_MIN, 2 * len(self._full_at))

    def __len__(self) -> int:
        return len(self._full_at)
