"""The connections of one node, by id and by user."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol

from roomful.model.order import ConnectionOrder, DisconnectOrder
from roomful.rooms.revoked import Revoked


class Member(Protocol):
    """What the directory knows of a session."""

    client: str
    user: str
    secret: str
    """The session id of HTTP transports, "" on WebSocket."""
    validated_at: float
    """When its right to be here was looked at last; the wheel's clock."""

    @property
    def kind(self) -> str:
        """Of its transport."""
        ...

    @property
    def queued_bytes(self) -> int:
        """What waits for its client to read."""
        ...

    @property
    def owed_bytes(self) -> int:
        """Of that, what has waited for longer than a turn: its part of the node's backlog."""
        ...

    def watch_in(self, channel: str) -> int:
        """Somebody traces its user's deliveries in that channel, or in all if it is "": its subscriptions are to tell
        the node's tracer. How many these are."""
        ...

    @property
    def tokens(self) -> Collection[str]:
        """The ids of the tokens that it was let in with."""
        ...

    def review(self, revoked: Revoked, rooms: Collection[str]) -> None:
        """Ends itself, or a part of itself, if it has lost the right to be there. rooms: those that were revoked just
        now, for whoever is in them. Never raises."""
        ...

    def obey(self, order: ConnectionOrder) -> None:
        """Does what the order says. Never raises."""
        ...

    def end(self, code: int, reason: str) -> None:
        """Closes the connection. Never raises."""
        ...


class Directory:
    """Every connection that said `connect` successfully and hasn't gone."""

    __slots__ = ("_by_client", "_by_user")

    def __init__(self) -> None:
        self._by_client: dict[str, Member] = {}
        self._by_user: dict[str, dict[Member, None]] = {}

    def add(self, member: Member) -> None:
        self._by_client[member.client] = member
        self._by_user.setdefault(member.user, {})[member] = None

    def remove(self, member: Member) -> None:
        """Nothing happens if it isn't there."""
        if self._by_client.pop(member.client, None) is None:
            return
        members = self._by_user[member.user]
        del members[member]
        if not members:
            del self._by_user[member.user]

    def of_user(self, user: str) -> Collection[Member]:
        """All connections of a user; those of all anonymous ones for ""."""
        return self._by_user.get(user, {})

    def addressed(self, order: ConnectionOrder) -> Iterator[Member]:
        """Whom an order means."""
        spared = order.whitelist if isinstance(order, DisconnectOrder) else ()
        for member in tuple(self.of_user(order.user)):
            if order.client and member.client != order.client:
                continue
            if order.session and member.secret != order.session:
                continue
            if member.client not in spared:
                yield member

    def __len__(self) -> int:
        return len(self._by_client)

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._by_client.values()))

    @property
    def users(self) -> int:
        """Distinct user ids; all anonymous connections count as one."""
        return len(self._by_user)
