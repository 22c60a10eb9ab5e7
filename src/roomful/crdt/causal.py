"""Dots and causal contexts: which events a state has seen.

A *dot* is one event: a replica's id and the number, from 1, of its event. A *context* is a set of dots. Almeida,
Shoker, Baquero, "Delta state replicated data types" (2018) keep it as a version vector (the events without a hole) and
a cloud of single dots. Here each replica has a sorted list of ranges, which is both: the first range is its entry in
the version vector, the others are the cloud, and a cloud of neighbours takes no more room than one dot.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from roomful.crdt.errors import Exhausted
from roomful.crdt.value import MAX_SAFE

Dot: TypeAlias = tuple[str, int]
"""(replica, number of its event, from 1)."""

Bounds: TypeAlias = list[int]
"""Ranges as `[from, to, from, to, …]`, strictly ascending, `to` excluded. A number is inside one exactly if an odd
count of bounds isn't greater than it."""


class Context:
    """A set of dots.

    vector: the first so many events of each replica. Costs below are for one replica with r ranges, usually 1.
    """

    __slots__ = ("_bounds",)

    def __init__(self, vector: Mapping[str, int] | None = None) -> None:
        self._bounds: dict[str, Bounds] = {}
        for replica, count in (vector or {}).items():
            self.add(replica, 1, count + 1)

    @classmethod
    def of(cls, dots: Iterable[Dot]) -> Context:
        """Of single dots."""
        context = cls()
        for replica, number in dots:
            context.add(replica, number)
        return context

    def __contains__(self, dot: Dot) -> bool:
        """O(log r)."""
        bounds = self._bounds.get(dot[0])
        return bounds is not None and bisect_right(bounds, dot[1]) % 2 == 1

    def covers(self, replica: str, bounds: Bounds) -> bool:
        """Whether all dots of these ranges are inside. O(ranges · log r)."""
        mine = self._bounds.get(replica, [])
        for start, stop in pairs(bounds):
            at = bisect_right(mine, start)
            if at % 2 == 0 or mine[at] < stop:
                return False
        return True

    def next(self, replica: str) -> int:
        """The number of that replica's next event. Raises Exhausted."""
        bounds = self._bounds.get(replica)
        number = bounds[-1] if bounds else 1
        if number >= MAX_SAFE:
            raise Exhausted(f"no event of {replica!r} can follow")
        return number

    def add(self, replica: str, start: int, stop: int | None = None) -> bool:
        """Takes in the events from `start` up to and without `stop` (just one by default); whether any was new.

        O(log r), and O(r) where ranges meet.
        """
        stop = start + 1 if stop is None else stop
        if start >= stop:
            return False
        bounds = self._bounds.setdefault(replica, [])
        if bounds and bounds[-1] == start:
            bounds[-1] = stop
            return True
        if self.covers(replica, [start, stop]):
            return False
        left, right = bisect_left(bounds, start), bisect_right(bounds, stop)
        bounds[left:right] = [start][left % 2 :] + [stop][right % 2 :]
        return True

    def update(self, other: Context) -> bool:
        """Takes in all dots of another context; whether any was new. O(its ranges · log r)."""
        changed = False
        for replica, bounds in other._bounds.items():
            if replica not in self._bounds:
                self._bounds[replica] = bounds.copy()
                changed = True
                continue
            # A copy, because a context may be told of itself.
            for start, stop in pairs(bounds.copy()):
                changed |= self.add(replica, start, stop)
        return changed

    def without(self, dots: Mapping[str, Iterable[int]]) -> Context:
        """A copy that lacks these dots. O(all ranges + dots · log dots)."""
        copy = self.copy()
        for replica, numbers in dots.items():
            bounds = _difference(copy._bounds.pop(replica, []), _ranges(numbers))
            if bounds:
                copy._bounds[replica] = bounds
        return copy

    def __and__(self, other: Context) -> Context:
        """The dots in both: of all replicas' contexts, what `collect` takes for stable. O(all ranges · log)."""
        both = Context()
        for replica, bounds in self._bounds.items():
            common = _difference(bounds, _difference(bounds, other._bounds.get(replica, [])))
            if common:
                both._bounds[replica] = common
        return both

    def copy(self) -> Context:
        """O(all ranges)."""
        copy = Context()
        copy._bounds = {replica: bounds.copy() for replica, bounds in self._bounds.items()}
        return copy

    def items(self) -> Iterable[tuple[str, Bounds]]:
        """Each replica with its ranges; not to be changed."""
        return self._bounds.items()

    def bounds(self, replica: str) -> Sequence[int]:
        """One replica's ranges; empty for an unknown one."""
        return self._bounds.get(replica, ())

    def vector(self) -> dict[str, int]:
        """For each replica how many of its events have come without a hole."""
        return {replica: bounds[1] - 1 if bounds[0] == 1 else 0 for replica, bounds in self._bounds.items()}

    def __le__(self, other: Context) -> bool:
        """Whether the other one has all of these dots."""
        return all(other.covers(replica, bounds) for replica, bounds in self._bounds.items())

    def __eq__(self, other: object) -> bool:
        return self._bounds == other._bounds if isinstance(other, Context) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Context({self._bounds})"


def pairs(bounds: Bounds) -> Iterator[tuple[int, int]]:
    """The ranges: (from, to), `to` excluded."""
    return zip(bounds[::2], bounds[1::2], strict=True)


def within(numbers: Mapping[int, object], bounds: Bounds) -> list[int]:
    """Those of the numbers that lie in the ranges. Costs the smaller of the two."""
    if sum(stop - start for start, stop in pairs(bounds)) <= len(numbers):
        return [n for start, stop in pairs(bounds) for n in range(start, stop) if n in numbers]
    return [n for n in numbers if bisect_right(bounds, n) % 2 == 1]


def _ranges(numbers: Iterable[int]) -> Bounds:
    bounds: Bounds = []
    for n in sorted(numbers):
        if bounds and bounds[-1] == n:
            bounds[-1] = n + 1
        else:
            bounds += (n, n + 1)
    return bounds


def _difference(bounds: Bounds, taken: Bounds) -> Bounds:
    """One sweep over both: the merged bounds at which "inside the first, outside the second" changes."""
    result: Bounds = []
    inside = {bound: at % 2 == 0 for at, bound in enumerate(bounds)}
    outside = {bound: at % 2 == 1 for at, bound in enumerate(taken)}
    here, free, kept = False, True, False
    for bound in sorted(inside.keys() | outside.keys()):
        here, free = inside.get(bound, here), outside.get(bound, free)
        if (here and free) != kept:
            kept = not kept
            result.append(bound)
    return result
