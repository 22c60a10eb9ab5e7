"""What the server API is asked and answers, as JSON. Source: Centrifuge protocol, section 23.

A null counts as absent, but for a publication's `data`, where it is a value. A field that isn't here is an error: a
misspelled one must not be lost silently. Empty fields of results are left out, but for those without a default here.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from roomful.model.client import ClientInfo as SeenClient
from roomful.model.client import Override
from roomful.model.errors import BadRequest
from roomful.model.publication import Position
from roomful.model.publication import Publication as KeptPublication
from roomful.node.node import NodeInfo
from roomful.rooms.document_content import Operation
from roomful.rooms.people import Person as SeenPerson
from roomful.seams.store import Described, Rescue

Payload: TypeAlias = Raw | UnsetType
"""JSON as it was written, or nothing."""

Channel: TypeAlias = Annotated[str, Meta(min_length=1)]
Uint: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Int32: TypeAlias = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Time: TypeAlias = Annotated[int, Meta(ge=0, le=2**53, description="Seconds since 1970; 0: never.")]
Base64: TypeAlias = Annotated[str, Meta(description="Base64 of the bytes; takes precedence over the JSON field.")]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every request has: nothing."""


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every result has: nothing."""


class Error(Result, frozen=True):
    """Why it wasn't done. code: 100 internal, 102 unknown channel, 104 not found, 107 bad request, 108 not available,
    112 unrecoverable position, or one of the application's own."""

    code: int
    message: str


class Empty(Result, frozen=True):
    """Done."""


# Publishing


class Publishing(Request, frozen=True, kw_only=True):
    data: Annotated[Payload, Meta(description="Any JSON value; this or b64data.")] = UNSET
    b64data: Base64 | None = None
    tags: dict[str, str] | None = None
    idempotency_key: Annotated[str, Meta(description="The same key in a channel publishes once.")] | None = None
    skip_history: Annotated[bool, Meta(description="Only whoever is there now gets it.")] | None = None
    delta: Annotated[bool, Meta(description="Accepted; whether deltas are sent, the namespace says.")] | None = None
    exclude: Annotated[list[str], Meta(description="Ids of clients that don't get it, live or later.")] | None = None

    def payload(self) -> bytes:
        """Raises BadRequest when there is none."""
        if self.b64data is None and self.data is UNSET:
            raise BadRequest("data or b64data is missing")
        return _bytes(self.data, self.b64data)


class PublishRequest(Publishing, frozen=True, kw_only=True):
    """Publishes to a channel."""

    channel: Channel


class BroadcastRequest(Publishing, frozen=True, kw_only=True):
    """Publishes the same to several channels."""

    channels: list[str]


class PublishResult(Result, frozen=True):
    """Where it stands in the channel's stream; empty in a channel without history."""

    offset: int = 0
    epoch: str = ""

    @classmethod
    def of(cls, position: Position | None) -> PublishResult:
        return cls() if position is None else cls(position.offset, position.epoch)


class BroadcastResponse(Result, frozen=True):
    result: PublishResult | UnsetType = UNSET
    error: Error | UnsetType = UNSET


class BroadcastResult(Result, frozen=True):
    """What came of each channel, in the order of the request."""

    responses: list[BroadcastResponse]


# Connections


class Addressed(Request, frozen=True, kw_only=True):
    user: Annotated[str, Meta(description='Whose connections; "" for the anonymous ones.')]
    client: Annotated[str, Meta(description="Only the connection with this id.")] | None = None
    session: Annotated[str, Meta(description="Only the connection with this session id.")] | None = None


class StreamPosition(Request, frozen=True, kw_only=True):
    """A place in a channel's stream."""

    offset: Uint | None = None
    epoch: str | None = None

    @staticmethod
    def meant(words: StreamPosition | None) -> Position | None:
        return None if words is None else Position(words.epoch or "", words.offset or 0)


class Switch(Request, frozen=True, kw_only=True):
    value: bool = False


class OverrideWords(Request, frozen=True, kw_only=True):
    """Settings in place of the namespace's."""

    presence: Switch | None = None
    join_leave: Switch | None = None
    force_push_join_leave: Switch | None = None
    force_recovery: Switch | None = None
    force_positioning: Switch | None = None

    def override(self) -> Override:
        switches = {name: getattr(self, name) for name in self.__struct_fields__}
        return Override(**{name: switch.value for name, switch in switches.items() if switch is not None})


class SubscribeRequest(Addressed, frozen=True, kw_only=True):
    """Subscribes a user's connections to a channel."""

    channel: Channel
    info: Annotated[Payload, Meta(description="What others see of it in this channel.")] = UNSET
    b64info: Base64 | None = None
    data: Annotated[Payload, Meta(description="Goes to the client with its subscription.")] = UNSET
    b64data: Base64 | None = None
    expire_at: Time | None = None
    recover_since: StreamPosition | None = None
    override: OverrideWords | None = None


