"""The log is the truth: how far this node has come in each stream it hears, compared with the log's head.

A broker's pub/sub may lose what it carries, and nobody notices. So a publication that isn't the next one of its stream
makes the node read what lies between from the log; so does each lapse of the engine's listener; and every `check_s`
all streams are compared. What the log can't give back is told to those who miss it.

    publication ──next──▶ hub        publication ──hole──▶ repair: log ──▶ hub     (live ones wait in the log meanwhile)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

from roomful.model.errors import RoomfulError
from roomful.model.publication import HistoryFilter, Look, Position, Publication, Retention
from roomful.node import eager
from roomful.node.hub import Hub
from roomful.node.stats import Stats
from roomful.rooms.recovery import Gap, recover
from roomful.seams.engine import Broker

log = logging.getLogger("roomful.node")

CHECK_S = 5.0
CHECK_EACH = 500
"""Streams compared in one call."""
PAUSE_S = 0.25
"""Between two of these calls, at least: beyond 10,000 streams a round takes longer than the 5 s of `check_s`. NATS has
to be asked for each of them; with 25,000 a node that alone kept two cores busy, and links were taken for mute."""
SETTLE_S = 1.0
"""The head may be ahead because its publications are still on their way here. After this long they are missing."""
SPREAD_S = 5.0
"""Subscriptions that a lapse ends, and which come back at once, are ended over this time."""
REPAIRS_AT_ONCE = 16
PAGE, PAGE_BYTES = 300, 262_144
"""A page of a repair is as large as one of a recovery."""

ItemT = TypeVar("ItemT")


class Place:
    """How far the node has come in one stream. seen: the newest that came while the log was being read."""

    __slots__ = ("epoch", "offset", "repairing", "seen")

    def __init__(self, position: Position) -> None:
        self.epoch = position.epoch
        self.offset = position.offset
        self.seen = 0
        self.repairing = False

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset)

    def move(self, to: Position) -> None:
        self.epoch, self.offset = to.epoch, to.offset


class Outlet(Protocol):
    """Where what is read in the log goes, and the news that it can't be had; a hub is one."""

    def broadcast(self, channel: str, publication: Publication, epoch: str) -> None: ...

    def miss(self, channel: str, head: Position, gap: Gap) -> None: ...


