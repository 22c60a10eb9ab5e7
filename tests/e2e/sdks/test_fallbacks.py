"""centrifuge-js where WebSocket is blocked: its list of transports, nginx in between, nodes that take turns, cuts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from roomful.testing.fault_proxy import FaultProxy
from roomful.testing.ledger import Ledger
from tests.e2e.nginx import Nginx
from tests.e2e.sdks.js_sdk import Bridge, JsSdk
from tests.e2e.sdks.rooms import HISTORY, OPEN, SECRET, Rooms, new_name, token, url_of
from tests.e2e.sdks.sdk import STREAMED, WAIT_S, Sdk, all_at_once
from tests.engines.redis_server import RedisServer
from tests.served import serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERY_WAY = ["websocket", "http_stream", "sse"]


@pytest_asyncio.fixture(loop_scope="session")
async def streamed(bridge: Bridge, component: Callable[[str], str]) -> AsyncIterator[list[Sdk]]:
    """Every one that can do without WebSocket."""
    await bridge.start(component("node"))
    sdks = [JsSdk("protobuf" in name, bridge, name.split("-")[2:]) for name in STREAMED]
    yield [*sdks]
    for sdk in sdks:
        await sdk.close()


@pytest.mark.parametrize("blocked", [0, 1, 2])
async def test_the_whole_list(rooms: Rooms, bridge: Bridge, component: Callable[[str], str], blocked: int) -> None:
    """The first ones are refused; the next one serves, and after a cut serves again."""
    await bridge.start(component("node"))
    sdk = JsSdk(False, bridge, EVERY_WAY, EVERY_WAY[:blocked])
    name = new_name()
    async with FaultProxy(rooms.server.port) as proxy:
        client = await sdk.client(rooms.via(proxy), token=token(name))
        await client.connect()
        assert (await client.log.take("connected")).transport == EVERY_WAY[blocked]
        room = await client.subscribed(f"room:{name}")
        await client.publish(room.channel, "żółw 💬")
        proxy.refusing = True
        proxy.cut()
        await client.log.until(lambda: len(client.log.named("connecting")) > 1, "the cut isn't noticed")
        await rooms.publish(room.channel, "meanwhile")
        proxy.heal()
        assert (await client.log.take("connected")).transport == EVERY_WAY[blocked]
        assert await room.log.take_data(2) == ["żółw 💬", "meanwhile"]
        assert all(event.recovered for event in room.log.named("subscribed")[1:])
    await sdk.close()


@pytest.mark.parametrize("http_version", ["1.0", "1.1"])
async def test_behind_nginx(
    streamed: list[Sdk], rooms: Rooms, component: Callable[[str], str], tmp_path: Path, http_version: str
) -> None:
    """It buffers, packs everything, and would cut a stream that is silent for 30 s."""

    async def scenario(sdk: Sdk) -> None:
        name = new_name()
        client = await sdk.client(url_of(nginx.port), token=token(name))
        await client.connected()
        room = await client.subscribed(f"room:{name}")
        for number in range(5):  # each one comes before the next is sent: nothing is held back
            await client.publish(room.channel, {"n": number})
            assert await room.log.take_data(1) == [{"n": number}]
        await rooms.publish_numbers(room.channel, 1, 300, padding_bytes=2_000)
        assert [data["n"] for data in await room.log.take_data(300)] == list(range(1, 301))
        await client.disconnected()

    async with Nginx(component("nginx"), tmp_path, rooms.server.port, http_version=http_version) as nginx:
        await all_at_once(streamed, scenario)


async def test_books_balance_through_cuts(streamed: list[Sdk], rooms: Rooms) -> None:
    """Cut in the middle of a reply, during replay, three times in a row; every number comes once and in order."""
    chance = random.Random(7)

    async def scenario(sdk: Sdk) -> None:
        channel, ledger = f"long:{new_name()}", Ledger()

        async def publish(count: int) -> None:
            first = ledger.written(channel) + 1
            for _ in range(count):
                ledger.write(channel)
            await rooms.publish_numbers(channel, first, first + count - 1, padding_bytes=100)

        def complete() -> bool:
            return len(room.log.named("publication")) >= ledger.written(channel)

        async with FaultProxy(rooms.server.port) as proxy:
            client = await sdk.client(rooms.via(proxy), token=token(channel))
            await client.connected()
            room = await client.subscribed(channel)
            for _ in range(4):
                await publish(50)
                # In the head, in the connect reply, in the subscribe reply and what it replays, soon after.
                proxy.next_cuts += [chance.choice([40, 250, 500, 900, 3_000, 20_000]) for _ in range(3)]
                proxy.cut()
                await publish(200)
                await client.log.until(lambda: not proxy.next_cuts, "it isn't cut again")
                await publish(50)
                await room.log.until(complete, "not everything comes")
        reader = ledger.reader(channel)
        for event in room.log.events:
            match event.name:
                case "subscribed":
                    reader.subscribed(channel, recovered=event.recovered)
                case "subscribing":
                    reader.unsubscribed(channel)
                case "publication":
                    reader.read(channel, event.data["n"])
        ledger.check()
        assert len(room.log.named("subscribed")) > 4
        assert all(event.recovered for event in room.log.named("subscribed")[1:])

    await all_at_once(streamed, scenario)


async def test_nodes_that_take_turns(streamed: list[Sdk], component: Callable[[str], str], tmp_path: Path) -> None:
    """Each request may meet another node than the stream: commands find their session, in their order."""
    redis = RedisServer(component("redis-server"), tmp_path / "redis")
    await redis.start()
    config = f'[tokens]\nhmac_secret = "{SECRET}"\n[namespaces.room]\n{OPEN}{HISTORY}[engine]\nurl = "{redis.url}"\n'
    nodes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        nodes.append(await serve(tmp_path / name, dev=False, config=config))

    async def scenario(sdk: Sdk) -> None:
        channel = f"room:{new_name()}"
        clients = [await sdk.client(url_of(nginx.port), token=token(f"{channel}{n}")) for n in range(2)]
        logs = []
        for client in clients:
            await client.connected()
            logs.append((await client.subscribed(channel)).log)
        for number in range(20):
            await clients[number % 2].publish(channel, number)
        for log in logs:
            assert await log.take_data(20) == list(range(20))

    try:
        async with asyncio.timeout(3 * WAIT_S), Nginx(component("nginx"), tmp_path, *(n.port for n in nodes)) as nginx:
            await all_at_once(streamed, scenario)
    finally:
        for node in nodes:
            await node.stop()
        await redis.kill()
    for node in nodes:
        assert "Traceback" not in node.log
