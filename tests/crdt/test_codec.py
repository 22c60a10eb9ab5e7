from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt import (
    HLC,
    KINDS,
    Context,
    FutureClock,
    GCounter,
    KindMismatch,
    LWWRegister,
    Malformed,
    ORSet,
    Replicated,
    context_from_plain,
    context_to_plain,
    from_json,
    from_msgpack,
    from_plain,
    to_json,
    to_msgpack,
    to_plain,
)
from roomful.crdt.codec import DEFAULT_MAX_BYTES, TREE_DEPTH
from roomful.crdt.value import MAX_DEPTH, MAX_SAFE
from tests.crdt.histories import Play, broken, copy, drawn, examples, histories


def samples() -> list[Replicated]:
    """Some states and deltas of each type."""
    scripts = [script for kind in sorted(KINDS) for script in drawn(histories(kind, most=30), 8)]
    return [state for script in scripts for state in Play(script).objects.values()]


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(data=st.data())
@examples(20)
def test_a_state_comes_back_the_same_in_every_form(kind: str, data: st.DataObject) -> None:
    for state in Play(data.draw(histories(kind))).objects.values():
        packed, text, tree = to_msgpack(state), to_json(state), to_plain(state)
        for back in (from_msgpack(packed, Replicated), from_json(text, Replicated), from_plain(tree, KINDS[kind])):
            assert back == state
            assert back.value == state.value
            assert (to_msgpack(back), to_json(back), to_plain(back)) == (packed, text, tree)
        assert msgspec.json.decode(text) == tree == msgspec.msgpack.decode(packed)


def test_the_form_is_this() -> None:
    state = ORSet[str]("b")
    for element in "xyz":
        state.add(element)
    state.remove("y")
    state.merge(from_plain([1, "orset", [["a", [2, 3, 7, 9], 8, 1.5]]], ORSet))
    assert to_json(state) == b'[1,"orset",[["a",[2,3,7,9],8,1.5],["b",[1,4],1,"x",3,"z"]]]'


def test_a_tree_is_the_caller_s_own() -> None:
    register = LWWRegister[Any]("a")
    register.set({"k": []})
    to_plain(register)[2][0][3][2]["k"].append(1)
    to_plain(register)[2][0][1].append(1)
    assert register == copy(register)
    assert register.value == {"k": []}


@pytest.mark.parametrize(
    "loose",
    [
        b' [ 1 , "orset" , [ [ "b" , [ 1 , 2 ] , 1 , [ "x" , 2 ] ] , [ "a" , [ 1 , 4 ] ] ] ] ',
        b'[1.0,"or\\u0073et",[["a",[1,4]],["b",[1e0,2],1,["x",2.0]]]]',
    ],
)
def test_spelling_doesn_t_matter(loose: bytes) -> None:
    assert to_json(from_json(loose, ORSet)) == b'[1,"orset",[["a",[1,4]],["b",[1,2],1,["x",2]]]]'


def test_large_numbers_in_json_are_doubles() -> None:
    register = LWWRegister[float]("a")
    register.set(2.0**60)
    assert b"1152921504606846976" not in to_json(register)  # the shortest digits that mean it
    assert b"1152921504606847000" in to_json(register)
    assert from_json(to_json(register), LWWRegister) == register


def test_keys_come_in_the_order_of_code_points() -> None:
    register = LWWRegister[Any]("a")
    register.set({"\U0001f600": 1, "\uffee": 2, "b": 3, "": 4})
    assert list(from_json(to_json(register), LWWRegister).value) == ["", "b", "\uffee", "\U0001f600"]


def test_a_state_is_loaded_for_a_replica() -> None:
    counter = GCounter("a")
    counter.increment(2)
    again = from_msgpack(to_msgpack(counter), GCounter, replica="a")
    again.increment(3)
    assert again.value == 5
    assert again.context == Context({"a": 2})


def test_a_state_stamped_ahead_of_the_clock_is_loaded_all_the_same() -> None:
    """A machine whose clock has gone back must not lose what it has saved; a peer may still refuse it."""
    register = LWWRegister[str]("a", clock=HLC(now=lambda: 10_000_000))
    register.set("x")
    late = HLC(now=lambda: 0)
    again = from_msgpack(to_msgpack(register), LWWRegister, replica="a", clock=late)
    assert again.value == "x"
    again.set("y")
    register.merge(again)
    assert register.value == "y"
    with pytest.raises(FutureClock):
        LWWRegister("b", clock=late).merge(from_msgpack(to_msgpack(LWWRegister("c")), LWWRegister) and _at(10_000_000))


