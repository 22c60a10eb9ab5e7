"""Rpc and send: messages to the application. Source: Centrifuge protocol, sections 11.5 and 11.6."""

from __future__ import annotations

import msgspec

from roomful.model import command as c
from roomful.model.client import person_of
from roomful.model.disconnects import disconnect
from roomful.model.errors import BadRequest, Forbidden, MethodNotFound, NotAvailable
from roomful.model.event import MessageEvent, RpcEvent
from roomful.model.reply import RpcResult
from roomful.session.payload import check_payload, from_client, to_client
from roomful.session.session import Session

PEOPLE_STATUS = "people.status"
"""The one method that is ours: what a person says of itself in a room that it is in."""


class StatusRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """status: any JSON; null takes it back."""

    channel: str
    status: msgspec.Raw


async def rpc(session: Session, command: c.Rpc) -> RpcResult:
    """What the hook for the method replies."""
    if command.method == PEOPLE_STATUS:
        return await _set_status(session, command.data)
    hooks = session.context.node.hooks
    if not hooks.has(RpcEvent):
        raise NotAvailable("no rpc method is defined")
    hook = hooks.find(RpcEvent, command.method)
    if hook is None:
        raise MethodNotFound
    event = RpcEvent(session.client, session.user, command.method, from_client(command.data), session.meta, session.via)
    reply = await hooks.ask(hook, event)
    return RpcResult(to_client(reply.data) if reply else b"")


async def _set_status(session: Session, data: bytes) -> RpcResult:
    """Raises BadRequest, Forbidden for who isn't in the room, NotAvailable, LimitExceeded."""
    check_payload(data, "json")
    try:
        wanted = msgspec.json.decode(data, type=StatusRequest)
    except (msgspec.MsgspecError, RecursionError):
        raise BadRequest('a status is said by {"channel": …, "status": …}') from None
    subscription = session.subscriptions.get(wanted.channel)
    if subscription is None or not subscription.traits.present:
        raise Forbidden("who isn't in the room says nothing of itself there")
    session.spend_rooms("rpc", (wanted.channel,))
    person = person_of(session.info_in(wanted.channel))
    await session.context.node.set_status(wanted.channel, person, bytes(wanted.status))
    return RpcResult(b"{}")


async def send(session: Session, command: c.Send) -> None:
    """Hands a message to the hook; without one the client is told by 3508 that nobody listens."""
    hooks = session.context.node.hooks
    if not hooks.has(MessageEvent):
        raise disconnect("not_available")
    await hooks.call(MessageEvent(session.client, session.user, from_client(command.data), session.meta))
