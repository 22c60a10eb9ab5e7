"""All that waits for clients that don't read: counted once, bounded, and at the cost of those for whom most waits."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from roomful.node.backlog import LIMIT, Backlog
from roomful.node.stats import Stats

MAX = 100


class Box:
    def __init__(self) -> None:
        self.owed = 0


def test_whoever_reads_again_owes_nothing() -> None:
    backlog, box = Backlog(Stats(), MAX), Box()
    backlog.settle(box, 40)
    assert backlog.admit(box, 20)
    assert (box.owed, backlog.bytes, backlog.debtors) == (60, 60, 1)
    backlog.settle(box, 0)
    assert (box.owed, backlog.bytes, backlog.debtors, backlog.over) == (0, 0, 0, False)


def test_who_owes_half_the_average_or_more_may_owe_no_more() -> None:
    stats = Stats()
    backlog, large, small = Backlog(stats, MAX), Box(), Box()
    backlog.settle(large, 90)
    backlog.settle(small, 10)
    assert not backlog.admit(large, 1)
    assert (large.owed, stats.limited) == (90, {LIMIT: 1})
    assert backlog.admit(large, -5)
    assert backlog.admit(small, 5)


async def test_when_a_small_one_needs_room_relief_comes_once_at_the_end_of_the_turn() -> None:
    reliefs: list[int] = []
    backlog = Backlog(Stats(), MAX, lambda: reliefs.append(backlog.bytes))
    large, small = Box(), Box()
    backlog.settle(large, 95)
    backlog.settle(small, 1)
    for _ in range(3):
        assert backlog.admit(small, 10)
    assert reliefs == []
    await asyncio.sleep(0)
    assert reliefs == [126]
    backlog.settle(large, 150)
    backlog.settle(large, 0)
    await asyncio.sleep(0)
    assert reliefs == [126]  # it has read meanwhile


def test_without_a_limit_it_only_counts() -> None:
    backlog, box = Backlog(Stats()), Box()
    backlog.settle(box, 1 << 40)
    assert backlog.admit(box, 1 << 40)
    assert not backlog.over


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(("settle", "admit")), st.integers(0, 60)), max_size=60))
def test_it_is_the_sum_of_what_each_owes(steps: list[tuple[int, str, int]]) -> None:
    backlog, boxes = Backlog(Stats(), MAX), [Box() for _ in range(4)]
    for number, step, size in steps:
        if step == "settle":
            backlog.settle(boxes[number], size)
        elif boxes[number].owed:
            backlog.admit(boxes[number], size)
        assert backlog.bytes == sum(box.owed for box in boxes)
        assert backlog.debtors == sum(box.owed > 0 for box in boxes)
