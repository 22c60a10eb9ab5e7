from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.crdt import HLC, KINDS, GCounter, LWWRegister, ORMap, ORSet, Replicated, from_plain, to_plain
from roomful.model.errors import BadRequest, Forbidden, LimitExceeded, RoomfulError
from roomful.rooms.shared_state import KEYS_MAX, OPS, SharedState, SharedStateOptions, Unreadable, told
from tests.crdt.histories import CALLS

NOON_MS = 1_700_000_000_000


def room(replica: str = "/n1", **options: int) -> SharedState:
    return SharedState(replica, lambda: NOON_MS, SharedStateOptions(**options))


def change(name: str, delta: Replicated) -> dict[str, Any]:
    return {"object": name, "delta": to_plain(delta)}


def seen(state: SharedState) -> dict[tuple[str, str], Any]:
    """What somebody knows who has been sent the snapshot."""
    objects = [(name, from_plain(tree, Replicated)) for name, tree in state.snapshot()["objects"]]
    return {(name, each.kind): to_plain(each) for name, each in objects}


def test_a_wish_is_done_and_told() -> None:
    state, other = room(), room("/n2")
    news = state.publish({"object": "likes", "type": "gcounter", "op": "increment", "by": 3}, "ann")
    assert news == {"object": "likes", "delta": [1, "gcounter", [["/n1", [1, 2], 1, 3]]]}
    assert other.merge(news)
    assert not other.merge(news)
    assert state.publish({"object": "likes", "op": "increment"}, "bob") is not None
    likes = state.get("likes")
    assert likes is not None
    assert likes.value == 4
    assert state.snapshot()["now"] == NOON_MS


def test_a_delta_is_merged_and_told_once() -> None:
    state, counter = room(), GCounter("ann/k3")
    delta = change("likes", counter.increment(2))
    assert state.publish(delta, "ann") == delta
    assert state.publish(delta, "ann") is None
    assert state.publish(delta, "bob") is None  # it says nothing new, so it speaks for nobody


def test_a_wish_with_a_key_is_done_once() -> None:
    state = room()
    like = {"object": "likes", "type": "gcounter", "op": "increment", "idempotency_key": "k1"}
    news = state.publish(like, "ann")
    assert news is not None
    assert told(news) == {"object": "likes", "delta": [1, "gcounter", [["/n1", [1, 2], 1, 1]]]}, "nobody learns the key"
    assert state.publish(like, "bob") is None, "also from the next connection"
    assert state.publish({**like, "by": 7}, "ann") is None
    assert state.publish({**like, "idempotency_key": "k2"}, "ann") is not None
    for _ in range(2):
        assert state.publish({**like, "idempotency_key": ""}, "ann") is not None, "that is none"
    assert state.get("likes").value == 4  # type: ignore[union-attr]


def test_other_nodes_and_later_lives_know_the_keys() -> None:
    state, other, later = room(), room("/n2"), room("/n3")
    like = {"object": "likes", "type": "gcounter", "op": "increment", "idempotency_key": "k1"}
    other.merge(state.publish(like, "ann") or {})
    for news in other.kept():
        later.merge(news)
    assert other.publish(like, "ann") is None
    assert later.publish(like, "ann") is None
    assert seen(later) == seen(state)


def test_what_had_nothing_to_change_is_not_remembered_and_what_failed_neither() -> None:
    state = room(max_objects=1)
    first = {"object": "open", "type": "ewflag", "op": "disable", "idempotency_key": "k1"}
    assert state.publish(first, "ann") is None
    with pytest.raises(BadRequest):
        state.publish({"object": "open", "op": "no such", "idempotency_key": "k1"}, "ann")
    assert state.publish({**first, "op": "enable"}, "ann") is not None


def test_keys_are_bounded() -> None:
    state, other = room(), room("/n2")
    like: dict[str, Any] = {"object": "likes", "type": "gcounter", "op": "increment"}
    for number in range(KEYS_MAX + 1):
        other.merge(state.publish({**like, "idempotency_key": f"k{number}"}, "ann") or {})
    assert state.kept()[-1] == other.kept()[-1] == {"done": [f"k{n}" for n in range(1, KEYS_MAX + 1)]}
    assert state.publish({**like, "idempotency_key": "k1"}, "ann") is None
    assert state.publish({**like, "idempotency_key": "k0"}, "ann") is not None


def test_what_was_done_offline_merges_on_return() -> None:
    state, mine = room(), ORSet[str]("ann/k3")
    mine.merge(from_plain(state.publish(change("tags", mine.add("a")), "ann")["delta"], ORSet))  # type: ignore[index]
    for element in "bcd":
        mine.add(element)
    mine.remove("a")
    state.publish({"object": "tags", "op": "add", "element": "e"}, "bob")
    there: Any = state.get("tags")
    assert state.publish(change("tags", mine.delta_since(there.context)), "ann") is not None
    assert there.value == {"b", "c", "d", "e"}


