"""HOT The Centrifuge protocol in Protobuf. Source: Centrifuge protocol, sections 2.4 and 3.

`centrifuge_pb2` is generated from `centrifuge.proto` when Roomful is built or installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from roomful.model import command, push, reply
from roomful.model.client import ClientInfo
from roomful.model.command import Command
from roomful.model.errors import Unencodable, WireError
from roomful.model.publication import DeltaPublication, Position, Publication
from roomful.model.push import Push
from roomful.model.reply import Failure, Result
from roomful.model.tags_filter import FilterNode
from roomful.wire import centrifuge_pb2 as pb
from roomful.wire.delta import delta_of

TTL_MAX_S = 2**32 - 1

LENGTH_MAX_BYTES = 10
"""A longer base-128 number doesn't fit into 64 bits."""


# Requests.


def _connect(id: int, request: pb.ConnectRequest) -> command.Connect:
    return command.Connect(
        id=id,
        token=request.token,
        data=request.data,
        subs={channel: _subscribe(0, known) for channel, known in request.subs.items()},
        name=request.name,
        version=request.version,
        headers=dict(request.headers),
    )


def _ping(id: int, request: pb.PingRequest) -> command.Unknown:
    return command.Unknown(id)


def _subscribe(id: int, request: pb.SubscribeRequest) -> command.Subscribe:
    return command.Subscribe(
        id=id,
        channel=request.channel,
        token=request.token,
        recover=request.recover,
        epoch=request.epoch,
        offset=request.offset,
        data=request.data,
        positioned=request.positioned,
        recoverable=request.recoverable,
        join_leave=request.join_leave,
        delta=request.delta,
        filter=_filter(request.tf) if request.HasField("tf") else None,
        flag=request.flag,
        type=request.type,
    )


def _filter(node: pb.FilterNode) -> FilterNode:
    return FilterNode(node.op, node.key, node.cmp, node.val, tuple(node.vals), tuple(map(_filter, node.nodes)))


def _unsubscribe(id: int, request: pb.UnsubscribeRequest) -> command.Unsubscribe:
    return command.Unsubscribe(id, request.channel)


def _publish(id: int, request: pb.PublishRequest) -> command.Publish:
    return command.Publish(id, request.channel, request.data, request.type)


def _presence(id: int, request: pb.PresenceRequest) -> command.Presence:
    return command.Presence(id, request.channel)


def _presence_stats(id: int, request: pb.PresenceStatsRequest) -> command.PresenceStats:
    return command.PresenceStats(id, request.channel)


def _history(id: int, request: pb.HistoryRequest) -> command.History:
    since = Position(request.since.epoch, request.since.offset) if request.HasField("since") else None
    return command.History(id, request.channel, request.limit, since, request.reverse)


def _send(id: int, request: pb.SendRequest) -> command.Send:
    return command.Send(request.data)


def _rpc(id: int, request: pb.RPCRequest) -> command.Rpc:
    return command.Rpc(id, request.method, request.data)


def _refresh(id: int, request: pb.RefreshRequest) -> command.Refresh:
    return command.Refresh(id, request.token)


def _sub_refresh(id: int, request: pb.SubRefreshRequest) -> command.SubRefresh:
    return command.SubRefresh(id, request.channel, request.token, request.type)


_REQUESTS: dict[str, Callable[[int, Any], Command]] = {
    "connect": _connect,
    "ping": _ping,
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "publish": _publish,
    "presence": _presence,
    "presence_stats": _presence_stats,
    "history": _history,
    "send": _send,
    "rpc": _rpc,
    "refresh": _refresh,
    "sub_refresh": _sub_refresh,
}
"""In the order in which they count."""

_ORDER = tuple(_REQUESTS.items())


def _message(message: bytes) -> Command:
    if not message:
        return command.Pong()
    try:
        document = pb.Command.FromString(message)
    except DecodeError as error:
        raise WireError(f"not a command in Protobuf: {error}") from error
    id = document.id
    if id == 0:
        return _send(0, document.send) if document.HasField("send") else command.Pong()
    for name, read in _ORDER:
        if document.HasField(name):
            return read(id, getattr(document, name))
    return command.Unknown(id)


