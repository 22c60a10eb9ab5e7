"""Rpc and send: messages to the application. Source: Centrifuge protocol, sections 11.5 and 11.6."""

from __future__ import annotations

from roomful.model import command as c
from roomful.model.disconnects import disconnect
from roomful.model.errors import MethodNotFound, NotAvailable
from roomful.model.event import MessageEvent, RpcEvent
from roomful.model.reply import RpcResult
from roomful.session.payload import from_client, to_client
from roomful.session.session import Session


async def rpc(session: Session, command: c.Rpc) -> RpcResult:
    """What the hook for the method replies."""
    hooks = session.context.node.hooks
    if not hooks.has(RpcEvent):
        raise NotAvailable("no rpc method is defined")
    if hooks.find(RpcEvent, command.method) is None:
        raise MethodNotFound
    event = RpcEvent(session.client, session.user, command.method, from_client(command.data), session.meta, session.via)
    reply = await hooks.call(event, command.method)
    return RpcResult(to_client(reply.data) if reply else b"")


async def send(session: Session, command: c.Send) -> None:
    """Hands a message to the hook; without one the client is told by 3508 that nobody listens."""
    hooks = session.context.node.hooks
    if not hooks.has(MessageEvent):
        raise disconnect("not_available")
    await hooks.call(MessageEvent(session.client, session.user, from_client(command.data), session.meta))
