"""Connect: who the client is, and the subscriptions that the server makes for it.

Source: Centrifuge protocol, sections 5 and 13; design: who decides.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from roomful.model import command as c
from roomful.model.channel import personal_channel
from roomful.model.client import ANONYMOUS_PREFIX, Credentials, Grant
from roomful.model.disconnects import DISCONNECTS, disconnect
from roomful.model.errors import (
    Expired,
    Forbidden,
    InternalError,
    InvalidToken,
    LimitExceeded,
    RoomfulError,
    TokenExpired,
    UnknownChannel,
)
from roomful.model.event import ConnectEvent, ConnectReply, SubscriptionOptions
from roomful.model.facet import facet_of
from roomful.model.order import DisconnectOrder
from roomful.model.reply import ConnectResult
from roomful.model.stream import CHANNELS_MAX
from roomful.model.trace_context import HEADER, trace_id
from roomful.node.connection_log import about
from roomful.session.authorize import authorize
from roomful.session.payload import from_client, to_client
from roomful.session.recover import Entry
from roomful.session.session import Session
from roomful.session.subscribe import begin, enter, ttl, watch, withdraw

log = logging.getLogger("roomful.session")

NAME_MAX = 64
"""Letters of a name that `--dev` shows to others."""


async def connect(session: Session, command: c.Connect) -> None:
    """Answers, then lets the server-side subscriptions begin."""
    credentials, data = await admit(session, command)
    grants = await _server_side_grants(session, command, credentials)
    if len(grants) > session.context.limits.channels_max:
        session.context.node.stats.count_limited("channels_max")
        raise disconnect("channel_limit")
    entries = await enter_all(session, command.subs, grants, server_side=True)
    session.context.node.directory.add(session)
    session.reply(command.id, _result(session, data, entries))
    if not session.closed:
        session.connected()
        watch(session, session)
    for entry in entries:
        await begin(session, entry)


async def admit(session: Session, command: c.Connect) -> tuple[Credentials, bytes]:
    """Who the client is, if it may come in, and what goes into the reply's `data`. The session takes the identity on.

    Raises TokenExpired, Expired, TooManyRequests, what the hook raises; Disconnect.
    """
    if session.allowance is not None:
        session.allowance.spend(session.entered_as)
    session.parent_trace = session.parent_trace or trace_id(command.headers.get(HEADER, ""))
    known = await _by_token(session, command.token) if command.token else None
    if session.closed:
        raise disconnect("closed")
    session.user = known.user if known else ""
    if known is not None:
        session.token = known.token
        _belongs_to(session, known.user)
    try:
        credentials, data = await _identify(session, command, known)
        _take_on(session, credentials, known)
        _belongs_to(session, credentials.user)
    finally:
        session.introduce()
    if session.closed:
        raise disconnect("closed")
    if not session.context.insecure and session.context.node.revocations.revoked.ends(
        session.user, session.token, session.issued_at
    ):  # while the hook was thinking
        raise disconnect("revoked")
    _check_user_limit(session)
    if credentials.expires_at is not None and credentials.expires_at <= session.context.node.wall_clock():
        raise Expired
    return credentials, data


async def admit_to(session: Session, token: str, channels: Collection[str]) -> dict[str, Grant]:
    """Lets in a client whose one request names its channels: those of its token or hook, and those it may subscribe to.

    Raises what `admit` and `authorize` raise; LimitExceeded.
    """
    most = min(CHANNELS_MAX, session.context.limits.channels_max)
    if len(channels) > most:
        session.context.node.stats.count_limited("channels_max")
        raise LimitExceeded(f"one request may name {most} channels")
    credentials, _ = await admit(session, c.Connect(token=token))
    grants = {}
    for channel in channels:
        options = session.context.node.namespaces.of(channel)
        granted = _named(credentials.subs, channel)
        grants[channel] = granted or await authorize(session, channel, options, "", b"")
    return grants


def _belongs_to(session: Session, user: str) -> None:
    """A token's user counts before the hook is asked, the one that the hook names when it has answered."""
    if session.allowance is not None:
        session.allowance.belongs_to(user or ANONYMOUS_PREFIX + session.client, session.entered_as)


