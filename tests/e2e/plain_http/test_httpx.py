"""httpx against a served process: an EventSource of a few lines, and polls, over a connection that is cut a lot."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.plain_http.conftest import token
from tests.e2e.plain_http.feed import Books, Feed, address, until
from tests.event_source import Parser

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Source:
    """Comes back at once, as often as it is cut. books: of all that it got. statuses: of the responses."""

    def __init__(self, port: int, *channels: str, headers: dict[str, str] | None = None) -> None:
        self.url = address(port, "/events", *channels)
        self.books = Books()
        self.parser = Parser()
        self.statuses: list[int] = []
        self._headers = {"Accept-Encoding": "identity", **(headers or {})}  # it reads the bytes as they come

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=httpx.Timeout(20)) as http:
            while True:
                known = self.parser.last_event_id
                headers = {**self._headers, **({"Last-Event-ID": known} if known else {})}
                self.parser.reconnected()
                try:
                    async with http.stream("GET", self.url, headers=headers) as response:
                        self.statuses.append(response.status_code)
                        async for chunk in response.aiter_raw():
                            for event in self.parser.feed(chunk):
                                self.books.note(event)
                except httpx.TransportError:
                    await asyncio.sleep(0.001)


@asynccontextmanager
async def following(source: Source) -> AsyncIterator[Books]:
    """Subscribed when the block begins. A fault in its books ends the block."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(source.run())
        await until(lambda: source.books.subscribed > 0)
        yield source.books
        running.cancel()


async def test_2_cuts_anywhere_in_a_stream(feed: Feed, proxy: FaultProxy, channel: str) -> None:
    """At a byte that chance picks: in the head, in `subscribed`, in the replay, in a live event; many in a row."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    other = f"{channel}-2"
    one, two = Source(proxy.port, channel), Source(proxy.port, channel, other)
    async with following(one), following(two):
        proxy.next_cuts = [chance.randrange(2_500) for _ in range(60)]
        proxy.cut()
        while proxy.next_cuts:
            await feed.publish(channel, 2, size=chance.choice((0, 300)))
            await feed.publish(other)
        await until(lambda: all(source.books.complete(channel, feed) for source in (one, two)))
        await until(lambda: two.books.complete(other, feed))
    one.books.check(channel, feed)
    two.books.check(channel, feed)
    two.books.check(other, feed)
    assert one.books.subscribed + two.books.subscribed > 10


async def test_2_a_trimmed_history_is_a_gap(feed: Feed, proxy: FaultProxy, channel: str) -> None:
    short = f"short:{channel}"
    source = Source(proxy.port, short)
    async with following(source) as books:
        await feed.publish(short, 3)
        await until(lambda: books.complete(short, feed))
        proxy.refusing = True
        proxy.cut()
        await feed.publish(short, 20)
        proxy.next_cuts = [0, 250, 330]  # cut before the client could hear of the gap
        proxy.heal()
        await until(lambda: books.complete(short, feed))
    books.check(short, feed, gaps=1)
    assert books.numbers[short][-5:] == [19, 20, 21, 22, 23]
    assert books.gaps[-1]["reason"] == "trimmed"


async def test_a_recovery_of_many_pages(feed: Feed, proxy: FaultProxy, channel: str) -> None:
    source = Source(proxy.port, channel)
    async with following(source) as books:
        proxy.refusing = True
        proxy.cut()
        await feed.publish(channel, 700, size=10)
        proxy.next_cuts = [30_000, 40_000]
        proxy.heal()
        await until(lambda: books.complete(channel, feed))
    books.check(channel, feed)


async def test_7_polls_whose_answers_get_lost(feed: Feed, proxy: FaultProxy, channel: str) -> None:
    """Every second answer is cut somewhere, every other connection is refused; two polls at once, now and then."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    short, books = f"short:{channel}", Books()
    channels = [channel, short]
    since = ""

    async def poll() -> None:
        nonlocal since
        url = address(proxy.port, "/poll", *channels, wait="0.2", **({"since": since} if since else {}))
        proxy.next_cuts = [chance.choice((None, chance.randrange(500)))]
        try:
            answers = [await http.get(url)]
            if chance.random() < 0.2:
                answers += await asyncio.gather(http.get(url), http.get(url))
        except httpx.TransportError:
            return
        answer = chance.choice(answers)  # the others are as good, and not needed
        assert answer.status_code == 200
        since = books.note_poll(answer.json(), channels)

    async with httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0)) as http:
        while not since:
            await poll()
        for _ in range(40):
            await feed.publish(channel)
            await feed.publish(short, chance.randrange(4))
            await poll()
        while not (books.complete(channel, feed) and books.complete(short, feed)):
            await poll()
    books.check(channel, feed)
    told = bool(books.gaps)
    books.check(short, feed, gaps=int(told))


async def test_credentials_and_their_absence_in_the_log(feed: Feed, channel: str) -> None:
    users, ann = f"users:{channel}", token("ann")
    events, poll = address(feed.server.port, "/events", users), address(feed.server.port, "/poll", users)
    async with httpx.AsyncClient() as http:
        for headers, query in (
            ({"Authorization": f"Bearer {ann}"}, ""),
            ({"Cookie": f"roomful_token={ann}"}, ""),
            ({}, f"&token={ann}"),
        ):
            assert (await http.get(poll + query, headers=headers)).status_code == 200
            async with http.stream("GET", events + query, headers=headers) as response:
                assert response.status_code == 200
        for url in (events, poll):
            assert (await http.get(url)).json()["error"]["code"] == 103
            bad = await http.get(f"{url}&token={ann}x")
            assert (bad.status_code, bad.json()["error"]["code"]) == (401, 101)
            old = await http.get(url, headers={"Authorization": f"Bearer {token('ann', -5)}"})
            assert (old.status_code, old.json()["error"]["code"]) == (401, 109)
    assert ann not in feed.server.log


async def test_a_token_that_expires_ends_the_stream(feed: Feed, channel: str) -> None:
    headers = {"Authorization": f"Bearer {token('ann', 2)}"}
    source = Source(feed.server.port, f"users:{channel}", headers=headers)
    async with following(source) as books:
        await until(lambda: 401 in source.statuses)
    assert books.ended == [("expired", {"code": 3005, "reason": "connection expired"})]


@pytest.mark.parametrize("path", ["/events", "/poll"])
async def test_bad_requests_cost_themselves(feed: Feed, path: str) -> None:
    port = feed.server.port
    asked: list[tuple[Callable[[httpx.AsyncClient], object], int, int]] = [
        (lambda http: http.get(address(port, path)), 400, 107),
        (lambda http: http.get(address(port, path, "a"), headers={"Origin": "https://evil.example"}), 403, 103),
        (lambda http: http.get(address(port, path, "nowhere:1")), 404, 102),
        (lambda http: http.get(address(port, path, "$private")), 403, 103),
        (lambda http: http.get(address(port, path, "a", since="x", lastEventId="x")), 400, 107),
        (lambda http: http.get(address(port, path, *(f"c{n}" for n in range(33)))), 400, 106),
        (lambda http: http.get(f"http://127.0.0.1:{port}{path}?channel=%ff"), 400, 107),
        (lambda http: http.post(address(port, path, "a")), 405, 107),
        (lambda http: http.put(address(port, path, "a"), content=b"x" * 100), 405, 107),
        (lambda http: http.request("GET", address(port, path, "a"), content=b"x" * 200_000), 413, 107),
    ]
    async with httpx.AsyncClient() as http:
        for ask, status, code in asked:
            answer = await ask(http)  # type: ignore[misc]
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
            assert answer.headers["content-type"] == "application/json"
