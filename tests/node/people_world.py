"""Nodes that tell each other of their people through one log and one presence with leases, on a clock that is moved."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from roomful.engines.options import EngineOptions
from roomful.engines.streams import Streams
from roomful.model.client import ClientInfo
from roomful.model.errors import InternalError
from roomful.model.facet import OPTIONS
from roomful.model.order import BurialOrder
from roomful.model.publication import Draft, HistoryFilter, Page, Position, Publication, Published, Retention
from roomful.node.facets import Facets
from roomful.node.hub import Hub
from roomful.node.people import People
from roomful.node.people_options import PeopleOptions
from roomful.node.stats import Stats
from roomful.node.wheel import Wheel
from roomful.rooms.presence import Presence
from roomful.rooms.recovery import Gap, recover
from roomful.testing.clock import VirtualClock
from roomful.wire.dialect import JSON_BARE

ROOM, CHANNEL = "chat:1", "people:chat:1"
WALL_S = 1_700_000_000.0
LEASE_S, RENEW_S = 45.0, 15.0
KEEP = OPTIONS["people"].retention


class Viewer:
    """A subscriber: what it is shown, and that each of it is the next and news."""

    base = 0

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {}
        self.told: list[tuple[str, str]] = []
        self.counts = (0, 0)
        self.offset = -1
        self.batches = 0
        self.missed = 0

    def begin(self, data: bytes, position: Position | None) -> None:
        assert position is not None
        state = msgspec.json.decode(data)
        self.people = {person["user"]: person for person in state["people"]}
        self.counts = state["online"], state["away"]
        self.offset = position.offset

    def deliver(self, publication: Publication, epoch: str, frame: bytes) -> None:
        if not self.skip(publication, epoch):
            return
        self.batches += 1
        change = msgspec.json.decode(publication.data)
        for person in change["people"]:
            user, known = person["user"], self.people.get(person["user"])
            if person["status"] == "gone":
                assert known is not None, f"{user} wasn't there"
                del self.people[user]
            else:
                self.people[user] = person
            if known is None or known["status"] != person["status"]:
                self.told.append((user, person["status"]))
        self.counts = change["online"], change["away"]

    def skip(self, publication: Publication, epoch: str) -> bool:
        if self.offset < 0 or publication.offset <= self.offset:
            return False
        assert publication.offset == self.offset + 1
        self.offset = publication.offset
        return True

    def miss(self, head: Position | None, gap: Gap) -> None:
        self.offset = -1
        self.missed += 1

    @property
    def statuses(self) -> dict[str, str]:
        return {user: person["status"] for user, person in self.people.items()}


class Side:
    """One node, in place of its engine too: what it says of the log and of presence is said to all.

    up: it reaches the others. stopped: the process is. deaf: it isn't told of what is published. alone: there are no
    others.
    """

    def __init__(self, world: PeopleWorld, name: str, options: PeopleOptions, alone: bool) -> None:
        self.world, self.name, self.alone = world, name, alone
        self.broker = self.presence = self.control = self
        self.hub, self.stats, self.wheel, self.viewer = Hub(), Stats(), Wheel(world.clock), Viewer()
        self.people = People(
            name, self, self.hub, self.wheel, self.stats, options,  # type: ignore[arg-type]  # it is an engine enough
            wall_clock=lambda: WALL_S + world.clock(), lease_s=LEASE_S, renew_s=RENEW_S,
        )  # fmt: skip
        self.facets = Facets(self.hub, {"people": self.people})
        self.up, self.stopped, self.deaf = True, False, False
        self.orders: list[BurialOrder] = []
        self.renewed_at = world.clock()
        self.entered: dict[str, ClientInfo] = {}
        world.presence.renew(name, world.clock() + LEASE_S)

    async def watch(self, viewer: Viewer | None = None) -> Viewer:
        viewer = viewer or self.viewer
        self.hub.add(CHANNEL, JSON_BARE, viewer)  # type: ignore[arg-type]
        state = await self.people.snapshot(ROOM)
        viewer.begin(*state)
        return viewer

    async def repair(self) -> None:
        """What a log watch does for a node that missed something."""
        room = self.people._rooms.get(ROOM)
        view = None if room is None else room.view
        if view is None or view.waiting is not None or self.stopped or self.deaf or not self.up:
            return
        page = await self.history(CHANNEL, HistoryFilter(limit=KEEP.size, since=view.position), KEEP)
        if recover(view.position, page).gap is not None:
            self.facets.miss(CHANNEL, page.head, Gap.DEAF)
        for publication in page.publications:
            self.facets.broadcast(CHANNEL, publication, page.head.epoch)

    def unwatch(self) -> None:
        self.hub.remove(CHANNEL, JSON_BARE, self.viewer)  # type: ignore[arg-type]
        self.people.deserted(ROOM)

    async def snapshot(self) -> dict[str, str]:
        state = await self.people.snapshot(ROOM)
        return {person["user"]: person["status"] for person in msgspec.json.decode(state.data)["people"]}

    def join(self, client: str, user: str = "ann", info: bytes = b"") -> ClientInfo:
        joined = ClientInfo(user, client, info)
        self.people.join(ROOM, joined)
        return joined

    def leave(self, info: ClientInfo, clean: bool = True) -> None:
        self.people.leave(ROOM, info, clean)

    # seams.engine

    def _reach(self) -> None:
        if not self.up:
            raise InternalError("nobody is reached")

    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        await self.world.pause()
        self._reach()
        stream = self.world.streams.to_write(channel, keep, self.world.clock())
        publication = stream.append(draft, keep, self.world.clock())
        for side in self.world.sides.values():
            if channel in side.hub and not side.stopped and not side.deaf:
                side.facets.broadcast(channel, publication, stream.epoch)
        return Published(Position(stream.epoch, publication.offset))

    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        await self.world.pause()
        self._reach()
        return self.world.streams.to_read(channel, keep, self.world.clock()).page(wanted, keep, self.world.clock())

    async def add(self, channel: str, info: ClientInfo) -> None:
        self.entered[info.client] = info
        await self.world.pause()
        self._reach()
        self.world.presence.add(channel, info, self.name)

    async def remove(self, channel: str, client: str) -> None:
        self.entered.pop(client, None)
        await self.world.pause()
        self._reach()
        self.world.presence.remove(channel, client)

    async def members(self, channel: str) -> Mapping[str, ClientInfo]:
        await self.world.pause()
        self._reach()
        return self.world.presence.members(channel)

    async def nodes(self) -> Collection[str]:
        await self.world.pause()
        self._reach()
        return set(self.world.presence._leases) - (self.world.unseen - {self.name})

    async def send(self, order: BurialOrder) -> None:
        await self.world.pause()
        self._reach()
        for side in self.world.sides.values():
            side.orders.append(order)
            side.obey()

    def obey(self) -> None:
        """Orders wait for who doesn't hear at the moment."""
        while self.orders and self.up and not self.stopped:
            self.people.lives.on_burial(self.orders.pop(0))

    def tend(self) -> None:
        """What an engine does for its node: a lease that was lost begins anew, with everything that was entered."""
        if self.stopped or not self.up or self.world.clock() < self.renewed_at + RENEW_S:
            return
        self.renewed_at = self.world.clock()
        if not self.world.presence.renew(self.name, self.world.clock() + LEASE_S):
            for info in self.entered.values():
                self.world.presence.add(CHANNEL, info, self.name)


class PeopleWorld:
    def __init__(self, *names: str, options: PeopleOptions | None = None, alone: bool = False) -> None:
        self.clock = VirtualClock(1_000.0)
        self.streams = Streams(EngineOptions().idle_channels_max)
        self.presence = Presence()
        self.slow = False
        self.unseen: set[str] = set()
        """Nodes that don't count as living for the others."""
        self.sides = {name: Side(self, name, options or PeopleOptions(), alone) for name in names}

    async def pause(self) -> None:
        """slow: a call takes a turn of the loop."""
        if self.slow:
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)
            self.presence.expire(self.clock())
            for side in self.sides.values():
                if not side.stopped:
                    side.wheel.advance()  # first: the engine asks before it enters anything anew
                    side.tend()
                    side.obey()
            await self.settle()

    async def settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    def __getitem__(self, name: str) -> Side:
        return self.sides[name]
