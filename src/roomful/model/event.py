"""What a hook gets, and what it may answer.

Each event type has one reply type (`HOOKS` in `node/hooks.py`). A hook that returns None has no opinion: token and
namespace decide. A reply object grants. An exception refuses: `Forbidden` (103, and 3507 for a connect) or any
other `RoomfulError`; `Disconnect` ends the connection.

JSON values: what a client sent as `data` is a Python object where it parses as JSON, else the bytes as sent.
"""

from __future__ import annotations

from typing import Any

import msgspec

from roomful.model.client import Override
from roomful.model.document import Rights


class Via(msgspec.Struct, frozen=True):
    """How a client is connected. transport: "websocket" …; protocol: "json" or "protobuf".

    headers: of its HTTP request, those that webhooks forward; names in lower case. No others are kept.
    """

    transport: str = ""
    protocol: str = "json"
    headers: dict[str, str] = {}


class ConnectEvent(msgspec.Struct, frozen=True):
    """A client wants in. user: as the token says, "" without one; token_claims: {} without one.

    headers: of the HTTP request, names in lower case. client_headers: what the client claims in the connect
    command, never a proof of anything. address: the client's, "" on a Unix socket. channels: those that the client
    asks the server to subscribe it to.
    """

    client: str
    user: str = ""
    token_claims: dict[str, Any] = {}
    data: Any = None
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}
    client_headers: dict[str, str] = {}
    address: str = ""
    transport: str = ""
    channels: list[str] = []
    via: Via = Via()


class SubscriptionOptions(msgspec.Struct, frozen=True):
    """One server-side subscription in a `ConnectReply`."""

    info: Any = None
    data: Any = None
    expires_at: float | None = None
    override: Override = Override()


class ConnectReply(msgspec.Struct, frozen=True):
    """Lets the client in. user None: the token's. subs: server-side subscriptions, a list or name → options.

    expires_at: seconds since 1970; with it the connection is re-validated by `RefreshEvent` at that time.
    info: shown to others as `conn_info`. data: goes to the client. meta: private, handed to later hooks.
    """

    user: str | None = None
    info: Any = None
    data: Any = None
    expires_at: float | None = None
    subs: list[str] | dict[str, SubscriptionOptions] = []
    meta: dict[str, Any] = {}


class SubscribeEvent(msgspec.Struct, frozen=True):
    """A client asks for a channel. granted: whether a valid subscription token came with it.

    facet: "typing" … when it is this facet of the channel that is asked for, else "".
    """

    client: str
    user: str
    channel: str
    data: Any = None
    granted: bool = False
    token_claims: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    via: Via = Via()
    facet: str = ""


class SubscribeReply(msgspec.Struct, frozen=True):
    """Grants the channel. expires_at: then `SubRefreshEvent` renews it. info: `chan_info`; data: for the client."""

    info: Any = None
    data: Any = None
    expires_at: float | None = None
    override: Override = Override()


class PublishEvent(msgspec.Struct, frozen=True):
    """A client publishes."""

    client: str
    user: str
    channel: str
    data: Any
    meta: dict[str, Any] = {}
    via: Via = Via()


class PublishReply(msgspec.Struct, frozen=True):
    """Grants the publication. data: replaces the payload; None leaves it. tags: go along. exclude: client ids.

    skip_history: only whoever is there now gets it; the log never has it.
    """

    data: Any = None
    tags: dict[str, str] | None = None
    exclude: frozenset[str] = frozenset()
    skip_history: bool = False


class RpcEvent(msgspec.Struct, frozen=True):
    """A client calls a method."""

    client: str
    user: str
    method: str
    data: Any = None
    meta: dict[str, Any] = {}
    via: Via = Via()


class RpcReply(msgspec.Struct, frozen=True):
    """What the method returns."""

    data: Any = None


class ServerRpcEvent(msgspec.Struct, frozen=True):
    """A backend calls a method over `/api/rpc` with an API key; no client is behind it. Answered by `RpcReply`."""

    method: str
    data: Any = None


class RefreshEvent(msgspec.Struct, frozen=True):
    """A connection that a hook let in with `expires_at` has reached that time.

    periodic: it hasn't; the hook is asked about every connection each `[connection] revalidate_s`. Then no opinion
    leaves it as it is, and Forbidden ends it (4503).
    """

    client: str
    user: str
    meta: dict[str, Any] = {}
    via: Via = Via()
    periodic: bool = False


