from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt import Context, Exhausted
from roomful.crdt.causal import pairs, within
from roomful.crdt.value import MAX_SAFE

RANGES = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5)), max_size=8)


def of(ranges: list[tuple[int, int]], replica: str = "a") -> tuple[Context, set[int]]:
    """A context of ranges (first, length), and the same as a set."""
    context, numbers = Context(), set[int]()
    for start, length in ranges:
        new = set(range(start, start + length))
        assert context.add(replica, start, start + length) == bool(new - numbers)
        numbers |= new
    return context, numbers


def numbers_of(context: Context, replica: str = "a") -> set[int]:
    return {n for start, stop in pairs(list(context.bounds(replica))) for n in range(start, stop)}


@given(RANGES)
def test_ranges_are_a_set(ranges: list[tuple[int, int]]) -> None:
    context, numbers = of(ranges)
    bounds = list(context.bounds("a"))
    assert numbers_of(context) == numbers
    assert bounds == sorted(set(bounds))
    for n in range(0, 30):
        assert (("a", n) in context) == (n in numbers)
        assert ("b", n) not in context
    assert context == Context.of(("a", n) for n in numbers)
    assert context.next("a") == max(numbers, default=0) + 1
    assert context.vector().get("a", 0) == next(n for n in range(30) if n + 1 not in numbers)


@given(RANGES, RANGES)
def test_two_contexts_are_two_sets(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    (x, xs), (y, ys) = of(one), of(two)
    assert x.covers("a", list(y.bounds("a"))) == (ys <= xs)
    assert (y <= x) == (ys <= xs)
    assert numbers_of(x & y) == xs & ys
    assert numbers_of(x.without({"a": ys})) == xs - ys
    assert sorted(within(dict.fromkeys(xs), list(y.bounds("a")))) == sorted(xs & ys)
    both = x.copy()
    assert both.update(y) == bool(ys - xs)
    assert numbers_of(both) == xs | ys
    assert numbers_of(x) == xs
    assert not both.update(both)


def test_replicas_are_apart() -> None:
    context = Context({"a": 3, "b": 0})
    assert dict(context.items()) == {"a": [1, 4]}
    assert context.next("b") == 1
    assert not context <= Context()
    assert Context() <= context
    assert context & Context({"b": 3}) == Context()
    assert context.without({"a": [1, 2, 3], "c": [1]}) == Context()
    assert context != {"a": [1, 4]}
    assert repr(context) == "Context({'a': [1, 4]})"


def test_a_copy_is_a_copy() -> None:
    context = Context({"a": 3})
    other = Context()
    other.update(context)
    other.add("a", 4)
    context.copy().add("a", 4)
    assert context == Context({"a": 3})


def test_numbers_end() -> None:
    context = Context({"a": MAX_SAFE - 1})
    with pytest.raises(Exhausted):
        context.next("a")


def test_wide_ranges_cost_nothing() -> None:
    assert within({5: None, 2**50: None}, [1, 2**52]) == [5, 2**50]
    assert dict(Context({"a": 2**52}).without({"a": [7]}).items()) == {"a": [1, 7, 8, 2**52 + 1]}
