"""The objects that a room shares: CRDTs by name, what a client may do to them, and what all others are told of it.

A client says either what it has done to its own copy, or what it wants done to the server's:

    {"object": "likes", "delta": [1, "gcounter", [["ann/k3", [1, 2], 1, 3]]]}
    {"object": "likes", "type": "gcounter", "op": "increment", "by": 3}
    {"object": "todo", "path": [["task 1", "ormap"], ["title", "lww"]], "op": "set", "value": "Paint the door"}

`type` is needed where the object doesn't exist yet. A wish with an `idempotency_key` is done once, however often it is
sent. Whatever comes of it is a delta, which merges on every node and in
every client in any order, late and twice. `docs/crdt.md` says what each type promises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from roomful.crdt import (
    HLC,
    KINDS,
    CRDTError,
    ForeignReplica,
    ORMap,
    Replicated,
    check_authors,
    from_plain,
    to_msgpack,
    to_plain,
)
from roomful.model.errors import BadRequest, Forbidden, LimitExceeded

_ELEMENT: dict[str, tuple[str, ...]] = {"add": ("element",), "remove": ("element",)}
_SWITCH: dict[str, tuple[str, ...]] = {"enable": (), "disable": ()}

OPS: dict[str, dict[str, tuple[str, ...]]] = {
    "gcounter": {"increment": ("by",)},
    "pncounter": {"increment": ("by",), "decrement": ("by",)},
    "lww": {"set": ("value",)},
    "mv": {"set": ("value",)},
    "gset": {"add": ("element",)},
    "2pset": _ELEMENT,
    "lwwset": _ELEMENT,
    "orset": {**_ELEMENT, "clear": ()},
    "lwwmap": {"set": ("key", "value"), "delete": ("key",)},
    "ormap": {"remove": ("key",), "clear": ()},
    "ewflag": _SWITCH,
    "dwflag": _SWITCH,
    "fugue": {"insert": ("index", "value"), "append": ("value",), "delete": ("index",)},
}
"""A type's name → its operations → their arguments, in the order of the method's parameters."""

DEFAULTS = {"by": 1}
"""Arguments that may be left out."""

ENDINGS = {("orset", "remove"), ("orset", "clear"), ("ormap", "remove"), ("ormap", "clear")}
"""Operations that only end what is there: a full room still takes them."""

MAX_NAME_BYTES = 128

MAX_KEY_BYTES = 64

KEYS_MAX = 1024
"""Idempotency keys that a room remembers: of the newest wishes that had one and changed something."""


class SharedStateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much a room may share."""

    max_objects: int = 128
    """Objects in a room."""

    max_bytes: int = 1 << 20
    """All objects of a room together, as MessagePack: what each newcomer is sent. A full room still takes removals."""

    max_ahead_ms: int = 60_000
    """How far ahead of the server's clock a client's stamp may lie."""


Key: TypeAlias = tuple[str, str]
"""An object's name and type. Nobody makes a second type under a name that is known. Two nodes may, at the same time:
then both live, and the first by the type's name shows."""


class Unreadable(Exception):
    """What another node told, or the store kept, is nothing that this version knows."""


class Shown(msgspec.Struct, frozen=True):
    """An object as readers see it: its type's name and its value; a set is a list, in no order that means anything."""

    type: str
    value: Any


