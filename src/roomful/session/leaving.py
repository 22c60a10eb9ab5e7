"""A session leaves channels, one or all of them: each is out of hub, broker and presence, and who has to know is told.

Out of the hub it is at once, so that nothing more comes from it; the rest takes its time, and one step of it that fails
keeps no other from being done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from roomful.model.client import ClientInfo
from roomful.model.disconnects import UNSUBSCRIBES, Disconnect
from roomful.model.errors import RoomfulError
from roomful.model.event import DisconnectEvent, UnsubscribeEvent
from roomful.model.facet import facets_of
from roomful.model.push import Push, UnsubscribePush
from roomful.node import eager
from roomful.node.connection_log import about
from roomful.node.node import Node
from roomful.seams.dialect import Dialect
from roomful.session.outbox import Outbox
from roomful.session.subscription import ENDED, PENDING, Subscription

log = logging.getLogger("roomful.session")

CONNECTION_CLOSED = (1, "disconnect")
"""Why a subscription ends whose connection does. Source: Centrifuge protocol, section 17.2."""


class Shared(Protocol):
    @property
    def node(self) -> Node: ...


class Leaver(Protocol):
    """What leaving needs of a session.

    behind: subscriptions that read on from the log. leaving: those whose leaving is under way, by channel. ended: with
    which code and reason the connection did.
    """

    user: str
    client: str
    conn_info: bytes
    meta: dict[str, Any]
    dialect: Dialect
    outbox: Outbox
    subscriptions: dict[str, Subscription]
    behind: set[Subscription] | None
    leaving: dict[str, asyncio.Task[None]] | None
    ended: tuple[int, str]

    @property
    def context(self) -> Shared: ...

    def happens(self, event: str, **more: Any) -> None:
        """Tells those who trace it."""
        ...

    def push(self, push: Push) -> None: ...

    def drop(self, subscription: Subscription, code: int, reason: str) -> None:
        """`drop`, or what it does in its place."""
        ...


async def left(session: Leaver, channel: str) -> None:
    """Waits until an earlier subscription to the channel is gone from the engine."""
    leaving = session.leaving.get(channel) if session.leaving else None
    if leaving is not None:
        await asyncio.wait((leaving,))


def leave(session: Leaver, subscription: Subscription, code: int, reason: str) -> None:
    """Ends a subscription that has begun; those who have to know are told. `left` waits for it."""
    forget(session, subscription)
    session.happens("unsubscribed", channel=subscription.channel, code=code, reason=reason)
    _remember(session, subscription.channel, eager.start(_leave(session, subscription, code, reason)))


def drop(session: Leaver, subscription: Subscription, code: int, reason: str) -> None:
    """Ends a subscription that has begun from the server's side; its client is told, too."""
    forget(session, subscription)
    session.happens("unsubscribed", channel=subscription.channel, code=code, reason=reason)
    session.push(UnsubscribePush(subscription.channel, code, reason))
    # Not at once: a hub in the middle of a broadcast must not be led into another one.
    _remember(session, subscription.channel, eager.later(_leave(session, subscription, code, reason)))
    if code != UNSUBSCRIBES["insufficient_state"][0]:  # that says nothing of rights
        drop_facets(session, subscription.channel, code, reason)


def drop_facets(session: Leaver, base: str, code: int, reason: str) -> None:
    """Who lost a room has lost its facets, too."""
    for channel in facets_of(base):
        facet = session.subscriptions.get(channel)
        if facet is None:
            continue
        if facet.phase is PENDING:
            facet.ending = (code, reason)
        else:
            session.drop(facet, code, reason)


def forget(session: Leaver, subscription: Subscription) -> None:
    """Takes a subscription out of the session: nothing more comes from it."""
    node, channel = session.context.node, subscription.channel
    subscription.phase = ENDED
    node.facets.left(channel, session.client)
    if session.subscriptions.get(channel) is subscription:
        del session.subscriptions[channel]
    node.hub.remove(channel, session.dialect, subscription, subscription.manner)
    if session.behind:
        session.behind.discard(subscription)
    if subscription.traits.latest:
        session.outbox.forget_latest(channel)


async def farewell(session: Leaver, subscriptions: Sequence[Subscription], *, introduced: bool) -> None:
    """After the end of the connection: it leaves what it was in. introduced: the application knows that it came."""
    clean = _is_clean(session.ended[0])
    for subscription in subscriptions:
        await _take_out(session, subscription, clean)
    for subscription in subscriptions:  # a slow hook keeps nobody present
        await _tell_left(session, subscription, *CONNECTION_CLOSED)
    if introduced:
        await tell_end(session)


async def tell_end(session: Leaver) -> None:
    hooks = session.context.node.hooks
    if hooks.has(DisconnectEvent):
        await hooks.tell(DisconnectEvent(session.client, session.user, *session.ended, session.meta))


async def attempt(session: Leaver, channel: str, step: Awaitable[None]) -> None:
    """One step of leaving a channel; if it fails, whatever way, the others are to be done all the same."""
    try:
        await step
    except RoomfulError as error:
        about(log, session).warning("%r was left, but the engine didn't take it: %s", channel, error)
    except Exception:
        about(log, session).exception("%r was left, but a step of it failed", channel)


def _remember(session: Leaver, channel: str, task: asyncio.Task[None] | None) -> None:
    if task is None:
        return
    if session.leaving is None:
        session.leaving = {}
    session.leaving[channel] = task
    task.add_done_callback(lambda _: session.leaving and session.leaving.pop(channel))


async def _leave(session: Leaver, subscription: Subscription, code: int, reason: str) -> None:
    clean = _is_clean(session.ended[0]) if (code, reason) == CONNECTION_CLOSED else code < 2500
    await _take_out(session, subscription, clean)
    await _tell_left(session, subscription, code, reason)


async def _take_out(session: Leaver, subscription: Subscription, clean: bool) -> None:
    """Out of broker and presence; the others in the channel are told. clean: it won't come back by itself."""
    node, channel, traits = session.context.node, subscription.channel, subscription.traits
    info = ClientInfo(session.user, session.client, session.conn_info, subscription.info)
    await attempt(session, channel, node.unlisten(channel, session.dialect, subscription, subscription.manner))
    if traits.present:
        await attempt(session, channel, node.disappear(channel, info, clean=clean))
    if subscription.joining is not None:
        await asyncio.wait((subscription.joining,))  # the others mustn't hear of the leave first
    if traits.announced:
        await attempt(session, channel, node.announce_leave(channel, info))


async def _tell_left(session: Leaver, subscription: Subscription, code: int, reason: str) -> None:
    hooks = session.context.node.hooks
    if hooks.has(UnsubscribeEvent):
        event = UnsubscribeEvent(session.client, session.user, subscription.channel, code, reason, session.meta)
        await hooks.tell(event, subscription.channel)


def _is_clean(code: int) -> bool:
    """Whether a client whose connection ended so won't come back by itself: it said good-bye, or was sent away.

    A browser that leaves the page says 1001, also where it is to be loaded anew; a lost connection has no code.
    """
    return code in (1000, 1005) or not Disconnect(code, "").reconnect
