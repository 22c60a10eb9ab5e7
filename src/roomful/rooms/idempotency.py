"""Keys seen lately and what they led to, so that a retry is harmless. Source: Centrifuge protocol, section 23.3."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")

Key = tuple[str, str]
"""A channel, and the key that the publisher chose: the same key in another channel is another one."""


class Idempotency(Generic[ResultT]):
    """First results by key, each for its time, and at most `max_keys` of them.

    When it is full, the key nearest to its end is forgotten. Times are seconds of the caller's clock.
    """

    __slots__ = ("_deadlines", "_max_keys", "_results")

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._results: dict[Key, tuple[float, Key, ResultT]] = {}
        # The same tuples, soonest first. Comparing two never comes to the results: a key that is used again after its
        # time has another deadline.
        self._deadlines: list[tuple[float, Key, ResultT]] = []

    def get(self, channel: str, key: str, now: float) -> ResultT | None:
        """What the key led to; None if it hasn't been seen, or too long ago."""
        entry = self._results.get((channel, key))
        return entry[2] if entry is not None and now < entry[0] else None

    def put(self, channel: str, key: str, result: ResultT, ttl_s: float, now: float) -> None:
        """Remembers the first result of a key that `get` doesn't know at this very time."""
        deadline = now + ttl_s
        if deadline <= now:
            return
        entry = (deadline, (channel, key), result)
        self._results[entry[1]] = entry
        heapq.heappush(self._deadlines, entry)
        while len(self._deadlines) > self._max_keys:
            self._forget_next()

    def expire(self, now: float, limit: int) -> int:
        """Forgets keys whose time is up, at most `limit` of them; how many it was."""
        for done in range(limit):
            if not self._deadlines or now < self._deadlines[0][0]:
                return done
            self._forget_next()
        return limit

    def _forget_next(self) -> None:
        entry = heapq.heappop(self._deadlines)
        if self._results[entry[1]] is entry:
            del self._results[entry[1]]

    def __len__(self) -> int:
        return len(self._results)
