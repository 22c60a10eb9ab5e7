"""What the last-writer-wins types share: cells, in each of which the newest write shows.

An item is `(ms, seq, …)`: the write's stamp, then what was written. A write ends all writes to the same cell that its
replica has seen, so only concurrent ones are ever live together. Of these the greatest shows, by stamp, then by replica
id (compared by code points), then by number: a tie is broken the same everywhere. The losers stay until the next write,
for a removal by an enclosing map may take the winner and not them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Self

from roomful.crdt.causal import Context, Dot
from roomful.crdt.clock import MAX_SEQ, Stamp
from roomful.crdt.errors import Malformed, ReadOnly
from roomful.crdt.replicated import Replicated
from roomful.crdt.value import Frozen

Cell = Hashable
"""Names a cell: an element, a key, or nothing where there is only one."""


class Stamped(Replicated):
    """One cell costs its concurrent writes, usually one."""

    stamped = True
    __slots__ = ("_cells", "_undecided")

    def _begin(self) -> None:
        self._cells: dict[Cell, dict[Dot, Frozen]] = {}
        self._undecided: dict[Cell, None] = {}

    @classmethod
    def _cell(cls, item: Frozen) -> Cell:
        """Which cell an item belongs to."""
        raise NotImplementedError

    @classmethod
    def _is_tombstone(cls, item: Frozen) -> bool:
        """Whether the item says that something was deleted."""
        return False

    def _show(self, cell: Cell, winner: Frozen | None) -> None:
        """A cell's newest write has changed; None: there is none."""
        raise NotImplementedError

    def _write(self, cell: Cell, *content: Frozen) -> Self:
        if self._clock is None:
            raise ReadOnly("a delta, or a state without a replica id, isn't changed")
        item = (*self._clock.tick(), *content)
        return self._commit([item], Context.of(self._cells.get(cell, ())))

    @classmethod
    def _stamp(cls, item: Frozen) -> Stamp:
        return Stamp(item[0], item[1])

    def _enter(self, dot: Dot, item: Frozen) -> None:
        cell = self._cell(item)
        self._cells.setdefault(cell, {})[dot] = item
        self._undecided[cell] = None

    def _leave(self, dot: Dot, item: Frozen) -> None:
        cell = self._cell(item)
        writes = self._cells[cell]
        del writes[dot]
        self._undecided[cell] = None
        if not writes:  # at once: nobody may ever read, and the cells of the past are without number
            del self._cells[cell], self._undecided[cell]
            self._show(cell, None)

    def _decide(self) -> None:
        """Shows what has changed. When it is read, not at each write: ten thousand writes to one cell that come and go
        in one merge would be looked through ten thousand times."""
        for cell in self._undecided:
            self._show(cell, _newest(self._cells[cell]))
        self._undecided.clear()

    def _garbage(self, stable: Context) -> list[Dot]:
        """Cells whose newest write deletes, once all their writes are stable."""
        garbage: list[Dot] = []
        for writes in self._cells.values():
            if self._is_tombstone(_newest(writes)) and all(dot in stable for dot in writes):
                garbage += writes
        return garbage


def check_stamp(item: Frozen, *lengths: int) -> None:
    """Raises Malformed unless the item is a stamp and as many fields as make up one of these lengths."""
    if type(item) is not tuple or len(item) not in lengths:
        raise Malformed("a stamped item has the wrong shape")
    ms, seq = item[:2]
    if type(ms) is not int or ms < 0 or type(seq) is not int or not 0 <= seq <= MAX_SEQ:
        raise Malformed("a stamp is two whole numbers, the second up to 65535")


def _newest(writes: dict[Dot, Frozen]) -> Frozen:
    return max(writes.items(), key=_rank)[1]


def _rank(write: tuple[Dot, Frozen]) -> tuple[Any, ...]:
    dot, item = write
    return (item[0], item[1], *dot)