def _named(subs: Mapping[str, Grant], channel: str) -> Grant | None:
    """What a token or the hook says of the channel, or, where it is a facet, of its room."""
    facet = facet_of(channel)
    if channel in subs or facet is None:
        return subs.get(channel)
    base = subs.get(facet.base)
    return base and Grant(expires_at=base.expires_at, server_refresh=base.server_refresh)


async def _identify(session: Session, command: c.Connect, known: Credentials | None) -> tuple[Credentials, bytes]:
    """Who it is, and what goes into the reply's `data`: token, then hook, then whether anonymous clients may come."""
    context = session.context
    reply: ConnectReply | None = None
    if context.node.hooks.has(ConnectEvent):
        try:
            reply = await context.node.hooks.call(_event(session, command, known))
        except Forbidden as error:
            about(log, session).info("the connect hook refused it: %s", error)
            raise disconnect("permission_denied") from None
    if known is None and reply is None and not (context.anonymous or context.insecure):
        raise disconnect("bad_request")
    credentials = _combined(session, known or Credentials("", issued_at=session.issued_at), reply)
    session.server_refresh = reply is not None and reply.expires_at is not None
    if context.insecure:
        credentials = msgspec.structs.replace(
            credentials, expires_at=None, info=credentials.info or _claimed_name(command.data)
        )
        session.server_refresh = False
    return credentials, to_client(reply.data) if reply else b""


async def _by_token(session: Session, token: str) -> Credentials | None:
    try:
        return await session.context.authenticator.connection(token)
    except (InvalidToken, TokenExpired, Expired) as error:
        if session.context.insecure:
            return None
        if isinstance(error, InvalidToken):
            about(log, session).info("a bad token: %s", error)
            raise disconnect("invalid_token") from None
        raise


def _event(session: Session, command: c.Connect, known: Credentials | None) -> ConnectEvent:
    return ConnectEvent(
        client=session.client,
        user=known.user if known else "",
        token_claims=known.claims if known else {},
        data=from_client(command.data),
        name=command.name,
        version=command.version,
        headers=session.request.headers,
        client_headers=command.headers,
        address=session.request.address,
        transport=session.transport.kind,
        channels=list(command.subs),
        via=session.via,
    )


def _combined(session: Session, known: Credentials, reply: ConnectReply | None) -> Credentials:
    """The token's credentials with what the hook says instead."""
    if reply is None:
        return known
    user = known.user if reply.user is None else reply.user
    if user.startswith(ANONYMOUS_PREFIX):
        about(log, session).error(
            "the connect hook named the user %r; user ids can't start with %r", user, ANONYMOUS_PREFIX
        )
        raise InternalError
    subs = reply.subs if isinstance(reply.subs, dict) else dict.fromkeys(reply.subs, SubscriptionOptions())
    return Credentials(
        user=user,
        info=known.info if reply.info is None else to_client(reply.info),
        expires_at=known.expires_at if reply.expires_at is None else reply.expires_at,
        subs=known.subs | {channel: _grant(options) for channel, options in subs.items()},
        meta=known.meta | reply.meta,
        claims=known.claims,
        token=known.token,
        # Who the hook names is somebody by its word, which is of this moment.
        issued_at=known.issued_at if reply.user is None else session.issued_at,
    )


def _grant(options: SubscriptionOptions) -> Grant:
    by_hook = options.expires_at is not None
    return Grant(to_client(options.info), to_client(options.data), options.expires_at, options.override, by_hook)


def _claimed_name(data: bytes) -> bytes:
    """`{"name": …}` of the connect data as connection info; only `--dev` believes it."""
    claimed: Any = from_client(data)
    name = claimed.get("name") if isinstance(claimed, dict) else None
    return to_client({"name": name[:NAME_MAX]}) if isinstance(name, str) and name else b""


