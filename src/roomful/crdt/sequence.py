"""A list with a place for everything: Fugue (Weidner, Kleppmann 2023). See `places.py` for the order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Self, TypeVar

from roomful.crdt.causal import Context, Dot
from roomful.crdt.errors import Malformed
from roomful.crdt.places import LEFT, RIGHT, ROOT, Places
from roomful.crdt.replicated import Replicated
from roomful.crdt.value import Frozen, freeze, thaw

V = TypeVar("V")


class Fugue(Replicated, Generic[V]):
    """A list that many edit: the order of tasks, a headline. For learning and for small lists; text that people write
    together belongs into a Yjs document.

    What one replica inserts as one run, forwards or backwards, isn't interleaved with what others insert at the same
    place meanwhile. (Fugue, not FugueMax: with different neighbours to the right, backward runs of three and more
    replicas may be.)

    Each element takes two dots. Items: a place `(side, parent's replica, parent's number)`; with the next number its
    value `(value,)`, which a deletion ends; for each deletion `(place's replica, place's number)`. Places and deletions
    stay until `collect`. Local changes cost O(n) in C; a merge costs its own size, and the first read after it up to
    O(n log n).
    """

    kind = "fugue"
    __slots__ = ("_deletions", "_places", "_values")

    def _begin(self) -> None:
        self._places = Places()
        self._values: dict[Dot, Frozen] = {}
        self._deletions: dict[Dot, set[Dot]] = {}

    @property
    def value(self) -> list[V]:
        """O(n)."""
        return list(self)

    def insert(self, index: int, *values: V) -> Self:
        """Before what is at `index`; at the end for `len(self)`. Raises IndexError, InvalidValue."""
        if not 0 <= index <= len(self):
            raise IndexError(f"index {index} in a list of {len(self)}")
        frozen = [freeze(value) for value in values]
        items: list[Frozen] = []
        parent, side = self._places.origin(index)
        number = self._context.next(self._replica)
        for value in frozen:
            items += ((side, *parent), (value,))
            parent, side = (self._replica, number), RIGHT
            number += 2
        return self._commit(items, Context())

    def append(self, *values: V) -> Self:
        """At the end. Raises InvalidValue."""
        return self.insert(len(self), *values)

    def delete(self, index: int, count: int = 1) -> Self:
        """Deletes `count` elements from `index` on. Raises IndexError."""
        if index < 0 or count < 0 or index + count > len(self):
            raise IndexError(f"{count} from index {index} in a list of {len(self)}")
        places = self._places.slice(index, count)
        return self._commit(places, Context.of((replica, number + 1) for replica, number in places))

    def __getitem__(self, index: int) -> V:
        value: V = thaw(self._values[self._places.shown()[index]])
        return value

    def __iter__(self) -> Iterator[V]:
        return iter([thaw(self._values[place]) for place in self._places.shown()])

    def __len__(self) -> int:
        return len(self._places.shown())

    @classmethod
    def _check(cls, item: Frozen) -> None:
        if type(item) is tuple:
            match item:
                case [_]:
                    return
                case [str(), number] if type(number) is int and number > 0:
                    return
                case [side, str(replica), number] if type(side) is int and type(number) is int:
                    if replica and number > 0 and side in (LEFT, RIGHT):
                        return
                    if (replica, number) == ROOT and side == RIGHT:
                        return
        raise Malformed("a list's item is a place, a value or a deletion")

    def _enter(self, dot: Dot, item: Frozen) -> None:
        match item:
            case [value]:
                place = _before(dot)
                self._values[place] = value
                self._places.fill(place)
            case [replica, number]:
                self._deletions.setdefault((replica, number), set()).add(dot)
            case [side, replica, number]:
                self._places.add(dot, (replica, number), side)

    def _leave(self, dot: Dot, item: Frozen) -> None:
        match item:
            case [_]:
                place = _before(dot)
                del self._values[place]
                self._places.empty(place)
            case [replica, number]:
                deletions = self._deletions[replica, number]
                deletions.remove(dot)
                if not deletions:
                    del self._deletions[replica, number]
            case _:
                self._places.remove(dot)

    def _shows(self) -> bool:
        return bool(self._values)

    def _garbage(self, stable: Context) -> list[Dot]:
        """Of the deletions that everybody knows: places with nothing below, and what deletes a place that is lost."""
        settled = {place: dots for place, dots in self._deletions.items() if all(dot in stable for dot in dots)}
        ends = self._places.dead_ends(
            {place for place in settled if place in self._places and place not in self._values}
        )
        lost = [place for place in settled if place not in self._places]
        return [*ends, *(dot for place in (*ends, *lost) for dot in settled[place])]


def _before(dot: Dot) -> Dot:
    """The place of a value's dot."""
    return dot[0], dot[1] - 1
