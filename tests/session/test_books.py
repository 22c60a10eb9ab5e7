"""However it comes about, the books balance: fresh subscribers, repeated publishes, bursts for slow readers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from roomful.model.channel import ChannelOptions, Right
from roomful.model.publication import Draft
from roomful.session.options import LimitOptions
from roomful.testing.client import Client
from roomful.testing.ledger import Ledger, Reader
from tests.session.conftest import MakeWorld
from tests.session.world import World

LONG = ChannelOptions(subscribe="client", publish=Right.CLIENT, history_size=5_000, history_ttl_s=300.0, recover=True)
SHORT = ChannelOptions(subscribe="client", publish=Right.CLIENT, history_size=20, history_ttl_s=300.0, recover=True)
LIMITS = LimitOptions(outbox_max_bytes=4_000, recovery_max=10)


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    return await make_world(limits=LIMITS, long=LONG, short=SHORT)


async def publish(world: World, ledger: Ledger, channel: str, writer: str = "", key: str = "") -> None:
    number = ledger.write(channel, writer)
    data = b'{"n": %d, "by": "%s"}' % (number, writer.encode())
    await world.node.publish(channel, Draft(data, None, None, frozenset(), f"{key}{number}" if key else ""))


class Subscriber:
    """One client's page in the books. told: how often it was told of a gap."""

    def __init__(self, client: Client, channel: str, reader: Reader) -> None:
        self.client = client
        self.channel = channel
        self.reader = reader
        self.told = 0

    async def subscribe(self, **position: Any) -> None:
        result = await self.client.subscribe(self.channel, **position)
        self.reader.subscribed(self.channel, recovered=result.get("recovered", False))
        for publication in result.get("publications", []):
            self._read(publication)

    def take(self, pushes: list[dict[str, Any]]) -> None:
        for push in pushes:
            if "unsubscribe" in push:
                assert push["unsubscribe"]["code"] == 2500
                self.told += 1
                self.reader.unsubscribed(self.channel)
            else:
                self._read(push["pub"])

    def _read(self, publication: dict[str, Any]) -> None:
        self.reader.read(self.channel, publication["data"]["n"], publication["data"]["by"])


async def calls_in_any_order(world: World, chance: random.Random, *work: Any) -> None:
    """Runs all of it over an engine that is far away, whose messages arrive as they like."""
    world.engine.quick = False
    tasks = [asyncio.ensure_future(each) for each in work]
    while not all(task.done() for task in tasks):
        for _ in range(chance.randrange(4)):
            world.engine.let(chance.randrange(64))
        if chance.random() < 0.6:
            world.engine.report()
        await asyncio.sleep(0)
    await world.engine.rush()
    await asyncio.gather(*tasks)
    await world.settle(40)


@pytest.mark.parametrize("seed", range(4))
async def test_3_what_a_fresh_subscriber_gets_is_the_log_without_a_hole_or_a_double(world: World, seed: int) -> None:
    """Snapshot and stream meet while ten writers write as fast as they can."""
    print(f"seed {seed}")
    chance, ledger = random.Random(seed), Ledger()
    since = {"recover": True, "epoch": (await world.head("long:1")).epoch, "offset": 0}
    subscribers = [Subscriber(await world.client(), "long:1", ledger.reader(str(number))) for number in range(40)]

    async def write(writer: str) -> None:
        for _ in range(20):
            await publish(world, ledger, "long:1", writer)

    async def subscribe(subscriber: Subscriber) -> None:
        for _ in range(chance.randrange(200)):
            await asyncio.sleep(0)
        await subscriber.subscribe(**since)

    writers = [write(f"w{number}") for number in range(10)]
    await calls_in_any_order(world, chance, *writers, *map(subscribe, subscribers))
    for subscriber in subscribers:
        subscriber.take(await subscriber.client.settle())
        assert subscriber.told == 0
    ledger.check()


@pytest.mark.parametrize("seed", range(4))
async def test_4_what_is_published_three_times_under_a_key_comes_once(world: World, seed: int) -> None:
    """Also to who has come back over a new connection while the old one hangs, and over the old one when it moves."""
    print(f"seed {seed}")
    chance, ledger = random.Random(seed), Ledger()
    old = Subscriber(await world.client("ann"), "long:1", ledger.reader("old"))
    position = await world.head("long:1")
    await old.subscribe()
    old.client.transport.paused = True
    new = Subscriber(await world.client("ann"), "long:1", ledger.reader("new"))

    async def thrice(number: int) -> None:
        data, key = b'{"n": %d, "by": ""}' % number, str(number)
        await asyncio.gather(
            *(world.node.publish("long:1", Draft(data, None, None, frozenset(), key)) for _ in range(3))
        )

    async def write() -> None:
        for _ in range(30):
            await thrice(ledger.write("long:1"))

    subscribe = new.subscribe(recover=True, epoch=position.epoch, offset=position.offset)
    await calls_in_any_order(world, chance, write(), subscribe)
    new.take(await new.client.settle())
    old.client.transport.resume()
    old.take(await old.client.settle())
    ledger.check()
    assert (await world.head("long:1")).offset == 30


@pytest.mark.parametrize("members", [1, 100])
async def test_5_a_burst_for_slow_readers_is_read_or_told_and_counted(world: World, members: int) -> None:
    """The log is shorter than the burst, so whoever can't keep up can't have everything."""
    chance, ledger = random.Random(members), Ledger()
    followers = [Subscriber(await world.client(), "short:1", ledger.reader(str(number))) for number in range(members)]
    for follower in followers:
        await follower.subscribe()
    slow = followers[: max(1, members // 2)]
    for follower in slow:
        follower.client.transport.paused = True
    for _ in range(2_000 // members):
        for _ in range(chance.randrange(1, 20)):
            await publish(world, ledger, "short:1")
        await world.settle(2)
        for follower in followers:
            if follower not in slow:
                follower.take(await follower.client.settle())
    for follower in followers:
        follower.client.transport.resume()
        follower.take(await follower.client.settle())
    ledger.check()
    notices = Counter(follower.told for follower in slow)
    assert notices == {1: len(slow)}
    assert sum(world.stats.gaps.values()) == sum(follower.told for follower in followers) == len(slow)
    assert world.stats.disconnects == {}
