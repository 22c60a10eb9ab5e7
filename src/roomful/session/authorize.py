"""Who may subscribe: a token says, then the hook, then the namespace (design: who decides).

A facet's rights are those of its base. Source: Centrifuge protocol, section 21.4; design, sections 3 and 4.
"""

from __future__ import annotations

import logging

import msgspec

from roomful.model.channel import ChannelOptions, Right, allowed_users, is_private
from roomful.model.client import Grant, Override
from roomful.model.disconnects import disconnect
from roomful.model.errors import Expired, Forbidden, InvalidToken, NotAvailable, TokenExpired
from roomful.model.event import SubscribeEvent, SubscribeReply
from roomful.model.facet import Facet, facet_of
from roomful.node.connection_log import about
from roomful.seams.authenticator import SubscriptionClaims
from roomful.session.payload import from_client, to_client
from roomful.session.session import Session
from roomful.session.subscription import PENDING

log = logging.getLogger("roomful.session")

NO_OVERRIDE = Override()


async def authorize(session: Session, channel: str, options: ChannelOptions, token: str, data: bytes) -> Grant:
    """The right to subscribe, or an exception: token first, then the hook, then the namespace (design: who decides).

    Raises Forbidden, TokenExpired, Expired, what the hook raises; Disconnect for a token of somebody else.
    """
    facet = facet_of(channel)
    if facet is not None:
        return await _authorize_facet(session, channel, facet, token, data)
    grant, claims = await _granted_by_token(session, channel, token) if token else (None, {})
    return await _authorize(session, channel, options, data, grant, claims)


async def _authorize_facet(session: Session, channel: str, facet: Facet, token: str, data: bytes) -> Grant:
    """By a token for the facet or for its base, by a subscription to the base, or as a subscribe to the base without
    token would be granted."""
    options = session.context.node.namespaces.of(facet.base)
    visible = facet.kind != "people" or _sees_presence(session, options)
    held = session.subscriptions.get(facet.base)
    if visible and not token and held is not None and held.phase is not PENDING:
        return Grant()  # it ends with that subscription
    grant, claims = await _granted_by_token(session, channel, token) if token else (None, {})
    if not visible:
        # Who may be in the room may not see who else is: only the facet's own name in a token says so, or a hook.
        grant = grant if claims.get("channel") == channel else None
        options = msgspec.structs.replace(options, subscribe="nobody", user_limited=False)
    grant = await _authorize(session, facet.base, options, data, grant, claims, facet.kind)
    return Grant(expires_at=grant.expires_at, server_refresh=grant.server_refresh, token=grant.token)


def _sees_presence(session: Session, options: ChannelOptions) -> bool:
    """Whether who may be in the room may see who else is. Raises NotAvailable where that isn't kept."""
    if not options.presence:
        raise NotAvailable("the room keeps no presence")
    return session.context.insecure or options.see_presence.allows(session.user, subscribed=True)


async def _authorize(
    session: Session,
    channel: str,
    options: ChannelOptions,
    data: bytes,
    grant: Grant | None,
    claims: dict[str, object],
    facet: str = "",
) -> Grant:
    insecure, node = session.context.insecure, session.context.node
    if grant is None and is_private(channel) and not insecure:
        raise Forbidden("the channel needs a subscription token")
    if node.hooks.has(SubscribeEvent):
        event = SubscribeEvent(
            session.client,
            session.user,
            channel,
            from_client(data),
            grant is not None,
            claims,
            session.meta,
            session.via,
            facet,
        )
        reply = await node.hooks.call(event, channel)
        if reply is not None:
            grant = _granted_by_hook(reply, grant)
    if grant is None and not insecure:
        if not _granted_by_namespace(session.user, channel, options):
            raise Forbidden
        if node.revocations.revoked.names("room", channel, session.issued_at):
            raise Forbidden("access to the room was revoked")
    grant = grant or Grant()
    if grant.expires_at is not None and grant.expires_at <= node.wall_clock():
        raise Expired
    return grant


async def _granted_by_token(session: Session, channel: str, token: str) -> tuple[Grant | None, dict[str, object]]:
    try:
        claims = await session.context.authenticator.subscription(token)
    except (InvalidToken, TokenExpired, Expired) as error:
        if session.context.insecure:
            return None, {}
        if isinstance(error, InvalidToken):
            about(log, session).info("a bad subscription token for %r: %s", channel, error)
            raise Forbidden("invalid subscription token") from None
        raise
    if not is_for(claims, session, channel):
        if session.context.insecure:
            return None, {}
        raise disconnect("invalid_token")
    return claims.grant, claims.claims


def is_for(claims: SubscriptionClaims, session: Session, channel: str) -> bool:
    """Whether a subscription token names this channel, or the room whose facet it is, and this client."""
    facet = facet_of(channel)
    named = claims.channel == channel or (facet is not None and claims.channel == facet.base)
    return named and claims.user == session.user and claims.client in ("", session.client)


def _granted_by_hook(reply: SubscribeReply, token: Grant | None) -> Grant:
    """What the hook says; what it leaves open stays as in the token."""
    known = token or Grant()
    by_hook = reply.expires_at is not None
    return Grant(
        info=known.info if reply.info is None else to_client(reply.info),
        data=known.data if reply.data is None else to_client(reply.data),
        expires_at=reply.expires_at if by_hook else known.expires_at,
        override=known.override if reply.override == NO_OVERRIDE else reply.override,
        server_refresh=by_hook,
        token=known.token,
    )


def _granted_by_namespace(user: str, channel: str, options: ChannelOptions) -> bool:
    users = allowed_users(channel) if options.user_limited else None
    if users is not None:
        return bool(user) and user in users
    return Right(options.subscribe).allows(user, subscribed=False)
