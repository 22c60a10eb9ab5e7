"""Two nodes on one Redis, and nginx that deals each request to the next of them: any node can answer, or go on."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import pytest_asyncio

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.nginx import Nginx
from tests.e2e.plain_http.feed import CONFIG, Books, Feed, address, until
from tests.e2e.plain_http.test_httpx import Source, following
from tests.engines.redis_server import RedisServer
from tests.served import serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENTS = 4
PUBLICATIONS = 60
CUT = 0.3
"""This part of the answers gets lost after they were written."""

NO_REUSE = httpx.Limits(max_keepalive_connections=0)
"""A connection for each request, so that each can be cut by itself."""


class Cluster:
    """feeds: of each node; they count together. proxy: on the way to nginx."""

    def __init__(self, redis: RedisServer, feeds: list[Feed], proxy: FaultProxy) -> None:
        self.redis = redis
        self.feeds = feeds
        self.proxy = proxy


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def cluster(component: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    redis = RedisServer(component("redis-server"), directory / "redis")
    await redis.start()
    feeds: list[Feed] = []
    try:
        for name in "ab":
            (directory / name).mkdir()
            config = f'{CONFIG}\n[engine]\nurl = "{redis.url}"\ncheck_s = 1\n'
            feeds.append(Feed(await serve(directory / name, dev=False, config=config)))
        feeds[1].published = feeds[0].published
        ports = [feed.server.port for feed in feeds]
        async with Nginx(component("nginx"), directory, *ports) as nginx, FaultProxy(nginx.port) as proxy:
            yield Cluster(redis, feeds, proxy)
    finally:
        for feed in feeds:
            await feed.close()
            await feed.server.stop()
        await redis.kill()
    assert not [feed.server.log for feed in feeds if "Traceback" in feed.server.log]


async def test_7_a_third_of_the_answers_to_polls_gets_lost(cluster: Cluster, channel: str) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    feeds, proxy, short = cluster.feeds, cluster.proxy, f"short:{channel}"
    channels = [channel, short]
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
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for books in shelves:
            tasks.create_task(client(books))
        await until(lambda: all(books.positions for books in shelves))
        for number in range(PUBLICATIONS):
            await feeds[number % 2].publish(channel)
            await feeds[(number + 1) % 2].publish(short)
        done.set()
    proxy.next_cuts.clear()
    assert set(statuses) == {200}
    assert lost > 10
    for books in shelves:
        books.check(channel, feeds[0])
        books.check(short, feeds[0], gaps=int(bool(books.gaps)))


async def test_2_streams_move_from_node_to_node(cluster: Cluster, channel: str) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    feeds, proxy = cluster.feeds, cluster.proxy
    one, two = Source(proxy.port, channel), Source(proxy.port, channel, f"{channel}-2")
    async with following(one), following(two):
        proxy.next_cuts = [chance.randrange(2_000) for _ in range(20)]
        proxy.cut()
        while proxy.next_cuts:
            await feeds[chance.randrange(2)].publish(channel, 2)
        await until(lambda: one.books.complete(channel, feeds[0]) and two.books.complete(channel, feeds[0]))
        one.books.check(channel, feeds[0])
        two.books.check(channel, feeds[0])

        await cluster.redis.do("FLUSHALL")
        await feeds[0].publish(channel)
        await until(lambda: bool(one.books.gaps) and bool(two.books.gaps))
        await feeds[1].publish(channel, 2)
        await until(lambda: one.books.complete(channel, feeds[0]) and two.books.complete(channel, feeds[0]))
    for books in (one.books, two.books):
        assert {gap["reason"] for gap in books.gaps} == {"epoch"}
        assert books.numbers[channel] == sorted(set(books.numbers[channel]))
        assert books.positions[channel] == await feeds[0].head(channel)
