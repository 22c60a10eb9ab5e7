"""Reads of the log that many ask for at once, done once.

After a deploy a whole room comes back within seconds, and everybody asks what was missed since much the same place.
Each answer has to be as new as its question: who has just begun to listen must not get a page that was read before
that, or a publication would lie in neither. So nobody joins a read that has begun; all who come meanwhile share the
next one.

    reader 1 ──▶ read A ─────────▶ page              500 readers at once: 2 reads
    readers 2 … 500 ──▶ wait ──▶ read B ─────────▶ pages
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import NamedTuple

from roomful.model.publication import HistoryFilter, Page, Position
from roomful.node import eager

Fetch = Callable[[HistoryFilter], Awaitable[Page]]

_offset = attrgetter("offset")


ALONE = -1


class _Key(NamedTuple):
    """What one read answers. page: which `wanted.limit` offsets everybody's position is among, so that the page after
    the oldest of these positions goes beyond all of them; ALONE: all ask from the very same place.
    """

    channel: str
    page: int
    epoch: str
    wanted: HistoryFilter


class _Flight:
    """One read. since: the oldest place that somebody asks from."""

    __slots__ = ("page", "since")

    def __init__(self, since: Position | None) -> None:
        self.since = since
        self.page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()


class SharedReads:
    """The reads of one node that are under way, and those that come next."""

    def __init__(self) -> None:
        self._flying: dict[_Key, _Flight] = {}
        self._next: dict[_Key, _Flight] = {}

    def __len__(self) -> int:
        return len(self._flying) + len(self._next)

    async def read(self, channel: str, wanted: HistoryFilter, fetch: Fetch, *, some: bool = False) -> Page:
        """The page as `fetch` gives it, read after this call. Raises what the read did; so do all who share it.

        A reader that is cancelled leaves the others their read. some: fewer publications than by a read of its own will
        do, as long as the next one after `since` is among them; whoever takes a short page for the last one must not
        say so. Then it also shares with those who ask from nearby, and gets what lies behind its own position.
        """
        since, alone = wanted.since, _Key(channel, ALONE, "", wanted)
        if not some or since is None or wanted.reverse or not wanted.limit:
            return await self._share(alone, since, wanted, fetch)
        near = _Key(channel, since.offset // wanted.limit, since.epoch, _from(wanted, None))
        page = await self._share(near, since, wanted, fetch)
        own = _behind(page, since)
        if not own.publications and page.publications and since.offset < page.head.offset:
            # The bytes of larger ones before it have filled the page: with those at the very same place.
            return await self._share(alone, since, wanted, fetch)
        return own

    async def _share(self, key: _Key, since: Position | None, wanted: HistoryFilter, fetch: Fetch) -> Page:
        if key not in self._flying:
            flight = self._flying[key] = _Flight(since)
            eager.start(self._fly(key, flight, wanted, fetch))
        elif key not in self._next:
            flight = self._next[key] = _Flight(since)
        else:
            flight = self._next[key]
            if since is not None and flight.since is not None and since.offset < flight.since.offset:
                flight.since = since
        if not flight.page.done():
            await asyncio.wait((flight.page,))
        return flight.page.result()

    async def _fly(self, key: _Key, flight: _Flight | None, wanted: HistoryFilter, fetch: Fetch) -> None:
        """One read after the other, as long as somebody has come meanwhile. Its own task: no reader can stop it."""
        while flight is not None:
            self._flying[key] = flight
            try:
                flight.page.set_result(await fetch(_from(wanted, flight.since)))
            except Exception as failure:
                flight.page.set_exception(failure)
                flight.page.exception()  # also when every reader has been cancelled, somebody has seen it
            except BaseException:  # the loop ends
                self._give_up(key, flight)
                raise
            flight = self._next.pop(key, None)
        del self._flying[key]

    def _give_up(self, key: _Key, flight: _Flight) -> None:
        del self._flying[key]
        for waiting in (flight, self._next.pop(key, None)):
            if waiting is not None:
                waiting.page.cancel()


def _from(wanted: HistoryFilter, since: Position | None) -> HistoryFilter:
    return HistoryFilter(wanted.limit, since, wanted.reverse, wanted.max_bytes)


def _behind(page: Page, since: Position) -> Page:
    """What of the page lies behind a place that isn't before its own."""
    if not page.publications or page.publications[0].offset > since.offset:
        return page
    start = bisect_right(page.publications, since.offset, key=_offset)
    return Page(page.publications[start:], page.head)
