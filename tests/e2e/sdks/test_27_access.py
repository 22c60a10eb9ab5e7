"""Access that was taken back: on one node while another one streams, and with the official clients that come again.

What is ended and refused, case by case: tests/session/test_unrevoked.py; on every transport:
tests/transports/test_17_closes.py.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.e2e.sdks.conftest import tracebacks
from tests.e2e.sdks.js_sdk import Bridge, JsSdk
from tests.e2e.sdks.rooms import OPEN, SECRET, token, url_of
from tests.e2e.sdks.sdk import WAIT_S, Client, Sdk
from tests.engines.redis_server import RedisServer
from tests.event_source import Event, Parser
from tests.served import Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = {"X-API-Key": "k" * 32}
CONFIG = f"""
[tokens]
hmac_secret = "{SECRET}"
[api]
keys = ["{KEY["X-API-Key"]}"]
[metrics]
open = true
[namespaces.room]
{OPEN}history_size = 1000
history_ttl_s = 300
recover = true
[namespaces.closed]
history_size = 1000
history_ttl_s = 300
"""
TABS = 20


class Nodes:
    """Two that meet in Redis, and those that start later."""

    def __init__(self, redis: RedisServer, folders: Callable[[], Path]) -> None:
        self._redis = redis
        self._folders = folders
        self.all: list[Server] = []

    async def start(self) -> Server:
        folder = self._folders()
        shutil.copy(Path(__file__).with_name("rooms_app.py"), folder)
        server = await serve(folder, "rooms_app:app", dev=False, config=CONFIG, options=("--engine", self._redis.url))
        self.all.append(server)
        return server


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def nodes(component: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    redis = RedisServer(component("redis-server"), tmp_path_factory.mktemp("redis"))
    await redis.start()
    nodes = Nodes(redis, lambda: tmp_path_factory.mktemp("node"))
    try:
        await nodes.start()
        await nodes.start()
        yield nodes
        for server in nodes.all:
            assert await server.stop() == 0
            assert tracebacks(server) == []
    finally:
        await redis.kill()


async def api(server: Server, method: str, **request: Any) -> None:
    async with httpx.AsyncClient(base_url=server.url, headers=KEY) as http:
        answer = await http.post(f"/api/{method}", json=request)
        assert "result" in answer.json(), answer.text


async def publishing(server: Server, channel: str, over: asyncio.Event, at: dict[int, float]) -> None:
    """Numbers, with the time at which each was acknowledged."""
    number = 0
    while not over.is_set():
        number += 1
        await api(server, "publish", channel=channel, data=number)
        at[number] = time.monotonic()


async def events_of(http: httpx.AsyncClient, channel: str, dead: str, heard: asyncio.Event) -> list[Event]:
    """All that a stream says until its end."""
    parser, events = Parser(), list[Event]()
    async with http.stream("GET", "/events", params={"channel": channel, "token": dead}) as answer:
        async for chunk in answer.aiter_bytes():
            events += parser.feed(chunk)
            if any(event.type == "message" for event in events):
                heard.set()
    return events


async def test_27_revoked_on_one_node_while_the_other_one_streams(sdk: Sdk, nodes: Nodes, name: str) -> None:
    here, there = nodes.all[:2]
    channel, dead = f"room:{name}", token(name)
    ann = await sdk.client(url_of(there.port), token=dead)
    await ann.connected()
    room = await ann.subscribed(channel)
    heard, over, at = asyncio.Event(), asyncio.Event(), dict[int, float]()
    async with httpx.AsyncClient(base_url=there.url, timeout=2 * WAIT_S) as http, AsyncExitStack() as stack:
        stream = asyncio.create_task(events_of(http, channel, dead, heard))
        writing = asyncio.create_task(publishing(here, channel, over, at))
        stack.callback(writing.cancel)
        await room.log.take_data(3)
        async with asyncio.timeout(WAIT_S):
            await heard.wait()
        head = await http.get("/poll", params={"channel": f"room:quiet-{name}", "token": dead, "wait": "0"})
        quiet = {"channel": f"room:quiet-{name}", "token": dead, "since": head.json()["next"], "wait": "30"}
        poll = asyncio.create_task(http.get("/poll", params=quiet))
        await room.log.take_data(3)

        revoked_at = time.monotonic()
        await api(here, "revoke", user=name)
        ending = await ann.log.take("disconnected")
        assert (ending.code, ending.reason) == (4503, "access revoked")
        events = await stream
        assert (events[-1].type, events[-1].data["code"]) == ("expired", 4503)
        assert (await poll).status_code == 401
        over.set()
        await writing

    got = [event.data for event in room.log.named("publication")]
    late = [number for number in got if at[number] > revoked_at + 1.0]
    assert late == [], "nothing may come a second after"
    assert max(at) > max(got), "the other node went on"

    later = nodes.all[2] if len(nodes.all) > 2 else await nodes.start()
    for server in (here, there, later):
        again = await sdk.client(url_of(server.port), token=dead)
        await again.connect()
        assert (await again.log.take("disconnected")).code == 3500
        async with httpx.AsyncClient(base_url=server.url) as http:
            for path in ("/events", "/poll"):
                assert (await http.get(path, params={"channel": channel, "token": dead})).status_code == 401
    fresh = await sdk.client(url_of(later.port), token=token(name, iat=time.time() + 1))
    await fresh.connected()


async def test_27_a_room_that_was_revoked_is_not_asked_for_again(sdk: Sdk, nodes: Nodes, name: str) -> None:
    here, there = nodes.all[:2]
    channel = f"closed:{name}"
    ann = await sdk.client(url_of(there.port), token=token(name))
    await ann.connected()
    room = await ann.subscribed(channel, token=token(name, channel=channel))
    await api(here, "revoke", room=channel)
    ending = await room.log.take("unsubscribed")
    assert (ending.code, ending.reason) == (2001, "access revoked")
    await room.subscribe()
    refused = await room.log.take("unsubscribed")
    assert refused.code == 103
    assert ann.log.named("disconnected") == []


# Tabs whose token is dead


async def connections(server: Server) -> int:
    """Since its start."""
    async with httpx.AsyncClient(base_url=server.url) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    (count,) = [line.split()[1] for line in lines if line.startswith("roomful_connections_opened_total ")]
    return round(float(count))


@pytest.mark.parametrize("kind", ["revoked", "revoked, and fetched again", "expired"])
async def test_27_tabs_with_a_dead_token_try_once_each(
    nodes: Nodes, bridge: Bridge, component: Callable[[str], str], name: str, kind: str
) -> None:
    """The full size, 100 tabs in five minutes, can't differ: an attempt that is the last one is the last one."""
    server = nodes.all[0]
    await bridge.start(component("node"))
    sdk = JsSdk(False, bridge, [])
    dead = token(name, -1.0) if kind == "expired" else token(name, jti=name)
    fetches = 0

    async def fetch() -> str:
        nonlocal fetches
        fetches += 1
        return dead

    if kind != "expired":
        await api(server, "revoke", token=name)
    before = await connections(server)
    options: dict[str, Any] = {"get_token": fetch} if "again" in kind else {"token": dead}
    tabs: list[Client] = [await sdk.client(url_of(server.port), **options) for _ in range(TABS)]
    await asyncio.gather(*(tab.connect() for tab in tabs))
    ends = [await tab.log.take("disconnected") for tab in tabs]
    assert {end.code for end in ends} == ({1} if kind == "expired" else {3500})  # 1: the SDK's own "unauthorized"
    assert await connections(server) == before + TABS
    assert fetches == (TABS if "again" in kind else 0)
    await sdk.close()
