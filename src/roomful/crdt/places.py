"""The places of a Fugue list, in order.

Weidner, Kleppmann, "The art of the Fugue: minimizing interleaving in collaborative text editing" (2023), section 3: the
places form a tree, each the left or right child of another, siblings on a side ordered by dot; the list is the tree's
in-order walk. Places stay when what was in them is deleted, since others may hang on them.

The order is kept in two rows while somebody reads it, one of all places and one of the visible ones, and dropped when a
change can't be fitted in quickly.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from roomful.crdt.causal import Dot

ROOT: Dot = ("", 0)
"""Where the list begins. It has right children only."""

LEFT, RIGHT = 0, 1

PATIENCE = 64
"""Steps down a branch, and unread changes, after which the order is rather made anew: neither a hostile tree nor a
large merge costs its size at each change."""


class Places:
    """Changes cost O(1) until somebody asks for the order, then O(n) in C; making the order costs O(n log n)."""

    __slots__ = ("_children", "_filled", "_order", "_parents", "_shown", "_unread")

    def __init__(self) -> None:
        self._parents: dict[Dot, tuple[Dot, int]] = {}
        self._children: dict[Dot, tuple[list[Dot], list[Dot]]] = {}
        self._filled: set[Dot] = set()
        self._order: _Row | None = None
        self._shown = _Row([])
        self._unread = 0

    def __contains__(self, place: Dot) -> bool:
        return place in self._parents

    def shown(self) -> list[Dot]:
        """The places with something in them, in order; not to be changed."""
        if self._order is None:
            self._walk()
        self._unread = 0
        return self._shown.places

    def slice(self, index: int, count: int) -> list[Dot]:
        """Some of them, of which the next changes are expected."""
        self._shown.hint = index
        return self.shown()[index : index + count]

    def origin(self, index: int) -> tuple[Dot, int]:
        """Where a new place hangs so that it comes before what is shown at `index`: (parent, side).

        Fugue's rule, but for places under which nothing is shown: those are passed over, so that once they have been
        collected everywhere nobody can hang on them any more.
        """
        shown = self.shown()
        left = shown[index - 1] if index else ROOT
        self._shown.hint = index - 1
        if index and self._order is not None:
            self._order.find(left, index - 1)  # the next change is here
        if index == len(shown) or not self._children.get(left, ((), ()))[RIGHT]:
            return left, RIGHT
        # Up from the next shown place to `left`: of the places on the way, the first in order takes the new one.
        here = first = shown[index]
        while here in self._parents:
            parent, side = self._parents[here]
            if parent == left:
                return first, LEFT
            first = parent if side == RIGHT else first
            here = parent
        return left, RIGHT

    def add(self, place: Dot, parent: Dot, side: int) -> None:
        self._parents[place] = (parent, side)
        siblings = self._children.setdefault(parent, ([], []))[side]
        insort(siblings, place)
        order = self._kept_order()
        if order is not None:
            at = self._slot(order, place, parent, side, siblings)
            if at is None:
                self._order = None
            else:
                order.insert(at, place)
                if place in self._filled:
                    self._shown.insert(self._shown_before(order, at), place)

    def remove(self, place: Dot) -> None:
        """The children of a removed place hang at the end of the list, in the order of their dots."""
        parent, side = self._parents.pop(place)
        siblings = self._children[parent]
        del siblings[side][bisect_left(siblings[side], place)]
        if not siblings[LEFT] and not siblings[RIGHT]:
            del self._children[parent]
        order = self._kept_order()
        if place in self._children:
            self._order = None
        elif order is not None:
            order.remove(place)
            if place in self._filled:
                self._shown.remove(place)

    def fill(self, place: Dot) -> None:
        """Something is in it. It may be told before the place itself is known."""
        self._filled.add(place)
        order = self._kept_order()
        if place in self._parents and order is not None:
            at = order.find(place)
            if at is None:
                self._order = None
            else:
                self._shown.insert(self._shown_before(order, at), place)

    def empty(self, place: Dot) -> None:
        """Nothing is in it any more."""
        self._filled.discard(place)
        if place in self._parents and self._kept_order() is not None:
            self._shown.remove(place)

    def dead_ends(self, candidates: set[Dot]) -> list[Dot]:
        """Those of the candidates under which there is nothing but other such ones."""
        ends: list[Dot] = []
        waiting = {place: sum(map(len, self._children.get(place, ()))) for place in candidates}
        ready = [place for place, count in waiting.items() if count == 0]
        while ready:
            place = ready.pop()
            ends.append(place)
            parent = self._parents[place][0]
            if parent in waiting:
                waiting[parent] -= 1
                if waiting[parent] == 0:
                    ready.append(parent)
        return ends

    def _walk(self) -> None:
        """In-order, without recursion: a typed run is one branch as deep as it is long."""
        order: list[Dot] = []
        orphans = sorted(
            child
            for parent, sides in self._children.items()
            if parent != ROOT and parent not in self._parents
            for side in sides
            for child in side
        )
        stack: list[tuple[Dot, bool]] = [
            (place, False) for place in reversed(self._children.get(ROOT, ([], []))[RIGHT] + orphans)
        ]
        while stack:
            place, opened = stack.pop()
            if opened or place not in self._children:
                order.append(place)
                continue
            left, right = self._children[place]
            stack += [(child, False) for child in reversed(right)]
            stack.append((place, True))
            stack += [(child, False) for child in reversed(left)]
        self._order = _Row(order)
        self._shown = _Row([place for place in order if place in self._filled])

    def _kept_order(self) -> _Row | None:
        """The order, if it is worth keeping: many changes that nobody reads are cheaper followed by a walk."""
        self._unread += 1
        if self._unread > PATIENCE:
            self._order = None
        return self._order

    def _slot(self, order: _Row, place: Dot, parent: Dot, side: int, siblings: list[Dot]) -> int | None:
        """Where a new leaf stands in the order; None if that takes too long to find out."""
        if place in self._children or (parent not in self._parents and parent != ROOT):
            return None  # orphans find a home, or this is one
        at = bisect_left(siblings, place)
        if side == RIGHT:
            neighbour = self._outermost(siblings[at - 1], RIGHT) if at else parent
        else:
            neighbour = self._outermost(siblings[at + 1], LEFT) if at + 1 < len(siblings) else parent
        if neighbour == ROOT:
            return 0
        found = None if neighbour is None else order.find(neighbour)
        return None if found is None else found + side

    def _outermost(self, place: Dot, side: int) -> Dot | None:
        """The first or last place of a branch; None if it is too deep."""
        for _ in range(PATIENCE):
            sides = self._children.get(place)
            if sides is None or not sides[side]:
                return place
            place = sides[side][-side]  # [0] or [-1]
        return None

    def _shown_before(self, order: _Row, at: int) -> int:
        """How many places are shown before this position of the order."""
        for before in range(at - 1, -1, -1):
            if order.places[before] in self._filled:
                found = self._shown.find(order.places[before])
                return 0 if found is None else found + 1
        return 0


class _Row:
    """Places in order. Changes are mostly near the last one, so they are looked for there, then by a scan in C."""

    __slots__ = ("hint", "places")

    def __init__(self, places: list[Dot]) -> None:
        self.places = places
        self.hint = 0

    def find(self, place: Dot, start: int = 0) -> int | None:
        """Where it stands, at `start` or later; None for a place on a circle, which stands nowhere."""
        for near in (self.hint, self.hint + 1, self.hint - 1):
            if 0 <= near < len(self.places) and self.places[near] == place:
                self.hint = near
                return near
        try:
            self.hint = self.places.index(place, start)
        except ValueError:
            return None
        return self.hint

    def insert(self, at: int, place: Dot) -> None:
        self.places.insert(at, place)
        self.hint = at

    def remove(self, place: Dot) -> None:
        at = self.find(place)
        if at is not None:
            del self.places[at]
