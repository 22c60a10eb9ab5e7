"""What a history means, said without any of the code's means: by which operations each operation has seen.

Here replicas exchange whole states only, so what an operation has seen is known exactly. The plain models take the same
operations one after the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt import HLC, KINDS, Fugue, RemovedForever, Replicated, to_plain
from roomful.crdt.value import freeze, written
from tests.crdt.histories import CALLS, REPLICAS, do, examples


class Op(NamedTuple):
    """One operation. seen: the numbers of those that its replica had seen. stamp: of the write, then the replica."""

    number: int
    path: list[list[str]]
    method: str
    args: list[Any]
    seen: frozenset[int]
    stamp: tuple[Any, ...] = ()

    def after(self, other: Op) -> bool:
        return other.number in self.seen

    def down(self) -> Op:
        return self._replace(path=self.path[1:])


def unseen(ops: list[Op], enders: list[Op]) -> list[Op]:
    return [op for op in ops if not any(ender.after(op) for ender in enders)]


def by(ops: list[Op], *methods: str) -> list[Op]:
    return [op for op in ops if op.method in methods]


def cells(ops: list[Op]) -> dict[str, list[Op]]:
    found = defaultdict(list)
    for op in ops:
        found[written_key(op.args[0])].append(op)
    return found


def written_key(element: Any) -> str:
    return written(freeze(element)).decode()


def newest(ops: list[Op]) -> Op:
    return max(unseen(ops, ops), key=lambda op: op.stamp)


def survivors(ops: list[Op]) -> list[Op]:
    """Of additions and removals of one element: the additions that no removal has seen."""
    return unseen(by(ops, "add", "enable"), by(ops, "remove", "disable"))


def orset(ops: list[Op], clears: list[Op]) -> set[str]:
    return {key for key, cell in cells(ops).items() if unseen(survivors(cell), clears)}


MEANING: dict[str, Callable[[list[Op]], Any]] = {
    "gcounter": lambda ops: sum(op.args[0] for op in ops),
    "pncounter": lambda ops: sum(op.args[0] if op.method == "increment" else -op.args[0] for op in ops),
    "gset": lambda ops: set(cells(ops)),
    "2pset": lambda ops: {key for key, cell in cells(ops).items() if not by(cell, "remove")},
    "orset": lambda ops: orset(by(ops, "add", "remove"), by(ops, "clear")),
    "lwwset": lambda ops: {key for key, cell in cells(ops).items() if newest(cell).method == "add"},
    "lwwmap": lambda ops: {
        key: written_key(newest(cell).args[1]) for key, cell in cells(ops).items() if newest(cell).method == "set"
    },
    "lww": lambda ops: written_key(newest(ops).args[0]) if ops else "null",
    "mv": lambda ops: sorted(written_key(op.args[0]) for op in unseen(ops, ops)),
    "ewflag": lambda ops: bool(survivors(ops)),
    "dwflag": lambda ops: not unseen(by(ops, "disable"), by(ops, "enable")),
}
"""A type → what its operations amount to, elements and values as canonical JSON."""


def shown(kind: str, value: Any) -> Any:
    """An object's value in the form of MEANING."""
    if kind.endswith("set"):
        return {written_key(element) for element in value}
    if kind == "lwwmap":
        return {written_key(key): written_key(each) for key, each in value.items()}
    if kind == "mv":
        return sorted(map(written_key, value))
    return written_key(value) if kind == "lww" else value


class World:
    """Three replicas that exchange states, and who has seen what."""

    def __init__(self, kind: str) -> None:
        self.now_ms = 0
        self.replicas: list[Any] = [KINDS[kind](name, clock=HLC(now=lambda: self.now_ms)) for name in REPLICAS[1:]]
        self.seen: list[set[int]] = [set(), set(), set()]
        self.ops: list[Op] = []

    def exchange(self, one: int, other: int) -> None:
        self.replicas[other].merge(self.replicas[one])
        self.seen[other] |= self.seen[one]

    def do(self, at: int, path: list[list[str]], method: str, args: list[Any]) -> None:
        replica = self.replicas[at]
        before = replica.context
        try:
            delta = do(replica, path, method, args)
        except RemovedForever:
            return
        if method == "remove" and replica.kind == "2pset" and replica.context == before:
            return  # it wasn't there
        op = Op(len(self.ops), path, method, args, frozenset(self.seen[at]), _stamp(delta, replica.replica))
        self.ops.append(op)
        self.seen[at].add(op.number)

    def settle(self) -> Any:
        for one, other in [(0, 1), (1, 2), (2, 0)]:
            self.exchange(one, other)
        return self.replicas[0]


def _stamp(delta: Replicated, replica: str) -> tuple[Any, ...]:
    if not delta.kind.startswith("lww"):
        return ()
    item = next(entry[-1] for entry in to_plain(delta)[2] if entry[0] == replica)
    return (*item[:2], replica)


