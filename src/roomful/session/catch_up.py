"""Reads on from the log for a subscription that is behind: one page each time the outbox has room.

The same for a client that read too slowly, for a recovery of more than one page, and for a node that missed something.
"""

from __future__ import annotations

import asyncio
import logging

from roomful.model.errors import RoomfulError, Unencodable
from roomful.model.publication import DeltaPublication, HistoryFilter, Publication
from roomful.model.push import PublicationPush
from roomful.node.connection_log import about
from roomful.rooms.recovery import Gap, recover
from roomful.session.session import Session
from roomful.session.subscription import BEHIND, Subscription

log = logging.getLogger("roomful.session")


async def read_page(session: Session, subscription: Subscription) -> None:
    """Queues what follows the subscription's position, as much as fits; live again, or 2500, when that's the end."""
    limits, node, channel = session.context.limits, session.context.node, subscription.channel
    subscription.reading, seen = True, subscription.seen
    wanted = HistoryFilter(limit=limits.recovery_max, since=subscription.position, max_bytes=limits.recovery_max_bytes)
    try:
        page = await node.history(channel, wanted, some=True)
    except RoomfulError as error:
        about(log, session).warning("the log of %r can't be read: %s", channel, error)
        if subscription.phase is BEHIND:
            session.lose(subscription, Gap.UNREADABLE)
        return
    finally:
        subscription.reading = False
    if subscription.phase is not BEHIND:
        return
    verdict = recover(subscription.position, page)
    gap = Gap.EPOCH if page.head.offset < seen else verdict.gap  # shorter than we knew it: another life of the log
    if gap is not None:
        session.lose(subscription, gap, page)
        return
    before, since = session.outbox.bytes, subscription.offset
    complete = give_out(session, subscription, page.publications)
    if subscription.offset > since:
        session.happens("read_on", channel=channel, since=since, offset=subscription.offset, epoch=page.head.epoch)
    if not complete:
        return  # the flush of what is queued brings us back
    if subscription.catch_up_with(page.head):
        node.stats.caught_up += 1
        session.happens("caught_up", channel=channel, offset=subscription.offset, epoch=page.head.epoch)
    elif session.outbox.bytes == before:
        # Nothing of the page was for this client, so no flush follows; one page a turn all the same.
        asyncio.get_running_loop().call_soon(session.read_on)


def give_out(session: Session, subscription: Subscription, publications: list[Publication]) -> bool:
    """Queues publications of the log in the subscription's epoch, and moves its position with each of them.

    False: not all of them, because one didn't fit or ended the connection.
    """
    base: bytes | None = None
    for publication in publications:
        before, subscription.offset = subscription.offset, publication.offset
        if not subscription.wants(publication):
            continue
        word = DeltaPublication(publication, base) if subscription.manner.delta else publication
        push = PublicationPush(subscription.channel, word, subscription.epoch, subscription.number)
        try:
            frame = session.dialect.push(push)
        except Unencodable:
            session.end_inappropriate()
            return False
        if not session.outbox.put(frame):
            subscription.offset = before
            return False
        base, subscription.base = publication.data, publication.offset
    return True
