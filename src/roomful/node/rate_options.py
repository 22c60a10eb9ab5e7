"""The `[limits.rates]` tables: how often, by whom, for each command. Nothing is limited unless it is written there."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class RoomRates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all clients in one room may do together.

    subscribe: subscriptions to a channel; of a room also those that a connect or an event stream asks for.
    publish: publications. presence: questions for presence or its counts. history: questions for history.
    open: openings of a document.
    """

    subscribe: str | None = None
    publish: str | None = None
    presence: str | None = None
    history: str | None = None
    open: str | None = None


class ConnectionRates(RoomRates, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one connection may do.

    unsubscribe: ends of subscriptions. SDKs connect anew when one is refused: only against floods.
    rpc: calls. send: messages without answer. refresh: new tokens, of the connection and of subscriptions.
    edit: changes of documents. sync: questions for all that a document, or its awareness, has. awareness: moves of
    cursors and the like. stateless: messages of Hocuspocus applications.
    """

    unsubscribe: str | None = None
    rpc: str | None = None
    send: str | None = None
    refresh: str | None = None
    edit: str | None = None
    sync: str | None = None
    awareness: str | None = None
    stateless: str | None = None


class VisitorRates(ConnectionRates, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one user, or one address, may do on all connections together.

    connect: connections that want to be let in, event streams too. poll: polls.
    """

    connect: str | None = None
    poll: str | None = None


class RateOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """connection: one connection. user: a user id over all connections; an anonymous connection is its own user.
    address: an IPv4 address, or an IPv6 network of 64 bits. room: a channel or a document, whoever it is that asks."""

    connection: ConnectionRates = ConnectionRates()
    user: VisitorRates = VisitorRates()
    address: VisitorRates = VisitorRates()
    room: RoomRates = RoomRates()

    def configured(self) -> Iterator[tuple[str, str, str]]:
        """By whom, which command, how often: what somebody has written."""
        for by in self.__struct_fields__:
            table: RoomRates = getattr(self, by)
            for command in table.__struct_fields__:
                rate = getattr(table, command)
                if rate is not None:
                    yield by, command, rate