def _at(ms: int) -> LWWRegister[str]:
    register = LWWRegister[str]("c", clock=HLC(now=lambda: ms))
    register.set("z")
    return register


def test_another_type_is_not_malformed() -> None:
    with pytest.raises(KindMismatch):
        from_plain([1, "gset", []], ORSet)


def deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "tree",
    [
        *(None, 1, "x", {}, [], [1], [1, "orset"], [1, "orset", [], 0], ["1", "orset", []], [True, "orset", []]),
        *([2, "orset", []], [0, "orset", []], [1, "no such", []], [1, None, []], [1, "orset", {}], [1, "orset", [0]]),
        *([1, "orset", [[]]], [1, "orset", [["a"]]], [1, "orset", [["a", 1]]], [1, "orset", [["a", []]]]),
        *([1, "orset", [["", [1, 2]]]], [1, "orset", [[1, [1, 2]]]], [1, "orset", [["a" * 256, [1, 2]]]]),
        *([1, "orset", [["a", [0, 2]]]], [1, "orset", [["a", [1, 1]]]], [1, "orset", [["a", [1, 2, 2, 3]]]]),
        *([1, "orset", [["a", [1]]]], [1, "orset", [["a", [1, True]]]], [1, "orset", [["a", [1, 2.5]]]]),
        *([1, "orset", [["a", [1, MAX_SAFE + 2]]]], [1, "orset", [["a", [1, 2]], ["a", [2, 3]]]]),
        *([1, "orset", [["a", [1, 2], 1]]], [1, "orset", [["a", [1, 2], 2, "x"]]], [1, "orset", [["a", [2, 3], 1, 1]]]),
        *([1, "orset", [["a", [1, 9], 2, "x", 1, "y"]]], [1, "orset", [["a", [1, 9], 2, "x", 2, "y"]]]),
        *([1, "orset", [["a", [1, 9], "2", "x"]]], [1, "orset", [["a", [1, 9], 2, None]]], [1, "orset", [["\ud800"]]]),
        *([1, "orset", [["a", [1, 9], 2, True]]], [1, "orset", [["a", [1, 9], 2, {}]]], [1, "orset", b""]),
        *([1, "gcounter", [["a", [1, 2], 1, -1]]], [1, "gcounter", [["a", [1, 2], 1, 1.5]]]),
        *([1, "pncounter", [["a", [1, 2], 1, True]]], [1, "ewflag", [["a", [1, 2], 1, True]]]),
        *([1, "mv", [["a", [1, 2], 1, "x"]]], [1, "mv", [["a", [1, 2], 1, []]]], [1, "mv", [["a", [1, 2], 1, [1, 2]]]]),
        *([1, "lww", [["a", [1, 2], 1, [1, 0]]]], [1, "lww", [["a", [1, 2], 1, [-1, 0, 0]]]]),
        *([1, "lww", [["a", [1, 2], 1, [1, 65536, 0]]]], [1, "lww", [["a", [1, 2], 1, ["1", 0, 0]]]]),
        *([1, "lwwset", [["a", [1, 2], 1, [1, 0, "x", 2]]]], [1, "lwwset", [["a", [1, 2], 1, [1, 0, "x", True]]]]),
        *([1, "lwwset", [["a", [1, 2], 1, [1, 0, None, 1]]]], [1, "lwwmap", [["a", [1, 2], 1, [1, 0, 1, 1]]]]),
        *([1, "2pset", [["a", [1, 2], 1, ["x", 2]]]], [1, "2pset", [["a", [1, 2], 1, "x"]]]),
        *([1, "2pset", [["a", [1, 2], 1, [None, 1]]]], [1, "lwwmap", [["a", [1, 2], 1, [1, 0, "k", 1, 1]]]]),
        *([1, "ormap", [["a", [1, 2], 1, ["k", "mv"]]]], [1, "ormap", [["a", [1, 2], 1, ["k", "no such", 1]]]]),
        *([1, "ormap", [["a", [1, 2], 1, [1, "mv", [1]]]]], [1, "ormap", [["a", [1, 2], 1, ["k", "mv", 1]]]]),
        *([1, "mv", [["a", [1, 2], 1, [deep(TREE_DEPTH)]]]], [1, "mv", [["a", [1, 2], 1, [float("nan")]]]]),
        [1, "mv", [["a", [1, 2], 1, [10**400]]]],
    ],
    ids=lambda tree: repr(tree)[:60],
)
def test_what_no_replica_has_written_is_malformed(tree: object) -> None:
    with pytest.raises(Malformed):
        from_plain(tree, Replicated)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b"\xff",
            b"[" * 50_000,
            b'[1,"orset",[["\xed\xa0\x80",[1,2]]]]',
            b'[1,"mv",[["a",[1,2],1,["\\ud800"]]]]',
        ),
        *(b"\x91" * 50_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x93\x01\xa5orset\xc4\x01a"),
        *(b"\x93\x01\xa2mv\x91\x94\xa1a\x92\x01\x02\x01\x91" + hot for hot in (b"\xd4\x05a", b"\x81\x80\x01")),
        b"\x93\x01\xa2mv\x91\x94\xa1a\x92\x01\x02\x01\x91\xd6\xff\x00\x00\x00\x00",
        b"1" * 5_000,
    ],
    ids=lambda data: data[:20],
)
def test_hostile_bytes_are_malformed(data: bytes) -> None:
    for read in (from_json, from_msgpack):
        with pytest.raises(Malformed):
            read(data, Replicated)