@st.composite
def worlds(draw: st.DrawFn, kind: str, calls: Any = None) -> World:
    world = World(kind)
    for _ in range(draw(st.integers(1, 16))):
        if draw(st.booleans()):
            world.do(draw(st.integers(0, 2)), *draw(CALLS[kind] if calls is None else calls))
        else:
            world.exchange(draw(st.integers(0, 2)), draw(st.integers(0, 2)))
        world.now_ms = draw(st.integers(0, 3))
    return world


@pytest.mark.parametrize("kind", sorted(MEANING))
@given(data=st.data())
@examples(40)
def test_a_history_means_what_its_operations_have_seen(kind: str, data: st.DataObject) -> None:
    world = data.draw(worlds(kind))
    assert shown(kind, world.settle().value) == MEANING[kind](world.ops)


NESTED = ["gcounter", "pncounter", "gset", "orset", "mv", "ewflag"]


@pytest.mark.parametrize("kind", NESTED)
@given(data=st.data())
@examples(40)
def test_a_map_removes_exactly_what_it_has_seen(kind: str, data: st.DataObject) -> None:
    inside = CALLS[kind].map(lambda call: ([["k", "ormap"], ["n", kind]], *call[1:]))
    removals = st.sampled_from([([], "remove", ["k"]), ([], "clear", []), ([["k", "ormap"]], "remove", ["n"])])
    world = data.draw(worlds("ormap", inside | removals))
    removed = [op for op in world.ops if len(op.path) < 2]
    nested = [op for op in world.ops if len(op.path) == 2]
    if kind == "mv":
        expected: Any = sorted(written_key(op.args[0]) for op in unseen(unseen(nested, nested), removed))
    elif kind == "orset":
        left = by(nested, "add", "remove")
        expected = orset([op for op in left if op.method == "remove" or unseen([op], removed)], by(nested, "clear"))
    else:
        ends = [op for op in nested if op.method == "disable"]
        expected = MEANING[kind](unseen(nested, removed) + ends)
    found = world.settle().at("k", KINDS["ormap"]).at("n", KINDS[kind])
    assert shown(kind, found.value) == expected


def plain(kind: str, state: Any, method: str, args: list[Any]) -> Any:
    """The model of one process: a number, a set, a dict, a list, a value."""
    key = written_key(args[0]) if args else ""
    match kind, method:
        case ("lwwmap", "set"):
            return state | {key: written_key(args[1])}
        case ("lwwmap", "delete"):
            return {other: value for other, value in state.items() if other != key}
        case ("fugue", "insert"):
            at = args[0] % (len(state) + 1)
            return state[:at] + args[1:] + state[at:]
        case ("fugue", "delete"):
            at = args[0] % len(state) if state else 0
            return state[:at] + state[at + args[1] :]
        case _, "increment" | "decrement":
            return state + (args[0] if method == "increment" else -args[0])
        case _, "add" | "remove":
            return state | {key} if method == "add" else state - {key}
        case _, "set":
            return [key] if kind == "mv" else key
        case _, "clear":
            return set()
        case _:
            return method == "enable"


EMPTY = {
    "gcounter": 0,
    "pncounter": 0,
    "lww": "null",
    "mv": [],
    "lwwmap": {},
    "fugue": [],
    "ewflag": False,
    "dwflag": True,
}


@pytest.mark.parametrize("kind", sorted(CALLS.keys() - {"ormap"}))
@given(data=st.data())
@examples(30)
def test_replicas_that_take_turns_are_like_one_plain_object(kind: str, data: st.DataObject) -> None:
    world, model = World(kind), EMPTY.get(kind, set())
    for path, method, args in data.draw(st.lists(CALLS[kind], max_size=12)):
        at = data.draw(st.integers(0, 2))
        for other in range(3):
            world.exchange(other, at)
        count = len(world.ops)
        world.do(at, path, method, args)
        if len(world.ops) > count:
            model = plain(kind, model, method, args)
        world.now_ms = data.draw(st.integers(0, 3))  # may jump back: what comes later wins all the same
    assert shown(kind, world.settle().value) == model


@given(data=st.data())
@examples(60)
def test_a_list_keeps_every_order_that_anybody_has_seen(data: st.DataObject) -> None:
    """The strong list specification (Attiya et al. 2016): one order of all elements fits all lists ever shown."""
    world = World("fugue")
    lists: list[list[int]] = []
    for n in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.integers(0, 2))
        replica: Fugue[int] = world.replicas[at]
        match data.draw(st.sampled_from(["insert", "insert", "delete", "exchange"])):
            case "insert":
                replica.insert(data.draw(st.integers(0, len(replica))), n, n + 100)
            case "delete" if len(replica):
                replica.delete(data.draw(st.integers(0, len(replica) - 1)))
            case _:
                world.exchange(at, data.draw(st.integers(0, 2)))
        lists.append(replica.value)
    lists.append(world.settle().value)
    later: dict[int, set[int]] = defaultdict(set)
    for values in lists:
        for at, value in enumerate(values):
            later[value].update(values[at + 1 :])
    for value in later:  # no circle
        todo, reached = list(later[value]), set[int]()
        while todo:
            reached.add(todo[-1])
            todo += later[todo.pop()] - reached
        assert value not in reached
