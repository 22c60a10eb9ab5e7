"""Sets. They differ in what a removal means to an addition that it hasn't seen.

Elements are strings, numbers and tuples of them (arrays in JSON). GSet and TwoPhaseSet: Shapiro et al. 2011, section
3.3; LWWSet: the same, LWW-element-set; ORSet: Bieniusa et al., "An optimized conflict-free replicated set" (2012).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Generic, Self, TypeVar, cast

from roomful.crdt.causal import Context, Dot
from roomful.crdt.errors import InvalidValue, Malformed, RemovedForever
from roomful.crdt.replicated import Replicated
from roomful.crdt.stamped import Cell, Stamped, check_stamp
from roomful.crdt.value import Frozen, freeze_element, is_element

E = TypeVar("E", bound=Hashable)

ADDED, REMOVED = 1, 0


class _Container(Generic[E]):
    """The reading side, from a dict with the elements as keys."""

    __slots__ = ()

    def _elements(self) -> dict[Any, Any]:
        raise NotImplementedError

    @property
    def value(self) -> frozenset[E]:
        """O(elements)."""
        return frozenset(self._elements())

    def __contains__(self, element: object) -> bool:
        """O(1). False for what can't be an element."""
        try:
            return freeze_element(element) in self._elements()
        except InvalidValue:
            return False

    def __iter__(self) -> Iterator[E]:
        """In no particular order."""
        return iter(self._elements())

    def __len__(self) -> int:
        return len(self._elements())


class _DotSet(_Container[E], Replicated):
    """Elements with the dots of their additions. Item: the element."""

    __slots__ = ("_added",)

    def _begin(self) -> None:
        self._added: dict[Any, set[Dot]] = {}

    def _elements(self) -> dict[Any, Any]:
        return self._added

    @classmethod
    def _check(cls, item: Frozen) -> None:
        if not is_element(item):
            raise Malformed("a set holds strings, numbers and arrays of them")

    def _enter(self, dot: Dot, item: Frozen) -> None:
        self._added.setdefault(item, set()).add(dot)

    def _leave(self, dot: Dot, item: Frozen) -> None:
        dots = self._added[item]
        dots.remove(dot)
        if not dots:
            del self._added[item]


class GSet(_DotSet[E]):
    """A set that only grows: who has seen the notice."""

    kind = "gset"
    guarded = True
    __slots__ = ()

    def add(self, element: E) -> Self:
        """O(1). Raises InvalidValue."""
        frozen = freeze_element(element)
        mine = [dot for dot in self._added.get(frozen, ()) if dot[0] == self._replica]
        return self._commit([frozen], Context.of(mine))


class ORSet(_DotSet[E]):
    """A set where an addition wins over a concurrent removal: tags, members, selected cells.

    A removal removes only what it has seen. Its size follows the elements in it, not those that ever were. Operations
    are O(1 + concurrent additions of the element).
    """

    kind = "orset"
    __slots__ = ()

    def add(self, element: E) -> Self:
        """Raises InvalidValue."""
        frozen = freeze_element(element)
        return self._commit([frozen], Context.of(self._added.get(frozen, ())))

    def remove(self, element: E) -> Self:
        """An empty delta if it isn't in the set. Raises InvalidValue."""
        return self._commit([], Context.of(self._added.get(freeze_element(element), ())))

    def clear(self) -> Self:
        """Removes all elements seen here. O(elements)."""
        return self._commit([], Context.of(self._dots()))


class TwoPhaseSet(_Container[E], Replicated):
    """A set where what was removed stays out for ever: revoked keys, finished jobs. Removal wins.

    Never forgets a removed element. Item: `(element, 1)` added, `(element, 0)` removed.
    """

    kind = "2pset"
    guarded = True
    __slots__ = ("_added", "_removed", "_shown")

    def _begin(self) -> None:
        self._added: dict[Any, set[Dot]] = {}
        self._removed: dict[Any, set[Dot]] = {}
        self._shown: dict[Any, None] = {}

    def _elements(self) -> dict[Any, Any]:
        return self._shown

    def add(self, element: E) -> Self:
        """O(1). Raises InvalidValue, RemovedForever."""
        frozen = freeze_element(element)
        if frozen in self._removed:
            raise RemovedForever("a two-phase set takes no removed element back")
        return self._vote(frozen, ADDED)

    def remove(self, element: E) -> Self:
        """O(1). An empty delta if it isn't in the set. Raises InvalidValue."""
        frozen = freeze_element(element)
        return self._vote(frozen, REMOVED) if frozen in self._shown else self._commit([], Context())

    def _vote(self, element: Frozen, side: int) -> Self:
        votes = (*self._added.get(element, ()), *self._removed.get(element, ()))
        mine = [dot for dot in votes if dot[0] == self._replica]
        return self._commit([(element, side)], Context.of(mine))

    @classmethod
    def _check(cls, item: Frozen) -> None:
        if type(item) is not tuple or len(item) != 2 or not is_element(item[0]) or not is_side(item[1]):
            raise Malformed("a two-phase set's item is an element and 0 or 1")

    def _enter(self, dot: Dot, item: Frozen) -> None:
        self._side(item).setdefault(item[0], set()).add(dot)
        self._count(item[0])

    def _leave(self, dot: Dot, item: Frozen) -> None:
        votes = self._side(item)[item[0]]
        votes.remove(dot)
        if not votes:
            del self._side(item)[item[0]]
        self._count(item[0])

    def _side(self, item: Frozen) -> dict[Any, set[Dot]]:
        return self._added if item[1] == ADDED else self._removed

    def _shows(self) -> bool:
        return bool(self._shown)

    def _count(self, element: Any) -> None:
        if element in self._added and element not in self._removed:
            self._shown[element] = None
        else:
            self._shown.pop(element, None)


class LWWSet(_Container[E], Stamped):
    """A set where for each element the last of add and remove counts, by clock where they are concurrent.

    Removals are kept until `collect`. Operations are O(1 + concurrent writes). Item: `(ms, seq, element, 1 or 0)`.
    """

    kind = "lwwset"
    __slots__ = ("_shown",)

    def _begin(self) -> None:
        super()._begin()
        self._shown: dict[Any, None] = {}

    def _elements(self) -> dict[Any, Any]:
        self._decide()
        return self._shown

    def _shows(self) -> bool:
        return bool(self._elements())

    def add(self, element: E) -> Self:
        """Raises InvalidValue."""
        frozen = freeze_element(element)
        return self._write(frozen, frozen, ADDED)

    def remove(self, element: E) -> Self:
        """Stamped too, and recorded even if the element isn't in the set. Raises InvalidValue."""
        frozen = freeze_element(element)
        return self._write(frozen, frozen, REMOVED)

    @classmethod
    def _check(cls, item: Frozen) -> None:
        check_stamp(item, 4)
        if not is_element(item[2]) or not is_side(item[3]):
            raise Malformed("a last-writer-wins set's item is a stamp, an element and 0 or 1")

    @classmethod
    def _cell(cls, item: Frozen) -> Cell:
        return cast(Cell, item[2])

    @classmethod
    def _is_tombstone(cls, item: Frozen) -> bool:
        return bool(item[3] == REMOVED)

    def _show(self, cell: Cell, winner: Frozen | None) -> None:
        if winner and winner[3] == ADDED:
            self._shown[cell] = None
        else:
            self._shown.pop(cell, None)


def is_side(frozen: Frozen) -> bool:
    """Whether it is the 1 of an addition or the 0 of a removal."""
    return type(frozen) is int and frozen in (ADDED, REMOVED)
