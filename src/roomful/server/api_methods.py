"""The methods of the server API: one table, which the endpoint calls, the batch uses and the OpenAPI document shows.

Each one calls what a Python application calls (`server/calls.py`). Source: Centrifuge protocol, sections 23.2 and 23.3.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from roomful.model.errors import BadRequest, InternalError, RoomfulError
from roomful.server import api_words as w
from roomful.server.calls import AS_CONFIGURED, Calls
from roomful.session.payload import to_client

log = logging.getLogger("roomful.api")

PEOPLE_MAX = 1_000
"""People of a room that are named unless a limit is said."""
PARALLEL_MAX = 32
"""Commands of one batch that run at once."""


class Method(NamedTuple):
    """call: does it; raises RoomfulError. wrapped: whether the result stands in a field `result`."""

    request: type[w.Request]
    result: type[w.Result]
    call: Callable[[Calls, Any], Awaitable[w.Result]]
    wrapped: bool = True


async def outcome(method: Method, calls: Calls, request: w.Request) -> w.Result:
    """The method's result, or the Error that stands for what it raised. An exception of ours is logged, not told."""
    try:
        return await method.call(calls, request)
    except RoomfulError as error:
        return w.Error(error.code, error.message)
    except Exception:
        log.exception("a %s failed", type(request).__name__)
        return w.Error(InternalError.code, InternalError.text)


async def _publish(calls: Calls, request: w.PublishRequest) -> w.PublishResult:
    position = await calls.publish(request.channel, request.payload(), **_publishing(request))
    return w.PublishResult.of(position)


async def _broadcast(calls: Calls, request: w.BroadcastRequest) -> w.BroadcastResult:
    results = await calls.broadcast(request.channels, request.payload(), **_publishing(request))
    return w.BroadcastResult(
        [
            w.BroadcastResponse(error=w.Error(each.error.code, each.error.message))
            if each.error
            else w.BroadcastResponse(w.PublishResult.of(each.position))
            for each in results
        ]
    )


def _publishing(request: w.Publishing) -> dict[str, Any]:
    return {
        "tags": request.tags,
        "exclude": request.exclude or (),
        "idempotency_key": request.idempotency_key or "",
        "skip_history": request.skip_history or False,
    }


async def _subscribe(calls: Calls, request: w.SubscribeRequest) -> w.Empty:
    await calls.subscribe(
        request.user,
        request.channel,
        **_narrowed(request),
        info=w.optional(request.info, request.b64info),
        data=w.optional(request.data, request.b64data),
        expires_at=request.expire_at or None,
        recover_since=w.StreamPosition.meant(request.recover_since),
        override=request.override.override() if request.override else AS_CONFIGURED,
    )
    return w.Empty()


async def _unsubscribe(calls: Calls, request: w.UnsubscribeRequest) -> w.Empty:
    await calls.unsubscribe(request.user, request.channel, **_narrowed(request))
    return w.Empty()


async def _disconnect(calls: Calls, request: w.DisconnectRequest) -> w.Empty:
    wanted = request.disconnect or w.DisconnectWords()
    given: dict[str, Any] = {"code": wanted.code, "reason": wanted.reason}
    chosen = {name: value for name, value in given.items() if value}
    await calls.disconnect(request.user, **_narrowed(request), **chosen, whitelist=request.whitelist or ())
    return w.Empty()


async def _refresh(calls: Calls, request: w.RefreshRequest) -> w.Empty:
    await calls.refresh(
        request.user,
        **_narrowed(request),
        expired=request.expired or False,
        expires_at=request.expire_at or None,
        info=w.optional(request.info, request.b64info),
    )
    return w.Empty()


async def _revoke(calls: Calls, request: w.RevokeRequest) -> w.Empty:
    await calls.revoke(
        user=request.user or "",
        session=request.session or "",
        token=request.token or "",
        room=request.room or "",
        document=request.document or "",
        keep_s=request.keep_s,
    )
    return w.Empty()


def _narrowed(request: w.Addressed) -> dict[str, Any]:
    return {"client": request.client or "", "session": request.session or ""}


async def _presence(calls: Calls, request: w.PresenceRequest) -> w.PresenceResult:
    members = await calls.presence(request.channel)
    return w.PresenceResult({client: w.ClientInfo.of(info) for client, info in members.items()})


async def _presence_stats(calls: Calls, request: w.PresenceStatsRequest) -> w.PresenceStatsResult:
    stats = await calls.presence_stats(request.channel)
    return w.PresenceStatsResult(stats.num_clients, stats.num_users)


