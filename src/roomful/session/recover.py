"""What the subscribe reply tells of the log: where the client stands, and what it missed.

Source: Centrifuge protocol, sections 9.3 to 9.5, 10.2, 10.3 and 15.3.
"""

from __future__ import annotations

import logging

import msgspec

from roomful.model import command as c
from roomful.model.errors import UnrecoverablePosition
from roomful.model.publication import HistoryFilter, Page, Position, Publication
from roomful.model.reply import SubscribeResult
from roomful.node.connection_log import about
from roomful.rooms.recovery import Gap, recover, recover_latest, with_bases
from roomful.session.session import Session
from roomful.session.subscription import Subscription

log = logging.getLogger("roomful.session")


class Entry(msgspec.Struct, frozen=True):
    """A subscription that is ready to begin. position, complete, base: see `Subscription.begin`.

    missed: what the result gives out. gap: why what was asked for can't be recovered; page: what the log had in its
    place.
    """

    subscription: Subscription
    result: SubscribeResult
    position: Position = Position("", 0)
    complete: bool = True
    base: int = 0
    missed: list[Publication] = []
    gap: Gap | None = None
    page: Page | None = None


async def entry_of(
    session: Session, subscription: Subscription, result: SubscribeResult, wanted: c.Subscribe, max_bytes: int | None
) -> Entry:
    """The result with what there is to say of the log. Raises UnrecoverablePosition where that is asked for.

    max_bytes: of recovered payloads; None: a page's worth.
    """
    traits = subscription.traits
    if not traits.tracked:
        return await _with_state(session, Entry(subscription, result))
    asked = Position(wanted.epoch, wanted.offset) if wanted.recover and traits.recoverable else None
    if traits.cached:
        return await _from_cache(session, subscription, result, wanted, asked)
    if asked is None:
        position = await session.context.node.position(subscription.channel)
        return await _with_state(session, Entry(subscription, _told(subscription, result, position), position))
    return await _from_stream(session, subscription, result, wanted, asked, max_bytes)


async def _with_state(session: Session, entry: Entry) -> Entry:
    """With what a facet holds, read after the position: a newer state with changes that it knows already harms nobody,
    an older one without them would."""
    state = await session.context.node.facets.snapshot(entry.subscription.channel)
    if not state.data:
        return entry
    result = msgspec.structs.replace(entry.result, data=state.data)
    if state.position is not None:  # it is exact, so the changes of the state since then are what follows
        result = _told(entry.subscription, result, state.position)
        return msgspec.structs.replace(entry, result=result, position=state.position)
    return msgspec.structs.replace(entry, result=result)


async def _from_stream(
    session: Session,
    subscription: Subscription,
    result: SubscribeResult,
    wanted: c.Subscribe,
    asked: Position,
    max_bytes: int | None,
) -> Entry:
    """Everything missed since then, a page of it, or the news that it can't be proved."""
    node, limits = session.context.node, session.context.limits
    max_bytes = limits.recovery_max_bytes if max_bytes is None else max_bytes
    part = HistoryFilter(limit=limits.recovery_max, since=asked, max_bytes=max_bytes)
    page = await node.history(subscription.channel, part, some=True)
    verdict = recover(asked, page)
    if verdict.gap is not None:
        return _not_recovered(session, subscription, result, wanted, page, verdict.gap)
    node.stats.recovered += 1
    reached = page.publications[-1].offset if page.publications else verdict.since.offset
    missed = [publication for publication in page.publications if subscription.wants(publication)]
    told = _told(subscription, result, verdict.since)
    position = Position(page.head.epoch, reached)
    return _recovered(subscription, told, missed, position, complete=reached >= page.head.offset)


async def _from_cache(
    session: Session,
    subscription: Subscription,
    result: SubscribeResult,
    wanted: c.Subscribe,
    asked: Position | None,
) -> Entry:
    """The newest publication, unless the client has it, also when nothing was asked for."""
    page = await _newest(session, subscription)
    found = recover_latest(asked or Position("", 0), page, subscription.wants)
    if found is None:
        gap = None
        if asked is not None:
            gap = Gap.EXPIRED if asked.epoch == page.head.epoch else Gap.EPOCH
        return _not_recovered(session, subscription, result, wanted, Page([], page.head), gap)
    session.context.node.stats.recovered += asked is not None
    told = _told(subscription, result, found.since)
    return _recovered(subscription, told, found.publications, page.head, complete=True)


async def _newest(session: Session, subscription: Subscription) -> Page:
    """The newest publications, newest first: one, or a page where that one isn't for this client."""
    node, limits = session.context.node, session.context.limits
    for limit in (1, limits.recovery_max):
        wanted = HistoryFilter(limit=limit, reverse=True, max_bytes=limits.recovery_max_bytes)
        page = await node.history(subscription.channel, wanted)
        if any(map(subscription.wants, page.publications)) or not page.publications:
            break
    return page


def _recovered(
    subscription: Subscription,
    told: SubscribeResult,
    publications: list[Publication],
    position: Position,
    *,
    complete: bool,
) -> Entry:
    told = msgspec.structs.replace(
        told,
        publications=with_bases(publications) if subscription.manner.delta else publications,
        recovered=True,
        was_recovering=True,
    )
    base = publications[-1].offset if publications else 0
    return Entry(subscription, told, position, complete, base, publications)


def _not_recovered(
    session: Session,
    subscription: Subscription,
    result: SubscribeResult,
    wanted: c.Subscribe,
    page: Page,
    gap: Gap | None,
) -> Entry:
    """gap None: nothing was asked for, the server would have given the newest by itself."""
    if gap is not None:
        about(log, session).info("%r could not be recovered: %s", subscription.channel, gap)
        session.context.node.stats.not_recovered += 1
        if wanted.flag & c.REJECT_UNRECOVERED:
            raise UnrecoverablePosition
    told = msgspec.structs.replace(_told(subscription, result, page.head), was_recovering=True)
    return Entry(subscription, told, page.head, gap=gap, page=page)


def _told(subscription: Subscription, result: SubscribeResult, position: Position) -> SubscribeResult:
    """The result with what the client is told of a position. Source: Centrifuge protocol, sections 9.3 and 9.5."""
    traits = subscription.traits
    if not traits.positioned:
        return result
    return msgspec.structs.replace(
        result, recoverable=traits.recoverable, positioned=True, epoch=position.epoch, offset=position.offset
    )
