"""HOT The Centrifuge protocol in JSON. Source: Centrifuge protocol, sections 2.2, 2.3 and 3.

Long because it is flat: one struct for each request, one function for each result and push, and a table over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw

from roomful.model import command, push, reply
from roomful.model.command import Command
from roomful.model.errors import Unencodable, WireError
from roomful.model.publication import DeltaPublication, Position, Publication
from roomful.model.push import Push
from roomful.model.reply import Failure, Result
from roomful.model.tags_filter import FilterNode
from roomful.wire.delta import delta_of
from roomful.wire.payload import client_info, mending, raw_json, skip

T = TypeVar("T")

NESTING_SUSPECT = 256
"""Brackets in a document from which on its nesting is looked at."""

NESTING_MARGIN = 128
"""Levels that a document must leave free. A payload is parsed again to be pushed, further down the stack, and where
the parser runs out of stack there, every subscriber would pay for what one client published."""

TTL_MAX_S = 2**32 - 1

SHARED_MAX, SHARED_MAX_BYTES = 512, 4_096
"""So many publications of replies are kept as they were written, longer ones aren't: some 4 MiB at most, for rooms of
which many members come back at once."""

Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Uint32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Uint64 = Annotated[int, Meta(ge=0)]  # msgspec has no bounds beyond int64: `_uint64` looks at the upper one

# Requests as they are spelled. A null counts as absent, but for a payload, where it is a value.


class _Position(msgspec.Struct):
    offset: Uint64 | None = None
    epoch: str | None = None


class _Filter(msgspec.Struct):
    op: str | None = None
    key: str | None = None
    cmp: str | None = None
    val: str | None = None
    vals: list[str] | None = None
    nodes: list[_Filter] | None = None

    def word(self) -> FilterNode:
        nodes = tuple(node.word() for node in self.nodes or ())
        return FilterNode(self.op or "", self.key or "", self.cmp or "", self.val or "", tuple(self.vals or ()), nodes)


class _Subscribe(msgspec.Struct):
    channel: str | None = None
    token: str | None = None
    recover: bool | None = None
    epoch: str | None = None
    offset: Uint64 | None = None
    data: Raw = Raw()
    positioned: bool | None = None
    recoverable: bool | None = None
    join_leave: bool | None = None
    delta: str | None = None
    tf: _Filter | None = None
    flag: Int64 | None = None
    type: Int32 | None = None

    def command(self, id: int) -> command.Subscribe:
        return command.Subscribe(
            id=id,
            channel=self.channel or "",
            token=self.token or "",
            recover=self.recover or False,
            epoch=self.epoch or "",
            offset=_uint64(self.offset),
            data=bytes(self.data),
            positioned=self.positioned or False,
            recoverable=self.recoverable or False,
            join_leave=self.join_leave or False,
            delta=self.delta or "",
            filter=self.tf.word() if self.tf else None,
            flag=self.flag or 0,
            type=self.type or 0,
        )


class _Connect(msgspec.Struct):
    token: str | None = None
    data: Raw = Raw()
    subs: dict[str, _Subscribe | None] | None = None
    name: str | None = None
    version: str | None = None
    headers: dict[str, str | None] | None = None

    def command(self, id: int) -> command.Connect:
        return command.Connect(
            id=id,
            token=self.token or "",
            data=bytes(self.data),
            subs={channel: (known or _Subscribe()).command(0) for channel, known in (self.subs or {}).items()},
            name=self.name or "",
            version=self.version or "",
            headers={name: value or "" for name, value in (self.headers or {}).items()},
        )


class _Ping(msgspec.Struct):
    def command(self, id: int) -> command.Unknown:
        return command.Unknown(id)


class _Unsubscribe(msgspec.Struct):
    channel: str | None = None

    def command(self, id: int) -> command.Unsubscribe:
        return command.Unsubscribe(id, self.channel or "")


class _Publish(msgspec.Struct):
    channel: str | None = None
    data: Raw = Raw()
    type: Int32 | None = None

    def command(self, id: int) -> command.Publish:
        return command.Publish(id, self.channel or "", bytes(self.data), self.type or 0)


class _Presence(msgspec.Struct):
    channel: str | None = None

    def command(self, id: int) -> command.Presence:
        return command.Presence(id, self.channel or "")


class _PresenceStats(msgspec.Struct):
    channel: str | None = None

    def command(self, id: int) -> command.PresenceStats:
        return command.PresenceStats(id, self.channel or "")


class _History(msgspec.Struct):
    channel: str | None = None
    limit: Int32 | None = None
    since: _Position | None = None
    reverse: bool | None = None

    def command(self, id: int) -> command.History:
        since = None if self.since is None else Position(self.since.epoch or "", _uint64(self.since.offset))
        return command.History(id, self.channel or "", self.limit or 0, since, self.reverse or False)


class _Send(msgspec.Struct):
    data: Raw = Raw()

    def command(self, id: int) -> command.Send:
        return command.Send(bytes(self.data))


class _Rpc(msgspec.Struct):
    data: Raw = Raw()
    method: str | None = None

    def command(self, id: int) -> command.Rpc:
        return command.Rpc(id, self.method or "", bytes(self.data))


class _Refresh(msgspec.Struct):
    token: str | None = None

    def command(self, id: int) -> command.Refresh:
        return command.Refresh(id, self.token or "")


class _SubRefresh(msgspec.Struct):
    channel: str | None = None
    token: str | None = None
    type: Int32 | None = None

    def command(self, id: int) -> command.SubRefresh:
        return command.SubRefresh(id, self.channel or "", self.token or "", self.type or 0)


class _Command(msgspec.Struct):
    """The requests stand in the order in which they count."""

    id: Uint32 | None = None
    connect: _Connect | None = None
    ping: _Ping | None = None
    subscribe: _Subscribe | None = None
    unsubscribe: _Unsubscribe | None = None
    publish: _Publish | None = None
    presence: _Presence | None = None
    presence_stats: _PresenceStats | None = None
    history: _History | None = None
    send: _Send | None = None
    rpc: _Rpc | None = None
    refresh: _Refresh | None = None
    sub_refresh: _SubRefresh | None = None

    def command(self) -> Command:
        id = self.id
        if not id:
            return command.Pong() if self.send is None else self.send.command(0)
        for request in (
            self.connect,
            self.ping,
            self.subscribe,
            self.unsubscribe,
            self.publish,
            self.presence,
            self.presence_stats,
            self.history,
            self.send,
            self.rpc,
            self.refresh,
            self.sub_refresh,
        ):
            if request is not None:
                return request.command(id)
        return command.Unknown(id)


class _Emulation(msgspec.Struct):
    """The body of a POST to /emulation. data: commands as text."""

    session: str | None = None
    node: str | None = None
    data: str | None = None


_parse = msgspec.json.Decoder(_Command).decode
_parse_connect = msgspec.json.Decoder(_Connect).decode
_parse_emulation = msgspec.json.Decoder(_Emulation).decode
_write = msgspec.json.Encoder().encode

_written: dict[int, tuple[Publication, Raw]] = {}  # by identity, which holds for as long as the publication is kept


def _uint64(number: int | None) -> int:
    if number is None:
        return 0
    if number >= 2**64:
        raise WireError("a number is too large")
    return number


def _read(parse: Callable[[bytes], T], document: bytes) -> T:
    """Raises WireError for what isn't such a document."""
    try:
        document.decode()  # msgspec doesn't look into the strings that it skips
        if document.count(b"[") + document.count(b"{") > NESTING_SUSPECT:
            mending(skip, b"[" * NESTING_MARGIN + document + b"]" * NESTING_MARGIN)
        return mending(parse, document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a command in JSON: {error}") from error


def read_connect(document: bytes) -> command.Connect:
    """A connect request without a command around it. Raises WireError."""
    return _read(_parse_connect, document).command(0)


def read_emulation(body: bytes) -> tuple[str, str, bytes]:
    """Node, session and commands of a POST to /emulation. Raises WireError. Source: section 19.4."""
    request = _read(_parse_emulation, body)
    return request.node or "", request.session or "", (request.data or "").encode()


# Results and pushes, as what msgspec writes.


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that aren't empty: what is false, zero or empty isn't written."""
    return {name: value for name, value in fields.items() if value}


def _ttl(seconds: int) -> int:
    return min(max(seconds, 0), TTL_MAX_S)


def _publication(word: Publication | DeltaPublication) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if isinstance(word, DeltaPublication):
        publication = word.publication
        fields = _delta_data(word)
    else:
        publication = word
        if publication.data:
            fields["data"] = raw_json(publication.data)
    if publication.info is not None:
        fields["info"] = client_info(publication.info)
    if publication.offset:
        fields["offset"] = publication.offset
    if publication.tags:
        fields["tags"] = publication.tags
    return fields


def _delta_data(word: DeltaPublication) -> dict[str, Any]:
    """Payload or delta as a string, so that the client has the payload byte by byte as the next one's base."""
    payload = word.publication.data or b"null"  # clients parse the string, whatever is in it
    raw_json(payload)  # refuses what isn't JSON; a delta to UTF-8 is UTF-8
    delta = delta_of(word)
    if delta is None:
        return {"data": payload.decode()}
    return {"data": delta.decode(), "delta": True}


def _publications(publications: Iterable[Publication | DeltaPublication]) -> list[Any]:
    """When a room comes back, everybody gets the same ones: those are written once."""
    return [_publication(word) if isinstance(word, DeltaPublication) else _shared(word) for word in publications]


def _shared(publication: Publication) -> Raw:
    """The publication as it stands in every reply."""
    known = _written.get(id(publication))
    if known is not None and known[0] is publication:
        return known[1]
    text = written(_publication(publication))
    raw = Raw(text)
    if len(text) <= SHARED_MAX_BYTES:
        if len(_written) >= SHARED_MAX:
            _written.clear()
        _written[id(publication)] = publication, raw
    return raw


def _failure(failure: Failure) -> dict[str, Any]:
    # centrifuge-python reads code and message without asking whether they are there.
    return {"code": failure.code, "message": failure.message or "error"} | _filled({"temporary": failure.temporary})


def _subscribe_result(result: reply.SubscribeResult) -> dict[str, Any]:
    return _filled(
        {
            "expires": result.expires,
            "ttl": _ttl(result.ttl),
            "recoverable": result.recoverable,
            "epoch": result.epoch,
            "publications": _publications(result.publications),
            "recovered": result.recovered,
            "offset": result.offset,
            "positioned": result.positioned,
            "data": raw_json(result.data),
            "was_recovering": result.was_recovering,
            "delta": result.delta,
            "id": result.number,
        }
    )


def connect_result(result: reply.ConnectResult) -> dict[str, Any]:
    return _filled(
        {
            "client": result.client,
            "version": result.version,
            "expires": result.expires,
            "ttl": _ttl(result.ttl),
            "data": raw_json(result.data),
            "subs": {channel: _subscribe_result(subscribed) for channel, subscribed in result.subs.items()},
            "ping": result.ping,
            "pong": result.pong,
            "session": result.session,
            "node": result.node,
            "time": result.time,
        }
    )


def _nothing(result: reply.UnsubscribeResult | reply.PublishResult) -> dict[str, Any]:
    return {}


def _presence_result(result: reply.PresenceResult) -> dict[str, Any]:
    return {"presence": {client: client_info(info) for client, info in result.presence.items()}}


def _presence_stats_result(result: reply.PresenceStatsResult) -> dict[str, Any]:
    return {"num_clients": result.num_clients, "num_users": result.num_users}


def _history_result(result: reply.HistoryResult) -> dict[str, Any]:
    return {"publications": _publications(result.publications), "epoch": result.epoch, "offset": result.offset}


def _rpc_result(result: reply.RpcResult) -> dict[str, Any]:
    return _filled({"data": raw_json(result.data)})


def _refresh_result(result: reply.RefreshResult) -> dict[str, Any]:
    return _filled(
        {"client": result.client, "version": result.version, "expires": result.expires, "ttl": _ttl(result.ttl)}
    )


def _sub_refresh_result(result: reply.SubRefreshResult) -> dict[str, Any]:
    return _filled({"expires": result.expires, "ttl": _ttl(result.ttl)})


_RESULTS: dict[type[Result | Failure], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    Failure: ("error", _failure),
    reply.ConnectResult: ("connect", connect_result),
    reply.SubscribeResult: ("subscribe", _subscribe_result),
    reply.UnsubscribeResult: ("unsubscribe", _nothing),
    reply.PublishResult: ("publish", _nothing),
    reply.PresenceResult: ("presence", _presence_result),
    reply.PresenceStatsResult: ("presence_stats", _presence_stats_result),
    reply.HistoryResult: ("history", _history_result),
    reply.RpcResult: ("rpc", _rpc_result),
    reply.RefreshResult: ("refresh", _refresh_result),
    reply.SubRefreshResult: ("sub_refresh", _sub_refresh_result),
}


def _publication_push(word: push.PublicationPush) -> dict[str, Any]:
    if word.number:
        return {"id": word.number, "pub": _publication(word.publication)}
    return {"channel": word.channel, "pub": _publication(word.publication)}


def _channel(word: push.JoinPush | push.LeavePush) -> dict[str, Any]:
    return {"id": word.number} if word.number else {"channel": word.channel}


def _join_push(word: push.JoinPush) -> dict[str, Any]:
    return _channel(word) | {"join": {"info": client_info(word.info)}}


def _leave_push(word: push.LeavePush) -> dict[str, Any]:
    return _channel(word) | {"leave": {"info": client_info(word.info)}}


def _unsubscribe_push(word: push.UnsubscribePush) -> dict[str, Any]:
    return {"channel": word.channel, "unsubscribe": {"code": word.code, "reason": word.reason or "unsubscribed"}}


def _subscribe_push(word: push.SubscribePush) -> dict[str, Any]:
    body = _filled(
        {
            "recoverable": word.recoverable,
            "epoch": word.epoch,
            "offset": word.offset,
            "positioned": word.positioned,
            "data": raw_json(word.data),
        }
    )
    return {"channel": word.channel, "subscribe": body}


def _message_push(word: push.MessagePush) -> dict[str, Any]:
    return {"message": _filled({"data": raw_json(word.data)})}


def _refresh_push(word: push.RefreshPush) -> dict[str, Any]:
    return {"refresh": _filled({"expires": word.expires, "ttl": _ttl(word.ttl)})}


def _disconnect_push(word: push.DisconnectPush) -> dict[str, Any]:
    return {"disconnect": {"code": word.code, "reason": word.reason or "disconnected"}}


_PUSHES: dict[type[Push], Callable[[Any], dict[str, Any]]] = {
    push.PublicationPush: _publication_push,
    push.JoinPush: _join_push,
    push.LeavePush: _leave_push,
    push.UnsubscribePush: _unsubscribe_push,
    push.SubscribePush: _subscribe_push,
    push.MessagePush: _message_push,
    push.RefreshPush: _refresh_push,
    push.DisconnectPush: _disconnect_push,
}


class CentrifugeJSON:
    """Documents are joined by line feeds; none holds one. As it stands it is the dialect of transports whose every
    write is one message."""

    name = "centrifuge-json"
    binary = False
    json = True
    unidirectional = False
    joins = True

    def decode(self, data: bytes) -> list[Command]:
        """The commands of one message, in order; one line feed at its end is tolerated. Raises WireError."""
        return [_read(_parse, document).command() for document in data.removesuffix(b"\n").split(b"\n")]

    def reply(self, id: int, result: Result | Failure) -> bytes:
        """A document. Raises Unencodable."""
        name, spell = _RESULTS[type(result)]
        return written({"id": id, name: spell(result)})

    def push(self, push: Push) -> bytes:
        """A document. Raises Unencodable."""
        return written({"push": push_document(push)})

    def ping(self) -> bytes:
        return b"{}"

    def join(self, frames: list[bytes]) -> bytes:
        return b"\n".join(frames)


def push_document(push: Push) -> dict[str, Any]:
    """What `written` writes of a push. Raises Unencodable."""
    return _PUSHES[type(push)](push)


def written(document: dict[str, Any]) -> bytes:
    """Raises Unencodable."""
    try:
        return _write(document)
    except UnicodeEncodeError as error:
        raise Unencodable(f"a text isn't Unicode: {error}") from error
