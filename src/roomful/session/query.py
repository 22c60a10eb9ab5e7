"""Presence, presence stats and history. Source: Centrifuge protocol, sections 11.3 and 11.4."""

from __future__ import annotations

from roomful.model import command as c
from roomful.model.channel import Right
from roomful.model.disconnects import disconnect
from roomful.model.errors import BadRequest, Forbidden, NotAvailable, UnrecoverablePosition
from roomful.model.facet import is_between_nodes
from roomful.model.publication import HistoryFilter
from roomful.model.reply import HistoryResult, PresenceResult, PresenceStatsResult
from roomful.session.session import Session


async def presence(session: Session, command: c.Presence) -> PresenceResult:
    """Who is in the channel, by client id."""
    _require_presence(session, command.channel)
    return PresenceResult(await session.context.node.presence(command.channel))


async def presence_stats(session: Session, command: c.PresenceStats) -> PresenceStatsResult:
    """How many connections and users are in the channel."""
    _require_presence(session, command.channel)
    return PresenceStatsResult(*await session.context.node.presence_counts(command.channel))


async def history(session: Session, command: c.History) -> HistoryResult:
    """Publications kept, at most `history_max` and half an outbox of them, or only the position (limit 0)."""
    channel, since, limits = command.channel, command.since, session.context.limits
    if not channel:
        raise disconnect("bad_request")
    options = session.context.node.namespaces.of(channel)
    if not options.has_history or is_between_nodes(channel):
        raise NotAvailable("the channel has no history")
    _require(session, channel, options.history)
    session.spend_rooms("history", (channel,))
    if since is not None and command.reverse and since.offset == 0:
        raise BadRequest("nothing lies before offset 0")
    limit = limits.history_max if command.limit < 0 else min(command.limit, limits.history_max)
    wanted = HistoryFilter(limit, since, command.reverse, limits.outbox_max_bytes // 2)
    page = await session.context.node.history(channel, wanted)
    if since is not None and since.epoch and since.epoch != page.head.epoch:
        raise UnrecoverablePosition
    publications = [p for p in page.publications if session.client not in p.exclude]
    return HistoryResult(publications, page.head.epoch, page.head.offset)


def _require_presence(session: Session, channel: str) -> None:
    if not channel:
        raise disconnect("bad_request")
    options = session.context.node.namespaces.of(channel)
    if not options.presence:
        raise NotAvailable("the channel keeps no presence")
    _require(session, channel, options.see_presence)
    session.spend_rooms("presence", (channel,))


def _require(session: Session, channel: str, right: Right) -> None:
    if not session.context.insecure and not right.allows(session.user, channel in session.subscriptions):
        raise Forbidden
