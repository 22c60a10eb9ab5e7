from __future__ import annotations

from roomful.rooms.update_walker import walk
from roomful.rooms.waiting_updates import WaitingUpdates

A, B = b"update a", b"update b"


def test_only_what_lacks_less_than_before_is_freed() -> None:
    waiting = WaitingUpdates()
    waiting.keep(A, {1: 5, 2: 0})
    waiting.keep(B, {1: 7})
    assert waiting.freed([1], {1: 5}) == [], "clock 5 is still to come"
    assert waiting.freed([1], {1: 6}) == [A]
    assert waiting.freed([1, 2], {1: 6, 2: 3}) == [], "it went before"
    assert list(waiting) == [B]
    assert waiting.freed([1], {1: 100}) == [B]
    assert not waiting
    assert waiting.size == 0


def test_the_same_update_waits_once() -> None:
    waiting = WaitingUpdates()
    for _ in range(3):
        waiting.keep(A, {1: 5})
    assert waiting.size == len(A)
    assert waiting.freed([1], {1: 9}) == [A]


def test_what_lacks_nothing_is_tried_once_whenever_anything_comes() -> None:
    waiting = WaitingUpdates()
    waiting.keep(A, {})
    assert waiting.freed([1], {1: 5}) == []
    assert waiting.stuck() == [A]
    assert waiting.stuck() == []
    assert not waiting


def test_deletions_are_freed_as_far_as_what_they_delete_has_come() -> None:
    waiting = WaitingUpdates()
    waiting.keep_deletions({1: [(3, 6), (8, 9)], 2: [(0, 1)]})
    waiting.keep_deletions({1: [(5, 7)]})
    assert waiting.freed([1], {1: 3}) == []
    [come] = waiting.freed([1], {1: 5})
    assert walk(come).deletions == {1: [(3, 5)]}
    [left] = waiting
    assert walk(left).deletions == {1: [(5, 7), (8, 9)], 2: [(0, 1)]}
    [come] = waiting.freed([1, 2], {1: 9, 2: 1})
    assert walk(come).deletions == {1: [(5, 7), (8, 9)], 2: [(0, 1)]}
    assert not waiting
    assert waiting.size == 0
