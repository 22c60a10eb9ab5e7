from __future__ import annotations

import pytest

from roomful.crdt import GSet, InvalidValue, LWWSet, ORSet, RemovedForever, TwoPhaseSet, to_msgpack


def test_an_addition_wins_over_a_concurrent_removal() -> None:
    a, b = ORSet[str]("a"), ORSet[str]("b")
    a.add("x")
    b.merge(a)
    removal, addition = a.remove("x"), b.add("x")
    a.merge(addition)
    b.merge(removal)
    assert a.value == b.value == {"x"}


def test_a_removal_removes_only_what_it_has_seen() -> None:
    a, b = ORSet[str]("a"), ORSet[str]("b")
    a.add("x")
    b.add("x")
    a.remove("x")
    a.merge(b)
    assert "x" in a


def test_a_removal_that_comes_before_the_addition_still_removes_it() -> None:
    a, b = ORSet[str]("a"), ORSet[str]("b")
    addition = a.add("x")
    removal = a.remove("x")
    b.merge(removal)
    b.merge(addition)
    assert not b.value
    assert a == b


def test_a_set_is_as_large_as_what_is_in_it() -> None:
    state = ORSet[int]("a")
    for n in range(5_000):
        state.add(n % 50)
        state.remove(n % 50)
    assert len(to_msgpack(state)) < 30
    for n in range(5_000):
        state.add(n % 10)
    assert len(state) == len(state._dots()) == 10
    assert len(to_msgpack(state)) < 100


def test_clear_removes_all_that_is_seen() -> None:
    a, b = ORSet[str]("a"), ORSet[str]("b")
    a.add("x")
    b.merge(a)
    b.add("y")
    a.clear()
    b.merge(a)
    assert b.value == {"y"}


def test_what_was_removed_from_a_two_phase_set_stays_out() -> None:
    a, b = TwoPhaseSet[str]("a"), TwoPhaseSet[str]("b")
    a.add("x")
    b.merge(a)
    a.remove("x")
    b.add("x")
    a.merge(b)
    assert "x" not in a
    with pytest.raises(RemovedForever):
        a.add("x")
    assert not b.merge(a.remove("never there"))


def test_adding_again_to_a_growing_set_keeps_one_dot_for_each_replica() -> None:
    a, b = GSet[str]("a"), GSet[str]("b")
    for _ in range(3):
        a.add("x")
    b.merge(a)
    b.add("x")
    assert sorted(b._dots()) == [("a", 3), ("b", 1)]
    assert b.value == {"x"}


@pytest.mark.parametrize("kind", [GSet, TwoPhaseSet, LWWSet, ORSet])
def test_sets_are_containers(kind: type[ORSet[object]]) -> None:
    state = kind("a")
    for element in ("x", 1, ["x", 2.0]):
        state.add(element)  # type: ignore[arg-type]
    assert len(state) == 3
    assert set(state) == state.value == {"x", 1, ("x", 2)}
    assert 1.0 in state
    assert ("x", 2) in state
    assert ["x", 2] in state
    for absent in ("y", True, None, {}, b"x"):
        assert absent not in state
    with pytest.raises(InvalidValue):
        state.add({})
