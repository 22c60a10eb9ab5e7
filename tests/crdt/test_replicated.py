"""The laws that every type keeps, over random histories of it."""

from __future__ import annotations

from collections.abc import Sized
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt import (
    KINDS,
    Context,
    GCounter,
    GSet,
    InvalidValue,
    KindMismatch,
    LWWRegister,
    ORMap,
    ORSet,
    ReadOnly,
    RemovedForever,
    Replicated,
    from_plain,
    to_msgpack,
)
from tests.crdt.histories import CALLS, Play, copy, deltas_of, do, examples, histories, replicas_of

EXAMPLES = examples(20)

each_kind = pytest.mark.parametrize("kind", sorted(KINDS))


def merged(*states: Any) -> Any:
    result = type(states[0])()
    for state in states:
        result.merge(state)
    return result


def check_same(*states: Replicated) -> None:
    """One state in all respects: bytes, equality, value, and the value that is read from the bytes alone."""
    first = states[0]
    fresh = copy(first)
    for state in states:
        assert to_msgpack(state) == to_msgpack(first)
        assert state == first
        assert state.value == fresh.value


@each_kind
@given(data=st.data())
@EXAMPLES
def test_merge_is_commutative_associative_and_idempotent(kind: str, data: st.DataObject) -> None:
    x, y, z = replicas_of(Play(data.draw(histories(kind))))
    check_same(merged(x, y), merged(y, x))
    check_same(merged(merged(x, y), z), merged(x, merged(y, z)))
    check_same(merged(x, x), merged(x), x)


@each_kind
@given(data=st.data())
@EXAMPLES
def test_deltas_in_any_order_twice_and_grouped_give_the_full_state(kind: str, data: st.DataObject) -> None:
    play = Play(data.draw(histories(kind)))
    full = merged(*replicas_of(play))
    deltas = deltas_of(play)
    late = data.draw(st.permutations(deltas + data.draw(st.lists(st.sampled_from(deltas or [full])))))
    cut = data.draw(st.integers(0, len(late)))
    check_same(full, merged(full, *late), merged(type(full)(), *late))
    check_same(full, merged(type(full)(), merged(type(full)(), *late[cut:]), merged(type(full)(), *late[:cut])))


@each_kind
@given(data=st.data())
@EXAMPLES
def test_delta_since_brings_what_the_other_lacks(kind: str, data: st.DataObject) -> None:
    x, y, z = replicas_of(Play(data.draw(histories(kind))))
    check_same(merged(x, y), merged(x, y.delta_since(x.context)))
    check_same(merged(x, y, z), merged(x, z, y.delta_since(x.context)))
    check_same(y, merged(type(y)(), y.delta_since(Context())))
    assert not merged(y).merge(y.delta_since(y.context))


@each_kind
@given(data=st.data())
@EXAMPLES
def test_merge_says_whether_anything_changed(kind: str, data: st.DataObject) -> None:
    play = Play(data.draw(histories(kind)))
    for other in list(play.objects.values()):
        for state in replicas_of(play):
            before = to_msgpack(state)
            assert state.merge(other) == (to_msgpack(state) != before)
            assert not state.merge(other)


@each_kind
@given(data=st.data())
@EXAMPLES
def test_the_index_is_what_the_bytes_say(kind: str, data: st.DataObject) -> None:
    """Also after the index has been read between the steps, which makes it take the short cuts."""
    play = Play()
    for step in data.draw(histories(kind)):
        with suppress(RemovedForever):
            play.step(*step)
        for state in replicas_of(play):
            value = state.value
            assert value == copy(state).value
            if isinstance(state, Sized):
                assert len(state) == len(value)


@each_kind
@given(data=st.data())
@EXAMPLES
def test_a_delta_says_all_that_a_change_has_done(kind: str, data: st.DataObject) -> None:
    state = replicas_of(Play(data.draw(histories(kind))))[0]
    before = copy(state)
    with suppress(RemovedForever):
        delta = do(state, *data.draw(CALLS[kind]))
        check_same(state, merged(before, delta))


@each_kind
def test_nothing_but_a_replica_is_changed(kind: str) -> None:
    methods = {"lwwmap": ("set", "k", 1), "ormap": ("remove", "k"), "fugue": ("append", 1)}
    default = ("increment",) if "counter" in kind else ("enable",) if "flag" in kind else ("add", "x")
    method, *args = ("set", 1) if kind in ("lww", "mv") else methods.get(kind, default)
    with pytest.raises(ReadOnly):
        getattr(KINDS[kind](), method)(*args)


@each_kind
def test_another_kind_is_refused(kind: str) -> None:
    other = GSet if kind == "gcounter" else GCounter
    with pytest.raises(KindMismatch) as caught:
        KINDS[kind]("a").merge(other("b"))  # type: ignore[arg-type]
    assert (caught.value.wanted, caught.value.got) == (kind, other.kind)


@pytest.mark.parametrize("replica", ["x" * 256, "é" * 128, "\ud800"])
def test_a_replica_id_is_short_text(replica: str) -> None:
    with pytest.raises(InvalidValue):
        ORSet(replica)


def test_states_of_two_kinds_differ() -> None:
    assert GCounter("a") != GSet("a")
    assert GCounter("a") != 0
    assert GCounter("a") == GCounter("b")


def test_a_dot_with_two_items_ends_alike_everywhere() -> None:
    """A replica id used twice, or somebody who tells each node something else."""
    one = from_plain([1, "orset", [["a", [1, 2], 1, "x"]]], ORSet)
    two = from_plain([1, "orset", [["a", [1, 2], 1, "y"]]], ORSet)
    check_same(merged(one, two), merged(two, one), merged(one, two, one))
    assert merged(one, two).value == {"y"}


def test_true_isn_t_one() -> None:
    one = from_plain([1, "mv", [["a", [1, 2], 1, [1]]]], Replicated)
    two = from_plain([1, "mv", [["a", [1, 2], 1, [True]]]], Replicated)
    assert one != two
    check_same(merged(one, two), merged(two, one))


def test_a_state_that_never_hears_of_a_removal_is_told_by_ranges() -> None:
    a, b = ORSet[int]("a"), ORSet[int]("b")
    for n in range(100):
        a.add(n)
    b.merge(a)
    for n in range(90):
        a.remove(n)
    delta = a.delta_since(b.context)
    assert to_msgpack(delta) == to_msgpack(from_plain([1, "orset", [["a", [1, 91]]]], ORSet))
    b.merge(delta)
    assert b.value == a.value == set(range(90, 100))


def test_repr_shows_replica_and_value() -> None:
    register = LWWRegister[str]("a")
    register.set("x")
    assert repr(register) == "LWWRegister('a', value='x')"
    assert repr(ORMap()) == "ORMap('', value={})"
    assert register.replica == "a"
