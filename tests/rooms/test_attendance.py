"""What one node has to say of its people: what is over within a tick isn't said, and everything else once."""

from __future__ import annotations

from roomful.model.client import ClientInfo
from roomful.rooms.attendance import GRACE_S, LARGE, LARGE_TICK_S, TICK_S, Attendance
from roomful.rooms.people import Custom, Entry

NOW = 1_700_000_000.0
A1, A2, NOBODY = ClientInfo("ann", "a1"), ClientInfo("ann", "a2"), ClientInfo("", "n1")


def said(attendance: Attendance, now: float) -> list[tuple[str, str]]:
    return [(entry.user, entry.status) for entry in attendance.take(1, now).entries]


def here(*infos: ClientInfo) -> Attendance:
    """A node on which these are online, and everybody knows."""
    attendance = Attendance("n")
    for info in infos:
        attendance.join(info, b"", NOW - 10.0)
    attendance.take(1, NOW - 5.0)
    return attendance


def test_a_person_comes_with_its_first_connection_and_goes_with_its_last() -> None:
    attendance = Attendance("n")
    assert attendance.join(A1, b"{}", NOW) == NOW + TICK_S
    assert attendance.join(A2, b"{}", NOW) is None
    assert said(attendance, NOW) == []
    assert said(attendance, NOW + TICK_S) == [("ann", "online")]
    assert attendance.leave(A1, True, NOW, NOW) is None
    assert attendance.leave(A2, True, NOW + 1, NOW + 1) == NOW + 1 + TICK_S
    taken = attendance.take(1, NOW + 2)
    assert [(entry.user, entry.status) for entry in taken.entries] == [("ann", "gone")]
    assert taken.left == ["ann"]
    assert len(attendance) == 0
    assert attendance.next_at() is None


def test_who_was_lost_is_away_at_once_and_gone_after_the_grace() -> None:
    attendance = here(A1)
    assert attendance.leave(A1, False, NOW, NOW) == NOW + LARGE_TICK_S + TICK_S
    assert said(attendance, NOW + LARGE_TICK_S + TICK_S) == [("ann", "away")]
    assert attendance.next_at() == NOW + GRACE_S
    assert said(attendance, NOW + GRACE_S - 0.1) == []
    assert said(attendance, NOW + GRACE_S) == [("ann", "gone")]


def test_a_page_that_reloads_is_never_seen_to_go() -> None:
    attendance = here(A1)
    attendance.leave(A1, False, NOW, NOW)
    attendance.join(A2, b"", NOW + 0.5)
    assert said(attendance, NOW + 5) == []
    entry = attendance.entry("ann", 1, NOW + 5)
    assert entry is not None
    assert entry.since == NOW - 10.0


def test_who_comes_and_goes_within_a_tick_was_never_here() -> None:
    attendance = Attendance("n")
    attendance.join(A1, b"", NOW)
    attendance.leave(A1, True, NOW, NOW)
    taken = attendance.take(1, NOW + 1)
    assert (taken.entries, taken.left) == ([], ["ann"])


def test_an_anonymous_person_has_no_grace() -> None:
    attendance = here(NOBODY)
    attendance.leave(NOBODY, False, NOW, NOW)
    assert said(attendance, NOW + 1) == [("~n1", "gone")]


def test_the_last_sign_of_life_may_be_long_ago() -> None:
    attendance = here(A1)
    attendance.leave(A1, False, NOW - GRACE_S, NOW)
    assert said(attendance, NOW + 1) == [("ann", "gone")]


def test_the_lost_of_another_node_are_adopted_unless_they_are_here() -> None:
    attendance = here(A1)
    lost = [Entry("dead", 1, user, "online", NOW, info=b"1") for user in ("ann", "bob", "cid")]
    assert [attendance.adopt(entry, NOW - 45, NOW + 30, NOW) for entry in lost] == [None, NOW, NOW]
    assert attendance.adopt(Entry("dead", 1, "dan", "away", NOW), NOW - 80, NOW - 5, NOW) is None
    assert said(attendance, NOW) == [("bob", "away"), ("cid", "away")]
    attendance.join(ClientInfo("bob", "b1"), b"", NOW + 1)
    assert said(attendance, NOW + 31) == [("bob", "online"), ("cid", "gone")]


def test_in_a_large_room_what_happens_is_told_once_a_second() -> None:
    attendance = Attendance("n")
    for number in range(LARGE):
        assert attendance.join(ClientInfo(f"u{number}", f"c{number}"), b"", NOW) == NOW + TICK_S
    attendance.take(1, NOW + TICK_S)
    later = [attendance.join(ClientInfo("ann", f"a{number}"), b"", NOW + 1.0 + number / 10) for number in range(9)]
    assert later == [NOW + 2.0, *[None] * 8]
    assert attendance.join(ClientInfo("bob", "b1"), b"", NOW + 1.9) == NOW + 2.0


def test_the_newest_word_of_oneself_counts() -> None:
    attendance = here(A1)
    assert attendance.customize("bob", Custom(b'"busy"', NOW), NOW) is None
    assert attendance.customize("ann", Custom(b'"busy"', NOW), NOW) == NOW + TICK_S
    assert attendance.customize("ann", Custom(b'"late"', NOW - 1), NOW) is None
    assert [entry.custom for entry in attendance.take(1, NOW + 1).entries] == [Custom(b'"busy"', NOW)]
    assert said(attendance, NOW + 2) == []


def test_a_new_life_tells_everybody_anew() -> None:
    attendance = here(A1, NOBODY)
    attendance.again(NOW)
    assert [(entry.user, entry.life) for entry in attendance.take(2, NOW).entries] == [("ann", 2), ("~n1", 2)]
    assert {entry.user for entry in attendance.told()} == {"ann", "~n1"}


def test_who_left_between_two_lives_is_taken_out_in_the_second() -> None:
    attendance = here(A1)
    attendance.leave(A1, True, NOW, NOW)
    attendance.again(NOW + 1)
    assert [(entry.user, entry.status, entry.life) for entry in attendance.take(2, NOW + 1).entries] == [
        ("ann", "gone", 2)
    ]


def test_a_hurry_ends_ticks_but_no_grace() -> None:
    attendance = here(A1)
    attendance.leave(A1, False, NOW, NOW)
    attendance.hurry(NOW)
    assert said(attendance, NOW) == [("ann", "away")]
    attendance.hurry(NOW)
    assert said(attendance, NOW) == []
