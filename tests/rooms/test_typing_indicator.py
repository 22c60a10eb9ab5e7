"""Keystrokes on one node, people on all: who begins is shown, who is silent isn't, and nobody hears of it too often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roomful.model.client import ClientInfo, person_of
from roomful.rooms.typing_indicator import EVENT_S, HEARD_S, SILENCE_S, Keystrokes, Told, Typists

ANN, ANN_TOO, BOB, SOMEBODY = (
    ClientInfo("ann", "a1"),
    ClientInfo("ann", "a2"),
    ClientInfo("bob", "b1"),
    ClientInfo("", "c1"),
)
CLIENTS = (ANN, ANN_TOO, BOB, SOMEBODY)


def test_the_first_key_is_told_at_once_and_silence_ends_it() -> None:
    keys = Keystrokes()
    keys.press(ANN, True, 10.0)
    assert keys.due(10.0) == [Told(ANN, True)]
    assert keys.next_at(10.0) == 10.0 + SILENCE_S
    assert keys.due(10.0 + SILENCE_S) == [Told(ANN, False)]
    assert keys.due(10.0 + SILENCE_S + EVENT_S) == []
    assert (len(keys), keys.next_at(20.0)) == (0, None)


def test_who_goes_on_typing_is_told_again_each_second() -> None:
    keys, told = Keystrokes(), []
    for tenth in range(40):
        keys.press(ANN, True, tenth / 10)
        told += [(tenth / 10, *one) for one in keys.due(tenth / 10)]
    assert told == [(second, ANN, True) for second in (0.0, 1.0, 2.0, 3.0)]


def test_a_leave_is_told_at_once() -> None:
    keys = Keystrokes()
    keys.press(ANN, True, 0.0)
    keys.due(0.0)
    assert keys.leave("a1") == Told(ANN, False)
    assert keys.leave("a1") is None
    assert keys.due(100.0) == []


Press = tuple[float, ClientInfo, bool]


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(CLIENTS), st.booleans()), max_size=40))
def test_whatever_is_typed(presses: list[Press]) -> None:
    """Driven by `next_at` alone: never two events of a client within a second; and in the end everybody has stopped,
    here and at the node that heard of it."""
    keys, typists, now, last = Keystrokes(), Typists(), 0.0, dict[str, float]()

    def tell(now: float) -> None:
        for one in keys.due(now):
            assert now - last.get(one.info.client, -EVENT_S) >= EVENT_S - 1e-9
            last[one.info.client] = now
            typists.hear(one, now)
        assert {person_of(info) for info in keys.typing()} == {person_of(info) for info in typists.people()}

    def run_until(end: float) -> None:
        while (at := keys.next_at(now)) is not None and at < end:
            tell(at)

    for wait, client, typing in presses:
        run_until(now + wait)
        now += wait
        keys.press(client, typing, now)
        tell(now)
        if typing:
            assert keys.next_at(now) is not None
    run_until(now + SILENCE_S + 2 * EVENT_S + 0.1)
    assert (len(keys), len(typists)) == (0, 0)


def test_a_person_is_one_over_all_tabs() -> None:
    typists = Typists()
    assert typists.hear(Told(ANN, True), 0.0) == Told(ANN, True)
    assert typists.hear(Told(ANN_TOO, True), 0.1) is None
    assert typists.hear(Told(ANN, False), 0.2) is None
    assert typists.people() == [ANN_TOO]
    assert typists.hear(Told(ANN_TOO, False), 0.3) == Told(ANN_TOO, False)
    assert typists.hear(Told(BOB, False), 0.4) is None
    assert typists.people() == []


def test_who_is_not_heard_of_any_more_has_stopped() -> None:
    typists = Typists()
    typists.hear(Told(ANN, True), 0.0)
    typists.hear(Told(ANN_TOO, True), 1.0)
    typists.hear(Told(SOMEBODY, True), 1.0)
    assert typists.next_at() == HEARD_S
    assert typists.expire(HEARD_S) == []
    assert [person_of(told.info) for told in typists.expire(1.0 + HEARD_S)] == ["ann", "~c1"]
    assert (len(typists), typists.next_at()) == (0, None)


def test_viewers_hear_of_it_again_while_it_lasts() -> None:
    """So that they may end it by themselves, when their own link is gone."""
    typists = Typists()
    shown = [typists.hear(Told(ANN, True), float(second)) for second in range(5)]
    assert shown == [Told(ANN, True)] * 5
