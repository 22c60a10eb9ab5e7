"""Publish. Source: Centrifuge protocol, sections 11.2 and 21.4."""

from __future__ import annotations

import logging
from typing import Any

from roomful.model import command as c
from roomful.model.channel import ChannelOptions
from roomful.model.disconnects import disconnect
from roomful.model.errors import BadRequest, Forbidden, InternalError, NotAvailable
from roomful.model.event import PublishEvent, PublishReply
from roomful.model.facet import facet_of
from roomful.model.publication import Draft
from roomful.model.reply import PublishResult
from roomful.node.connection_log import about
from roomful.session.facet import PUBLISHED, publish_to_facet
from roomful.session.payload import check_payload, from_client, to_client
from roomful.session.session import Session

log = logging.getLogger("roomful.session")


async def publish(session: Session, command: c.Publish) -> PublishResult:
    """Answers when the engine has it."""
    channel = command.channel
    if not channel:
        raise disconnect("bad_request")
    node = session.context.node
    options = node.namespaces.of(channel)
    if command.type:
        raise NotAvailable("map channels aren't available")
    facet = facet_of(channel)
    if facet is not None:
        return await publish_to_facet(session, command, facet)
    if not session.dialect.json or options.data_format == "json_object" or not command.data:
        check_payload(command.data, options.data_format)  # else the dialect has found JSON already
    reply: PublishReply | None = None
    if node.hooks.has(PublishEvent):
        event = PublishEvent(
            session.client, session.user, channel, from_client(command.data), session.meta, session.via
        )
        reply = await node.hooks.call(event, channel)
    granted = reply is not None or session.context.insecure
    if not granted and not options.publish.allows(session.user, channel in session.subscriptions):
        raise Forbidden
    session.spend_rooms("publish", (channel,))
    skip_history = reply is not None and reply.skip_history
    await node.publish(channel, _draft(session, command, options, reply), skip_history=skip_history)
    return PUBLISHED


def _draft(session: Session, command: c.Publish, options: ChannelOptions, reply: PublishReply | None) -> Draft:
    data, tags, exclude = command.data, None, frozenset[str]()
    if reply is not None:
        data = data if reply.data is None else _replaced(session, command.channel, reply.data, options)
        tags, exclude = reply.tags, frozenset(reply.exclude)
    if options.exclude_self:
        exclude |= {session.client}
    return Draft(data, session.info_in(command.channel), tags, exclude)


def _replaced(session: Session, channel: str, value: Any, options: ChannelOptions) -> bytes:
    """What the hook says instead of the payload. Raises InternalError where the namespace doesn't take it."""
    data = to_client(value)
    try:
        check_payload(data, options.data_format)
    except BadRequest as error:
        about(log, session).error(
            "the publish hook for %r gave a payload that the namespace doesn't take: %s", channel, error
        )
        raise InternalError from None
    return data
