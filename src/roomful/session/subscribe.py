"""Subscribe and unsubscribe: who may, what is agreed, and how the client gets from its position to live.

Source: Centrifuge protocol, sections 9, 10, 11.1 and 21.4.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec

from roomful.model import command as c
from roomful.model.channel import ChannelOptions
from roomful.model.client import Grant, Override
from roomful.model.disconnects import UNSUBSCRIBES, disconnect
from roomful.model.errors import (
    AlreadySubscribed,
    BadRequest,
    Forbidden,
    LimitExceeded,
)
from roomful.model.facet import facet_of
from roomful.model.publication import Position
from roomful.model.reply import SubscribeResult, UnsubscribeResult
from roomful.model.tags_filter import FilterNode
from roomful.node.hub import Manner
from roomful.rooms.tags_filter import Match, compiled, validate
from roomful.session.authorize import authorize
from roomful.session.leaving import CONNECTION_CLOSED, attempt, drop_facets, forget, leave, left
from roomful.session.recover import Entry, entry_of
from roomful.session.session import Session
from roomful.session.subscription import ENDED, PENDING, Subscription, Traits

log = logging.getLogger("roomful.session")

CLIENT_UNSUBSCRIBED = (0, "unsubscribe")
DELTAS = frozenset({"", "fossil"})
NO_OVERRIDE = Override()

_shared_traits: dict[Traits, Traits] = {}  # at most a few dozen combinations; a million subscriptions share them
_shared_manners: dict[Manner, Manner] = {}  # those without a filter: four
_matches: WeakValueDictionary[FilterNode, Match] = WeakValueDictionary()
"""Filters in use, compiled once for all who have an equal one."""


async def subscribe(session: Session, command: c.Subscribe) -> None:
    """Answers, then lets live publications through, then announces the join."""
    channel = command.channel
    if not channel or command.delta not in DELTAS:
        raise disconnect("bad_request")
    if channel in session.subscriptions:
        raise AlreadySubscribed
    if len(session.subscriptions) >= session.context.limits.channels_max:
        session.context.node.stats.count_limited("channels_max")
        raise LimitExceeded("too many subscriptions on one connection")
    options = session.context.node.namespaces.of(channel)
    if command.type:
        raise Forbidden("the namespace isn't of that type")
    with session.arriving(channel) as arrival:
        grant = await authorize(session, channel, options, command.token, command.data)
        session.spend_rooms("subscribe", (channel,))
        entry = await enter(session, command, options, grant, server_side=False)
    entry.subscription.ending = arrival.ending
    session.reply(command.id, entry.result)
    await begin(session, entry)


async def unsubscribe(session: Session, command: c.Unsubscribe) -> UnsubscribeResult:
    """Succeeds also when there is no such subscription."""
    if not command.channel:
        raise disconnect("bad_request")
    subscription = session.subscriptions.get(command.channel)
    if subscription is None:
        return UnsubscribeResult()
    if subscription.phase is PENDING:  # the server is just subscribing it
        subscription.ending = UNSUBSCRIBES["server"]
    else:
        leave(session, subscription, *CLIENT_UNSUBSCRIBED)
        if subscription.expires_at is not None:  # nobody would look whether the right to its facets still holds
            drop_facets(session, command.channel, *UNSUBSCRIBES["server"])
        await left(session, command.channel)
    return UnsubscribeResult()


async def enter(
    session: Session,
    wanted: c.Subscribe,
    options: ChannelOptions,
    grant: Grant,
    *,
    server_side: bool,
    max_bytes: int | None = None,
) -> Entry:
    """Everything up to the reply: hub, broker, presence, and what the log says about the wanted position.

    max_bytes: of recovered payloads; None: a page's worth. If it raises, nothing is left behind.
    """
    node, channel = session.context.node, wanted.channel
    await left(session, channel)
    if channel in session.subscriptions:  # the server has just subscribed it
        raise AlreadySubscribed
    if session.closed:
        raise disconnect("closed")
    traits = _traits(session, wanted, options, grant, server_side)
    manner = _manner(session, wanted, options, traits)
    subscription = Subscription(session, session.outbox, channel, traits, manner)
    subscription.info = grant.info
    subscription.expires_at, subscription.server_refresh = grant.expires_at, grant.server_refresh
    subscription.token = grant.token
    session.subscriptions[channel] = subscription
    try:
        number = await node.listen(channel, session.dialect, subscription, manner)
    except BaseException:
        forget(session, subscription)
        raise
    subscription.number = number if manner.compact else 0
    if node.tracer.on and node.tracer.has_room(session.user, channel):
        session.watch(subscription)
    expires, seconds = ttl(session, grant.expires_at, grant.server_refresh)
    result = SubscribeResult(
        expires=expires, ttl=seconds, data=grant.data, delta=manner.delta, number=subscription.number
    )
    try:
        if traits.present:
            await node.appear(channel, session.info_in(channel))
        entry = await entry_of(session, subscription, result, wanted, max_bytes)
        if session.closed:
            raise disconnect("closed")
    except BaseException:
        await withdraw(session, subscription)
        raise
    return entry


def wanting(since: Position | None) -> c.Subscribe:
    """A subscribe, but for its channel, of a client over plain HTTP: whatever the namespace has for those who ask."""
    asked = c.Subscribe(positioned=True, recoverable=True, join_leave=True)
    if since is None:
        return asked
    return msgspec.structs.replace(asked, recover=True, epoch=since.epoch, offset=since.offset)


async def look(
    session: Session, wanted: c.Subscribe, options: ChannelOptions, grant: Grant, *, max_bytes: int
) -> Entry:
    """What `enter` would find in the log, without entering: nobody hears of it, and nothing has to be undone."""
    traits = _traits(session, wanted, options, grant, server_side=False)
    subscription = Subscription(session, session.outbox, wanted.channel, traits)
    return await entry_of(session, subscription, SubscribeResult(data=grant.data), wanted, max_bytes)


async def withdraw(session: Session, subscription: Subscription) -> None:
    """Undoes `enter` for a subscription that never began."""
    node, channel, traits = session.context.node, subscription.channel, subscription.traits
    try:
        if traits.present:
            await attempt(session, channel, node.disappear(channel, session.info_in(channel), clean=True))
            if traits.announced:  # no join was, but who looked at the presence meanwhile has seen it
                await node.announce_leave(channel, session.info_in(channel))
        await attempt(session, channel, node.unlisten(channel, session.dialect, subscription, subscription.manner))
    finally:
        forget(session, subscription)  # only now: until then no other subscription may take its place


async def begin(session: Session, entry: Entry) -> None:
    """The reply is queued: live publications may follow, and the others hear of the join."""
    subscription = entry.subscription
    if session.closed:  # there was no room for the reply
        leave(session, subscription, *CONNECTION_CLOSED)
        return
    _tell_subscribed(session, entry)
    subscription.begin(entry.position, complete=entry.complete, base=entry.base)
    watch(session, subscription)
    if subscription.traits.announced and subscription.phase is not ENDED:
        await _announce(session, subscription)
    revoked = session.context.node.revocations.revoked
    if subscription.token and revoked.names("token", subscription.token):  # while a hook was thinking
        subscription.ending = UNSUBSCRIBES["revoked"]
    if subscription.ending is not None and subscription.phase is not ENDED:
        session.drop(subscription, *subscription.ending)


def _tell_subscribed(session: Session, entry: Entry) -> None:
    recovered = entry.result.recovered
    session.happens(
        "subscribed",
        channel=entry.subscription.channel,
        since=entry.result.offset if recovered else None,
        offset=entry.position.offset,
        epoch=entry.position.epoch,
        count=len(entry.missed),
        reason="recovered" if recovered else entry.gap or "",
    )


async def _announce(session: Session, subscription: Subscription) -> None:
    channel = subscription.channel
    subscription.joining = asyncio.get_running_loop().create_future()
    try:
        await session.context.node.announce_join(channel, session.info_in(channel))
    finally:
        subscription.joining.set_result(None)
        subscription.joining = None


class Expiring(Protocol):
    """A connection or a subscription. expires_at: seconds since 1970, None for never. server_refresh: a hook renews it.

    renewing: that hook is just being asked.
    """

    expires_at: float | None
    server_refresh: bool
    renewing: bool


def watch(session: Session, what: Expiring) -> None:
    """Has the expiry of this session, or of one of its subscriptions, looked after."""
    if what.expires_at is not None:
        grace = 0.0 if what.server_refresh else session.context.options.expired_grace_s
        session.watch_expiry(what.expires_at + grace)


def ttl(session: Session, expires_at: float | None, server_refresh: bool) -> tuple[bool, int]:
    """`expires` and `ttl` as the client is told; (False, 0) unless it is the one who has to refresh."""
    if expires_at is None or server_refresh:
        return False, 0
    return True, max(1, math.ceil(expires_at - session.context.node.wall_clock()))


def _traits(session: Session, wanted: c.Subscribe, options: ChannelOptions, grant: Grant, server_side: bool) -> Traits:
    """Source: Centrifuge protocol, section 9.2."""
    override, user = grant.override, session.user
    insecure = session.context.insecure
    slow = options.slow_policy
    latest = slow == "latest"
    tracked = options.has_history and not latest
    # Also under --dev nobody reads the log of a facet: who comes back gets the whole state.
    reads_history = (insecure and facet_of(wanted.channel) is None) or options.history.allows(user, subscribed=True)
    sees_presence = insecure or options.see_presence.allows(user, subscribed=True)
    cached = tracked and options.mode == "cache"
    force_recovery = cached or _either(override.force_recovery, options.recover)
    force_positioning = _either(override.force_positioning, options.position)
    recoverable = tracked and (force_recovery or (wanted.recoverable and reads_history))
    positioned = recoverable or (tracked and (force_positioning or (wanted.positioned and reads_history)))
    announced = _either(override.join_leave, bool(options.join_leave))
    to_all = _either(override.force_push_join_leave, options.join_leave == "all")
    traits = Traits(
        tracked=tracked,
        positioned=positioned,
        recoverable=recoverable,
        cached=cached,
        notices=to_all or (wanted.join_leave and announced and sees_presence),
        announced=announced,
        present=_either(override.presence, options.presence),
        latest=latest,
        closes=slow == "close",
        server_side=server_side,
    )
    return _shared_traits.setdefault(traits, traits)


def _either(override: bool | None, option: bool) -> bool:
    return option if override is None else override


def _manner(session: Session, wanted: c.Subscribe, options: ChannelOptions, traits: Traits) -> Manner:
    """Source: Centrifuge protocol, sections 14 to 16. Raises BadRequest for a filter that can't be.

    Only clients map numbers to subscriptions that they made themselves.
    """
    readable = options.compact == "all" or (options.compact and session.dialect.json)
    compact = readable and not traits.server_side and bool(wanted.flag & c.COMPACT)
    if wanted.filter is None:
        manner = Manner(compact, delta=options.delta and traits.positioned and bool(wanted.delta))
        return _shared_manners.setdefault(manner, manner)
    if not options.tags_filter:
        raise BadRequest("tags filters aren't allowed here")
    if wanted.delta:
        raise BadRequest("a subscription has a tags filter or delta compression, not both")
    validate(wanted.filter, session.context.filters)
    return Manner(compact, match=_match(wanted.filter))


def _match(node: FilterNode) -> Match:
    """A valid filter, compiled."""
    match = _matches.get(node)
    if match is None:
        match = _matches[node] = compiled(node)
    return match
