"""Registers: one value, set as a whole. Shapiro et al. 2011, section 3.2."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

from roomful.crdt.causal import Context
from roomful.crdt.errors import Malformed
from roomful.crdt.replicated import Replicated
from roomful.crdt.stamped import Cell, Stamped, check_stamp
from roomful.crdt.value import Frozen, freeze, thaw

V = TypeVar("V")


class LWWRegister(Stamped, Generic[V]):
    """The value that was set last: a title, a colour, a setting.

    A set that has seen another always wins over it; the stamp decides between concurrent ones.
    Item: `(ms, seq, value)`.
    """

    kind = "lww"
    __slots__ = ("_shown",)

    def _begin(self) -> None:
        super()._begin()
        self._shown: Frozen = None

    @property
    def value(self) -> V | None:
        """None as long as nothing was set."""
        self._decide()
        shown: V | None = thaw(self._shown)
        return shown

    def set(self, value: V) -> Self:
        """O(1 + concurrent sets). Raises InvalidValue."""
        return self._write(None, freeze(value))

    @classmethod
    def _check(cls, item: Frozen) -> None:
        check_stamp(item, 3)

    @classmethod
    def _cell(cls, item: Frozen) -> Cell:
        return None

    def _show(self, cell: Cell, winner: Frozen | None) -> None:
        self._shown = winner[2] if winner else None


class MVRegister(Replicated, Generic[V]):
    """All values that were set concurrently, for the application or a person to choose from.

    Item: `(value,)`.
    """

    kind = "mv"
    __slots__ = ()

    @property
    def value(self) -> list[V]:
        """The concurrent values, ordered by replica; empty as long as nothing was set."""
        return [thaw(self._live[replica][number][0]) for replica, number in sorted(self._dots())]

    def set(self, value: V) -> Self:
        """Replaces all values seen here. O(1 + concurrent sets). Raises InvalidValue."""
        frozen = freeze(value)
        return self._commit([(frozen,)], Context.of(self._dots()))

    def __len__(self) -> int:
        """How many values there are; more than one: a conflict."""
        return sum(map(len, self._live.values()))

    @classmethod
    def _check(cls, item: Frozen) -> None:
        if type(item) is not tuple or len(item) != 1:
            raise Malformed("a register's item is one value in an array")
