"""Token buckets: so many at once, so many a second. Time is an argument."""

from __future__ import annotations

import re
from collections.abc import Hashable

import msgspec

SWEEP_MIN = 1024
"""Fewer buckets than this aren't worth looking through."""

KEYS_MAX = 65_536
"""More buckets than this are not remembered: a key that a stranger makes up costs about 200 bytes."""

PRECISION_S = 1e-4
"""A burst of thousands, added up in floating point after years of uptime, is no more exact than this; nobody waits for
so little."""

UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}

_SPELLING = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/(s|min|h)(?: burst ([0-9]{1,9}))?")


class Rate(msgspec.Struct, frozen=True):
    """per_s: how fast a bucket fills. burst: how much it holds, at least one."""

    per_s: float
    burst: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """`20/s burst 40`, `6/min`, `0.5/s`; without `burst` as many at once as the number before the stroke.

        Raises ValueError.
        """
        match = _SPELLING.fullmatch(text)
        if match is None:
            raise ValueError(f'{text!r} is no rate, such as "20/s burst 40", "6/min" or "100/h"')
        number, unit, burst = float(match[1]), match[2], match[3]
        if number <= 0 or (burst is not None and int(burst) == 0):
            raise ValueError(f"{text!r} would let nothing through")
        return cls(number / UNITS_S[unit], max(1.0, number) if burst is None else float(burst))


class Buckets:
    """A bucket of one rate for each key; a key that wasn't seen for a while has a full one.

    Each is a single number, the time at which it will be full again: one that lies in the past says nothing and can be
    forgotten. So what is remembered is bounded by what was spent within `burst / per_s` seconds, and by `KEYS_MAX`:
    beyond, those go that are the nearest to being full.
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
        wait_s = self._full_at.get(key, now) - self._tolerance_s - now
        return wait_s if wait_s > PRECISION_S else 0.0

    def spend(self, key: Hashable, now: float) -> None:
        """Takes one out; `wait_s` has said that there is one."""
        self._full_at[key] = max(self._full_at.get(key, now), now) + self._interval_s
        if len(self._full_at) >= self._sweep_at:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        """Each time that their number has doubled, so that it costs each of them little."""
        left = {key: at for key, at in self._full_at.items() if at > now}
        if len(left) > KEYS_MAX // 2:
            left = dict(sorted(left.items(), key=lambda entry: -entry[1])[: KEYS_MAX // 2])
        self._full_at = left
        self._sweep_at = max(SWEEP_MIN, 2 * len(left))

    def __len__(self) -> int:
        return len(self._full_at)
