"""Maps: one whose entries are written as a whole, and one whose entries are replicated objects themselves."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Sequence
from typing import Any, Generic, Self, TypeVar, cast

from roomful.crdt.causal import Context, Dot
from roomful.crdt.clock import Stamp
from roomful.crdt.counter import GCounter, PNCounter
from roomful.crdt.errors import InvalidValue, Malformed, ReadOnly
from roomful.crdt.flag import DisableWinsFlag, EnableWinsFlag
from roomful.crdt.register import LWWRegister, MVRegister
from roomful.crdt.replicated import R, Replicated
from roomful.crdt.sequence import Fugue
from roomful.crdt.set import GSet, LWWSet, ORSet, TwoPhaseSet
from roomful.crdt.stamped import Cell, Stamped, check_stamp
from roomful.crdt.value import Frozen, freeze, thaw

V = TypeVar("V")

MAX_NESTING = 16
"""Maps inside maps."""


class LWWMap(Stamped, Generic[V]):
    """A map where for each key the last of set and delete counts, by clock where they are concurrent: settings.

    Deletions are stamped, and kept until `collect`. Operations are O(1 + concurrent writes of the key).
    Item: `(ms, seq, key, value)`, or `(ms, seq, key)` for a deletion.
    """

    kind = "lwwmap"
    __slots__ = ("_shown",)

    def _begin(self) -> None:
        super()._begin()
        self._shown: dict[str, Frozen] = {}

    @property
    def value(self) -> dict[str, V]:
        """O(size)."""
        return {key: thaw(item[3]) for key, item in self._entries_shown().items()}

    def set(self, key: str, value: V) -> Self:
        """Raises InvalidValue."""
        return self._write(check_key(key), key, freeze(value))

    def delete(self, key: str) -> Self:
        """Recorded even if there is no such key. Raises InvalidValue."""
        return self._write(check_key(key), key)

    def get(self, key: str) -> V | None:
        """None if there is no such key."""
        item = self._entries_shown().get(key)
        return None if item is None else thaw(item[3])

    def __getitem__(self, key: str) -> V:
        value: V = thaw(self._entries_shown()[key][3])
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._entries_shown()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries_shown())

    def __len__(self) -> int:
        return len(self._entries_shown())

    def keys(self) -> KeysView[str]:
        return self._entries_shown().keys()

    def _entries_shown(self) -> dict[str, Frozen]:
        self._decide()
        return self._shown

    def _shows(self) -> bool:
        return bool(self._entries_shown())

    @classmethod
    def _check(cls, item: Frozen) -> None:
        check_stamp(item, 3, 4)
        if type(item[2]) is not str:
            raise Malformed("a map's key is a string")

    @classmethod
    def _cell(cls, item: Frozen) -> Cell:
        return cast(Cell, item[2])

    @classmethod
    def _is_tombstone(cls, item: Frozen) -> bool:
        return len(item) == 3

    def _show(self, cell: Cell, winner: Frozen | None) -> None:
        key = cast(str, cell)
        if winner and not self._is_tombstone(winner):
            self._shown[key] = winner
        else:
            self._shown.pop(key, None)


class ORMap(Replicated):
    """A map from names to objects of any type, also maps: a to-do list, a form, a board.

    `remove` removes exactly what it has seen under the key: a concurrent change of the object survives, alone. A key is
    there as long as there is something to see under it, so an empty set or a switched-off flag isn't, nor is a list of
    which all was deleted: that deletions are still remembered shows nowhere, or `collect` would be noticed. Objects
    made concurrently under one key with different types live side by side; `m[key]` is the first by the type's name.

    Nested objects are read like others and changed through `update`. Their costs are their types'. Item: `(key, type's
    name, the nested object's item)`. Almeida et al. 2018, section 7.4.
    """

    kind = "ormap"
    stamped = True
    __slots__ = ("_changed", "_children", "_shown", "_updating")

    def _begin(self) -> None:
        self._children: dict[str, dict[str, Replicated]] = {}
        self._shown: dict[str, Replicated] = {}
        self._changed: dict[str, None] = {}
        self._updating: list[tuple[Replicated, ORMap]] = []

    @property
    def value(self) -> dict[str, Any]:
        """The nested objects' values. O(size)."""
        return {key: nested.value for key, nested in self._objects().items()}

    def update(self, key: str, kind: type[R], change: Callable[[R], object]) -> ORMap:
        """Changes the object of that type under that key, which is made if it isn't there; all changes as one delta.

        change: called once with the object, may change it several times. What it returns doesn't matter; what it raises
        goes on, and the changes made until then stay (`delta_since` has them).
        """
        if kind.kind == self.kind and self._depth() == MAX_NESTING:
            raise InvalidValue(f"maps are nested at most {MAX_NESTING} deep")
        nested = self._nested(check_key(key), kind)
        made = ORMap()
        self._updating.append((nested, made))
        try:
            change(nested)
        finally:
            self._updating.pop()
            self._prune(key, kind.kind)
        return made

    def remove(self, key: str) -> ORMap:
        """Removes what is seen under the key; an empty delta if that is nothing. O(what is under the key)."""
        seen = (dot for nested in self._children.get(key, {}).values() for dot in nested._dots())
        return self._commit([], Context.of(seen))

    def clear(self) -> ORMap:
        """Removes all that is seen. O(size)."""
        return self._commit([], Context.of(self._dots()))

    def at(self, key: str, kind: type[R]) -> R:
        """The object of that type under that key, to read; an empty one if it isn't there."""
        nested = self._children.get(key, {}).get(kind.kind)
        return cast(R, nested) if nested is not None else kind()

    def kinds(self, key: str) -> list[str]:
        """The types' names under a key; more than one if they were made concurrently."""
        return sorted(name for name, nested in self._children.get(key, {}).items() if nested._shows())

    def __getitem__(self, key: str) -> Replicated:
        """The object under the key, to read. Raises KeyError."""
        return self._objects()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._objects()

    def __iter__(self) -> Iterator[str]:
        return iter(self._objects())

    def __len__(self) -> int:
        return len(self._objects())

    def keys(self) -> KeysView[str]:
        return self._objects().keys()

    def items(self) -> ItemsView[str, Replicated]:
        return self._objects().items()

    def commit_nested(self, key: str, nested: R, items: Sequence[Frozen], ended: Context) -> R:
        """For the nested object: makes its change a change of this map."""
        if not self._updating:
            raise ReadOnly("a nested object is changed through ORMap.update")
        delta = self._commit([(key, nested.kind, item) for item in items], ended)
        for _, made in self._updating:
            made._join(delta)
        inner = type(nested)()
        inner._context.update(delta._context)
        for replica, wrapped in delta._live.items():
            for number, item in wrapped.items():
                inner._put(replica, number, item[2])
        return inner

    @classmethod
    def _check(cls, item: Frozen) -> None:
        for _ in range(MAX_NESTING):
            if type(item) is not tuple or len(item) != 3 or type(item[0]) is not str or type(item[1]) is not str:
                raise Malformed("a map's item is a key, a type's name and an item")
            _, name, item = item
            if name not in KINDS:
                raise Malformed("a map holds an object of an unknown type")
            if name != cls.kind:
                KINDS[name]._check(item)
                return
        raise Malformed(f"maps are nested at most {MAX_NESTING} deep")

    @classmethod
    def _stamp(cls, item: Frozen) -> Stamp | None:
        return KINDS[item[1]]._stamp(item[2])

    def _enter(self, dot: Dot, item: Frozen) -> None:
        key, name, inner = item
        self._nested(key, KINDS[name])._put(*dot, inner)
        self._changed[key] = None

    def _leave(self, dot: Dot, item: Frozen) -> None:
        key, name, _ = item
        self._children[key][name]._drop(*dot)
        self._changed[key] = None
        self._prune(key, name)

    def _objects(self) -> dict[str, Replicated]:
        """What there is to see; brought up to date for the keys that have changed."""
        for key in self._changed:
            kinds = self.kinds(key)
            if kinds:
                self._shown[key] = self._children[key][kinds[0]]
            else:
                self._shown.pop(key, None)
        self._changed.clear()
        return self._shown

    def _shows(self) -> bool:
        return bool(self._objects())

    def _garbage(self, stable: Context) -> list[Dot]:
        return [
            dot for kinds in self._children.values() for nested in kinds.values() for dot in nested._garbage(stable)
        ]

    def _nested(self, key: str, kind: type[R]) -> R:
        """The object under the key, made if it isn't there; it shares context, replica id and clock with this map."""
        kinds = self._children.setdefault(key, {})
        nested = kinds.get(kind.kind)
        if nested is None:
            nested = kinds[kind.kind] = kind()
            nested._replica, nested._clock, nested._context = self._replica, self._clock, self._context
            nested._owner = (self, key)
        return cast(R, nested)

    def _depth(self) -> int:
        """1 for a map that stands alone."""
        return 1 if self._owner is None else 1 + cast(ORMap, self._owner[0])._depth()

    def _prune(self, key: str, name: str) -> None:
        """Forgets the object if nothing is left in it and nobody is changing it."""
        kinds = self._children[key]
        if not kinds[name]._live and all(nested is not kinds[name] for nested, _ in self._updating):
            del kinds[name]
        if not kinds:
            del self._children[key]
            self._changed.pop(key, None)
            self._shown.pop(key, None)


KINDS: dict[str, type[Replicated]] = {
    kind.kind: kind
    for kind in (
        GCounter,
        PNCounter,
        LWWRegister,
        MVRegister,
        GSet,
        TwoPhaseSet,
        LWWSet,
        ORSet,
        LWWMap,
        ORMap,
        EnableWinsFlag,
        DisableWinsFlag,
        Fugue,
    )
}
"""All types by the name that encoded states carry."""


def check_key(key: str) -> str:
    """The key. Raises InvalidValue."""
    if type(key) is not str:
        raise InvalidValue(f"a key is a string, not {type(key).__name__}")
    frozen: str = freeze(key)
    return frozen
