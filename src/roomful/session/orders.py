"""What the application, on whichever node, has done to a connection. Source: Centrifuge protocol, section 23."""

from __future__ import annotations

import logging

from roomful.model import command as c
from roomful.model.disconnects import disconnect
from roomful.model.errors import RoomfulError
from roomful.model.order import DisconnectOrder, DocumentRightsOrder, RefreshOrder, SubscribeOrder, UnsubscribeOrder
from roomful.model.publication import Position
from roomful.model.push import RefreshPush, SubscribePush
from roomful.node.connection_log import about
from roomful.session.recover import Entry
from roomful.session.session import Session
from roomful.session.subscribe import begin, enter, ttl, watch
from roomful.session.subscription import PENDING

log = logging.getLogger("roomful.session")


async def subscribe(session: Session, order: SubscribeOrder) -> None:
    """A server-side subscription while connected; with `recover_since`, what was missed follows as publications."""
    channel, limits = order.channel, session.context.limits
    if channel in session.subscriptions:
        return
    if len(session.subscriptions) >= limits.channels_max:
        session.context.node.stats.count_limited("channels_max")
        raise disconnect("channel_limit")
    since = order.recover_since
    wanted = c.Subscribe(channel=channel)
    try:
        options = session.context.node.namespaces.of(channel)
        if since is not None:
            wanted = c.Subscribe(
                channel=channel, recover=True, recoverable=True, epoch=since.epoch, offset=since.offset
            )
        with session.arriving(channel) as arrival:
            entry = await enter(session, wanted, options, order.grant, server_side=True)
        entry.subscription.ending = arrival.ending
    except RoomfulError as error:
        about(log, session).warning("it could not be subscribed to %r: %s", channel, error)
        return
    result = entry.result
    if result.publications:  # the push can't carry them; the log is read from where they begin
        since = Position(result.epoch, result.offset)
        entry = Entry(entry.subscription, result, since, complete=False)
    session.push(
        SubscribePush(channel, result.recoverable, result.epoch, result.offset, result.positioned, result.data)
    )
    await begin(session, entry)


async def unsubscribe(session: Session, order: UnsubscribeOrder) -> None:
    """Ends one subscription, or all of them for an empty channel; those that are just being made end once they are."""
    for arrival in session.arrivals:
        if order.channel in ("", arrival.channel):
            arrival.ending = (order.code, order.reason)
    channels = [order.channel] if order.channel else list(session.subscriptions)
    for channel in channels:
        subscription = session.subscriptions.get(channel)
        if subscription is None:
            continue
        if subscription.phase is PENDING:
            subscription.ending = (order.code, order.reason)
        else:
            session.drop(subscription, order.code, order.reason)


async def disconnect_client(session: Session, order: DisconnectOrder) -> None:
    """Closes the connection."""
    session.end(order.code, order.reason)


async def refresh(session: Session, order: RefreshOrder) -> None:
    """A new expiry and a new info, or the end (3005)."""
    if order.expired:
        raise disconnect("expired")
    if order.info is not None:
        session.conn_info = order.info
    session.expires_at = order.expires_at
    watch(session, session)
    session.push(RefreshPush(*ttl(session, session.expires_at, session.server_refresh)))


async def document_rights(_session: Session, _order: DocumentRightsOrder) -> None:
    """Is for `DocumentSession`; a connection to rooms has no documents."""
