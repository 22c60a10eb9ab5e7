"""Behind nginx with buffering, gzip and a read timeout of 30 s; and where it deals polls to two nodes in turn."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.nginx import Nginx
from tests.e2e.plain_http.conftest import QUIET_CHANNEL, Quiet
from tests.e2e.plain_http.feed import CONFIG, Books, Feed, address, until
from tests.e2e.plain_http.test_httpx import Source, following
from tests.engines.redis_server import RedisServer
from tests.served import serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENCODINGS = {"Accept-Encoding": "gzip"}

NO_REUSE = httpx.Limits(max_keepalive_connections=0)
"""A connection for each request, so that each can be cut by itself."""


@pytest_asyncio.fixture(loop_scope="session", params=["1.0", "1.1"])
async def nginx(
    request: pytest.FixtureRequest, feed: Feed, component: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Nginx]:
    async with Nginx(component("nginx"), tmp_path, feed.server.port, http_version=request.param) as nginx:
        yield nginx


async def test_each_event_comes_at_once(feed: Feed, nginx: Nginx, channel: str) -> None:
    """A proxy that buffers would wait for the end, or for some kilobytes."""
    source = Source(nginx.port, channel, headers={"Accept-Encoding": "identity"})
    async with following(source) as books:
        for _ in range(5):
            await feed.publish(channel)
            await until(lambda: books.complete(channel, feed), 5)
    books.check(channel, feed)
    url = address(nginx.port, "/events", channel)
    async with httpx.AsyncClient(headers=ENCODINGS) as http, http.stream("GET", url) as response:
        lines = response.aiter_lines()  # unpacks, should it be packed
        while not (await asyncio.wait_for(anext(lines), 5)).startswith("event: subscribed"):
            pass
        await feed.publish(channel)
        while f'"n":{feed.published[channel]}' not in await asyncio.wait_for(anext(lines), 5):
            pass


async def test_polls_wait_and_are_answered(feed: Feed, nginx: Nginx, channel: str) -> None:
    url = address(nginx.port, "/poll", channel)
    async with httpx.AsyncClient(headers=ENCODINGS, timeout=30) as http:
        since = (await http.get(url)).json()["next"]
        polling = asyncio.create_task(http.get(f"{url}&since={since}"))
        await until(lambda: not polling.done())
        await feed.publish(channel)
        assert (await polling).json()["publications"][0]["data"]["n"] == 1
        plain = await http.get(f"{url}&since={since}&wait=0")
        assert plain.headers["etag"].startswith("W/")  # nginx has packed it
        known = await http.get(f"{url}&since={since}&wait=0", headers={"If-None-Match": plain.headers["etag"]})
        assert known.status_code == 304


async def test_heartbeats_outlive_the_read_timeout(feed: Feed, quiet: Quiet, component: Callable[[str], str]) -> None:
    """After 30 s without a word nginx would cut. The stream has been open since the first test of this folder."""
    component("nginx")
    await until(lambda: quiet.seconds > 31, 40)
    await feed.publish(QUIET_CHANNEL)
    await until(lambda: quiet.books.complete(QUIET_CHANNEL, feed), 5)
    assert quiet.heartbeats >= 2
    assert quiet.books.subscribed == 1
    assert [quiet.books.numbers, quiet.ended] == [{QUIET_CHANNEL: [1]}, False]


CLIENTS = 4
PUBLICATIONS = 60
CUT = 0.3
"""This part of the answers gets lost after they were written."""


async def test_two_nodes_answer_in_turn_and_a_third_of_the_answers_gets_lost(
    component: Callable[[str], str], tmp_path: Path, channel: str
) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    short = f"short:{channel}"
    channels = [channel, short]
    redis = RedisServer(component("redis-server"), tmp_path / "redis")
    await redis.start()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    config = f'{CONFIG}\n[engine]\nurl = "{redis.url}"\n'
    nodes = [await serve(tmp_path / name, dev=False, config=config) for name in "ab"]
    feeds = [Feed(node) for node in nodes]
    feeds[1].published = feeds[0].published
    statuses: Counter[int] = Counter()
    lost = 0

    async def poll(http: httpx.AsyncClient, books: Books, since: str) -> str:
        nonlocal lost
        proxy.next_cuts.append(chance.randrange(40, 220) if chance.random() < CUT else None)
        more = {"since": since} if since else {}
        try:
            answer = await http.get(address(proxy.port, "/poll", *channels, wait="0.5", **more))
        except httpx.TransportError:
            lost += 1
            return since
        statuses[answer.status_code] += 1
        return books.note_poll(answer.json(), channels)

    async def client(books: Books) -> None:
        since = ""
        async with httpx.AsyncClient(limits=NO_REUSE) as http:
            while not (since and done.is_set() and all(books.complete(name, feeds[0]) for name in channels)):
                since = await poll(http, books, since)

    done = asyncio.Event()
    shelves = [Books() for _ in range(CLIENTS)]
    try:
        async with (
            Nginx(component("nginx"), tmp_path, *(node.port for node in nodes)) as nginx,
            FaultProxy(nginx.port) as proxy,
            asyncio.timeout(60),
            asyncio.TaskGroup() as tasks,
        ):
            for books in shelves:
                tasks.create_task(client(books))
            await until(lambda: all(books.positions for books in shelves))
            for number in range(PUBLICATIONS):
                await feeds[number % 2].publish(channel)
                await feeds[(number + 1) % 2].publish(short)
            done.set()
    finally:
        for feed in feeds:
            await feed.close()
        for node in nodes:
            await node.stop()
        await redis.kill()
    assert set(statuses) == {200}
    assert lost > 10
    for books in shelves:
        books.check(channel, feeds[0])
        books.check(short, feeds[0], gaps=int(bool(books.gaps)))
    for node in nodes:
        assert "Traceback" not in node.log