async def _history(calls: Calls, request: w.HistoryRequest) -> w.HistoryResult:
    limit = request.limit or 0
    page = await calls.history(
        request.channel,
        limit=None if limit < 0 else limit,
        since=w.StreamPosition.meant(request.since),
        reverse=request.reverse or False,
    )
    return w.HistoryResult([w.Publication.of(kept) for kept in page.publications], page.head.epoch, page.head.offset)


async def _history_remove(calls: Calls, request: w.HistoryRemoveRequest) -> w.Empty:
    await calls.remove_history(request.channel)
    return w.Empty()


async def _channels(calls: Calls, request: w.ChannelsRequest) -> w.ChannelsResult:
    found = await calls.channels(request.pattern or "*")
    return w.ChannelsResult({name: w.ChannelInfo(count) for name, count in found.channels.items()}, found.missing)


async def _info(calls: Calls, request: w.InfoRequest) -> w.InfoResult:
    found = await calls.info()
    return w.InfoResult([w.NodeResult.of(node) for node in found.nodes], found.missing)


async def _rpc(calls: Calls, request: w.RpcRequest) -> w.RpcResult:
    return w.RpcResult.of(to_client(await calls.rpc(request.method, w.decoded(request.params))))


async def _document_get(calls: Calls, request: w.DocumentGetRequest) -> w.DocumentGetResult:
    if request.type is None or request.type == "update":
        update, version = await calls.document_bytes(request.document)
        return w.DocumentGetResult(version=version, b64update=w.base64_of(update))
    content, version = await calls.document_content(request.document, request.root or "", request.type)
    return w.DocumentGetResult(version=version, data=msgspec.Raw(to_client(content)))


async def _document_update(calls: Calls, request: w.DocumentUpdateRequest) -> w.DocumentUpdateResult:
    given = [request.b64update is not None, request.text is not None, request.patch is not None]
    if sum(given) != 1:
        raise BadRequest("say one of b64update, text, patch")
    author, if_version = request.author or "", request.if_version
    if request.b64update is not None:
        update = w.from_base64(request.b64update)
        version = await calls.update_document(request.document, update, author=author, if_version=if_version)
    else:
        version = await calls.write_document(
            request.document,
            request.root or "",
            text=request.text,
            patch=request.patch or (),
            kind=request.type or "map",
            author=author,
            if_version=if_version,
        )
    return w.DocumentUpdateResult(version)


async def _document_delete(calls: Calls, request: w.DocumentDeleteRequest) -> w.DocumentDeleteResult:
    return w.DocumentDeleteResult(await calls.delete_document(request.document))


async def _documents(calls: Calls, request: w.DocumentsRequest) -> w.DocumentsResult:
    found = await calls.documents(request.prefix or "", after=request.after or "", limit=request.limit or 100)
    return w.DocumentsResult([w.DocumentInfo.of(each) for each in found])


async def _document_rescues(calls: Calls, request: w.DocumentRescuesRequest) -> w.DocumentRescuesResult:
    found = await calls.document_rescues(request.document)
    return w.DocumentRescuesResult([w.DocumentRescue.of(each) for each in found])


async def _state_get(calls: Calls, request: w.StateGetRequest) -> w.StateGetResult:
    objects = await calls.state(request.channel).objects()
    return w.StateGetResult(
        {
            name: w.StateObject(shown.type, msgspec.Raw(msgspec.json.encode(shown.value)))
            for name, shown in objects.items()
        }
    )


async def _state_update(calls: Calls, request: w.StateUpdateRequest) -> w.StateUpdateResult:
    state = calls.state(request.channel)
    return w.StateUpdateResult([await state.perform(change) for change in request.changes])


async def _state_delete(calls: Calls, request: w.StateDeleteRequest) -> w.StateDeleteResult:
    return w.StateDeleteResult(await calls.state(request.channel).delete())


async def _people(calls: Calls, request: w.PeopleRequest) -> w.PeopleResult:
    found = await calls.people(request.channel, limit=PEOPLE_MAX if request.limit is None else request.limit)
    return w.PeopleResult([w.Person.of(person) for person in found.people], found.online, found.away)


async def _people_where(calls: Calls, request: w.PeopleWhereRequest) -> w.PeopleWhereResult:
    found = await calls.where(request.users)
    users = {
        user: {room: w.Person.of(person) for room, person in rooms.items()} for user, rooms in found.people.items()
    }
    return w.PeopleWhereResult(users, found.missing)


async def _people_status(calls: Calls, request: w.PeopleStatusRequest) -> w.Empty:
    await calls.set_status(request.channel, request.user, bytes(request.status))
    return w.Empty()