class UnsubscribeRequest(Addressed, frozen=True, kw_only=True):
    """Ends subscriptions of a user's connections."""

    channel: Annotated[str, Meta(description='Which channel; "" for all of them.')]


class DisconnectWords(Request, frozen=True, kw_only=True):
    """How a connection is closed. 0 and "": the default, 3503 "force disconnect"."""

    code: Annotated[int, Meta(description="3000–4999; from 3500 and from 4500 on the client doesn't come back.")] = 0
    reason: Annotated[str, Meta(description="1 to 123 bytes.")] = ""


class DisconnectRequest(Addressed, frozen=True, kw_only=True):
    """Closes a user's connections."""

    whitelist: Annotated[list[str], Meta(description="Ids of clients that are spared.")] | None = None
    disconnect: DisconnectWords | None = None


class RefreshRequest(Addressed, frozen=True, kw_only=True):
    """Gives a user's connections a new expiry."""

    expired: Annotated[bool, Meta(description="Close them with 3005 instead.")] | None = None
    expire_at: Time | None = None
    info: Annotated[Payload, Meta(description="New connection info.")] = UNSET
    b64info: Base64 | None = None


class RevokeRequest(Request, frozen=True, kw_only=True):
    """Takes back what was granted until now: of a user, a session, a token, in a room or a document. Say one."""

    user: Annotated[str, Meta(description="Every token of this user that was issued by now.")] | None = None
    session: Annotated[str, Meta(description="The connection of this client or session id, and its token.")] | None = (
        None
    )
    token: Annotated[str, Meta(description="The token with this `jti`.")] | None = None
    room: Annotated[str, Meta(description="Everybody's access to this channel that was granted by now.")] | None = None
    document: Annotated[str, Meta(description="The same for a document.")] | None = None
    keep_s: (
        Annotated[float, Meta(gt=0, description="How long tokens are refused; by default as configured.")] | None
    ) = None


# Channels


class PresenceRequest(Request, frozen=True, kw_only=True):
    """Asks who is in a channel."""

    channel: Channel


class ClientInfo(Result, frozen=True):
    """A connection, as others see it. What isn't JSON comes in base64."""

    user: str
    client: str
    conn_info: Payload = UNSET
    chan_info: Payload = UNSET
    b64conn_info: str | UnsetType = UNSET
    b64chan_info: str | UnsetType = UNSET

    @classmethod
    def of(cls, info: SeenClient) -> ClientInfo:
        conn_info, b64conn_info = _spelled(info.conn_info)
        chan_info, b64chan_info = _spelled(info.chan_info)
        return cls(info.user, info.client, conn_info, chan_info, b64conn_info, b64chan_info)


class PresenceResult(Result, frozen=True):
    """Who is in the channel, by client id."""

    presence: dict[str, ClientInfo]


class PresenceStatsRequest(Request, frozen=True, kw_only=True):
    """Asks how many are in a channel."""

    channel: Channel


class PresenceStatsResult(Result, frozen=True):
    """How many connections and how many users."""

    num_clients: int
    num_users: int


class HistoryRequest(Request, frozen=True, kw_only=True):
    """Asks for publications of a channel, or only for the position of its newest."""

    channel: Channel
    limit: Annotated[Int32, Meta(description="At most so many; 0: only the position; negative: all.")] | None = None
    since: Annotated[StreamPosition, Meta(description="Only those after it, with reverse before it.")] | None = None
    reverse: Annotated[bool, Meta(description="Newest first.")] | None = None


class Publication(Result, frozen=True):
    """A publication of a channel's history. What isn't JSON comes in base64."""

    data: Payload = UNSET
    b64data: str | UnsetType = UNSET
    info: ClientInfo | UnsetType = UNSET
    offset: int = 0
    tags: dict[str, str] | UnsetType = UNSET

    @classmethod
    def of(cls, kept: KeptPublication) -> Publication:
        info = UNSET if kept.info is None else ClientInfo.of(kept.info)
        return cls(*_spelled(kept.data), info, kept.offset, kept.tags or UNSET)


class HistoryResult(Result, frozen=True):
    """Publications, and the position of the channel's newest."""

    publications: list[Publication]
    epoch: str
    offset: int


class HistoryRemoveRequest(Request, frozen=True, kw_only=True):
    """Drops the publications of a channel; its positions go on."""

    channel: Channel


class ChannelsRequest(Request, frozen=True, kw_only=True):
    """Asks for channels that have subscribers."""

    pattern: Annotated[str, Meta(description="`*` and `?` are wild.")] | None = None


