"""The life of a connection as a table: which commands it may send when."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from roomful.model import command as c


class State(Enum):
    OPENED = auto()
    CONNECTED = auto()
    REFUSED = auto()
    CLOSED = auto()


ALLOWED: Mapping[State, frozenset[type]] = {
    State.OPENED: frozenset({c.Connect}),
    State.CONNECTED: frozenset(
        {
            c.Subscribe,
            c.Unsubscribe,
            c.Publish,
            c.Presence,
            c.PresenceStats,
            c.History,
            c.Send,
            c.Rpc,
            c.Refresh,
            c.SubRefresh,
            c.Pong,
        }
    ),
    State.REFUSED: frozenset(),
    State.CLOSED: frozenset(),
}
"""Which commands a connection in which state may send; every other one ends it with 3501."""
