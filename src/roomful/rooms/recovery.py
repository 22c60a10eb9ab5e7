"""From a position to live: everything missed, once and in order, or the reason why that can't be proved.

One mechanism for recovery, for catching up after a slow phase and for repair after a lost listener. In each of them the
subscription buffers live arrivals while it waits for a page of the log, then asks

    verdict = recover(asked, page)              # not when no recovery was asked: then since = page.head
    merged = merge(verdict.since, page, live)   # a Gap: insufficient state

gives out `merged.publications`, stands at `merged.position`, and goes live if `merged.complete`; otherwise it forgets
the buffer and asks the log for the next page from there. Source: Centrifuge protocol, sections 9.4, 9.5 and 10.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from roomful.model.publication import DeltaPublication, Page, Position, Publication


class Gap(StrEnum):
    """Why something may have been missed that the log can't give back."""

    TRIMMED = "trimmed"
    """The oldest of what was missed had to make room for newer ones."""
    EXPIRED = "expired"
    """All of it is gone: its time ran out, or it was removed."""
    EPOCH = "epoch"
    """The stream has begun anew since then, or is not as long as the client knew it."""
    DEAF = "deaf"
    """It was published, but never reached this node."""
    UNLOGGED = "unlogged"
    """It never was in the log (a join, a leave, a publication past the history), and there was no room to send it."""
    UNREADABLE = "unreadable"
    """The engine didn't answer when the log was read."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether everything missed since a position can still be had.

    since: where to go on: the asked position in the stream's epoch, or the stream's head after a gap.
    gap: None when recovered.
    """

    since: Position
    gap: Gap | None = None

    @property
    def recovered(self) -> bool:
        return self.gap is None


class Latest(msgspec.Struct, frozen=True):
    """The newest publication for who stands at `since`; none if the client has it."""

    since: Position
    publications: list[Publication] = []


class Merged(msgspec.Struct, frozen=True):
    """What to give out, and where one stands then.

    publications: oldest first, each offset once, without a hole. Unnumbered ones (offset 0: published past the
    history) that arrived live are among them. complete: nothing is left in the log; False: read on from `position`.
    """

    publications: list[Publication]
    position: Position
    complete: bool


def recover(asked: Position, page: Page) -> Verdict:
    """Recovered if the log holds everything after `asked`: nothing at all, or all from the next offset to the head.

    asked: an empty epoch matches every epoch. page: the publications after it, oldest first, at most as many as one
    page may hold. More missed than that is no gap: the log drops from its old end only, so while it has the first one
    it has all, and each further page is judged anew.
    """
    head = page.head
    if (asked.epoch and asked.epoch != head.epoch) or asked.offset > head.offset:
        return Verdict(head, Gap.EPOCH)
    if asked.offset < head.offset:
        if not page.publications:
            return Verdict(head, Gap.EXPIRED)
        # Offsets rise, so the last one tells whether any is missing at the beginning or between.
        if page.publications[-1].offset != asked.offset + len(page.publications):
            return Verdict(head, Gap.TRIMMED)
    return Verdict(Position(head.epoch, asked.offset))


def recover_latest(asked: Position, page: Page, wants: Callable[[Publication], bool]) -> Latest | None:
    """What a client has to get where only the newest counts; None when the log has nothing for it, and it isn't at its
    head either. Source: Centrifuge protocol, section 10.3.

    page: newest first. wants: leaves out what isn't for this client. `since` lies right before the publication, so that
    the client's position moves forward also where its own was of another epoch.
    """
    head = page.head
    here = asked if asked.epoch == head.epoch else Position(head.epoch, 0)
    newest = next(filter(wants, page.publications), None)
    if newest is None:
        return Latest(head) if here == head and head.offset else None
    if newest.offset <= here.offset <= head.offset:
        return Latest(head)
    return Latest(Position(head.epoch, newest.offset - 1), [newest])


def with_bases(publications: Iterable[Publication]) -> list[DeltaPublication]:
    """For a client with delta compression that gets them one after the other: the first one whole."""
    base: bytes | None = None
    words = []
    for publication in publications:
        words.append(DeltaPublication(publication, base))
        base = publication.data
    return words


def behind(gap: Gap, page: Page) -> tuple[Position, list[Publication]]:
    """Where to go on when `recover` has found a gap, and what of the page lies behind that place.

    Trimmed: the newest ones, back to the last hole between them. In another life of the log it is the head: what it
    holds may be what the client has seen in the life before.
    """
    if gap is not Gap.TRIMMED:
        return page.head, []
    start = len(page.publications) - 1
    while start and page.publications[start - 1].offset == page.publications[start].offset - 1:
        start -= 1
    rest = page.publications[start:]
    return Position(page.head.epoch, rest[0].offset - 1), rest


def merge(since: Position, page: Page, live: Iterable[tuple[Publication, str]]) -> Merged | Gap:
    """The page after `since`, then what arrived live meanwhile; a Gap when there is a hole or another epoch.

    live: publications with their epochs, in the order of arrival. Those that the page has are skipped. Those that lie
    beyond the end of a page which isn't the last one are left to the log.
    """
    head = page.head
    if since.epoch != head.epoch:
        return Gap.EPOCH
    publications: list[Publication] = []
    reached = since.offset
    for publication in page.publications:
        if publication.offset > reached + 1:
            return Gap.TRIMMED
        if publication.offset == reached + 1:
            publications.append(publication)
            reached += 1
    for publication, epoch in live:
        if not publication.offset:
            publications.append(publication)
        elif epoch != head.epoch:
            return Gap.EPOCH
        elif publication.offset == reached + 1:
            publications.append(publication)
            reached += 1
        elif publication.offset > reached + 1 and reached >= head.offset:
            return Gap.DEAF
    return Merged(publications, Position(head.epoch, reached), reached >= head.offset)
