"""Expiry and refresh of connections and subscriptions. Source: Centrifuge protocol, section 7.

Where a token granted it, the client brings a new one in time; where a hook granted it, the hook is asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from roomful.model import command as c
from roomful.model.disconnects import DISCONNECTS, UNSUBSCRIBES, Disconnect, disconnect
from roomful.model.errors import BadRequest, Forbidden, InvalidToken, RoomfulError, TokenExpired
from roomful.model.event import RefreshEvent, RefreshReply, SubRefreshEvent, SubRefreshReply
from roomful.model.facet import facet_of
from roomful.model.reply import RefreshResult, SubRefreshResult
from roomful.node import eager
from roomful.node.connection_log import about
from roomful.seams.authenticator import SubscriptionClaims
from roomful.session.authorize import is_for
from roomful.session.payload import to_client
from roomful.session.session import Session
from roomful.session.subscribe import Expiring, ttl, watch
from roomful.session.subscription import ENDED, PENDING, Subscription

log = logging.getLogger("roomful.session")

RETRY_S = 5.0
"""A refresh hook that failed is asked again after this long, until the grace is over."""


async def refresh(session: Session, command: c.Refresh) -> RefreshResult:
    """The client brings a new connection token."""
    context = session.context
    if not command.token or session.server_refresh:
        raise disconnect("bad_request")
    if context.insecure:
        return RefreshResult(session.client, context.node.version)
    try:
        credentials = await context.authenticator.connection(command.token)
    except TokenExpired:
        raise disconnect("expired") from None
    except InvalidToken as error:
        about(log, session).info("a bad token to refresh: %s", error)
        raise disconnect("invalid_token") from None
    if credentials.user != session.user:
        raise disconnect("invalid_token")
    if credentials.subs and frozenset(credentials.subs) != session.token_subs:
        raise disconnect("insufficient_state")
    session.token, session.issued_at = credentials.token, credentials.issued_at
    session.validated_at = context.node.wheel.now()
    session.expires_at = credentials.expires_at
    session.conn_info = credentials.info or session.conn_info
    watch(session, session)
    expires, seconds = ttl(session, session.expires_at, server_refresh=False)
    return RefreshResult(session.client, context.node.version, expires, seconds)


async def sub_refresh(session: Session, command: c.SubRefresh) -> SubRefreshResult:
    """The client brings a new subscription token. centrifuge-python leaves out the channel: then the token names it."""
    channel = command.channel
    if not command.token:
        if not channel:
            raise disconnect("bad_request")
        raise BadRequest("a refresh needs a token")
    if channel and channel not in session.subscriptions:
        raise Forbidden("not subscribed")
    if session.context.insecure:
        return SubRefreshResult()
    claims = await _verified(session, command.token)
    channel = channel or claims.channel
    subscription = session.subscriptions.get(channel)
    if subscription is None:
        raise Forbidden("not subscribed")
    if subscription.server_refresh:
        raise disconnect("bad_request")
    if not is_for(claims, session, channel):
        raise disconnect("invalid_token")
    subscription.expires_at = claims.grant.expires_at
    subscription.info = claims.grant.info or subscription.info
    subscription.token = claims.grant.token
    watch(session, subscription)
    return SubRefreshResult(*ttl(session, subscription.expires_at, server_refresh=False))


async def _verified(session: Session, token: str) -> SubscriptionClaims:
    try:
        return await session.context.authenticator.subscription(token)
    except InvalidToken as error:
        about(log, session).info("a bad subscription token to refresh: %s", error)
        raise disconnect("invalid_token") from None


def on_expiry(session: Session) -> None:
    """Something has expired, or will: ends what is over, asks hooks to renew, and looks after the rest."""
    _check(session, session, lambda: session.end(*DISCONNECTS["expired"]), lambda: _renew_connection(session))
    _check_validity(session)
    for subscription in tuple(session.subscriptions.values()):
        if subscription.phase not in (PENDING, ENDED):
            _check(
                session,
                subscription,
                partial(_end_subscription, session, subscription),
                partial(_renew_subscription, session, subscription),
            )


def _check(
    session: Session, what: Expiring, end: Callable[[], None], renew: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    if what.expires_at is None or session.closed:
        return
    now, over = session.context.node.wall_clock(), what.expires_at + session.context.options.expired_grace_s
    if over <= now:
        end()
    elif not what.server_refresh or now < what.expires_at:
        watch(session, what)
    elif not what.renewing:
        session.watch_expiry(over)
        eager.start(_contained(session, renew()))


def _check_validity(session: Session) -> None:
    """Asks the hook whether the connection may stay, if that is due."""
    if session.revalidate_at is None or session.closed:
        return
    now = session.context.node.wall_clock()
    if now < session.revalidate_at:
        session.watch_expiry(session.revalidate_at)
    elif now >= session.revalidate_at + session.context.options.revalidate_s:
        session.end(*DISCONNECTS["expired"])
    elif session.renewing:
        session.watch_expiry(now + RETRY_S)
    else:
        session.watch_expiry(session.revalidate_at + session.context.options.revalidate_s)
        eager.start(_contained(session, _validate(session)))


async def _validate(session: Session) -> None:
    """Asks the hook; a refusal ends the connection, no opinion leaves it."""
    node = session.context.node
    event = RefreshEvent(session.client, session.user, session.meta, session.via, periodic=True)
    session.renewing = True
    try:
        reply: RefreshReply | None = await node.hooks.call(event)
    except RoomfulError as error:
        if error.temporary:
            raise
        raise disconnect("revoked") from None
    finally:
        session.renewing = False
    now = node.wall_clock()
    session.validated_at = node.wheel.now()
    session.revalidate_at = now + session.context.options.revalidate_s
    session.watch_expiry(session.revalidate_at)
    if reply is not None:
        if reply.expires_at is not None and reply.expires_at <= now:
            raise disconnect("expired")
        if reply.info is not None:
            session.conn_info = to_client(reply.info)
        if reply.expires_at is not None and session.server_refresh:
            session.expires_at = reply.expires_at
    watch(session, session)  # its time may have come meanwhile


async def _contained(session: Session, renewal: Awaitable[None]) -> None:
    """A renewal that goes on by itself; a hook that failed for now is asked again within the grace."""
    try:
        await renewal
    except Disconnect as ending:
        session.end(ending.code, ending.reason)
    except RoomfulError:
        session.watch_expiry(session.context.node.wall_clock() + RETRY_S)
    except Exception:
        # Never open beyond its time: whatever went wrong here, the connection ends.
        about(log, session).exception("its expiry could not be handled")
        session.end(*DISCONNECTS["expired"])


async def _renew_connection(session: Session) -> None:
    """Asks the hook. No opinion or a refusal ends it."""
    reply = await _asked(session, session, RefreshEvent(session.client, session.user, session.meta, session.via))
    if reply is None:
        session.end(*DISCONNECTS["expired"])
        return
    if reply.info is not None:
        session.conn_info = to_client(reply.info)
    session.expires_at = reply.expires_at
    watch(session, session)


async def _renew_subscription(session: Session, subscription: Subscription) -> None:
    """As for a connection."""
    facet = facet_of(subscription.channel)
    channel = subscription.channel if facet is None else facet.base  # whoever granted it was asked for the room
    event = SubRefreshEvent(session.client, session.user, channel, session.meta, session.via)
    reply = await _asked(session, subscription, event, channel)
    if subscription.phase is ENDED:
        return
    if reply is None:
        _end_subscription(session, subscription)
        return
    if reply.info is not None:
        subscription.info = to_client(reply.info)
    subscription.expires_at = reply.expires_at
    watch(session, subscription)


async def _asked(
    session: Session, what: Expiring, event: RefreshEvent | SubRefreshEvent, channel: str = ""
) -> RefreshReply | SubRefreshReply | None:
    """What the hook replies; None when it doesn't renew. Raises the error of a hook that is to be asked again."""
    node = session.context.node
    what.renewing = True
    try:
        reply: RefreshReply | SubRefreshReply | None = await node.hooks.call(event, channel)
    except RoomfulError as error:
        if error.temporary:
            raise
        return None
    finally:
        what.renewing = False
    over = reply is not None and reply.expires_at is not None and reply.expires_at <= node.wall_clock()
    return None if over else reply


def _end_subscription(session: Session, subscription: Subscription) -> None:
    if subscription.traits.server_side:
        session.end(*DISCONNECTS["subscription_expired"])
    else:
        session.drop(subscription, *UNSUBSCRIBES["subscription_expired"])
