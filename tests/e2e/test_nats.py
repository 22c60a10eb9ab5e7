"""Two served nodes that share a NATS server, the official clients on either, and a server that is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.sdks.js_sdk import Bridge, JsSdk
from tests.e2e.sdks.python_sdk import PythonSdk
from tests.e2e.sdks.rooms import SECRET, token, url_of
from tests.e2e.sdks.sdk import Sdk
from tests.engines.nats_server import NatsServer
from tests.served import Serve

KEY = "k" * 32
CONFIG = """
[engine]
url = "{url}"
check_s = 1
[namespaces.chat]
history_size = 1000
history_ttl_s = 300
"""


@pytest.fixture
async def sdks(component: Callable[[str], str]) -> AsyncIterator[tuple[Sdk, Sdk]]:
    bridge = Bridge()
    await bridge.start(component("node"))
    pair = (PythonSdk(False), JsSdk(True, bridge))
    yield pair
    for sdk in pair:
        await sdk.close()
    await bridge.stop()


async def test_clients_of_two_nodes_are_in_one_room_also_after_the_server_was_killed(
    component: Callable[[str], str], tmp_path: Path, served: Serve, sdks: tuple[Sdk, Sdk]
) -> None:
    nats = NatsServer(component("nats-server"), tmp_path)
    await nats.start()
    try:
        config = CONFIG.format(url=nats.url)
        nodes = [await served(config=config), await served(config=config)]
        clients = [
            await sdk.client(f"ws://127.0.0.1:{node.port}/connection/websocket")
            for sdk, node in zip(sdks, nodes, strict=True)
        ]
        rooms = []
        for client in clients:
            await client.connected()
            rooms.append(await client.subscribed("chat:1"))
        wanted = []
        for round in range(3):
            for number in range(2):
                data = {"round": round, "from": number}
                await clients[number].publish("chat:1", data)
                wanted.append(data)
            for room in rooms:
                assert await room.log.take_data(2) == wanted[-2:]
            await nats.restart()
            async with asyncio.timeout(20):
                while await _is_unready(nodes[0].port) or await _is_unready(nodes[1].port):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        for room in rooms:
            assert [event.offset for event in room.log.named("publication")] == list(range(1, 7))
    finally:
        await nats.kill()


async def test_27_what_is_revoked_stays_so_after_nats_was_killed_and_for_nodes_that_start_later(
    component: Callable[[str], str], tmp_path: Path, served: Serve, sdks: tuple[Sdk, Sdk]
) -> None:
    nats = NatsServer(component("nats-server"), tmp_path)
    await nats.start()
    try:
        config = CONFIG.format(url=nats.url) + f'[tokens]\nhmac_secret = "{SECRET}"\n[api]\nkeys = ["{KEY}"]\n'
        nodes = [await served(dev=False, config=config) for _ in range(2)]
        dead, sdk = token("ann"), sdks[1]
        ann = await sdk.client(url_of(nodes[1].port), token=dead)
        await ann.connected()
        async with httpx.AsyncClient(base_url=nodes[0].url, headers={"X-API-Key": KEY}) as http:
            assert (await http.post("/api/revoke", json={"user": "ann"})).json() == {"result": {}}
        assert (await ann.log.take("disconnected")).code == 4503
        await nats.restart()
        for node in (*nodes, await served(dev=False, config=config)):
            async with asyncio.timeout(20):
                while await _is_unready(node.port):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            again = await sdk.client(url_of(node.port), token=dead)
            await again.connect()
            assert (await again.log.take("disconnected")).code == 3500
    finally:
        await nats.kill()


async def _is_unready(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    status = await reader.readline()
    writer.close()
    return b" 200 " not in status