class RefreshReply(msgspec.Struct, frozen=True):
    """Renews the connection; `expires_at=None` for ever. info: a new `conn_info`; None leaves it.

    To a periodic question a new `expires_at` counts only where a hook has set one before, None leaves it, and one that
    has passed ends the connection.
    """

    expires_at: float | None = None
    info: Any = None


class SubRefreshEvent(msgspec.Struct, frozen=True):
    """A subscription that a hook granted with `expires_at` has reached that time."""

    client: str
    user: str
    channel: str
    meta: dict[str, Any] = {}
    via: Via = Via()


class SubRefreshReply(msgspec.Struct, frozen=True):
    """Renews the subscription; `expires_at=None` for ever. info: a new `chan_info`; None leaves it."""

    expires_at: float | None = None
    info: Any = None


class MessageEvent(msgspec.Struct, frozen=True):
    """A client sent a message that expects no answer."""

    client: str
    user: str
    data: Any
    meta: dict[str, Any] = {}


class UnsubscribeEvent(msgspec.Struct, frozen=True):
    """A subscription ended. code 0: the client wanted it; 1: its connection closed; else the unsubscribe code."""

    client: str
    user: str
    channel: str
    code: int
    reason: str
    meta: dict[str, Any] = {}


class DisconnectEvent(msgspec.Struct, frozen=True):
    """A connection is gone, also one that was refused: exactly one for each that `ConnectEvent` was about."""

    client: str
    user: str
    code: int
    reason: str
    meta: dict[str, Any] = {}


class DocumentOpenEvent(msgspec.Struct, frozen=True):
    """A client wants a document, or presents a new token for one that it has open. user: as the token says, "" without.

    client: the connection's id. headers, query: of the HTTP request. provider: version of a Hocuspocus provider, which
    it tells from 4 on, else "". wire: "y-websocket" or "hocuspocus".
    """

    document: str
    user: str = ""
    token_claims: dict[str, Any] = {}
    client: str = ""
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    address: str = ""
    wire: str = ""
    provider: str = ""


class DocumentOpenReply(msgspec.Struct, frozen=True):
    """Decides what the client may do. user None: the token's. expires_at: seconds since 1970, asked for again then."""

    rights: Rights = Rights.WRITE
    user: str | None = None
    expires_at: float | None = None


class DocumentCloseEvent(msgspec.Struct, frozen=True):
    """A client that had the document open has left it."""

    document: str
    user: str
    client: str


class DocumentLoadEvent(msgspec.Struct, frozen=True):
    """A document that isn't in the store is opened for the first time."""

    document: str


class DocumentLoadReply(msgspec.Struct, frozen=True):
    """What it begins with: an update (Yjs format v1), stored before anybody sees it."""

    update: bytes


class DocumentChangeEvent(msgspec.Struct, frozen=True):
    """Edits to a document were stored on this node. updates: in their order. users: who made them, "" anonymous."""

    document: str
    updates: list[bytes]
    users: list[str]


class DocumentStoreEvent(msgspec.Struct, frozen=True):
    """A document was edited and is quiet now, or has been edited for a while: time to derive something from it.

    update: the whole document. On one node at a time, the one that has the lease.
    """

    document: str
    update: bytes


class DocumentUnloadEvent(msgspec.Struct, frozen=True):
    """Nobody uses the document on this node any more."""

    document: str


class AwarenessEvent(msgspec.Struct, frozen=True):
    """The awareness of a document has changed. states: of the clients that changed, None where one is gone."""

    document: str
    states: dict[int, Any]


class StatelessEvent(msgspec.Struct, frozen=True):
    """A client sent a message that is no part of the document (Hocuspocus)."""

    document: str
    user: str
    client: str
    payload: str


class StatelessReply(msgspec.Struct, frozen=True):
    """payload: goes back to the sender, None for nothing. broadcast: goes to all who have the document open."""

    payload: str | None = None
    broadcast: str | None = None


class ForeignHistoryEvent(msgspec.Struct, frozen=True):
    """A client held another history of the document, was refused, and what it held was kept under this id."""

    document: str
    user: str
    client: str
    rescue: int
