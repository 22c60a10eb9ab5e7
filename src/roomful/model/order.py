"""What one node tells all nodes to do with their own connections, and what it asks them.

Most orders address a user's connections; `client` or `session` narrow it to one, when not empty. It succeeds also
where none matches. Source: Centrifuge protocol, section 23.2.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from roomful.model.client import Grant
from roomful.model.publication import Position


class SubscribeOrder(msgspec.Struct, frozen=True, tag="subscribe"):
    user: str
    channel: str
    client: str = ""
    session: str = ""
    grant: Grant = Grant()
    recover_since: Position | None = None


class UnsubscribeOrder(msgspec.Struct, frozen=True, tag="unsubscribe"):
    user: str
    channel: str
    client: str = ""
    session: str = ""
    code: int = 2000
    reason: str = "server unsubscribe"


class DisconnectOrder(msgspec.Struct, frozen=True, tag="disconnect"):
    """whitelist: ids of clients that are spared."""

    user: str
    client: str = ""
    session: str = ""
    code: int = 3503
    reason: str = "force disconnect"
    whitelist: list[str] = []


class RefreshOrder(msgspec.Struct, frozen=True, tag="refresh"):
    """expired: close with 3005. expires_at: the new expiry, None for never. info: new `conn_info`, None leaves it."""

    user: str
    client: str = ""
    session: str = ""
    expired: bool = False
    expires_at: float | None = None
    info: bytes | None = None


class DocumentRightsOrder(msgspec.Struct, frozen=True, tag="document_rights"):
    """What a user's connections may do with a document from now on. rights: see `model.document.Rights`."""

    user: str
    document: str
    rights: str
    client: str = ""
    session: str = ""


class RevokeOrder(msgspec.Struct, frozen=True, tag="revoke"):
    """What was granted to somebody up to `at` counts no longer.

    kind: "user", "token" (name: its id), "session" (the id of a connection, or its session id), "room" or "document".
    at, until: seconds since 1970; after `until` it is forgotten, because every credential of before `at` has expired.
    """

    kind: str
    name: str
    at: float
    until: float


class CommandsOrder(msgspec.Struct, frozen=True, tag="commands"):
    """What a client has sent to another node than that of its session. data: a message in the session's own encoding.

    id: drawn for it. asker: the node that waits for an `Answer` of that id.
    """

    node: str
    session: str
    data: bytes
    id: str
    asker: str


class PersonStatusOrder(msgspec.Struct, frozen=True, tag="person_status"):
    """What a person says of itself in a room. user: as in `people:`. value: JSON. at: when, seconds since 1970."""

    channel: str
    user: str
    value: bytes
    at: float


class BurialOrder(msgspec.Struct, frozen=True, tag="burial"):
    """That node was taken for dead: what it has said of its people in that life, or earlier, isn't heard any more."""

    node: str
    life: int


ConnectionOrder: TypeAlias = SubscribeOrder | UnsubscribeOrder | DisconnectOrder | RefreshOrder | DocumentRightsOrder
"""What is done to connections, wherever they are."""

Order: TypeAlias = ConnectionOrder | CommandsOrder | RevokeOrder | PersonStatusOrder | BurialOrder


class Survey(msgspec.Struct, frozen=True):
    """A question to all nodes. id: drawn for it. asker: the node that collects the answers."""

    id: str
    asker: str
    question: str
    argument: bytes = b""


class Answer(msgspec.Struct, frozen=True):
    """What one node answers to a survey, or an order, of that id."""

    id: str
    node: str
    body: bytes
