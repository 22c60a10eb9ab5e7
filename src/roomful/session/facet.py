"""Facets of rooms: who may read and change them. Their rights are those of the room. Source: design, section 3."""

from __future__ import annotations

from roomful.model import command as c
from roomful.model.errors import Forbidden, NotAvailable
from roomful.model.event import PublishEvent
from roomful.model.facet import BETWEEN_NODES, Facet
from roomful.model.reply import PublishResult
from roomful.session.payload import from_client, to_client
from roomful.session.session import Session

PUBLISHED = PublishResult()


async def publish_to_facet(session: Session, command: c.Publish, facet: Facet) -> PublishResult:
    """Needs the right to publish to the base; a PublishEvent hook for the facet's own name may grant or refuse.

    Hooks for the base aren't asked: they judge what is said in the room, and would be asked at each keystroke.
    """
    channel, node = command.channel, session.context.node
    if facet.kind in BETWEEN_NODES:
        raise NotAvailable("clients can't publish to it")
    reply, data = None, command.data
    if node.hooks.has(PublishEvent):
        event = PublishEvent(session.client, session.user, channel, from_client(data), session.meta, session.via)
        reply = await node.hooks.call(event, channel)
    granted = reply is not None or session.context.insecure
    options = node.namespaces.of(facet.base)
    if not granted and not options.publish.allows(session.user, facet.base in session.subscriptions):
        raise Forbidden
    if reply is not None and reply.data is not None:
        data = to_client(reply.data)
    session.spend_rooms("publish", (channel,))
    await node.facets.publish(channel, session.info_in(facet.base), data)
    return PUBLISHED
