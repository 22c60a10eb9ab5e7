from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt import Fugue, InvalidValue, Malformed, ReadOnly, from_plain, to_msgpack, to_plain
from tests.crdt.histories import copy, examples


def text(letters: str, replica: str = "a") -> Fugue[str]:
    state = Fugue[str](replica)
    state.append(*letters)
    return state


def test_a_list_reads_like_a_list() -> None:
    state = text("hello")
    assert state.value == list(state) == list("hello")
    assert (len(state), state[0], state[-1]) == (5, "h", "o")
    state.delete(1, 3)
    state.insert(1, "e", "y")
    assert "".join(state) == "heyo"
    for index, count in ((4, 1), (-1, 1), (0, -1), (3, 2)):
        with pytest.raises(IndexError):
            state.delete(index, count)
    for index in (-1, 5):
        with pytest.raises(IndexError):
            state.insert(index, "x")
    with pytest.raises(IndexError):
        state[4]
    assert "".join(state) == "heyo"


def test_a_refused_value_changes_nothing() -> None:
    state = text("ab")
    with pytest.raises(InvalidValue):
        state.insert(1, "x", object())  # type: ignore[arg-type]
    with pytest.raises(ReadOnly):
        copy(state).insert(0, "x")
    assert state == text("ab")


@given(st.data())
@examples(60)
def test_runs_that_are_typed_at_one_place_stay_together(data: st.DataObject) -> None:
    """Two people type at the same place, each in any direction inside the own run, while others delete around it."""
    a = text("[]")
    b, c = Fugue[str]("b"), Fugue[str]("c")
    b.merge(a)
    c.merge(a)
    place = data.draw(st.integers(0, 2))
    for state, name in ((a, "A"), (b, "B")):
        for length in range(data.draw(st.integers(1, 6))):
            state.insert(place + data.draw(st.integers(0, length)), name)
    if data.draw(st.booleans()):
        c.delete(0, data.draw(st.integers(1, 2)))
    a.merge(c)
    a.merge(b)
    merged = "".join(a)
    for name in "AB":
        assert name * merged.count(name) in merged


def test_two_runs_before_and_after_one_another() -> None:
    a = text("", "a")
    b = text("", "b")
    for letter in "one":
        a.insert(len(a), letter)
    for letter in reversed("two"):
        b.insert(0, letter)
    a.merge(b)
    assert "".join(a) == "onetwo"


def test_children_may_come_before_their_parents() -> None:
    a = text("")
    deltas = [a.append("x"), a.append("y"), a.insert(1, "z")]
    b = Fugue[str]("b")
    for delta in reversed(deltas):
        b.merge(delta)
        assert b.value == copy(b).value
    assert "".join(b) == "xzy"
    assert a == b


def test_what_all_have_deleted_is_collected() -> None:
    a, b = text("hello"), Fugue[str]("b")
    b.merge(a)
    a.delete(1, 4)
    assert a.collect(b.context) == 0
    b.merge(a)
    assert a.collect(a.context & b.context) == 8
    assert to_plain(a) == [1, "fugue", [["a", [1, 15], 1, [1, "", 0], 2, ["h"]]]]
    b.insert(1, "i")
    b.merge(a)
    a.merge(b)
    assert "".join(a) == "hi"
    assert a == b


def test_a_place_that_others_hang_on_stays() -> None:
    a = text("ab")
    a.delete(0)
    assert a.collect(a.context) == 0
    a.delete(0)
    assert a.collect(a.context) == 4
    assert to_plain(a) == [1, "fugue", [["a", [1, 7]]]]


@pytest.mark.parametrize(
    "item",
    [
        *(0, "x", None, [], {}, [0, "", 0], [1, "", 1], [2, "a", 1], [1, "a", 0], [1, "a", -1], [True, "a", 1]),
        *([1, 1, 1], [1, "a", "b"], [1, "a", 1.5], ["a", 0], ["a", True], [1, 1], [1, "a", 1, 1]),
    ],
)
def test_items_that_no_list_has(item: object) -> None:
    with pytest.raises(Malformed):
        from_plain([1, "fugue", [["a", [1, 9], 5, item]]], Fugue)


HOSTILE_DOTS = st.tuples(st.sampled_from("ab"), st.integers(1, 8))
HOSTILE_ITEMS = st.one_of(
    st.just([1, "", 0]),
    st.tuples(st.integers(0, 1), HOSTILE_DOTS).map(lambda pair: [pair[0], *pair[1]]),
    st.just(["x"]),
    HOSTILE_DOTS.map(list),
)


@st.composite
def hostile(draw: st.DrawFn) -> Fugue[str]:
    """A well-formed state that no list has ever made: circles, values and deletions of nothing."""
    items = draw(st.dictionaries(HOSTILE_DOTS, HOSTILE_ITEMS))
    entries = [
        [replica, [1, 9], *(part for dot in sorted(items) if dot[0] == replica for part in (dot[1], items[dot]))]
        for replica in "ab"
    ]
    return from_plain([1, "fugue", entries], Fugue)


@given(hostile(), hostile(), st.booleans())
@examples(80)
def test_a_hostile_tree_converges_like_any_other(x: Fugue[str], y: Fugue[str], read: bool) -> None:
    one, two = Fugue[str]("c"), Fugue[str]("c")
    for state in (x, y):
        one.merge(state)
        assert not read or one.value == copy(one).value
    for state in (y, x):
        two.merge(state)
    assert to_msgpack(one) == to_msgpack(two)
    assert one.value == two.value == copy(one).value
    one.append("!")
    one.insert(0, "?")
    assert (one[0], one[-1]) == ("?", "!") or len(one) > len(two) + 1
    one.delete(0, len(one))
    one.collect(one.context)
    assert one.value == copy(one).value == []
