"""Any word of the rooms' protocol, and how it is spelled by the rules alone, without the code under test."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st

from roomful.model import command, push, reply
from roomful.model.client import ClientInfo
from roomful.model.command import Command
from roomful.model.publication import DeltaPublication, Position, Publication
from roomful.model.push import Push
from roomful.model.reply import Failure, Result
from roomful.model.tags_filter import FilterNode
from roomful.wire import fossil

TEXTS = st.text(max_size=12)
SOME_TEXT = st.text(min_size=1, max_size=12)
IDS = st.integers(1, 2**32 - 1)
UINT32 = st.integers(0, 2**32 - 1)
UINT64 = st.integers(0, 2**64 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLAGS = st.booleans()

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
JSON_PAYLOADS = st.just(b"") | st.builds(
    lambda value, indent, ascii: json.dumps(value, indent=indent, ensure_ascii=ascii).encode(),
    VALUES,
    st.sampled_from([None, 0, 2]),
    FLAGS,
)
ANY_PAYLOADS = st.binary(max_size=40)

COMMANDS = {
    command.Connect: "connect",
    command.Subscribe: "subscribe",
    command.Unsubscribe: "unsubscribe",
    command.Publish: "publish",
    command.Presence: "presence",
    command.PresenceStats: "presence_stats",
    command.History: "history",
    command.Send: "send",
    command.Rpc: "rpc",
    command.Refresh: "refresh",
    command.SubRefresh: "sub_refresh",
}
RESULTS = {
    Failure: "error",
    reply.ConnectResult: "connect",
    reply.SubscribeResult: "subscribe",
    reply.UnsubscribeResult: "unsubscribe",
    reply.PublishResult: "publish",
    reply.PresenceResult: "presence",
    reply.PresenceStatsResult: "presence_stats",
    reply.HistoryResult: "history",
    reply.RpcResult: "rpc",
    reply.RefreshResult: "refresh",
    reply.SubRefreshResult: "sub_refresh",
}
PUSHES = {
    push.PublicationPush: "pub",
    push.JoinPush: "join",
    push.LeavePush: "leave",
    push.UnsubscribePush: "unsubscribe",
    push.SubscribePush: "subscribe",
    push.MessagePush: "message",
    push.RefreshPush: "refresh",
    push.DisconnectPush: "disconnect",
}

REQUESTS: dict[str, Command] = {
    "connect": command.Connect(1),
    "ping": command.Unknown(1),
    "subscribe": command.Subscribe(1),
    "unsubscribe": command.Unsubscribe(1),
    "publish": command.Publish(1),
    "presence": command.Presence(1),
    "presence_stats": command.PresenceStats(1),
    "history": command.History(1),
    "send": command.Send(),
    "rpc": command.Rpc(1),
    "refresh": command.Refresh(1),
    "sub_refresh": command.SubRefresh(1),
}
"""Every request without a field, with id 1, in the order in which they count."""
EMPTY_RESULTS: list[Result] = [
    reply.ConnectResult(),
    reply.SubscribeResult(),
    reply.UnsubscribeResult(),
    reply.PublishResult(),
    reply.PresenceResult({}),
    reply.PresenceStatsResult(0, 0),
    reply.HistoryResult([], "", 0),
    reply.RpcResult(),
    reply.RefreshResult(),
    reply.SubRefreshResult(),
]
EMPTY_PUSHES: list[Push] = [
    push.PublicationPush("c", Publication(b"")),
    push.JoinPush("c", ClientInfo("", "")),
    push.LeavePush("c", ClientInfo("", "")),
    push.SubscribePush("c"),
    push.MessagePush(b""),
    push.RefreshPush(False, 0),
]

ALWAYS_IN_JSON = {
    ClientInfo: ("user", "client"),
    reply.PresenceResult: ("presence",),
    reply.PresenceStatsResult: ("num_clients", "num_users"),
    reply.HistoryResult: ("publications", "epoch", "offset"),
}
NOT_ON_THE_WIRE = {"id", "exclude", "number"}
RENAMED = {"filter": "tf"}

FILTERS = st.recursive(
    st.builds(FilterNode, key=TEXTS, cmp=TEXTS, val=TEXTS, vals=st.lists(TEXTS, max_size=2).map(tuple)),
    lambda inner: st.builds(FilterNode, op=TEXTS, nodes=st.lists(inner, max_size=3).map(tuple)),
    max_leaves=5,
)

Leaf = Callable[[bytes], Any]


def commands(payloads: st.SearchStrategy[bytes], types: st.SearchStrategy[int] = INT32) -> st.SearchStrategy[Command]:
    def subscribe(ids: st.SearchStrategy[int]) -> st.SearchStrategy[command.Subscribe]:
        return st.builds(
            command.Subscribe,
            id=ids,
            channel=TEXTS,
            token=TEXTS,
            recover=FLAGS,
            epoch=TEXTS,
            offset=UINT64,
            data=payloads,
            positioned=FLAGS,
            recoverable=FLAGS,
            join_leave=FLAGS,
            delta=TEXTS,
            filter=st.none() | FILTERS,
            flag=INT64,
            type=types,
        )

    return st.one_of(
        st.builds(
            command.Connect,
            id=IDS,
            token=TEXTS,
            data=payloads,
            subs=st.dictionaries(TEXTS, subscribe(st.just(0)), max_size=3),
            name=TEXTS,
            version=TEXTS,
            headers=st.dictionaries(TEXTS, TEXTS, max_size=3),
        ),
        subscribe(IDS),
        st.builds(command.Unsubscribe, id=IDS, channel=TEXTS),
        st.builds(command.Publish, id=IDS, channel=TEXTS, data=payloads, type=types),
        st.builds(command.Presence, id=IDS, channel=TEXTS),
        st.builds(command.PresenceStats, id=IDS, channel=TEXTS),
        st.builds(
            command.History,
            id=IDS,
            channel=TEXTS,
            limit=INT32,
            since=st.none() | st.builds(Position, epoch=TEXTS, offset=UINT64),
            reverse=FLAGS,
        ),
        st.builds(command.Send, data=payloads),
        st.builds(command.Rpc, id=IDS, method=TEXTS, data=payloads),
        st.builds(command.Refresh, id=IDS, token=TEXTS),
        st.builds(command.SubRefresh, id=IDS, channel=TEXTS, token=TEXTS, type=types),
        st.just(command.Pong()),
        st.builds(command.Unknown, id=IDS),
    )


def infos(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[ClientInfo]:
    return st.builds(ClientInfo, user=TEXTS, client=TEXTS, conn_info=payloads, chan_info=payloads)


def publications(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[Publication]:
    return st.builds(
        Publication,
        data=payloads,
        offset=UINT64,
        info=st.none() | infos(payloads),
        tags=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
        exclude=st.frozensets(TEXTS, max_size=2),
    )


def deltas(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[DeltaPublication]:
    """Bases that have something in common with the payload, and others."""

    def pair(publication: Publication, base: bytes | None, shared: bool) -> DeltaPublication:
        if not shared:
            return DeltaPublication(publication, base)
        base = b'["%b", 1]' % (b"long" * 10)
        return DeltaPublication(msgspec.structs.replace(publication, data=base.replace(b"1", b"2")), base)

    return st.builds(pair, publications(payloads), st.none() | payloads, FLAGS)


def results(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[Result | Failure]:
    pages = st.lists(publications(payloads), max_size=3)
    numbers = st.integers(0, 2**63 - 1)
    subscribed = st.builds(
        reply.SubscribeResult,
        expires=FLAGS,
        ttl=UINT32,
        recoverable=FLAGS,
        epoch=TEXTS,
        publications=pages | st.lists(deltas(payloads), max_size=3),
        recovered=FLAGS,
        offset=UINT64,
        positioned=FLAGS,
        data=payloads,
        was_recovering=FLAGS,
        delta=FLAGS,
        number=numbers,
    )
    return st.one_of(
        st.builds(Failure, code=st.integers(1, 2**32 - 1), message=SOME_TEXT, temporary=FLAGS),
        st.builds(
            reply.ConnectResult,
            client=TEXTS,
            version=TEXTS,
            expires=FLAGS,
            ttl=UINT32,
            data=payloads,
            subs=st.dictionaries(TEXTS, subscribed, max_size=2),
            ping=UINT32,
            pong=FLAGS,
            session=TEXTS,
            node=TEXTS,
            time=INT64,
        ),
        subscribed,
        st.just(reply.UnsubscribeResult()),
        st.just(reply.PublishResult()),
        st.builds(reply.PresenceResult, presence=st.dictionaries(TEXTS, infos(payloads), max_size=3)),
        st.builds(reply.PresenceStatsResult, num_clients=UINT32, num_users=UINT32),
        st.builds(reply.HistoryResult, publications=pages, epoch=TEXTS, offset=UINT64),
        st.builds(reply.RpcResult, data=payloads),
        st.builds(reply.RefreshResult, client=TEXTS, version=TEXTS, expires=FLAGS, ttl=UINT32),
        st.builds(reply.SubRefreshResult, expires=FLAGS, ttl=UINT32),
    )


def pushes(payloads: st.SearchStrategy[bytes]) -> st.SearchStrategy[Push]:
    codes = st.integers(1, 2**32 - 1)
    numbers = st.integers(0, 2**63 - 1)
    published = publications(payloads) | deltas(payloads)
    return st.one_of(
        st.builds(push.PublicationPush, channel=SOME_TEXT, publication=published, epoch=TEXTS, number=numbers),
        st.builds(push.JoinPush, channel=SOME_TEXT, info=infos(payloads), number=numbers),
        st.builds(push.LeavePush, channel=SOME_TEXT, info=infos(payloads), number=numbers),
        st.builds(push.UnsubscribePush, channel=SOME_TEXT, code=codes, reason=SOME_TEXT),
        st.builds(
            push.SubscribePush,
            channel=SOME_TEXT,
            recoverable=FLAGS,
            epoch=TEXTS,
            offset=UINT64,
            positioned=FLAGS,
            data=payloads,
        ),
        st.builds(push.MessagePush, data=payloads),
        st.builds(push.RefreshPush, expires=FLAGS, ttl=UINT32),
        st.builds(push.DisconnectPush, code=codes, reason=SOME_TEXT),
    )


def spelled_command(word: Command, leaf: Leaf) -> dict[str, Any]:
    """As a client says it. leaf: what stands for a payload."""
    if isinstance(word, command.Pong):
        return {}
    if isinstance(word, command.Unknown):
        return {"id": word.id}
    numbered = {} if isinstance(word, command.Send) else {"id": word.id}
    return numbered | {COMMANDS[type(word)]: _fields(word, leaf)}


def spelled_reply(id: int, word: Result | Failure, leaf: Leaf, json: bool) -> dict[str, Any]:
    """As a server says it. json: with the fields that JSON always has."""
    return {"id": id, RESULTS[type(word)]: _fields(word, leaf, json)}


def spelled_push(word: Push, leaf: Leaf, json: bool) -> dict[str, Any]:
    """As a server says it."""
    fields = _fields(word, leaf, json)
    named: dict[str, Any] = {"channel": fields.pop("channel")} if "channel" in fields else {}
    if getattr(word, "number", 0):
        named = {"id": word.number}  # type: ignore[union-attr]  # those that have none were just sorted out
    if isinstance(word, push.PublicationPush):
        fields = _value(word.publication, leaf, json)
    return {"push": named | {PUSHES[type(word)]: fields}}


def _fields(word: msgspec.Struct, leaf: Leaf, json: bool = False) -> dict[str, Any]:
    # A struct counts as true: a position or a client info is there also when all that it holds is empty.
    always = ALWAYS_IN_JSON.get(type(word), ()) if json else ()
    fields = {
        RENAMED.get(name, name): _value(getattr(word, name), leaf, json)
        for name in word.__struct_fields__
        if name not in NOT_ON_THE_WIRE
        if getattr(word, name) or name in always
    }
    if isinstance(word, reply.SubscribeResult) and word.number:
        fields["id"] = word.number
    return fields


def _delta_fields(word: DeltaPublication, leaf: Leaf, json: bool) -> dict[str, Any]:
    """JSON has payload or delta as a text; Protobuf as bytes."""
    payload, base = word.publication.data, word.base
    delta = fossil.create(base, payload) if base else payload
    fields = _fields(word.publication, leaf, json)
    if len(delta) < len(payload):
        return fields | {"data": delta.decode() if json else leaf(delta), "delta": True}
    return fields | ({"data": (payload or b"null").decode()} if json else {})


def _value(value: Any, leaf: Leaf, json: bool) -> Any:
    match value:
        case bytes():
            return leaf(value)
        case DeltaPublication():
            return _delta_fields(value, leaf, json)
        case msgspec.Struct():
            return _fields(value, leaf, json)
        case list() | tuple():
            return [_value(item, leaf, json) for item in value]
        case dict():
            return {key: _value(item, leaf, json) for key, item in value.items()}
    return value
