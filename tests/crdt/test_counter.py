from __future__ import annotations

import pytest

from roomful.crdt import Exhausted, GCounter, InvalidValue, ORMap, PNCounter, to_plain
from roomful.crdt.value import MAX_SAFE


def test_everybody_s_increments_add_up() -> None:
    a, b = PNCounter("a"), PNCounter("b")
    a.increment(3)
    b.decrement()
    b.increment(5)
    a.merge(b)
    b.merge(a)
    assert a.value == b.value == 7


def test_a_replica_takes_one_entry_however_often_it_counts() -> None:
    a = GCounter("a")
    for _ in range(1000):
        a.increment()
    assert to_plain(a) == [1, "gcounter", [["a", [1, 1001], 1000, 1000]]]


def test_a_late_delta_isn_t_counted_twice_although_those_between_are_lost() -> None:
    a, b = GCounter("a"), GCounter("b")
    deltas = [a.increment(by) for by in (1, 2, 3, 4)]
    for delta, value in ((deltas[0], 1), (deltas[3], 10), (deltas[1], 10), (deltas[0], 10)):
        b.merge(delta)
        assert b.value == value
    assert a == b


@pytest.mark.parametrize("by", [0, -1, 1.0, True, "1", MAX_SAFE + 1])
def test_what_can_t_be_counted(by: int) -> None:
    counter = PNCounter("a")
    for change in (counter.increment, counter.decrement):
        with pytest.raises(InvalidValue):
            change(by)
    assert counter == PNCounter()


def test_a_total_stays_exact() -> None:
    counter = PNCounter("a")
    counter.increment(MAX_SAFE)
    with pytest.raises(Exhausted):
        counter.increment()
    counter.decrement()
    assert counter.value == MAX_SAFE - 1


def test_in_a_map_each_increment_stands_for_itself() -> None:
    """A removal that has seen 3 of 5 leaves 2, not 5 (a running total would) and not 0."""
    a, b = ORMap("a"), ORMap("b")
    a.update("likes", GCounter, lambda likes: likes.increment(3))
    b.merge(a)
    removal = b.remove("likes")
    a.update("likes", GCounter, lambda likes: likes.increment(2))
    a.merge(removal)
    b.merge(a)
    assert a.value == b.value == {"likes": 2}
