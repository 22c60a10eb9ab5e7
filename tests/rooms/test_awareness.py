from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.document import AwarenessEntry
from roomful.rooms.awareness import RAISES_PER_S, Awareness, AwarenessLimits

ANN, BOB, TAB = "ann's connection", "bob's connection", "ann's other tab"


def said(client: int, clock: int, state: Any) -> AwarenessEntry:
    return AwarenessEntry(client, clock, None if state is None else json.dumps(state).encode())


class Room:
    """An awareness with a clock; `say` gives what is announced, as (client, clock, state)."""

    def __init__(self, **limits: Any) -> None:
        self.awareness = Awareness(AwarenessLimits(**limits))
        self.now = 100.0

    def join(self, *holders: str, user: str = "") -> None:
        for holder in holders:
            self.awareness.join(holder, user, self.now)

    def say(self, holder: str, client: int, clock: int, state: Any) -> list[tuple[int, int, Any]]:
        return self.told(self.awareness.receive(holder, [said(client, clock, state)], self.now))

    def leave(self, holder: str) -> list[tuple[int, int, Any]]:
        return self.told(self.awareness.leave(holder, self.now))

    def told(self, ids: Any) -> list[tuple[int, int, Any]]:
        entries = [self.awareness.entry(id) for id in ids]
        return [(e.client, e.clock, None if e.state is None else json.loads(e.state)) for e in entries]


@pytest.fixture
def room() -> Room:
    room = Room()
    room.join(ANN, BOB)
    return room


def test_a_newcomer_is_announced_as_it_was_sent(room: Room) -> None:
    assert room.say(ANN, 1, 0, {}) == [(1, 0, {})]
    assert room.say(ANN, 1, 1, {"name": "Ann"}) == [(1, 1, {"name": "Ann"})]


def test_somebody_unknown_cannot_leave(room: Room) -> None:
    assert room.say(ANN, 1, 5, None) == []


def test_echoes_change_nothing_and_hold_nothing(room: Room) -> None:
    room.say(ANN, 1, 1, {"name": "Ann"})
    assert room.say(BOB, 1, 1, {"name": "Ann"}) == []
    assert room.say(BOB, 1, 1, None) == []
    assert room.leave(ANN) == [(1, 1, None)]
    assert room.say(BOB, 1, 1, {"name": "Ann"}) == [], "a late echo brings nobody back"


def test_somebody_who_leaves_is_gone_at_once(room: Room) -> None:
    room.say(ANN, 1, 3, {"name": "Ann"})
    room.say(ANN, 2, 1, {"name": "Ann's tab"})
    assert sorted(room.leave(ANN)) == [(1, 3, None), (2, 1, None)]
    assert room.leave(ANN) == []
    assert room.awareness.entries() == []


def test_a_reconnect_is_seen_at_once(room: Room) -> None:
    room.say(ANN, 1, 3, {"name": "Ann"})
    room.leave(ANN)
    room.now += 1
    room.join("again")
    assert room.say("again", 1, 3, {"name": "Ann"}) == [(1, 4, {"name": "Ann"})], "the others ignore clock 3 now"


def test_a_half_open_connection_gives_way(room: Room) -> None:
    room.say(ANN, 1, 3, {"name": "Ann"})
    room.join("again")
    assert room.say("again", 1, 3, {"name": "Ann"}) == []
    assert room.leave(ANN) == [(1, 3, None)]
    assert room.say("again", 1, 4, {"name": "Ann"}) == [(1, 4, {"name": "Ann"})], "what a client answers to that"


def test_null_and_back(room: Room) -> None:
    room.say(ANN, 1, 1, {"a": 1})
    assert room.say(ANN, 1, 2, None) == [(1, 2, None)]
    assert room.say(ANN, 1, 3, {"a": 2}) == [(1, 3, {"a": 2})]
    assert room.say(ANN, 1, 2, None) == []


def test_a_sole_holder_that_is_behind_is_raised(room: Room) -> None:
    room.say(ANN, 1, 5, {"a": 1})
    assert room.say(ANN, 1, 5, {"a": 2}) == [(1, 6, {"a": 2})]
    assert room.say(ANN, 1, 2, {"a": 3}) == [(1, 7, {"a": 3})]


def test_one_of_several_holders_is_never_raised(room: Room) -> None:
    room.join(TAB)
    room.say(ANN, 1, 5, {"a": 1})
    assert room.say(TAB, 1, 6, {"a": 2}) == [(1, 6, {"a": 2})]
    assert room.say(ANN, 1, 5, {"a": 1}) == [], "a late copy must not jump back for ever"
    assert room.leave(TAB) == []
    assert room.leave(ANN) == [(1, 6, None)]


def test_nobody_speaks_for_another_user() -> None:
    room = Room()
    room.join(ANN, user="ann")
    room.join(BOB, user="bob")
    room.say(ANN, 1, 1, {"name": "Ann"})
    assert room.say(BOB, 1, 9, {"name": "not Ann"}) == []
    assert room.say(BOB, 1, 9, None) == []


