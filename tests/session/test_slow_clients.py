"""Clients that don't read beside clients that do: what waits is bounded for each and for all, and nothing is lost.

The same with processes that are stopped: `tests/e2e/test_10_frozen_clients.py`.
"""

from __future__ import annotations

import random
from typing import Any, Literal

import pytest

from roomful.model.channel import ChannelOptions, Right
from roomful.session.options import LimitOptions
from roomful.testing.client import Client
from roomful.testing.ledger import Ledger, Reader
from tests.session.conftest import MakeWorld
from tests.session.world import World, session_of

OUTBOX, OUTBOXES, FRAME = 2_000, 10_000, 150
"""Bytes. A frame of these tests is shorter than that."""

LIMITS = LimitOptions(outbox_max_bytes=OUTBOX, outboxes_max_bytes=OUTBOXES, recovery_max=20, recovery_max_bytes=1_000)


def room(slow: Literal["resume", "latest", "close"], history: int = 1_000) -> ChannelOptions:
    kept: dict[str, Any] = {"history_size": history, "history_ttl_s": 300.0} if history else {}
    return ChannelOptions(subscribe="client", publish=Right.CLIENT, slow=slow, recover=bool(history), **kept)


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    return await make_world(
        limits=LIMITS, resume=room("resume"), close=room("close"), latest=room("latest", 0), bare=room("close", 0)
    )


class Follower:
    """Reads one channel, and comes back with its position when it is closed."""

    def __init__(self, world: World, channel: str, reader: Reader) -> None:
        self._world = world
        self.channel = channel
        self.reader = reader
        self.closes: list[int] = []
        self._position: dict[str, Any] = {}

    async def begin(self) -> None:
        self.client = await self._world.client()
        result = await self.client.subscribe(self.channel, **self._position)
        self.reader.subscribed(self.channel, recovered=result.get("recovered", False))
        self._position = {"recover": True, "epoch": result.get("epoch", ""), "offset": result.get("offset", 0)}
        for publication in result.get("publications", []):
            self._read(publication)

    def freeze(self) -> None:
        self.client.transport.paused = True

    async def read(self) -> None:
        """Everything that there is to read, also through another connection."""
        while self.client.transport.closed is not None:
            self.take(await self.client.settle())
            self.closes.append(self.client.transport.closed[0])
            self.reader.unsubscribed(self.channel)
            await self.begin()
        self.client.transport.resume()
        self.take(await self.client.settle())

    def take(self, pushes: list[dict[str, Any]]) -> None:
        for push in pushes:
            self._read(push["pub"])

    def _read(self, publication: dict[str, Any]) -> None:
        self._position["offset"] = publication["offset"]
        self.reader.read(self.channel, publication["data"]["n"])


async def frozen_and_healthy(
    world: World, channel: str, frozen: int, ledger: Ledger
) -> tuple[list[Follower], Follower]:
    followers = [Follower(world, channel, ledger.reader(f"{channel} {number}")) for number in range(frozen + 1)]
    for follower in followers:
        await follower.begin()
    for follower in followers[1:]:
        follower.freeze()
    return followers[1:], followers[0]


async def publish(world: World, ledger: Ledger, channel: str, count: int) -> None:
    for _ in range(count):
        await world.publish(channel, b'{"n": %d, "pad": "%s"}' % (ledger.write(channel), b"x" * 50))
        await world.settle(4)
        assert all(session_of(client).outbox.queued_bytes <= OUTBOX for client in open_ones(world))
        owed = sum(session_of(client).outbox.queued_bytes for client in open_ones(world))
        assert owed == world.node.backlog.bytes <= OUTBOXES + FRAME


def open_ones(world: World) -> list[Client]:
    return [client for client in world._clients if client.transport.closed is None]