@pytest.mark.parametrize(
    ("replica", "person"),
    [
        ("bob/1", "ann"),
        ("ann", "ann"),
        ("ann/", "ann"),
        ("ann/x/1", "ann"),
        ("/n1", ""),
        ("/n1", "ann"),
        ("~1/x", "~2"),
    ],
)
def test_nobody_speaks_for_another(replica: str, person: str) -> None:
    state = room()
    with pytest.raises(Forbidden):
        state.publish(change("likes", GCounter(replica).increment()), person)
    assert state.snapshot()["objects"] == []


def test_people_may_have_slashes() -> None:
    assert room().publish(change("likes", GCounter("ann/x/1").increment()), "ann/x") is not None


def test_26_a_stamp_from_the_future_is_refused_and_the_snapshot_tells_the_time() -> None:
    state, wrong = room(), HLC(lambda: NOON_MS + 3_600_000, max_ahead_ms=None)
    title = LWWRegister[str]("ann/1", clock=wrong)
    delta = title.set("x")
    with pytest.raises(BadRequest, match="ahead"):
        state.publish(change("title", delta), "ann")
    assert state.snapshot()["objects"] == []
    wrong.correct(state.snapshot()["now"])
    delta.merge(title.set("y"))
    assert state.publish(change("title", delta), "ann") is not None
    assert title == state.get("title")


def test_what_one_node_has_let_in_all_do() -> None:
    """Their clocks may differ by more than a client's may be wrong."""
    early, late = room(), SharedState("/n2", lambda: NOON_MS - 3_600_000, SharedStateOptions())
    news = early.publish({"object": "title", "type": "lww", "op": "set", "value": "x"}, "ann")
    assert news is not None
    assert late.merge(news)
    assert late.publish({"object": "title", "op": "set", "value": "y"}, "bob") is not None
    assert late.get("title").value == "y"  # type: ignore[union-attr]


def test_a_wish_reaches_into_maps() -> None:
    state = room()
    path = [["task 1", "ormap"], ["title", "lww"]]
    news = state.publish(
        {"object": "todo", "type": "ormap", "path": path, "op": "set", "value": "Paint the door"}, "ann"
    )
    assert news is not None
    assert from_plain(news["delta"], ORMap).value == {"task 1": {"title": "Paint the door"}}
    assert state.publish({"object": "todo", "op": "remove", "key": "task 1"}, "bob") is not None
    assert state.publish({"object": "todo", "op": "remove", "key": "task 1"}, "bob") is None


def test_types_made_at_once_under_one_name_live_side_by_side() -> None:
    one, two = room(), room("/n2")
    first = one.publish({"object": "x", "type": "mv", "op": "set", "value": 1}, "ann")
    second = two.publish({"object": "x", "type": "gcounter", "op": "increment"}, "bob")
    assert first is not None
    assert second is not None
    assert one.merge(second)
    assert two.merge(first)
    assert seen(one) == seen(two)
    assert one.get("x").value == two.get("x").value == 1  # type: ignore[union-attr]
    assert one.publish({"object": "x", "type": "mv", "op": "set", "value": 2}, "ann") is not None
    with pytest.raises(BadRequest, match="of type gcounter"):
        one.publish({"object": "x", "type": "lww", "op": "set", "value": 2}, "ann")


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, 1, [], "x", {}, {"object": ""}, {"object": 1}, {"object": "x" * 129}, {"object": "x"}),
        {"object": "likes", "op": "increment"},
        {"object": "likes", "type": "no such", "op": "increment"},
        {"object": "likes", "type": [], "op": "increment"},
        {"object": "likes", "type": "gcounter", "op": "decrement"},
        {"object": "likes", "type": "gcounter", "op": "_commit"},
        {"object": "likes", "type": "gcounter", "op": []},
        {"object": "likes", "type": "gcounter", "op": "increment", "by": 0},
        {"object": "likes", "type": "gcounter", "op": "increment", "by": "1"},
        {"object": "likes", "type": "gcounter", "op": "increment", "to": 1},
        {"object": "likes", "type": "gcounter", "op": "increment", "path": [["k", "gcounter"]]},
        {"object": "m", "type": "ormap", "op": "remove"},
        {"object": "m", "type": "ormap", "op": "remove", "key": []},
        {"object": "m", "type": "ormap", "op": "clear", "path": [["k"]]},
        {"object": "m", "type": "ormap", "op": "clear", "path": [[1, "ormap"]]},
        {"object": "m", "type": "ormap", "op": "clear", "path": {}},
        {"object": "m", "type": "ormap", "op": "add", "element": 1, "path": [["k", "ormap"]] * 20 + [["k", "orset"]]},
        {"object": "m", "type": "lwwmap", "op": "set", "key": "k"},
        {"object": "l", "type": "fugue", "op": "insert", "index": "0", "value": 1},
        {"object": "l", "type": "fugue", "op": "insert", "index": True, "value": 1},
        {"object": "l", "type": "fugue", "op": "insert", "index": 1, "value": 1},
        {"object": "s", "type": "orset", "op": "add", "element": None},
        *({"object": "x", "type": "mv", "op": "set", "value": 1, "idempotency_key": k} for k in (7, None, "k" * 65)),
        *({"object": "x", "delta": tree} for tree in (None, [], [1, "gcounter"], [1, "gcounter", [["ann/1", [1]]]])),
        {"object": "x", "delta": [1, "gcounter", []], "op": "increment"},
    ],
    ids=lambda wrong: repr(wrong)[:70],
)
def test_what_makes_no_sense_is_refused(wrong: object) -> None:
    state = room()
    with pytest.raises(BadRequest):
        state.publish(wrong, "ann")
    assert state.snapshot()["objects"] == []


