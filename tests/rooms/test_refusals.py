from __future__ import annotations

from roomful.rooms.refusals import FORGET_S, KEPT_MAX, Refusals


def test_the_first_waits_for_nothing_and_each_further_one_twice_as_long() -> None:
    refusals = Refusals(10.0)
    assert [refusals.delay("eve", 0.0) for _ in range(7)] == [0, 1, 2, 4, 8, 10, 10]
    assert refusals.delay("ann", 0.0) == 0


def test_it_is_forgotten_after_a_while() -> None:
    refusals = Refusals(10.0)
    for _ in range(5):
        refusals.delay("eve", 0.0)
    assert refusals.delay("eve", FORGET_S + 1) == 0
    assert refusals.delay("eve", FORGET_S + 2) == 1


def test_it_remembers_so_many_at_most() -> None:
    refusals = Refusals(10.0)
    for number in range(KEPT_MAX + 1):
        refusals.delay(f"{number}", 0.0)
    assert refusals.delay("0", 0.0) == 0, "it was the oldest"
    assert refusals.delay("2", 0.0) == 1


def test_it_can_be_switched_off() -> None:
    refusals = Refusals(0.0)
    assert {refusals.delay("eve", 0.0) for _ in range(99)} == {0.0}