def test_the_same_value_in_other_words_is_the_same() -> None:
    room = Room()
    room.join(ANN)
    entry = AwarenessEntry(1, 1, b'{"a": 1, "b": 2.0}')
    room.awareness.receive(ANN, [entry], room.now)
    again = AwarenessEntry(1, 1, b'{"b":2,"a":1.0}')
    assert room.awareness.receive(ANN, [again], room.now) == []
    assert room.awareness.entry(1).state == entry.state, "kept exactly as it was sent"


@pytest.mark.parametrize(
    "state", [b"", b"[1]", b"1", b'"x"', b"{", b'{"a": NaN}', b'{"a": 1e999}', b"\xff", b"[" * 9999]
)
def test_states_that_are_none_are_dropped(room: Room, state: bytes) -> None:
    assert room.awareness.receive(ANN, [AwarenessEntry(1, 1, state)], room.now) == []
    assert len(room.awareness) == 0


def test_limits_drop_what_is_too_much() -> None:
    room = Room(ids_max=2, entry_max_bytes=20, total_max_bytes=30)
    room.join(ANN, BOB)
    assert room.say(ANN, 1, 1, {"a": "x" * 20}) == []
    assert room.say(ANN, 1, 1, {"a": "x"}) != []
    assert room.say(ANN, 2, 1, {"a": "x"}) != []
    assert room.say(ANN, 3, 1, {"a": "x"}) == []
    assert room.say(BOB, 4, 1, {"a": "xxxxxxxx"}) == []
    room.leave(ANN)
    assert room.say(BOB, 4, 1, {"a": "xxxxxxxx"}) != []


def test_who_is_not_renewed_expires(room: Room) -> None:
    room.say(ANN, 1, 1, {"a": 1})
    room.say(BOB, 2, 1, {"b": 1})
    room.now += 20
    assert room.say(BOB, 2, 1, {"b": 1}) == [], "a renewal without a change is no news"
    room.now += 10
    assert room.awareness.expire(room.now) == {1: frozenset({ANN})}
    assert [entry.client for entry in room.awareness.entries()] == [2]
    assert room.say(ANN, 1, 1, {"a": 1}) == [(1, 2, {"a": 1})], "a throttled tab comes back"


def test_two_who_disagree_do_not_answer_each_other_for_ever(room: Room) -> None:
    room.say(ANN, 1, 1, {"n": -1})
    raised = sum(bool(room.say(ANN, 1, 1, {"n": n})) for n in range(50))
    assert raised == RAISES_PER_S
    room.now += 1
    assert room.say(ANN, 1, 1, {"n": 99}) != []


def test_only_so_many_who_have_gone_are_remembered() -> None:
    room = Room(remembered_max=10)
    for number in range(50):
        room.join(f"{number}")
        room.say(f"{number}", number, 1, {"n": number})
        room.now += 1
        room.leave(f"{number}")
    with pytest.raises(KeyError):
        room.awareness.entry(0)
    assert room.awareness.entry(49).state is None


class Client:
    """What a Yjs client does with the entries that it gets (protocols, section 4.2)."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.seen: dict[int, tuple[int, Any]] = {}

    def hear(self, client: int, clock: int, state: Any) -> None:
        known, held = self.seen.get(client, (0, None))
        if clock > known or (clock == known and state is None and held is not None):
            self.seen[client] = (clock, state)


@given(st.lists(st.tuples(st.sampled_from(["set", "null", "drop", "echo"]), st.integers(0, 2)), max_size=40))
def test_everybody_ends_up_seeing_what_everybody_shows(steps: list[tuple[str, int]]) -> None:
    room, clients = Room(), [Client(n) for n in range(3)]
    shown: list[tuple[int, Any]] = [(0, None)] * 3  # clock and state of each client, as it knows itself
    connection = [f"{n}" for n in range(3)]
    room.join(*connection)

    def deliver(told: list[tuple[int, int, Any]]) -> None:
        for client, clock, state in told:
            for other in clients:
                other.hear(client, clock, state)
            if clock > shown[client][0]:
                shown[client] = (clock, state)  # a client whose clock was raised adopts it

    for number, (step, who) in enumerate(steps):
        room.now += 1
        clock = shown[who][0] + 1
        if step == "set":
            shown[who] = (clock, {"n": number})
            deliver(room.say(connection[who], who, *shown[who]))
        elif step == "null":
            shown[who] = (clock, None)
            deliver(room.say(connection[who], who, clock, None))
        elif step == "drop":
            deliver(room.leave(connection[who]))
            connection[who] = f"{who} again {number}"
            room.now += 1
            room.join(connection[who])
            if shown[who][1] is not None:
                deliver(room.say(connection[who], who, *shown[who]))
        else:
            for client, (known, state) in tuple(clients[who].seen.items()):
                if client != who:
                    deliver(room.say(connection[who], client, known, state))
    for client in clients:
        for id, (_, state) in enumerate(shown):
            if id != client.id:
                assert client.seen.get(id, (0, None))[1] == state