@pytest.mark.parametrize(
    "wrong",
    [{"object": "x", "delta": [1, "gcounter", [["a", [2, 1]]]]}, {"object": "x"}, {"done": [[]]}, {"done": 1}, 7, None],
)
def test_another_node_s_nonsense_is_refused_too(wrong: Any) -> None:
    with pytest.raises(Unreadable):
        room().merge(wrong)


def test_operations_are_methods() -> None:
    assert OPS.keys() == KINDS.keys()
    for kind, operations in OPS.items():
        assert all(callable(getattr(KINDS[kind], op)) for op in operations)


def fill(state: SharedState) -> None:
    for n in range(1_000):
        state.publish({"object": "tags", "type": "orset", "op": "add", "element": f"element {n}"}, "ann")


def test_a_full_room_takes_removals_and_then_more() -> None:
    state = room(max_bytes=2_000)
    with pytest.raises(LimitExceeded):
        fill(state)
    there: Any = state.get("tags")
    assert 120 < len(there) < 200
    mine = ORSet[str]("ann/1")
    mine.merge(there)
    with pytest.raises(LimitExceeded):
        state.publish(change("tags", mine.add("x" * 30)), "ann")
    with pytest.raises(LimitExceeded):  # holes in what it claims to have seen would grow without end too
        state.publish({"object": "tags", "delta": [1, "orset", [["ann/2", list(range(1, 201))]]]}, "ann")
    mine = ORSet[str]("ann/3")
    mine.merge(there)
    assert state.publish(change("tags", mine.remove("element 0")), "ann") is not None
    assert state.publish({"object": "tags", "op": "clear"}, "ann") is not None
    assert state.publish({"object": "tags", "op": "add", "element": "x"}, "ann") is not None


def test_objects_are_counted() -> None:
    state = room(max_objects=2)
    for name in "ab":
        state.publish({"object": name, "type": "gcounter", "op": "increment"}, "ann")
    for late in (
        {"object": "c", "type": "gcounter", "op": "increment"},
        change("c", GCounter("ann/1").increment()),
        {"object": "c", "delta": [1, "orset", [["ann/1", [1, 2]]]]},
    ):
        with pytest.raises(LimitExceeded):
            state.publish(late, "ann")
    assert state.publish({"object": "a", "op": "increment"}, "ann") is not None


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_nodes_that_hear_of_everything_in_any_order_share_one_state(data: st.DataObject) -> None:
    nodes = [room(f"/n{n}") for n in range(3)]
    told: list[dict[str, Any]] = []
    for _ in range(data.draw(st.integers(1, 15))):
        node = data.draw(st.sampled_from(nodes))
        kind = data.draw(st.sampled_from(sorted(CALLS.keys() - {"fugue"})))
        path, op, args = data.draw(CALLS[kind])
        names = OPS[path[-1][1] if path else kind].get(op, ())
        if len(names) != len(args):
            continue  # the list's operations take more than one value
        wish = {"object": kind, "type": kind, "path": path, "op": op, **dict(zip(names, args, strict=True))}
        try:
            news = node.publish(wish, "ann")
        except RoomfulError:
            continue
        if news is not None:
            told.append(news)
    for node in nodes:
        for news in data.draw(st.permutations(told + told[:3])):
            node.merge(news)
    assert seen(nodes[0]) == seen(nodes[1]) == seen(nodes[2])