class SharedState:
    """All objects of one room on one node.

    replica: under which this node changes them, a new one for each life of a node: `/` and an id, which is no person's.
    now: the wall clock, in milliseconds since 1970. life: how often everything was deleted before.
    """

    __slots__ = ("_clock", "_done", "_exact", "_now", "_objects", "_options", "_replica", "_sizes", "life")

    def __init__(self, replica: str, now: Callable[[], int], options: SharedStateOptions, life: int = 0) -> None:
        self.life = life
        # Another one in each life: else somebody who has heard of the former would take new changes for known ones.
        self._replica = f"{replica}.{life}" if life else replica
        self._now = now
        # It believes every stamp: those of clients are judged when they come, and what one node has let in, all do.
        self._clock = HLC(now, max_ahead_ms=None)
        self._options = options
        self._objects: dict[Key, Replicated] = {}
        # Bytes of each object, at least: what a change adds is added, what it ends isn't taken away until it matters.
        self._sizes: dict[Key, int] = {}
        self._exact = True
        # Idempotency keys, oldest first. All nodes read the same log, and so forget the same ones.
        self._done: dict[str, None] = {}

    def snapshot(self) -> dict[str, Any]:
        """All objects as `[name, state]`, for a newcomer, whom `now` tells how wrong its clock is. Costs its size."""
        objects = [[name, to_plain(state)] for (name, _), state in self._objects.items()]
        return {"now": self._now(), "life": self.life, "objects": objects}

    def kept(self) -> list[dict[str, Any]]:
        """All that has to be kept, to be merged into an empty state."""
        objects = [{"object": name, "delta": to_plain(state)} for (name, _), state in self._objects.items()]
        return [*objects, {"done": list(self._done)}] if self._done else objects

    def get(self, name: str) -> Replicated | None:
        """An object, to read."""
        return next((self._objects[name, kind] for kind in sorted(KINDS) if (name, kind) in self._objects), None)

    def shown(self) -> dict[str, Shown]:
        """All objects by name, to read; copies."""
        names = dict.fromkeys(name for name, _ in self._objects)
        return {
            name: Shown(state.kind, _listed(state.value)) for name in names if (state := self.get(name)) is not None
        }

    def publish(self, change: object, person: str) -> dict[str, Any] | None:
        """A client's change: what is to be kept of it, or None if nothing has changed. Others see what `told` leaves.

        person: who sends it; deltas speak for the replicas `<person>/<letters>` alone. Raises BadRequest, Forbidden,
        LimitExceeded; nothing has changed then.
        """
        if not isinstance(change, dict):
            raise BadRequest("a change is an object")
        name = _name(change.get("object"))
        if change.get("life", self.life) != self.life:
            raise BadRequest("what the room shared was deleted meanwhile")
        try:
            if "delta" in change:
                return self._told(name, self._judged(name, change, person))
            return self._performed(name, change)
        except ForeignReplica as error:
            raise Forbidden(str(error)) from None
        except (CRDTError, IndexError) as error:
            raise BadRequest(str(error)) from None

    def merge(self, news: dict[str, Any]) -> bool:
        """What another node tells, or a store has kept; whether there is anything to tell.

        Only its form is checked: whoever let it in has checked the rest, and nodes that refuse each other's changes
        would drift apart. Raises Unreadable.
        """
        try:
            for key in news.get("done", ()):
                self._remember(key)
            return "object" in news and self._told(news["object"], from_plain(news["delta"], Replicated)) is not None
        except (CRDTError, KeyError, TypeError, AttributeError) as error:
            raise Unreadable(str(error)) from error

    def _told(self, name: str, delta: Replicated) -> dict[str, Any] | None:
        state = self._state(name, delta.kind)
        return self._grown(name, state, delta) if state.merge(delta) else None

    def _judged(self, name: str, change: dict[str, Any], person: str) -> Replicated:
        """A client's delta, if it may be merged."""
        _only(change, "object", "life", "delta")
        delta = from_plain(change["delta"], Replicated)
        known = self._known(name, delta.kind)
        check_authors(delta, known, lambda replica: _is_of(person, replica))
        type(delta)(clock=HLC(self._now, max_ahead_ms=self._options.max_ahead_ms)).merge(delta)
        if not delta.context <= known.context:
            self._make_room(name, delta.kind, len(to_msgpack(delta)))
        return delta

    def _performed(self, name: str, change: dict[str, Any]) -> dict[str, Any] | None:
        """Does to the server's own object what a client wants done, unless that has been done."""
        key = _idempotency_key(change)
        if key in self._done:
            return None
        there = self.get(name)
        kind = change.get("type", there.kind if there is not None else None)
        if not isinstance(kind, str) or kind not in KINDS:
            raise BadRequest("a new object needs a type that exists")
        state, path = self._known(name, kind), _path(change.get("path", []))
        kinds = [kind, *(inner for _, inner in path)]
        if any(outer != ORMap.kind for outer in kinds[:-1]):
            raise BadRequest("a path leads through maps")
        op, arguments = _operation(kinds[-1], change)
        if (kinds[-1], op) not in ENDINGS:
            self._make_room(name, kind, len(msgspec.msgpack.encode((path, arguments))))
        delta = _changed(state, path, op, arguments)
        if not to_plain(delta)[2]:
            return None
        news = self._grown(name, state, delta)
        if key:
            self._remember(key)
            news["done"] = [key]
        return news

    def _remember(self, key: str) -> None:
        self._done[key] = None
        if len(self._done) > KEYS_MAX:
            del self._done[next(iter(self._done))]

    def _known(self, name: str, kind: str) -> Replicated:
        """The object for a client's change. Raises BadRequest if what is known under that name is of another type."""
        there = self.get(name)
        if there is not None and (name, kind) not in self._objects:
            raise BadRequest(f"the object is of type {there.kind}")
        return self._state(name, kind)

    def _state(self, name: str, kind: str) -> Replicated:
        """The object; an empty one, not kept yet, if there is none."""
        state = self._objects.get((name, kind))
        return KINDS[kind](self._replica, clock=self._clock) if state is None else state

    def _grown(self, name: str, state: Replicated, delta: Replicated) -> dict[str, Any]:
        self._objects[name, state.kind] = state
        self._sizes[name, state.kind] = self._sizes.get((name, state.kind), 0) + len(to_msgpack(delta))
        self._exact = False
        return {"object": name, "delta": to_plain(delta)}

    def _make_room(self, name: str, kind: str, size: int) -> None:
        """Raises LimitExceeded. Measures everything anew only when the estimate says that it is too much."""
        if (name, kind) not in self._objects and len(self._objects) >= self._options.max_objects:
            raise LimitExceeded(f"a room shares at most {self._options.max_objects} objects")
        if sum(self._sizes.values()) + size > self._options.max_bytes and not self._exact:
            self._sizes = {key: len(to_msgpack(state)) for key, state in self._objects.items()}
            self._exact = True
        if sum(self._sizes.values()) + size > self._options.max_bytes:
            raise LimitExceeded(f"a room's objects have at most {self._options.max_bytes} bytes together")