class LogWatch:
    """The places of one node. retention: of a channel. check_s: between two comparisons. outlet: None for the hub."""

    def __init__(
        self,
        broker: Broker,
        hub: Hub,
        stats: Stats,
        retention: Callable[[str], Retention],
        check_s: float = CHECK_S,
        outlet: Outlet | None = None,
    ) -> None:
        self._broker = broker
        self._hub = hub
        self._outlet: Outlet = outlet or hub
        self._stats = stats
        self._retention = retention
        self._check_s = check_s
        self._places: dict[str, Place] = {}
        self._gate = asyncio.Semaphore(REPAIRS_AT_ONCE)
        self._checking: asyncio.Task[None] | None = None
        self._unreadable = False

    def start(self) -> None:
        self._checking = asyncio.get_running_loop().create_task(self._check_for_ever())

    def stop(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            self._checking = None
        self._places.clear()

    def note(self, channel: str, head: Position) -> None:
        """The log's head was read, for whatever reason: a place to start from."""
        if head.epoch and channel not in self._places and channel in self._hub:
            self._places[channel] = Place(head)

    def forget(self, channel: str) -> None:
        """Nobody listens here any more."""
        self._places.pop(channel, None)

    def admit(self, channel: str, offset: int, epoch: str) -> bool:
        """Whether a numbered publication that has arrived may go to the hub; if not, it will come from the log."""
        place = self._places.get(channel)
        if place is None:
            self.note(channel, Position(epoch, offset))
            return True
        if place.repairing:
            place.seen = max(place.seen, offset)
            return False
        if epoch != place.epoch:
            place.move(Position(epoch, offset))  # each subscription knows by itself what that means for it
        elif offset == place.offset + 1:
            place.offset = offset
        elif offset > place.offset:
            place.seen = offset
            self._repair_soon(channel, place)
            return False
        return True

    def on_lapse(self, channels: Collection[str]) -> None:
        """These channels were not heard for a while."""
        self._stats.lapses += 1
        unlogged = [channel for channel in channels if channel in self._hub and not self._retention(channel).keeps]
        eager.later(self._tell_unlogged(unlogged))
        eager.later(self._check_lapsed([channel for channel in channels if channel in self._places]))

    async def _check_for_ever(self) -> None:
        while True:
            slices = list(_slices(list(self._places), CHECK_EACH))
            for channels in slices:
                await asyncio.sleep(pause_s(self._check_s, len(slices)))
                eager.later(self._check(channels))
            if not slices:
                await asyncio.sleep(self._check_s)

    async def _check(self, channels: Collection[str]) -> None:
        ahead = await self._compare(channels)
        if ahead:
            await asyncio.sleep(SETTLE_S)
            for channel, place, head in ahead:
                if self._places.get(channel) is place and place.epoch == head.epoch and place.offset < head.offset:
                    self._repair_soon(channel, place)

    async def _check_lapsed(self, channels: Collection[str]) -> None:
        for part in _slices(channels, CHECK_EACH):
            for channel, place, _ in await self._compare(part):
                self._repair_soon(channel, place)

    async def _compare(self, channels: Iterable[str]) -> list[tuple[str, Place, Position]]:
        """The streams whose head is ahead of us; who is in another life of its stream is told at once."""
        known = [(channel, place) for channel in channels if (place := self._places.get(channel)) is not None]
        if not known:
            return []
        looks = [Look(channel, self._retention(channel), place.position) for channel, place in known]
        try:
            heads = await self._broker.heads(looks)
        except RoomfulError as error:
            if not self._unreadable:
                log.warning("the heads of the log can't be read: %s", error)
            self._unreadable = True
            return []
        self._unreadable = False
        ahead = []
        for (channel, place), look, head in zip(known, looks, heads, strict=True):
            if self._places.get(channel) is not place or place.repairing or place.epoch != look.known.epoch:
                continue
            if head.epoch != place.epoch:
                place.move(head)
                self._outlet.miss(channel, head, Gap.EPOCH)
            elif head.offset > place.offset:
                ahead.append((channel, place, head))
        return ahead

    def _repair_soon(self, channel: str, place: Place) -> None:
        if not place.repairing:
            place.repairing = True
            eager.later(self._repair(channel, place))

    async def _repair(self, channel: str, place: Place) -> None:
        try:
            async with self._gate:
                while self._places.get(channel) is place and not await self._repair_page(channel, place):
                    pass
        except RoomfulError as error:
            log.warning("the log of %r can't be read, so the node stays behind: %s", channel, error)
        finally:
            place.repairing, place.seen = False, 0

    async def _repair_page(self, channel: str, place: Place) -> bool:
        """Gives out what follows our place; whether nothing is left to give out."""
        wanted = HistoryFilter(limit=PAGE, since=place.position, max_bytes=PAGE_BYTES)
        page = await self._broker.history(channel, wanted, self._retention(channel))
        if self._places.get(channel) is not place:
            return True
        gap = recover(place.position, page).gap
        if gap is None and page.head.offset < place.seen and not page.publications:
            gap = Gap.EPOCH  # shorter than we have heard: another life of the log
        if gap is not None:
            log.warning("this node has missed publications of %r, and the log can't give them back: %s", channel, gap)
            place.move(page.head)
            self._outlet.miss(channel, page.head, gap)
            return True
        for publication in page.publications:
            place.offset = publication.offset
            self._stats.repaired += 1
            self._outlet.broadcast(channel, publication, page.head.epoch)
        return place.offset >= max(page.head.offset, place.seen)

    async def _tell_unlogged(self, channels: Collection[str]) -> None:
        """Who was in these channels may have missed something that nobody can give back."""
        subscribers = [subscriber for channel in channels for subscriber in self._hub.listening(channel)]
        pause_s = SPREAD_S / max(1, len(subscribers))
        due = 0.0
        for subscriber in subscribers:
            subscriber.miss(None, Gap.DEAF)
            due += pause_s
            if due >= 0.05:
                await asyncio.sleep(due)
                due = 0.0


def pause_s(check_s: float, calls: int) -> float:
    """Between two calls of a round that should take `check_s`."""
    return max(check_s / calls, min(PAUSE_S, check_s))


def _slices(items: Collection[ItemT], size: int) -> Iterator[list[ItemT]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