class ChannelInfo(Result, frozen=True):
    num_clients: int


class ChannelsResult(Result, frozen=True):
    """Channels by name."""

    channels: dict[str, ChannelInfo]
    missing: Annotated[list[str], Meta(description="Ids of nodes that didn't answer in time.")] = []


# The server


class InfoRequest(Request, frozen=True, kw_only=True):
    """Asks for the nodes."""


class NodeResult(Result, frozen=True):
    """A node. uptime: seconds."""

    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_channels: int
    num_subs: int
    uptime: int

    @classmethod
    def of(cls, node: NodeInfo) -> NodeResult:
        counts = (node.num_clients, node.num_users, node.num_channels, node.num_subs)
        return cls(node.uid, node.name, node.version, *counts, int(node.uptime_s))


class InfoResult(Result, frozen=True):
    """All nodes."""

    nodes: list[NodeResult]
    missing: Annotated[list[str], Meta(description="Ids of nodes that didn't answer in time.")] = []


class RpcRequest(Request, frozen=True, kw_only=True):
    """Calls a method of the application: a hook for `ServerRpcEvent`."""

    method: str
    params: Annotated[Payload, Meta(description="Any JSON value.")] = UNSET


class RpcResult(Result, frozen=True):
    """What the method returned."""

    data: Payload = UNSET
    b64data: str | UnsetType = UNSET

    @classmethod
    def of(cls, data: bytes) -> RpcResult:
        return cls(*_spelled(data))


# Documents


Document: TypeAlias = Annotated[str, Meta(min_length=1, description="The document's name.")]
Root: TypeAlias = Annotated[str, Meta(description='Name of a root type, such as "default" or "content".')]
Version: TypeAlias = Annotated[int, Meta(ge=0, le=2**53, description="Grows with every edit; 0: there is none yet.")]


class DocumentGetRequest(Request, frozen=True, kw_only=True):
    """What stands in a document. Without a type: all of it, as an update."""

    document: Document
    type: Literal["update", "text", "map", "array", "xml"] | None = None
    root: Root | None = None


class DocumentGetResult(Result, frozen=True, kw_only=True, omit_defaults=False):
    """The content as JSON, or the update (Yjs format v1) in base64."""

    version: int
    data: Payload = UNSET
    b64update: str | UnsetType = UNSET


class DocumentUpdateRequest(Request, frozen=True, kw_only=True):
    """Merges an update, makes a text root this text, or patches a map or an array: one of the three.

    What people type at the same time stays. The document is made if it isn't there.
    """

    document: Document
    b64update: Annotated[str, Meta(description="An update (Yjs format v1) in base64.")] | None = None
    root: Root | None = None
    text: str | None = None
    patch: Annotated[list[Operation], Meta(description="JSON Patch; all of it or nothing.")] | None = None
    type: Annotated[Literal["map", "array"], Meta(description="Of the root that is patched.")] | None = None
    if_version: Annotated[Version, Meta(description="Only at this version; else error 113.")] | None = None
    author: Annotated[str, Meta(description="Whose edit it is, for the log.")] | None = None


class DocumentUpdateResult(Result, frozen=True, omit_defaults=False):
    """It is stored. version: of the document then."""

    version: int


class DocumentDeleteRequest(Request, frozen=True, kw_only=True):
    """Deletes a document; its clients are sent away, and nobody can make it anew for a while."""

    document: Document


class DocumentDeleteResult(Result, frozen=True, omit_defaults=False):
    """deleted: false if there was none."""

    deleted: bool