def told(news: dict[str, Any]) -> dict[str, Any]:
    """What readers see of a change. Not its key: whoever knows one could keep its wish from being done."""
    return {"object": news["object"], "delta": news["delta"]}


def _changed(state: Replicated, path: list[tuple[str, str]], op: str, arguments: list[Any]) -> Replicated:
    """Performs the operation, inside maps if there is a path, and returns the delta."""
    if not path:
        delta: Replicated = getattr(state, op)(*arguments)
        return delta
    (key, kind), *rest = path
    assert isinstance(state, ORMap)
    return state.update(key, KINDS[kind], lambda nested: _changed(nested, rest, op, arguments))


def _operation(kind: str, change: dict[str, Any]) -> tuple[str, list[Any]]:
    """The method's name and its arguments, of which names and indices are checked here and the rest by the type."""
    op = change.get("op")
    wanted = OPS[kind].get(op) if isinstance(op, str) else None
    if not isinstance(op, str) or wanted is None:
        raise BadRequest(f"{kind} has the operations {', '.join(OPS[kind])}")
    _only(change, "object", "life", "type", "path", "op", "idempotency_key", *wanted)
    for name in wanted:
        if name not in change and name not in DEFAULTS:
            raise BadRequest(f"{op} needs {name}")
    arguments = {name: change.get(name, DEFAULTS.get(name)) for name in wanted}
    if not isinstance(arguments.get("key", ""), str) or type(arguments.get("index", 0)) is not int:
        raise BadRequest("a key is a string, an index a whole number")
    return op, list(arguments.values())


def _idempotency_key(change: dict[str, Any]) -> str:
    """ "" for none."""
    key = change.get("idempotency_key", "")
    if not isinstance(key, str) or len(key.encode(errors="replace")) > MAX_KEY_BYTES:
        raise BadRequest(f"an idempotency key is a string of at most {MAX_KEY_BYTES} bytes")
    return key


def _path(path: object) -> list[tuple[str, str]]:
    if not isinstance(path, list):
        raise BadRequest("a path is an array of [key, type]")
    for step in path:
        match step:
            case [str(), str(kind)] if kind in KINDS:
                pass
            case _:
                raise BadRequest("a path is an array of [key, type]")
    return [(key, kind) for key, kind in path]


def _name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= MAX_NAME_BYTES:
        raise BadRequest(f"an object's name has 1 to {MAX_NAME_BYTES} bytes")
    return name


def _only(change: dict[str, Any], *known: str) -> None:
    unknown = sorted(change.keys() - set(known))
    if unknown:
        raise BadRequest(f"unknown: {', '.join(map(repr, unknown[:5]))}")


def _listed(value: Any) -> Any:
    """As JSON can say it."""
    if isinstance(value, dict):
        return {key: _listed(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_listed(each) for each in value]
    return value


def _is_of(person: str, replica: str) -> bool:
    """Letters have no `/`: else `ann` could speak for the replicas of a person called `ann/x`."""
    owner, slash, letters = replica.rpartition("/")
    return bool(person and slash and letters) and owner == person