def test_long_input_isn_t_looked_at() -> None:
    state = LWWRegister[str]("a")
    state.set("x" * DEFAULT_MAX_BYTES)
    for write, read in ((to_json, from_json), (to_msgpack, from_msgpack)):
        data = write(state)
        with pytest.raises(Malformed, match=f"{len(data)} bytes, at most {DEFAULT_MAX_BYTES}"):
            read(data, LWWRegister)
        assert read(data, LWWRegister, max_bytes=len(data)) == state


def test_a_long_range_takes_no_memory() -> None:
    tracemalloc.start()
    state = from_plain([1, "orset", [["a", [1, MAX_SAFE], 5, "x"]]], ORSet, replica="b")
    state.add("y")
    state.merge(from_plain([1, "orset", [["a", [1, MAX_SAFE]]]], ORSet))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert state.value == {"y"}
    assert peak < 1 << 20


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_mutants_are_states_or_malformed(form: str) -> None:
    write, read = (to_json, from_json) if form == "json" else (to_msgpack, from_msgpack)
    seeds = samples()
    whole: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for mutant in broken([write(state) for state in seeds]):
        try:
            state = read(mutant, Replicated)
        except Malformed:
            continue
        assert state == copy(state)
        assert state.value == copy(state).value
        states = whole[state.kind]
        for other in states[-3:]:
            one, two = copy(state), copy(other)
            one.merge(other)
            two.merge(state)
            assert one == two
        states.append(state)
    assert sum(map(len, whole.values())) > 20


CROWDS: dict[str, Any] = {
    "gcounter": 1,
    "pncounter": -1,
    "lww": [1, 0, "x"],
    "mv": ["x"],
    "gset": "x",
    "2pset": ["x", 0],
    "lwwset": [1, 0, "x", 1],
    "orset": "x",
    "lwwmap": [1, 0, "k", "x"],
    "ormap": ["k", "lww", [1, 0, "x"]],
    "ewflag": None,
    "dwflag": None,
    "fugue": [1, "", 0],
}
"""An item of each type."""


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_crowd_in_one_place_costs_no_more_than_one_spread_out(kind: str) -> None:
    """Some hundred kilobytes of items that all concern one element, cell or key, and one delta that ends them: an
    attacker's tool where each looks at all others (this took minutes once)."""
    count = 20_000
    items = [each for number in range(1, count + 1) for each in (number, CROWDS[kind])]
    state = from_plain([1, kind, [["a", [1, count + 1], *items]]], Replicated)
    assert state.merge(from_plain([1, kind, [["a", [1, count + 2]]]], Replicated))
    assert state.value == KINDS[kind]().value


def test_depth_ends_where_values_in_maps_do() -> None:
    register = LWWRegister[Any]("a")
    register.set(deep(MAX_DEPTH))
    assert copy(register, "json") == register


def test_contexts_travel_too() -> None:
    context = Context({"b": 3, "a": 1})
    context.add("a", 5, 7)
    assert context_to_plain(context) == [["a", 1, 2, 5, 7], ["b", 1, 4]]
    assert context_from_plain(context_to_plain(context)) == context
    for tree in (None, [1], [[]], [["a"]], [["a", 1]], [[None, 1, 2]], [["a", 2, 1]], [["a", 1, 2], ["a", 3, 4]]):
        with pytest.raises(Malformed):
            context_from_plain(tree)
