"""Who is connected, by id and by user, and whom an order means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.order import ConnectionOrder, DisconnectOrder, RefreshOrder, SubscribeOrder, UnsubscribeOrder
from roomful.node.directory import Directory


class Member:
    def __init__(self, client: str, user: str, secret: str = "") -> None:
        self.client, self.user, self.secret = client, user, secret

    def obey(self, order: ConnectionOrder) -> None: ...

    def end(self, code: int, reason: str) -> None: ...


@pytest.fixture
def directory() -> Directory:
    directory = Directory()
    for client, user, secret in [
        ("1", "ann", ""),
        ("2", "ann", "s2"),
        ("3", "bob", "s3"),
        ("4", "", ""),
        ("5", "", ""),
    ]:
        directory.add(Member(client, user, secret))
    return directory


@pytest.mark.parametrize(
    ("order", "clients"),
    [
        (UnsubscribeOrder("ann", "chat"), ["1", "2"]),
        (SubscribeOrder("ann", "chat", client="2"), ["2"]),
        (SubscribeOrder("ann", "chat", client="3"), []),
        (RefreshOrder("ann", session="s2"), ["2"]),
        (RefreshOrder("ann", client="1", session="s2"), []),
        (DisconnectOrder("ann", whitelist=["1"]), ["2"]),
        (DisconnectOrder("ann", client="1", whitelist=["1"]), []),
        (DisconnectOrder("bob"), ["3"]),
        (DisconnectOrder(""), ["4", "5"]),
        (DisconnectOrder("nobody"), []),
    ],
    ids=repr,
)
def test_whom_an_order_means(directory: Directory, order: ConnectionOrder, clients: list[str]) -> None:
    assert [member.client for member in directory.addressed(order)] == clients


def test_members_may_go_while_they_are_addressed(directory: Directory) -> None:
    for member in directory.addressed(DisconnectOrder("ann")):
        directory.remove(member)
    for member in directory:
        directory.remove(member)
    assert (len(directory), directory.users) == (0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_it_knows_exactly_who_is_there(changes: list[tuple[bool, int]]) -> None:
    directory = Directory()
    members = [Member(str(number), str(number % 3)) for number in range(6)]
    there: set[Member] = set()
    for comes, number in changes:
        member = members[number]
        if comes:
            directory.add(member)
            there.add(member)
        else:
            directory.remove(member)
            there.discard(member)
        assert len(directory) == len(there)
        assert set(directory) == there
        assert directory.users == len({member.user for member in there})
        for user in "012":
            assert set(directory.of_user(user)) == {member for member in there if member.user == user}