def read_emulation(body: bytes) -> tuple[str, str, bytes]:
    """Node, session and commands of a POST to /emulation. Raises WireError. Source: section 19.4."""
    try:
        request = pb.EmulationRequest.FromString(body)
    except DecodeError as error:
        raise WireError(f"not a request in Protobuf: {error}") from error
    return request.node, request.session, request.data


def _length(data: bytes, start: int) -> tuple[int, int]:
    """A base-128 number, and where the bytes behind it begin. Raises WireError when it has no end in time."""
    value = 0
    for place, byte in enumerate(data[start : start + LENGTH_MAX_BYTES]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, start + place + 1
    raise WireError("a length without end")


def _prefixed(message: bytes) -> bytes:
    size = len(message)
    prefix = bytearray()
    while size >= 0x80:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + message


# Results and pushes. What is false, zero or empty doesn't travel; but that a message is there does.


def _ttl(seconds: int) -> int:
    return min(max(seconds, 0), TTL_MAX_S)


def _fill_info(to: pb.ClientInfo, info: ClientInfo) -> None:
    to.user = info.user
    to.client = info.client
    if info.conn_info:
        to.conn_info = info.conn_info
    if info.chan_info:
        to.chan_info = info.chan_info


def _fill_publication(to: pb.Publication, word: Publication | DeltaPublication) -> None:
    if isinstance(word, DeltaPublication):
        publication, delta = word.publication, delta_of(word)
        to.delta = delta is not None
        to.data = publication.data if delta is None else delta
    else:
        publication = word
        to.data = publication.data
    if publication.info is not None:
        _fill_info(to.info, publication.info)
    if publication.offset:
        to.offset = publication.offset
    if publication.tags:
        to.tags.update(publication.tags)


def _failure(to: pb.Error, failure: Failure) -> None:
    to.code = failure.code
    to.message = failure.message or "error"  # centrifuge-python reads it without asking whether it is there
    to.temporary = failure.temporary


def _subscribe_result(to: pb.SubscribeResult, result: reply.SubscribeResult) -> None:
    to.expires = result.expires
    to.ttl = _ttl(result.ttl)
    to.recoverable = result.recoverable
    to.epoch = result.epoch
    for publication in result.publications:
        _fill_publication(to.publications.add(), publication)
    to.recovered = result.recovered
    to.offset = result.offset
    to.positioned = result.positioned
    to.data = result.data
    to.was_recovering = result.was_recovering
    to.delta = result.delta
    to.id = result.number


def _connect_result(to: pb.ConnectResult, result: reply.ConnectResult) -> None:
    to.client = result.client
    to.version = result.version
    to.expires = result.expires
    to.ttl = _ttl(result.ttl)
    to.data = result.data
    for channel, subscribed in result.subs.items():
        _subscribe_result(to.subs[channel], subscribed)
    to.ping = result.ping
    to.pong = result.pong
    to.session = result.session
    to.node = result.node
    to.time = result.time


def _nothing(
    to: pb.UnsubscribeResult | pb.PublishResult, result: reply.UnsubscribeResult | reply.PublishResult
) -> None:
    to.SetInParent()


def _presence_result(to: pb.PresenceResult, result: reply.PresenceResult) -> None:
    to.SetInParent()
    for client, info in result.presence.items():
        _fill_info(to.presence[client], info)


def _presence_stats_result(to: pb.PresenceStatsResult, result: reply.PresenceStatsResult) -> None:
    to.num_clients = result.num_clients
    to.num_users = result.num_users


def _history_result(to: pb.HistoryResult, result: reply.HistoryResult) -> None:
    for publication in result.publications:
        _fill_publication(to.publications.add(), publication)
    to.epoch = result.epoch
    to.offset = result.offset


def _rpc_result(to: pb.RPCResult, result: reply.RpcResult) -> None:
    to.data = result.data


def _refresh_result(to: pb.RefreshResult, result: reply.RefreshResult) -> None:
    to.client = result.client
    to.version = result.version
    to.expires = result.expires
    to.ttl = _ttl(result.ttl)


def _sub_refresh_result(to: pb.SubRefreshResult, result: reply.SubRefreshResult) -> None:
    to.expires = result.expires
    to.ttl = _ttl(result.ttl)


_RESULTS: dict[type[Result | Failure], tuple[str, Callable[[Any, Any], None]]] = {
    Failure: ("error", _failure),
    reply.ConnectResult: ("connect", _connect_result),
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
"""Assigning to a field makes its message present, whatever the value."""


def _name_channel(to: pb.Push, word: push.PublicationPush | push.JoinPush | push.LeavePush) -> None:
    if word.number:
        to.id = word.number
    else:
        to.channel = word.channel


def _publication_push(to: pb.Push, word: push.PublicationPush) -> None:
    _name_channel(to, word)
    _fill_publication(to.pub, word.publication)


def _join_push(to: pb.Push, word: push.JoinPush) -> None:
    _name_channel(to, word)
    _fill_info(to.join.info, word.info)


def _leave_push(to: pb.Push, word: push.LeavePush) -> None:
    _name_channel(to, word)
    _fill_info(to.leave.info, word.info)


def _unsubscribe_push(to: pb.Push, word: push.UnsubscribePush) -> None:
    to.channel = word.channel
    to.unsubscribe.code = word.code
    to.unsubscribe.reason = word.reason or "unsubscribed"


def _subscribe_push(to: pb.Push, word: push.SubscribePush) -> None:
    to.channel = word.channel
    to.subscribe.recoverable = word.recoverable
    to.subscribe.epoch = word.epoch
    to.subscribe.offset = word.offset
    to.subscribe.positioned = word.positioned
    to.subscribe.data = word.data


def _message_push(to: pb.Push, word: push.MessagePush) -> None:
    to.message.data = word.data


def _refresh_push(to: pb.Push, word: push.RefreshPush) -> None:
    to.refresh.expires = word.expires
    to.refresh.ttl = _ttl(word.ttl)


def _disconnect_push(to: pb.Push, word: push.DisconnectPush) -> None:
    to.disconnect.code = word.code
    to.disconnect.reason = word.reason or "disconnected"


_PUSHES: dict[type[Push], Callable[[pb.Push, Any], None]] = {
    push.PublicationPush: _publication_push,
    push.JoinPush: _join_push,
    push.LeavePush: _leave_push,
    push.UnsubscribePush: _unsubscribe_push,
    push.SubscribePush: _subscribe_push,
    push.MessagePush: _message_push,
    push.RefreshPush: _refresh_push,
    push.DisconnectPush: _disconnect_push,
}


class CentrifugeProtobuf:
    """Messages with their length in front. As it stands it is the dialect of transports whose every write is one
    message."""

    name = "centrifuge-protobuf"
    binary = True
    json = False
    unidirectional = False
    joins = True

    def decode(self, data: bytes) -> list[Command]:
        """The commands of one frame, in order. Raises WireError."""
        if not data:
            raise WireError("an empty frame")
        commands: list[Command] = []
        start, size = 0, len(data)
        while start < size:
            length, start = _length(data, start)
            end = start + length
            if end > size:
                raise WireError("a message runs past the end of its frame")
            commands.append(_message(data[start:end]))
            start = end
        return commands

    def reply(self, id: int, result: Result | Failure) -> bytes:
        """A document. Raises Unencodable when a number or a text of the result doesn't fit."""
        name, fill = _RESULTS[type(result)]
        document = pb.Reply()
        try:
            document.id = id
            fill(getattr(document, name), result)
        except ValueError as error:
            raise Unencodable(str(error)) from error
        return _prefixed(document.SerializeToString())

    def push(self, push: Push) -> bytes:
        """A document. Raises Unencodable when a number or a text of the push doesn't fit."""
        document = pb.Reply()
        try:
            _PUSHES[type(push)](document.push, push)
        except ValueError as error:
            raise Unencodable(str(error)) from error
        return _prefixed(document.SerializeToString())

    def ping(self) -> bytes:
        return b"\x00"

    def join(self, frames: list[bytes]) -> bytes:
        return b"".join(frames)
