"""The same under `roomful serve` and mounted in a FastAPI application under plain uvicorn: what follows, how it ends,
and that nothing is left of clients that were cut."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.e2e.plain_http.feed import CONFIG, Books, Feed, until
from tests.event_source import Parser
from tests.served import Server, launch, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOUNTED = """
from fastapi import FastAPI

from roomful import Roomful

app = Roomful()
api = FastAPI(lifespan=app.lifespan)
api.mount("/realtime", app.asgi)
"""

RESETS = int(os.environ.get("ROOMFUL_RESETS", "200"))
"""How many connections are opened and reset; 2,000 prove it for good."""

AT_ONCE = 50


class Host:
    """A server of its own. url: where Roomful is in it."""

    def __init__(self, server: Server, prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self.url = server.url + prefix


@pytest_asyncio.fixture(loop_scope="session", scope="module", params=["serve", "mounted"])
async def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    """The last test of the module stops it."""
    tmp_path = tmp_path_factory.mktemp(request.param)
    if request.param == "serve":
        host = Host(await serve(tmp_path, dev=False, config=CONFIG), "")
    else:
        (tmp_path / "roomful.toml").write_text(CONFIG)
        (tmp_path / "mounted.py").write_text(MOUNTED)
        uvicorn = (sys.executable, "-m", "uvicorn", "--port", "0", "--app-dir", ".", "mounted:api")
        host = Host(await launch(tmp_path, *uvicorn), "/realtime")
    yield host
    await host.server.stop()
    assert "Traceback" not in host.server.log


async def test_nothing_is_left_of_who_was_reset(host: Host) -> None:
    """Before the answer was read, or in the middle of the stream; streams and polls."""
    feed = Feed(host.server, host.prefix)
    await feed.publish("a")
    await feed.head("a")
    since = (await httpx.AsyncClient().get(f"{host.url}/poll?channel=a")).json()["next"]
    files = open_files(host.server)
    gate = asyncio.Semaphore(AT_ONCE)

    async def come_and_go(number: int) -> None:
        target = f"/events?channel=a&channel=b{number % 7}" if number % 3 else f"/poll?channel=a&since={since}"
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
            writer.write(f"GET {host.prefix}{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await writer.drain()
            if number % 3 == 1:
                await reader.readuntil(b"event: subscribed")
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    await asyncio.gather(*(come_and_go(number) for number in range(RESETS)))
    async with asyncio.timeout(20):
        while await feed.call("channels", pattern="*") != {"channels": {}}:
            pass
        while open_files(host.server) > files:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    (node,) = (await feed.call("info"))["nodes"]
    assert (node["num_clients"], node["num_channels"]) == (0, 0)
    await feed.close()


async def test_it_follows_and_is_told_of_the_end(host: Host) -> None:
    books, parser = Books(), Parser()
    feed = Feed(host.server, host.prefix)

    async def follow(http: httpx.AsyncClient) -> None:
        async with http.stream("GET", f"{host.url}/events?channel=end") as response:
            async for chunk in response.aiter_raw():
                for event in parser.feed(chunk):
                    books.note(event)

    async with httpx.AsyncClient(timeout=30) as http:
        following = asyncio.create_task(follow(http))
        await until(lambda: books.subscribed > 0)
        since = (await http.get(f"{host.url}/poll?channel=end")).json()["next"]
        await feed.publish("end", 3)
        await until(lambda: books.complete("end", feed))
        answer = (await http.get(f"{host.url}/poll?channel=end&since={since}")).json()
        assert [publication["offset"] for publication in answer["publications"]] == [1, 2, 3]
        polling = asyncio.create_task(http.get(f"{host.url}/poll?channel=end&since={answer['next']}"))
        while await feed.subscribers("end") < 2:
            pass
        stopping = asyncio.create_task(host.server.stop())
        await following  # its end is a proper one: httpx would raise
        empty = await polling
        await stopping
    assert books.ended == [("drain", {"code": 3001, "reason": "shutdown"})]
    assert (empty.status_code, empty.json()["publications"], empty.json()["next"]) == (200, [], answer["next"])
    books.check("end", feed)
    await feed.close()


def open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))
