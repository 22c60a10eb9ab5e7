"""Entries of many nodes make one roster, whatever happens in whichever order: each change is told once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.model.client import ClientInfo, person_of
from roomful.rooms.attendance import Attendance
from roomful.rooms.people import Buried, Custom, Entry, Fact, Person, Roster, Status, merged

NOW = 1_700_000_000.0
NODES = ("a", "b", "c")


def entry(node: str, status: Status = "online", user: str = "ann", life: int = 1, **given: Any) -> Entry:
    return Entry(node, life, user, status, given.pop("since", NOW), **given)


class Looker:
    """Who is told of changes, and knows nothing else. Fails when it is told what it knows."""

    def __init__(self) -> None:
        self.roster = Roster()
        self.seen: dict[str, str] = {}
        self.gone = 0

    def hear(self, facts: Iterable[Fact]) -> None:
        changes = self.roster.apply(facts)
        assert len({change.user for change in changes}) == len(changes)
        for change in changes:
            assert self.seen.get(change.user, "gone") != change.status, change
            if change.status == "gone":
                del self.seen[change.user]
                self.gone += 1
            else:
                self.seen[change.user] = change.status
        counts = [list(self.seen.values()).count(status) for status in ("online", "away")]
        assert [self.roster.online, self.roster.away] == counts


steps = st.lists(
    st.tuples(
        st.sampled_from(NODES),
        st.sampled_from(["join", "join", "clean", "lost"]),
        st.sampled_from(["ann", "bob", ""]),
        st.sampled_from([0.0, 0.1, 0.3, 1.0, 10.0, 40.0]),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_19_whatever_happens_everybody_sees_the_same_people_and_each_change_once(
    happening: list[tuple[str, str, str, float, bool]],
) -> None:
    now, looker, late = NOW, Looker(), Looker()
    nodes = {node: Attendance(node) for node in NODES}
    open_: dict[str, list[ClientInfo]] = {node: [] for node in NODES}
    told: list[Fact] = []

    def tell(node: str, life: int = 1) -> None:
        facts = nodes[node].take(life, now).entries
        told.extend(facts)
        looker.hear(facts)

    def online(among: Iterable[str]) -> dict[str, str]:
        return {person_of(info): "online" for node in among for info in open_[node]}

    for number, (node, what, user, seconds, ticks) in enumerate(happening):
        now += seconds
        if what == "join":
            open_[node].append(ClientInfo(user, f"c{number}"))
            nodes[node].join(open_[node][-1], b"", now)
        elif open_[node]:
            nodes[node].leave(open_[node].pop(0), what == "clean", now, now)
        if ticks:
            tell(node)
    for seconds in (5.0, 200.0):
        now += seconds
        for node in NODES:
            tell(node)
    assert looker.seen == online(NODES)
    # All at once comes to the same, for whoever reads the log.
    late.hear(told)
    assert late.seen == looker.seen

    # One dies: its people are away, and gone with one leave after the grace, but for those who are elsewhere.
    lost, leaves = looker.roster.of("a"), looker.gone
    alone = online("a").keys() - online("bc").keys()
    for each in lost:
        nodes["b"].adopt(each, now, now + 30.0, now)
    looker.hear([*nodes["b"].take(1, now).entries, Buried("a", 1)])
    assert looker.seen == online("bc") | dict.fromkeys(alone, "away")
    looker.hear(lost)  # it wasn't dead, it was stopped, and goes on with what it was about to say
    assert looker.seen == online("bc") | dict.fromkeys(alone, "away")
    now += 31.0
    tell("b")
    assert (looker.seen, looker.gone) == (online("bc"), leaves + len(alone))
    # It begins anew.
    nodes["a"].again(now)
    tell("a", life=2)
    assert looker.seen == online(NODES)


def test_a_person_is_online_if_it_is_anywhere() -> None:
    person = merged([entry("a", "away", until=NOW + 9, seen=NOW), entry("b", since=NOW + 3, info=b'{"name":"Ann"}')])
    assert person == Person("ann", "online", NOW + 3, info=msgspec.Raw(b'{"name":"Ann"}'))
    assert merged([entry("a", "away", seen=NOW - 5)]) == Person("ann", "away", NOW, NOW - 5)
    assert merged([]) is None
    assert merged([entry("a", "gone")]) is None


def test_the_newest_word_of_oneself_counts_wherever_it_was_said() -> None:
    older, newer = Custom(b'"busy"', NOW), Custom(b'"back"', NOW + 1)
    roster = Roster([entry("a", custom=newer), entry("b", custom=older), entry("c")])
    assert [person.custom for person in roster.people()] == [msgspec.Raw(b'"back"')]
    assert roster.custom("ann") == newer
    assert roster.custom("bob") is None
    taken_back = merged([entry("a", custom=newer), entry("b", custom=Custom(b"null", NOW + 2))])
    assert taken_back is not None
    assert taken_back.custom is msgspec.UNSET


def test_what_is_said_twice_is_told_once() -> None:
    roster = Roster()
    facts = [entry("a", info=b"1")]
    assert [person.status for person in roster.apply(facts)] == ["online"]
    assert roster.apply(facts) == []
    assert roster.apply([entry("b", info=b"1")]) == []
    assert [person.info for person in roster.apply([entry("b", info=b"2", since=NOW + 1)])] == [msgspec.Raw(b"2")]
    assert roster.apply([entry("a", "gone")]) == []
    assert [person.status for person in roster.apply([entry("b", "gone")])] == ["gone"]
    assert roster.apply([entry("b", "gone")]) == []
    assert len(roster) == 0
    assert list(roster.nodes) == []


def test_the_dead_are_not_heard_any_more() -> None:
    roster = Roster([entry("a", life=3)])
    assert [person.status for person in roster.apply([Buried("a", 3)])] == ["gone"]
    assert roster.apply([entry("a", life=3), entry("a", life=2)]) == []
    assert [person.status for person in roster.apply([entry("a", life=4), Buried("a", 3)])] == ["online"]
    assert roster.apply([entry("a", "gone", life=3)]) == []


def test_a_large_room_shows_some_and_counts_all() -> None:
    roster = Roster(shown_max=3)
    changes = roster.apply([entry("a", user=f"u{number}") for number in range(10)])
    assert ([person.user for person in changes], roster.online, len(roster)) == (["u0", "u1", "u2"], 10, 10)
    assert roster.apply([entry("a", "away", user="u7")]) == []
    assert (roster.online, roster.away) == (9, 1)
    changes = roster.apply([entry("a", "gone", user="u1")])
    assert [(person.user, person.status) for person in changes] == [("u1", "gone"), ("u3", "online")]
    assert {person.user for person in roster.people()} == {"u0", "u2", "u3"}
    assert (len(roster.some(None)), len(roster.some(5)), roster.some(0)) == (9, 5, [])


@pytest.mark.parametrize("fact", [entry("a", custom=Custom(b"{}", NOW), info=b"\x00\xff"), Buried("a", 7)])
def test_facts_travel_as_bytes(fact: Fact) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([fact]), type=list[Fact]) == [fact]