def _take_on(session: Session, credentials: Credentials, known: Credentials | None) -> None:
    """known: what the token alone says; its set of subscriptions is what a refresh may not change."""
    session.user = credentials.user
    session.conn_info = credentials.info
    session.expires_at = credentials.expires_at
    session.issued_at = credentials.issued_at
    session.token_subs = frozenset(known.subs) if known else frozenset()
    if credentials.meta:
        session.meta = credentials.meta


def _check_user_limit(session: Session) -> None:
    node, most = session.context.node, session.context.limits.connections_per_user_max
    if session.user and most and len(node.directory.of_user(session.user)) >= most:
        node.stats.count_limited("connections_per_user_max")
        raise disconnect("connection_limit")


async def _server_side_grants(session: Session, command: c.Connect, credentials: Credentials) -> dict[str, Grant]:
    """Channels that the server subscribes: of token and hook, the personal one, and those the client may ask for."""
    context = session.context
    grants = dict(credentials.subs)
    if context.options.personal_channel and session.user:
        channel = personal_channel(session.user, context.options.personal_namespace)
        grants.setdefault(channel, Grant())
        if context.options.single_connection:
            await _replace_older(session, channel)
    asked_for = []
    for channel, wanted in command.subs.items():
        if channel in grants:
            continue
        try:
            options = context.node.namespaces.of(channel)
        except UnknownChannel:
            raise disconnect("bad_request") from None
        try:
            grants[channel] = await authorize(session, channel, options, "", wanted.data)
            asked_for.append(channel)
        except RoomfulError as refusal:
            if refusal.temporary:  # says nothing about the right; the client is to come again with all its channels
                raise
            about(log, session).debug("%r was asked for in the connect and isn't given: %s", channel, refusal)
    session.spend_rooms("subscribe", asked_for)
    return grants


async def _replace_older(session: Session, channel: str) -> None:
    """The newest connection of a user stays; best effort between nodes."""
    node = session.context.node
    clients, _ = await node.presence_counts(channel)
    if clients:
        code, reason = DISCONNECTS["connection_limit"]
        await node.order(DisconnectOrder(session.user, code=code, reason=reason, whitelist=[session.client]))


async def enter_all(
    session: Session, wanted: Mapping[str, c.Subscribe], grants: Mapping[str, Grant], *, server_side: bool
) -> list[Entry]:
    """Enters each granted channel, as it is wanted: all of them or, after an exception, none."""
    entries: list[Entry] = []
    left = session.context.limits.recovery_max_bytes  # one page of recovery for all of them together
    try:
        for channel, grant in grants.items():
            asked = msgspec.structs.replace(wanted.get(channel, c.Subscribe()), channel=channel)
            options = session.context.node.namespaces.of(channel)
            entry = await enter(session, asked, options, grant, server_side=server_side, max_bytes=left)
            entries.append(entry)
            left = max(0, left - sum(len(publication.data) for publication in entry.missed))
        if session.closed:
            raise disconnect("closed")
        _check_user_limit(session)  # once more: others of the same user may have come in meanwhile
    except BaseException:
        for entry in entries:
            await withdraw(session, entry.subscription)
        raise
    return entries


def _result(session: Session, data: bytes, entries: list[Entry]) -> ConnectResult:
    options, node = session.context.options, session.context.node
    expires, seconds = ttl(session, session.expires_at, session.server_refresh)
    pings = options.ping_s > 0 and not session.pings_natively
    return ConnectResult(
        client=session.client,
        version=node.version,
        expires=expires,
        ttl=seconds,
        data=data,
        subs={entry.subscription.channel: entry.result for entry in entries},
        ping=math.ceil(options.ping_s) if pings else 0,
        pong=pings and not session.dialect.unidirectional,
        session=session.secret,
        node=node.id if session.secret and not session.dialect.unidirectional else "",
        time=int(node.wall_clock() * 1000) if options.server_time else 0,
    )
