"""The one state and the one merge behind every type.

A replicated object is a *causal store*: some live dots, each with an item, and the context of all dots ever seen. A dot
in the context that isn't live has been replaced or removed, and nothing else needs to be remembered of it: no
tombstones. Two stores merge by one rule (Almeida, Shoker, Baquero 2018, section 7, "causal CRDTs"):

    live in both                          stays
    live here, never seen there           stays
    live here, seen but not live there    goes: the other side has replaced or removed it
    never seen here, live there           comes

A *delta* is a small store of the same type, whose context holds only the dots that the change has made or ended. The
rule doesn't distinguish deltas from states, so they merge late, twice, grouped and in any order. A mutator makes a
delta and merges it: there is no other way to change a state.

What the items mean is all that a type adds: it indexes items that come and go (`_enter`, `_leave`), reads its value
from the index, and makes items. A map's item wraps a nested object's item, so nesting needs no second rule. Underscored
methods are for this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar

from roomful.crdt.causal import Bounds, Context, Dot, within
from roomful.crdt.clock import Clock, Lamport, Stamp
from roomful.crdt.errors import InvalidValue, KindMismatch, ReadOnly
from roomful.crdt.value import Frozen, packed

MAX_REPLICA_BYTES = 255

R = TypeVar("R", bound="Replicated")


class Owner(Protocol):
    """A map, as its nested objects see it."""

    def commit_nested(self, key: str, nested: R, items: Sequence[Frozen], ended: Context) -> R: ...


class Replicated:
    """What all types have.

    replica: the id under which this object makes changes, 1 to 255 bytes; no two states ever share one, also not the
    states before and after a loss. Empty: it only reads and merges.
    clock: stamps the writes of last-writer-wins types, alone or in a map, and judges the stamps that come in; default:
    a Lamport clock. Other types take it and don't need it.
    """

    kind: ClassVar[str] = ""
    """The type's name in encoded states."""

    stamped: ClassVar[bool] = False
    """Whether items may carry stamps."""

    guarded: ClassVar[bool] = False
    """Whether nobody but a dot's own replica ever ends it: what one says no other takes back (see `authors.py`)."""

    __slots__ = ("_clock", "_context", "_live", "_owner", "_replica")

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __init__(self, replica: str = "", *, clock: Clock | None = None) -> None:
        if replica:
            check_replica(replica)
        self._replica = replica
        self._clock: Clock | None = clock if clock or not (replica and self.stamped) else Lamport()
        self._context = Context()
        self._live: dict[str, dict[int, Frozen]] = {}
        self._owner: tuple[Owner, str] | None = None
        self._begin()

    # -- what everybody may ask

    @property
    def replica(self) -> str:
        return self._replica

    @property
    def value(self) -> Any:
        """What a reader sees; a copy."""
        raise NotImplementedError

    @property
    def context(self) -> Context:
        """What has been seen; a copy. Give it to a peer, who answers with `delta_since`."""
        return self._context.copy()

    def merge(self, other: Self) -> bool:
        """Takes in a state or a delta of the same type, of any age; whether anything changed.

        Costs the size of the other one, not of this one. Raises KindMismatch, FutureClock, ReadOnly (nested objects
        merge with their map); nothing has changed then.
        """
        if other.kind != self.kind:
            raise KindMismatch(self.kind, other.kind)
        if self._owner is not None or other._owner is not None:
            # Its context is its map's: it would claim to have seen, and ended, what was never in it.
            raise ReadOnly("a nested object merges with its map")
        if self._clock is not None:
            latest = max(other._stamps(), default=None)
            if latest is not None:
                self._clock.observe(latest)
        return self._join(other)

    def delta_since(self, context: Context) -> Self:
        """What somebody who has seen `context` lacks, as a delta; also heals what earlier deltas failed to bring.

        It can't know which removals the other side has heard of, so it names all removed dots, as ranges. Costs the
        size of this state; at most as many ranges as live dots.
        """
        delta = type(self)()
        known = {replica: [n for n in items if (replica, n) in context] for replica, items in self._live.items()}
        delta._context.update(self._context.without(known))
        for replica, items in self._live.items():
            for number, item in items.items():
                if (replica, number) not in context:
                    delta._put(replica, number, item)
        return delta

    def collect(self, stable: Context) -> int:
        """Drops garbage that nothing can refer to any more; how many dots.

        stable: a context that *every* replica has reported, each after all it had made until then had been merged
        here. With less than that a late delta may bring back what was deleted. Costs the size of this state.
        """
        if self._owner is not None:
            raise ReadOnly("a nested object is collected with its map")
        garbage = self._garbage(stable)
        for replica, number in garbage:
            self._drop(replica, number)
        return len(garbage)

    def __eq__(self, other: object) -> bool:
        """By state: the same bytes when encoded. O(size · log size)."""
        if not isinstance(other, Replicated):
            return NotImplemented
        return self.kind == other.kind and packed(self._entries()) == packed(other._entries())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._replica!r}, value={self.value!r})"

    # -- what a type says about its items

    @classmethod
    def _check(cls, item: Frozen) -> None:
        """Raises Malformed for an item that this type can't have made."""
        raise NotImplementedError

    @classmethod
    def _stamp(cls, item: Frozen) -> Stamp | None:
        """The item's stamp, in types that have them."""
        return None

    def _begin(self) -> None:
        """Makes the index of an empty state."""

    def _enter(self, dot: Dot, item: Frozen) -> None:
        """An item has become live."""

    def _leave(self, dot: Dot, item: Frozen) -> None:
        """An item is live no more."""

    def _shows(self) -> bool:
        """Whether a reader sees that somebody has been here: False if nothing is left but what `collect` may take away.
        Constant, but for what has changed since it was asked last."""
        return bool(self._live)

    def _garbage(self, stable: Context) -> list[Dot]:
        """Live dots without meaning once `stable` is stable."""
        return []

    # -- the store

    def _commit(self, items: Sequence[Frozen], ended: Context) -> Self:
        """Makes and merges the delta that ends some dots and gives each item a new one."""
        if self._owner is not None:
            owner, key = self._owner
            return owner.commit_nested(key, self, items, ended)
        if not self._replica:
            raise ReadOnly("a delta, or a state without a replica id, isn't changed")
        delta = type(self)()
        delta._context.update(ended)
        if items:
            first = self._context.next(self._replica)
            for number, item in enumerate(items, first):
                delta._put(self._replica, number, item)
            delta._context.add(self._replica, first, first + len(items))
        self._join(delta)
        return delta

    def _join(self, other: Self) -> bool:
        changed = False
        for replica, theirs in other._live.items():
            mine = self._live.get(replica, {})
            for number, item in theirs.items():
                if number in mine:
                    changed |= self._settle(replica, number, mine[number], item)
                elif (replica, number) not in self._context:
                    self._put(replica, number, item)
                    changed = True
        for replica, bounds in other._context.items():
            changed |= self._end(replica, bounds, other._live.get(replica, {}))
        return self._context.update(other._context) or changed

    def _end(self, replica: str, bounds: Bounds, theirs: Mapping[int, Frozen]) -> bool:
        """Drops the replica's live dots that the other side has seen and holds no more."""
        doomed = [number for number in within(self._live.get(replica, {}), bounds) if number not in theirs]
        for number in doomed:
            self._drop(replica, number)
        return bool(doomed)

    def _settle(self, replica: str, number: int, mine: Frozen, theirs: Frozen) -> bool:
        """One dot, two items: a replica id was used twice. The greater bytes stay, so that all end alike even then."""
        if mine is theirs or packed(mine) >= packed(theirs):
            return False
        self._drop(replica, number)
        self._put(replica, number, theirs)
        return True

    def _put(self, replica: str, number: int, item: Frozen) -> None:
        self._live.setdefault(replica, {})[number] = item
        self._enter((replica, number), item)

    def _drop(self, replica: str, number: int) -> None:
        items = self._live[replica]
        item = items.pop(number)
        if not items:
            del self._live[replica]
        self._leave((replica, number), item)

    def _dots(self) -> list[Dot]:
        """All live dots."""
        return [(replica, number) for replica, items in self._live.items() for number in items]

    def _stamps(self) -> Iterator[Stamp]:
        if self.stamped:
            for items in self._live.values():
                for item in items.values():
                    stamp = self._stamp(item)
                    if stamp is not None:
                        yield stamp

    def _entries(self) -> list[list[Frozen]]:
        """The canonical form: `[replica, [from, to, …], number, item, number, item, …]`, all ascending."""
        entries: list[list[Frozen]] = []
        for replica, bounds in sorted(self._context.items()):
            entry: list[Frozen] = [replica, bounds]
            for numbered in sorted(self._live.get(replica, {}).items(), key=_number):
                entry += numbered
            entries.append(entry)
        return entries


def _number(numbered: tuple[int, Frozen]) -> int:
    return numbered[0]


def check_replica(replica: str) -> None:
    """Raises InvalidValue for what can't be a replica's id."""
    try:
        size = len(replica.encode())
    except UnicodeEncodeError:
        raise InvalidValue("a replica id has no lone surrogates") from None
    if not 0 < size <= MAX_REPLICA_BYTES:
        raise InvalidValue(f"a replica id has 1 to {MAX_REPLICA_BYTES} bytes, got {size}")
