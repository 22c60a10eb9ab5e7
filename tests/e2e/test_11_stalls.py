"""Handlers that block, in a real server: a plain one costs nobody anything, and for one that stops the event loop its
clients aren't blamed, but it is named."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.served import Serve, Server

CLIENTS = 20
DEADLINE_S = 30.0

APP = """
import time
from pathlib import Path

from roomful import Roomful, RpcEvent, RpcReply

app = Roomful()


@app.on(RpcEvent, method="plain")
def sleeps(event):
    while not Path("awake").exists():
        time.sleep(0.02)
    return RpcReply("slept")


@app.on(RpcEvent, method="async")
async def stops_the_loop(event):
    time.sleep(event.data)
    return RpcReply("stopped")
"""

CONFIG = """
[connection]
ping_s = 1
pong_s = 0.5
hook_deadline_s = 60
[server]
drain_s = 2
"""


class Pinged:
    """A client that answers pings, and counts them."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self.pings = 0
        self.replies: dict[int, Any] = {}
        self._heard = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    async def send(self, id: int, **command: Any) -> None:
        await self._link.send(json.dumps({"id": id, **command}))

    async def until_pings(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.pings < count:
                await self._turn()

    async def reply(self, id: int) -> Any:
        async with asyncio.timeout(DEADLINE_S):
            while id not in self.replies:
                await self._turn()
        return self.replies[id]

    async def _turn(self) -> None:
        assert not self._reading.done(), f"closed with {self._link.close_code} after {self.pings} pings"
        self._heard.clear()
        await asyncio.wait(
            (self._reading, heard := asyncio.ensure_future(self._heard.wait())), return_when="FIRST_COMPLETED"
        )
        heard.cancel()

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self._link:
                for said in map(json.loads, str(message).splitlines()):
                    if said:
                        self.replies[said["id"]] = said
                    else:
                        self.pings += 1
                        await self._link.send("{}")
                    self._heard.set()


async def connected(server: Server) -> Pinged:
    client = Pinged(await connect(f"ws://127.0.0.1:{server.port}/connection/websocket", ping_interval=None))
    await client.send(1, connect={})
    await client.reply(1)
    return client


async def metric(server: Server, name: str) -> list[float]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        text = (await http.get("/metrics")).text
    return [float(value) for value in re.findall(rf"^roomful_{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)]


async def test_11_handlers_that_sleep_disconnect_nobody(served: Serve, tmp_path: Path) -> None:
    """More of them than threads, for many times as long as a client may be silent."""
    (tmp_path / "sleepy.py").write_text(APP)
    server = await served("sleepy:app", config=CONFIG)
    clients = [await connected(server) for _ in range(CLIENTS)]
    for client in clients:
        await client.send(2, rpc={"method": "plain"})
        await client.send(3, rpc={"method": "plain"})
    marks = [client.pings + 3 for client in clients]
    for client, mark in zip(clients, marks, strict=True):
        await client.until_pings(mark)
    assert await metric(server, "closes_total") == []
    (tmp_path / "awake").touch()
    assert [(await client.reply(3))["rpc"]["data"] for client in clients] == ["slept"] * CLIENTS
    assert "held up" not in server.log


async def test_11_a_stall_of_our_own_is_named_and_blamed_on_nobody(served: Serve, tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(APP)
    server = await served("sleepy:app", config=CONFIG)
    clients = [await connected(server) for _ in range(CLIENTS)]
    await clients[0].send(10, rpc={"method": "async", "data": 1.8})  # the stall itself is what is tested
    await clients[0].reply(10)
    for client, mark in zip(clients, [client.pings + 1 for client in clients], strict=True):
        await client.until_pings(mark)
    assert await metric(server, "closes_total") == []
    assert await metric(server, "loop_stalls_total") != [0.0]
    held_up = [line for line in server.log.splitlines() if "held up" in line]
    assert held_up
    assert all("sleepy.stops_the_loop" in line for line in held_up)
