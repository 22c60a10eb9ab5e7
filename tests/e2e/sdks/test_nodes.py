"""The SDKs at two nodes that meet in Redis: it makes no difference who is where."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.conftest import tracebacks
from tests.e2e.sdks.rooms import ROOMS, Rooms, token
from tests.e2e.sdks.sdk import Info, Sdk
from tests.engines.redis_server import RedisServer
from tests.served import serve

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def nodes(
    component: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Rooms, Rooms]]:
    redis = RedisServer(component("redis-server"), tmp_path_factory.mktemp("redis"))
    await redis.start()
    try:
        rooms = await asyncio.gather(*(node(redis, tmp_path_factory.mktemp("node")) for _ in range(2)))
        yield rooms[0], rooms[1]
        await asyncio.gather(*(each.close() for each in rooms))
        assert [tracebacks(each.server) for each in rooms] == [[], []]
    finally:
        await redis.kill()


async def node(redis: RedisServer, directory: Path) -> Rooms:
    shutil.copy(Path(__file__).with_name("rooms_app.py"), directory)
    server = await serve(directory, "rooms_app:app", dev=False, config=ROOMS, options=("--engine", redis.url))
    rooms = Rooms(server)
    await rooms.open()
    return rooms


async def test_people_at_two_nodes_are_in_one_room(sdk: Sdk, nodes: tuple[Rooms, Rooms], name: str) -> None:
    channel, here, there = f"room:{name}", *nodes
    ann = await sdk.client(here.url, token=token(f"ann-{name}"))
    ann_info = Info(f"ann-{name}", (await ann.connected()).client, None)
    at_ann = await ann.subscribed(channel)
    assert (await at_ann.log.take("join")).info == ann_info
    bob = await sdk.client(there.url, token=token(f"bob-{name}"))
    bob_info = Info(f"bob-{name}", (await bob.connected()).client, None)
    at_bob = await bob.subscribed(channel)
    assert (await at_ann.log.take("join")).info == bob_info
    assert await ann.presence(channel) == {ann_info.client: ann_info, bob_info.client: bob_info}
    assert await bob.presence_stats(channel) == (2, 2)
    for client, number in ((ann, 1), (bob, 2), (ann, 3)):
        await client.publish(channel, number)
    assert await at_ann.log.take_data(3) == await at_bob.log.take_data(3) == [1, 2, 3]
    await at_bob.unsubscribe()
    assert (await at_ann.log.take("leave")).info == bob_info


async def test_2_who_comes_back_to_another_node_has_what_was_missed(
    sdk: Sdk, nodes: tuple[Rooms, Rooms], name: str
) -> None:
    channel, here, there = f"room:{name}", *nodes
    async with FaultProxy(here.server.port) as proxy:
        ann = await sdk.client(here.via(proxy), token=token(name))
        await ann.connected()
        room = await ann.subscribed(channel)
        await there.publish_numbers(channel, 1, 3)
        assert await room.log.take_data(3) == [{"n": number} for number in range(1, 4)]
        proxy.lead_to(there.server.port)
        proxy.refusing = True
        proxy.cut()
        await ann.log.take("connecting")
        await here.publish_numbers(channel, 4, 40)
        proxy.heal()
        again = await room.log.take("subscribed")
        assert (again.was_recovering, again.recovered) == (True, True)
        assert await room.log.take_data(37) == [{"n": number} for number in range(4, 41)]


async def test_an_order_reaches_who_is_at_the_other_node(sdk: Sdk, nodes: tuple[Rooms, Rooms], name: str) -> None:
    here, there = nodes
    ann = await sdk.client(there.url, token=token(name))
    await ann.connected()
    await here.call("disconnect", name)
    assert (await ann.log.take("disconnected")).code == 3503
