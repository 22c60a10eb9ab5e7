"""Ties, which must be broken alike everywhere, and the garbage of what deletes."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from roomful.crdt import Context, LWWMap, LWWRegister, LWWSet, Replicated, from_plain, to_plain


def writes(kind: str, *stamps: tuple[str, int, int]) -> list[Replicated]:
    """Concurrent writes of (replica, ms, seq), each a state of its own that says which it is."""
    items: dict[str, Any] = {"lww": lambda n: [n], "lwwmap": lambda n: ["k", n], "lwwset": lambda n: ["x", n % 2]}
    return [
        from_plain([1, kind, [[replica, [1, 2], 1, [ms, seq, *items[kind](n)]]]], Replicated)
        for n, (replica, ms, seq) in enumerate(stamps)
    ]


@pytest.mark.parametrize("kind", ["lww", "lwwmap", "lwwset"])
@pytest.mark.parametrize(
    ("stamps", "winner"),
    [
        ([("a", 2, 0), ("b", 1, 9), ("c", 1, 0)], 0),
        ([("a", 1, 0), ("b", 1, 1), ("c", 0, 9)], 1),
        ([("b", 1, 1), ("c", 1, 1), ("a", 1, 1)], 1),
        ([("\uffee", 1, 1), ("\U0001f600", 1, 1), ("zz", 1, 1)], 1),  # by code point; UTF-16 has it the other way
        ([("a", 1, 1), ("aa", 1, 1), ("Z", 1, 1)], 1),
    ],
)
def test_a_tie_is_broken_alike_in_any_order(kind: str, stamps: list[tuple[str, int, int]], winner: int) -> None:
    values = {"lww": winner, "lwwmap": {"k": winner}, "lwwset": frozenset({"x"} if winner else ())}
    for order in permutations(writes(kind, *stamps)):
        state = type(order[0])()
        for write in order:
            state.merge(write)
        assert state.value == values[kind]


def test_a_write_replaces_all_it_has_seen() -> None:
    state = LWWRegister[int]("z")
    for write in writes("lww", ("a", 1, 0), ("b", 2, 0), ("c", 3, 0)):
        state.merge(write)
    assert len(state._dots()) == 3
    state.set(9)
    assert len(state._dots()) == 1
    assert state.value == 9


def test_a_deletion_is_collected_once_all_know_it() -> None:
    a, b = LWWMap[int]("a"), LWWMap[int]("b")
    a.set("k", 1)
    a.set("l", 1)
    a.delete("k")
    assert a.collect(b.context) == 0
    b.merge(a)
    assert a.collect(b.context & a.context) == 1
    assert to_plain(a) == [1, "lwwmap", [["a", [1, 4], 2, [0, 2, "l", 1]]]]
    assert b.merge(a)
    assert a == b


def test_a_deletion_stays_while_a_weaker_write_might_still_come() -> None:
    """The deletion is known to all, a concurrent addition that it beats isn't."""
    removal, addition = writes("lwwset", ("a", 2, 0), ("b", 1, 0))
    state = LWWSet[str]()
    state.merge(removal)  # type: ignore[arg-type]
    state.merge(addition)  # type: ignore[arg-type]
    assert state.collect(Context({"a": 1})) == 0
    assert state.collect(Context({"a": 1, "b": 1})) == 2
    assert state.value == frozenset()
