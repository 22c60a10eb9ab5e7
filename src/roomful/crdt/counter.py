"""Counters: everybody's changes add up. Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of convergent and
commutative replicated data types" (2011), sections 3.1.1 and 3.1.3.

An item is a number. On its own a counter holds one live dot for each replica, with the replica's total so far. Inside
a map it holds one for each increment: a total would carry along, past a concurrent removal, what the removal has seen.
"""

from __future__ import annotations

from typing import Self

from roomful.crdt.causal import Context, Dot
from roomful.crdt.errors import Exhausted, InvalidValue, Malformed
from roomful.crdt.replicated import Replicated
from roomful.crdt.value import MAX_SAFE, Frozen


class _Counter(Replicated):
    guarded = True
    __slots__ = ("_total",)

    def _begin(self) -> None:
        self._total = 0

    @property
    def value(self) -> int:
        """O(1)."""
        return self._total

    def increment(self, by: int = 1) -> Self:
        """Adds a positive integer. O(1). Raises InvalidValue, Exhausted."""
        return self._add(_positive(by))

    def _add(self, amount: int) -> Self:
        if self._owner is not None:
            return self._commit([amount], Context())
        total = amount + sum(self._live.get(self._replica, {}).values())
        if abs(total) > MAX_SAFE:
            raise Exhausted("a replica's total stays within ±(2^53 - 1)")
        # All its totals so far, also those that the receiver has missed: else an older one would be added to this.
        return self._commit([total], Context({self._replica: self._context.next(self._replica) - 1}))

    def _enter(self, dot: Dot, item: Frozen) -> None:
        self._total += item

    def _leave(self, dot: Dot, item: Frozen) -> None:
        self._total -= item


class GCounter(_Counter):
    """A counter that only grows: likes, views, votes."""

    kind = "gcounter"
    __slots__ = ()

    @classmethod
    def _check(cls, item: Frozen) -> None:
        if type(item) is not int or item < 0:
            raise Malformed("a grow-only counter holds whole numbers from 0")


class PNCounter(_Counter):
    """A counter that goes up and down: stock, score, people in the room."""

    kind = "pncounter"
    __slots__ = ()

    def decrement(self, by: int = 1) -> Self:
        """Takes away a positive integer. O(1). Raises InvalidValue, Exhausted."""
        return self._add(-_positive(by))

    @classmethod
    def _check(cls, item: Frozen) -> None:
        if type(item) is not int:
            raise Malformed("a counter holds whole numbers")


def _positive(by: int) -> int:
    if type(by) is not int or not 0 < by <= MAX_SAFE:
        raise InvalidValue("a counter changes by a whole number from 1 to 2^53 - 1")
    return by