class DocumentsRequest(Request, frozen=True, kw_only=True):
    """Stored documents by name, a page at a time."""

    prefix: str | None = None
    after: Annotated[str, Meta(description="The last name of the page before.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] | None = None


class DocumentInfo(Result, frozen=True, omit_defaults=False):
    """snapshot_bytes, log_bytes: what is stored of it. changed_at: seconds since 1970."""

    document: str
    version: int
    snapshot_bytes: int
    log_bytes: int
    changed_at: float

    @classmethod
    def of(cls, found: Described) -> DocumentInfo:
        return cls(found.name, found.head, found.snapshot_bytes, found.log_bytes, found.changed_at)


class DocumentsResult(Result, frozen=True, omit_defaults=False):
    """In the order of their names."""

    documents: list[DocumentInfo]


class DocumentRescuesRequest(Request, frozen=True, kw_only=True):
    """What clients with another history of a document held; nothing of it was merged."""

    document: Document


class DocumentRescue(Result, frozen=True, omit_defaults=False):
    """b64update: what the client held (Yjs format v1). at: seconds since 1970."""

    id: int
    user: str
    at: float
    b64update: str

    @classmethod
    def of(cls, kept: Rescue) -> DocumentRescue:
        return cls(kept.id, kept.author, kept.at, base64_of(kept.update))


class DocumentRescuesResult(Result, frozen=True, omit_defaults=False):
    """Oldest first."""

    rescues: list[DocumentRescue]


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """Raises BadRequest."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadRequest("it is no base64") from None


def optional(json: Payload, b64: str | None) -> bytes | None:
    """The payload as bytes; null counts as absent. Raises BadRequest."""
    payload = _bytes(json, b64)
    return None if not payload or (b64 is None and payload == b"null") else payload


def decoded(json: Payload) -> Any:
    """The object that the JSON stands for; None for nothing."""
    return None if isinstance(json, UnsetType) else msgspec.json.decode(json)


def _bytes(json: Payload, b64: str | None) -> bytes:
    if b64 is None:
        return b"" if isinstance(json, UnsetType) else bytes(json)
    try:
        return base64.b64decode(b64, validate=True)
    except ValueError:
        raise BadRequest("b64data or b64info is no base64") from None


def _spelled(payload: bytes) -> tuple[Payload, str | UnsetType]:
    """As JSON, or in base64 what isn't JSON."""
    if not payload:
        return UNSET, UNSET
    try:
        payload.decode()  # msgspec doesn't look into the strings that it skips
        return msgspec.json.decode(payload, type=Raw), UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNSET, base64.b64encode(payload).decode()


# The state of a room


class StateGetRequest(Request, frozen=True, kw_only=True):
    """What a room shares."""

    channel: Annotated[Channel, Meta(description="The room's own, not its facet.")]


class StateObject(Result, frozen=True, omit_defaults=False):
    """type: as in docs/crdt.md. value: as readers see it; a set is an array, in any order."""

    type: str
    value: Raw


class StateGetResult(Result, frozen=True, omit_defaults=False):
    """All objects by name."""

    objects: dict[str, StateObject]


class StateUpdateRequest(Request, frozen=True, kw_only=True):
    """Performs operations on objects of a room, in order, each by itself."""

    channel: Annotated[Channel, Meta(description="The room's own, not its facet.")]
    changes: Annotated[
        list[dict[str, Any]],
        Meta(
            min_length=1,
            max_length=128,
            description='As clients say them: {"object": "likes", "type": "pncounter", "op": "increment", "by": 1}.',
        ),
    ]


class StateUpdateResult(Result, frozen=True, omit_defaults=False):
    """They are stored. changed: for each, whether it has changed anything."""

    changed: list[bool]


class StateDeleteRequest(Request, frozen=True, kw_only=True):
    """Deletes everything that a room shares. Its subscribers are sent away, and come back to an empty room."""

    channel: Annotated[Channel, Meta(description="The room's own, not its facet.")]


class StateDeleteResult(Result, frozen=True, omit_defaults=False):
    """deleted: false if there was nothing."""

    deleted: bool


# The people of rooms


class PeopleRequest(Request, frozen=True, kw_only=True):
    """Who is in a room, over all their connections on all nodes."""

    channel: Annotated[Channel, Meta(description="The room's own, not its facet.")]
    limit: Annotated[int, Meta(ge=0, description="Of these so many at most, 1,000 if it isn't said.")] | None = None


class Person(Result, frozen=True):
    """status: online, or away: lost, and may come back. since: of this status; last_seen: of somebody away; seconds
    since 1970. info: as its token or a hook says. custom: what it says of itself."""

    user: str
    status: Literal["online", "away", "gone"]
    since: float
    last_seen: float | UnsetType = UNSET
    info: Payload = UNSET
    custom: Payload = UNSET

    @classmethod
    def of(cls, seen: SeenPerson) -> Person:
        return cls(seen.user, seen.status, seen.since, seen.last_seen, seen.info, seen.custom)


class PeopleResult(Result, frozen=True, omit_defaults=False):
    """online, away: how many are, also beyond the limit."""

    people: list[Person]
    online: int
    away: int


class PeopleWhereRequest(Request, frozen=True, kw_only=True):
    """In which rooms these users are."""

    users: Annotated[list[str], Meta(min_length=1, max_length=1000)]


class PeopleWhereResult(Result, frozen=True, omit_defaults=False):
    """users: each one that was asked for, by room. missing: nodes that didn't answer in time."""

    users: dict[str, dict[str, Person]]
    missing: list[str]


class PeopleStatusRequest(Request, frozen=True, kw_only=True):
    """Sets what a user is shown to say of itself in a room, as long as it is there."""

    channel: Annotated[Channel, Meta(description="The room's own, not its facet.")]
    user: Annotated[str, Meta(min_length=1, description="As it is shown: `~` and the client id of an anonymous one.")]
    status: Annotated[Raw, Meta(description="Any JSON value; null for nothing.")]
