"""States, deltas and contexts as JSON and MessagePack, and back.

One tree serves both forms:

    [1, "orset", [["ann/k3", [1, 6], 3, "x", 5, "y"], ["bob/a", [1, 2]]]]

the version, the type's name, and for each replica, ascending by code point, its id, the ranges of its events that have
been seen (`[from, to, …]`, `to` excluded), then number and item of each live one. Equal states have equal bytes, in
every language; `value.py` says how values are spelled. Reading is lenient about spelling (spaces, order of keys and
replicas, 1.0 for 1) and strict about meaning: whatever isn't a state raises Malformed and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, cast

import msgspec

from roomful.crdt.causal import Context
from roomful.crdt.clock import Clock
from roomful.crdt.errors import FutureClock, InvalidValue, KindMismatch, Malformed
from roomful.crdt.map import KINDS, MAX_NESTING
from roomful.crdt.replicated import R, Replicated, check_replica
from roomful.crdt.value import MAX_DEPTH, MAX_SAFE, Frozen, freeze, packed, thaw, written

VERSION = 1

TREE_DEPTH = MAX_DEPTH + MAX_NESTING + 5
"""A value, in maps, in an item, in an entry, in a state."""

DEFAULT_MAX_BYTES = 1 << 20
"""The longest input that is looked at."""


def to_json(state: Replicated) -> bytes:
    return written(_tree(state))


def to_msgpack(state: Replicated) -> bytes:
    return packed(_tree(state))


def to_plain(state: Replicated) -> list[Any]:
    """The tree itself, of lists and dicts, for a message that carries more than the state."""
    plain: list[Any] = _plain(_tree(state))
    return plain


def from_json(
    data: bytes,
    kind: type[R],
    *,
    replica: str = "",
    clock: Clock | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> R:
    """A state or delta of that type; of any, for `Replicated`. Raises Malformed, KindMismatch.

    replica: under which the state is to be changed; none for a delta. clock: see `Replicated`.
    """
    _check_size(data, max_bytes)
    return _load(_decoded(msgspec.json.decode, data), kind, replica, clock)


def from_msgpack(
    data: bytes,
    kind: type[R],
    *,
    replica: str = "",
    clock: Clock | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> R:
    """The same from MessagePack."""
    _check_size(data, max_bytes)
    return _load(_decoded(msgspec.msgpack.decode, data), kind, replica, clock)


def from_plain(tree: object, kind: type[R], *, replica: str = "", clock: Clock | None = None) -> R:
    """The same from a tree, whose size is the caller's to limit."""
    return _load(tree, kind, replica, clock)


def context_to_plain(context: Context) -> list[Any]:
    """`[[replica, from, to, …], …]`, ascending."""
    return [[replica, *bounds] for replica, bounds in sorted(context.items())]


def context_from_plain(tree: object) -> Context:
    """Raises Malformed."""
    context = Context()
    for entry in _array(_frozen(tree)):
        replica, *bounds = _array(entry) or (None,)
        _add(context, replica, tuple(bounds))
    return context


def _tree(state: Replicated) -> list[Any]:
    return [VERSION, state.kind, state._entries()]


def _plain(tree: Frozen) -> Any:
    return [_plain(each) for each in tree] if isinstance(tree, list) else thaw(tree)


def _load(tree: object, kind: type[R], replica: str, clock: Clock | None) -> R:
    match _frozen(tree):
        case (version, str(name), entries) if type(version) is int:
            pass
        case _:
            raise Malformed("a state is an array of version, type and entries")
    if version != VERSION:
        raise Malformed(f"version {version} isn't known, {VERSION} is")
    if name not in KINDS:
        raise Malformed("the type isn't known")
    if not issubclass(KINDS[name], kind):
        raise KindMismatch(kind.kind, name)
    state = KINDS[name](replica, clock=clock)
    for entry in _array(entries):
        _load_entry(state, _array(entry))
    if state._clock is not None:
        for stamp in state._stamps():
            # Its own past: what lies beyond the clock's bound is no reason to lose the state.
            with contextlib.suppress(FutureClock):
                state._clock.observe(stamp)
    return cast(R, state)


def _load_entry(state: Replicated, entry: tuple[Frozen, ...]) -> None:
    if len(entry) < 2 or len(entry) % 2:
        raise Malformed("an entry is a replica, its ranges, and pairs of number and item")
    replica, bounds, *numbered = entry
    _add(state._context, replica, _array(bounds))
    last = 0
    for number, item in zip(numbered[::2], numbered[1::2], strict=True):
        if type(number) is not int or number <= last:
            raise Malformed("numbers of events ascend")
        if (replica, number) not in state._context:
            raise Malformed("a live event lies outside the ranges")
        state._check(item)
        state._put(replica, number, item)
        last = number


def _add(context: Context, replica: Frozen, bounds: tuple[Frozen, ...]) -> None:
    if type(replica) is not str:
        raise Malformed("a replica id is a string")
    try:
        check_replica(replica)
    except InvalidValue as error:
        raise Malformed(str(error)) from None
    if context.bounds(replica):
        raise Malformed("a replica comes twice")
    if not bounds or len(bounds) % 2:
        raise Malformed("ranges come in pairs")
    last = 0
    for bound in bounds:
        if type(bound) is not int or bound <= last:
            raise Malformed("ranges ascend from 1")
        last = bound
    for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
        context.add(replica, start, stop)


def _array(frozen: Frozen) -> tuple[Frozen, ...]:
    if type(frozen) is not tuple:
        raise Malformed("an array is wanted")
    return frozen


def _check_size(data: bytes, max_bytes: int) -> None:
    if len(data) > max_bytes:
        raise Malformed(f"{len(data)} bytes, at most {max_bytes} are read")


def _decoded(decode: Callable[[bytes], object], data: bytes) -> object:
    try:
        return decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Malformed("the bytes can't be decoded") from None


def _frozen(tree: object) -> Frozen:
    try:
        try:
            return freeze(tree, TREE_DEPTH)
        except InvalidValue:
            return freeze(_doubles(tree, TREE_DEPTH), TREE_DEPTH)
    except (InvalidValue, OverflowError):
        raise Malformed("not a tree of JSON values") from None


def _doubles(tree: Any, depth: int) -> Any:
    """Integers beyond the exact ones as doubles, which is what they were: JSON spells 2^60 like an integer."""
    if type(tree) is int and abs(tree) > MAX_SAFE:
        return float(tree)
    if depth and type(tree) in (list, tuple):
        return [_doubles(each, depth - 1) for each in tree]
    if depth and type(tree) is dict:
        return {key: _doubles(each, depth - 1) for key, each in tree.items()}
    return tree
