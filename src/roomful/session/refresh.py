"""Expiry and refresh of connections and subscriptions. Source: Centrifuge protocol, section 7.

Where a token granted it, the client brings a new one in time; where a hook granted it, the hook is asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from roomful.model import command as c
from roomful.model.disconnects import UNSUBSCRIBES, Disconnect, disconnect
from roomful.model.errors import BadRequest, Forbidden, InvalidToken, RoomfulError, TokenExpired
from roomful.model.event import RefreshEvent, RefreshReply, SubRefreshEvent, SubRefreshReply
from roomful.model.reply import RefreshResult, SubRefreshResult
from roomful.node import eager
from roomful.seams.authenticator import SubscriptionClaims
from roomful.session.payload import to_client
from roomful.session.session import Session
from roomful.session.subscribe import ttl, watch
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
        if context.authenticator is None:
            raise InvalidToken("no key to verify tokens with is configured")
        credentials = await context.authenticator.connection(command.token)
    except TokenExpired:
        raise disconnect("expired") from None
    except InvalidToken as error:
        log.info("client %s sent a bad token to refresh: %s", session.client, error)
        raise disconnect("invalid_token") from None
    if credentials.user != session.user:
        raise disconnect("invalid_token")
    if credentials.subs and frozenset(credentials.subs) != session.token_subs:
        raise disconnect("insufficient_state")
    session.expires_at = credentials.expires_at
    session.conn_info = credentials.info or session.conn_info
    watch_connection(session)
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
    if claims.channel != channel or claims.user != session.user or claims.client not in ("", session.client):
        raise disconnect("invalid_token")
    subscription.expires_at = claims.grant.expires_at
    subscription.info = claims.grant.info or subscription.info
    watch(session, subscription)
    return SubRefreshResult(*ttl(session, subscription.expires_at, server_refresh=False))


async def _verified(session: Session, token: str) -> SubscriptionClaims:
    authenticator = session.context.authenticator
    try:
        if authenticator is None:
            raise InvalidToken("no key to verify subscription tokens with is configured")
        return await authenticator.subscription(token)
    except InvalidToken as error:
        log.info("client %s sent a bad subscription token to refresh: %s", session.client, error)
        raise disconnect("invalid_token") from None


def watch_connection(session: Session) -> None:
    """Has the connection's expiry looked after."""
    if session.expires_at is not None:
        grace = 0.0 if session.server_refresh else session.context.options.expired_grace_s
        session.watch_expiry(session.expires_at + grace)


def on_expiry(session: Session) -> None:
    """Something has expired, or will: ends what is over, asks hooks to renew, and looks after the rest."""
    _check_connection(session)
    for subscription in tuple(session.subscriptions.values()):
        if subscription.phase not in (PENDING, ENDED):
            _check_subscription(session, subscription)


def _check_connection(session: Session) -> None:
    expires_at = session.expires_at
    if expires_at is None or session.closed:
        return
    now, grace = session.context.node.wall_clock(), session.context.options.expired_grace_s
    if expires_at + grace <= now:
        session.end(*disconnect("expired").args)
    elif not session.server_refresh or now < expires_at:
        watch_connection(session)
    elif not session.renewing:
        session.watch_expiry(expires_at + grace)
        eager.start(_contained(session, _renew_connection(session)))


async def _contained(session: Session, renewal: Awaitable[None]) -> None:
    """A renewal that goes on by itself."""
    try:
        await renewal
    except Disconnect as ending:
        session.end(ending.code, ending.reason)
    except Exception:
        # Never open beyond its time: whatever went wrong here, the connection ends.
        log.exception("the expiry of client %s could not be handled", session.client)
        session.end(*disconnect("expired").args)


async def _renew_connection(session: Session) -> None:
    """Asks the hook. No opinion or a refusal ends it; a hook that fails is asked again within the grace."""
    node = session.context.node
    session.renewing = True
    try:
        reply: RefreshReply | None = await node.hooks.call(RefreshEvent(session.client, session.user, session.meta))
    except RoomfulError as error:
        if error.temporary:
            session.watch_expiry(node.wall_clock() + RETRY_S)
            return
        reply = None
    finally:
        session.renewing = False
    if reply is None or (reply.expires_at is not None and reply.expires_at <= node.wall_clock()):
        session.end(*disconnect("expired").args)
        return
    if reply.info is not None:
        session.conn_info = to_client(reply.info)
    session.expires_at = reply.expires_at
    watch_connection(session)


def _check_subscription(session: Session, subscription: Subscription) -> None:
    """As for a connection."""
    expires_at = subscription.expires_at
    if expires_at is None:
        return
    now, grace = session.context.node.wall_clock(), session.context.options.expired_grace_s
    if expires_at + grace <= now:
        _end_subscription(session, subscription)
    elif not subscription.server_refresh or now < expires_at:
        watch(session, subscription)
    elif not subscription.renewing:
        session.watch_expiry(expires_at + grace)
        eager.start(_contained(session, _renew_subscription(session, subscription)))


async def _renew_subscription(session: Session, subscription: Subscription) -> None:
    """As for a connection."""
    node, channel = session.context.node, subscription.channel
    event = SubRefreshEvent(session.client, session.user, channel, session.meta)
    subscription.renewing = True
    try:
        reply: SubRefreshReply | None = await node.hooks.call(event, channel)
    except RoomfulError as error:
        if error.temporary:
            session.watch_expiry(node.wall_clock() + RETRY_S)
            return
        reply = None
    finally:
        subscription.renewing = False
    if subscription.phase is ENDED:
        return
    if reply is None or (reply.expires_at is not None and reply.expires_at <= node.wall_clock()):
        _end_subscription(session, subscription)
        return
    if reply.info is not None:
        subscription.info = to_client(reply.info)
    subscription.expires_at = reply.expires_at
    watch(session, subscription)


def _end_subscription(session: Session, subscription: Subscription) -> None:
    if subscription.traits.server_side:
        session.end(*disconnect("subscription_expired").args)
    else:
        session.drop(subscription, *UNSUBSCRIBES["subscription_expired"])