SINGLE: dict[str, Method] = {
    "publish": Method(w.PublishRequest, w.PublishResult, _publish),
    "broadcast": Method(w.BroadcastRequest, w.BroadcastResult, _broadcast),
    "subscribe": Method(w.SubscribeRequest, w.Empty, _subscribe),
    "unsubscribe": Method(w.UnsubscribeRequest, w.Empty, _unsubscribe),
    "disconnect": Method(w.DisconnectRequest, w.Empty, _disconnect),
    "refresh": Method(w.RefreshRequest, w.Empty, _refresh),
    "revoke": Method(w.RevokeRequest, w.Empty, _revoke),
    "presence": Method(w.PresenceRequest, w.PresenceResult, _presence),
    "presence_stats": Method(w.PresenceStatsRequest, w.PresenceStatsResult, _presence_stats),
    "history": Method(w.HistoryRequest, w.HistoryResult, _history),
    "history_remove": Method(w.HistoryRemoveRequest, w.Empty, _history_remove),
    "channels": Method(w.ChannelsRequest, w.ChannelsResult, _channels),
    "info": Method(w.InfoRequest, w.InfoResult, _info),
    "rpc": Method(w.RpcRequest, w.RpcResult, _rpc),
    "document_get": Method(w.DocumentGetRequest, w.DocumentGetResult, _document_get),
    "document_update": Method(w.DocumentUpdateRequest, w.DocumentUpdateResult, _document_update),
    "document_delete": Method(w.DocumentDeleteRequest, w.DocumentDeleteResult, _document_delete),
    "documents": Method(w.DocumentsRequest, w.DocumentsResult, _documents),
    "document_rescues": Method(w.DocumentRescuesRequest, w.DocumentRescuesResult, _document_rescues),
    "people": Method(w.PeopleRequest, w.PeopleResult, _people),
    "people_where": Method(w.PeopleWhereRequest, w.PeopleWhereResult, _people_where),
    "people_status": Method(w.PeopleStatusRequest, w.Empty, _people_status),
    "state_get": Method(w.StateGetRequest, w.StateGetResult, _state_get),
    "state_update": Method(w.StateUpdateRequest, w.StateUpdateResult, _state_update),
    "state_delete": Method(w.StateDeleteRequest, w.StateDeleteResult, _state_delete),
}
"""What can be asked by itself, and in a batch."""

# A command and a reply of a batch have one field for each method, made from the table; mypy needs no more than `Any`.
BatchCommand: Any = msgspec.defstruct(
    "BatchCommand",
    [(name, method.request | None, None) for name, method in SINGLE.items()],
    bases=(w.Request,),
    frozen=True,
    forbid_unknown_fields=True,
)
BatchReply: Any = msgspec.defstruct(
    "BatchReply",
    [
        *((name, method.result | UnsetType, UNSET) for name, method in SINGLE.items()),
        ("error", w.Error | UnsetType, UNSET),
    ],
    bases=(w.Result,),
    frozen=True,
    omit_defaults=True,
)


class BatchRequest(w.Request, frozen=True):
    """Several requests in one. None is done when one of them can't be read."""

    commands: list[Annotated[BatchCommand, Meta(description="One field: the method's name, and its request.")]]
    parallel: Annotated[bool, Meta(description="At once, instead of one after the other.")] | None = None


class BatchResult(w.Result, frozen=True):
    """A reply to each command, in order: the method's name and its result, or `error`."""

    replies: list[BatchReply]


async def _batch(calls: Calls, request: BatchRequest) -> BatchResult:
    commands = [_named(number, command) for number, command in enumerate(request.commands)]
    if not request.parallel:
        return BatchResult([await _reply(calls, *command) for command in commands])
    slots = asyncio.Semaphore(PARALLEL_MAX)

    async def run(name: str, wanted: w.Request) -> Any:
        async with slots:
            return await _reply(calls, name, wanted)

    return BatchResult(await asyncio.gather(*(run(*command) for command in commands)))


def _named(number: int, command: Any) -> tuple[str, w.Request]:
    given = [(name, wanted) for name in SINGLE if (wanted := getattr(command, name)) is not None]
    if len(given) != 1:
        raise BadRequest(f"command {number} has to have one method, and has {len(given)}")
    return given[0]


async def _reply(calls: Calls, name: str, wanted: w.Request) -> Any:
    result = await outcome(SINGLE[name], calls, wanted)
    return BatchReply(**{"error" if isinstance(result, w.Error) else name: result})


METHODS: dict[str, Method] = SINGLE | {"batch": Method(BatchRequest, BatchResult, _batch, wrapped=False)}
"""Everything that `POST /api/{method}` can be asked."""