@pytest.mark.parametrize("frozen", [2, 20])
async def test_10_frozen_clients_cost_bounded_bytes_and_get_everything_later(world: World, frozen: int) -> None:
    """Twenty are too many for all of them to have their own budget."""
    ledger = Ledger()
    slow, healthy = await frozen_and_healthy(world, "resume:1", frozen, ledger)
    await publish(world, ledger, "resume:1", 200)
    healthy.take(await healthy.client.settle())
    assert ledger.written("resume:1") == 200
    healthy_faults = [*healthy.reader.faults, *healthy.reader.lacks()]
    assert healthy_faults == []
    assert world.stats.fell_behind == frozen
    assert world.stats.limited.get("outboxes_max_bytes", 0) == (frozen if frozen * OUTBOX > OUTBOXES else 0)
    assert world.stats.disconnects == {}
    for follower in slow:
        await follower.read()
    ledger.check()
    assert (world.stats.caught_up, world.stats.gaps, world.node.backlog.bytes) == (frozen, {}, 0)


async def test_10_closed_ones_are_told_and_come_back_to_everything(world: World) -> None:
    ledger = Ledger()
    slow, healthy = await frozen_and_healthy(world, "close:1", 8, ledger)
    await publish(world, ledger, "close:1", 100)
    healthy.take(await healthy.client.settle())
    assert world.stats.disconnects == {3008: 8}
    for follower in slow:
        await follower.read()
    ledger.check()
    assert [follower.closes for follower in slow] == [[3008]] * 8


async def test_10_of_latest_ones_each_frame_is_read_or_counted(world: World) -> None:
    clients = [await world.client() for _ in range(3)]
    for client in clients:
        await client.subscribe("latest:1")
        client.transport.paused = True
    for number in range(100):
        await world.publish("latest:1", b"%d" % number, tags={"key": str(number % 5)})
        await world.settle(4)
        assert world.node.backlog.bytes <= OUTBOXES + FRAME
    read = []
    for client in clients:
        client.transport.resume()
        read.append([push["pub"]["data"] for push in await client.settle()])
    assert [sorted(each[-5:]) for each in read] == [[95, 96, 97, 98, 99]] * 3
    assert sum(map(len, read)) + world.stats.replaced == 300


async def test_10_who_has_most_waiting_goes_first_when_a_small_one_needs_room(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Both policies close here, and it isn't the one who has just stopped reading that pays."""
    hogs = [await world.client() for _ in range(6)]
    for number, hog in enumerate(hogs):
        await hog.subscribe(f"bare:hog-{number}")
        hog.transport.paused = True
    turn = 0
    while world.node.backlog.bytes < OUTBOXES - FRAME:
        await world.publish(f"bare:hog-{turn % 6}", b'"%s"' % (b"x" * 50))
        await world.settle(4)
        turn += 1
    small = await world.client()
    await small.subscribe("bare:2")
    small.transport.paused = True
    while not world.stats.disconnects:
        await world.publish("bare:2", b'"%s"' % (b"x" * 50))
        await world.settle(4)
    assert world.stats.disconnects == {3008: 1}
    assert small.transport.closed is None
    assert world.stats.limited == {"outboxes_max_bytes": 1}
    assert not world.node.backlog.over
    assert "it is ended: %d bytes wait for clients that don't read" in {record.msg for record in caplog.records}


@pytest.mark.parametrize("seed", range(5))
async def test_10_whoever_stops_and_reads_in_whatever_order(world: World, seed: int) -> None:
    print(f"seed {seed}")
    chance, ledger = random.Random(seed), Ledger()
    slow, healthy = await frozen_and_healthy(world, "resume:1", 12, ledger)
    for _ in range(20):
        await publish(world, ledger, "resume:1", chance.randrange(12))
        healthy.take(await healthy.client.settle())
        for follower in chance.sample(slow, 4):
            await follower.read()
            if chance.random() < 0.7 and follower.client.transport.closed is None:
                follower.freeze()
    for follower in slow:
        await follower.read()
    ledger.check()
    assert (world.stats.gaps, world.node.backlog.bytes) == ({}, 0)
