"""npm `eventsource`, unmodified, in node: it comes back by itself, with its last event id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.plain_http.conftest import token
from tests.e2e.plain_http.feed import Books, Feed, address, event_of, until
from tests.event_source import Event

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROGRAM = Path(__file__).parent / "js" / "follow.mjs"
NAMES = ("message", "subscribed", "join", "leave", "gap", "expired", "drain", "price")


class Follower:
    """The node process. events: what it has printed. closed: the status for which it gave up."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.books = Books()
        self.events: list[Event] = []
        self.closed: int | None = None
        self.process = process

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            event = event_of(line.decode())
            if event.type == "closed":
                self.closed = event.data
                return
            self.events.append(event)
            self.books.note(event)


@asynccontextmanager
async def following(node: str, url: str) -> AsyncIterator[Follower]:
    process = await asyncio.create_subprocess_exec(node, PROGRAM, url, *NAMES, stdout=asyncio.subprocess.PIPE)
    follower = Follower(process)
    reading = asyncio.create_task(follower.read())
    try:
        await until(lambda: follower.books.subscribed > 0 or reading.done())
        yield follower
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


async def test_it_follows_channels_and_names(feed: Feed, component: Callable[[str], str], channel: str) -> None:
    plain = f"plain:{channel}"
    async with following(component("node"), address(feed.server.port, "/events", channel, plain)) as follower:
        await feed.publish(channel)
        await feed.publish(plain)
        await feed.publish(channel, tags={"event": "price"})
        await until(lambda: len(follower.events) == 4)
    head = await feed.head(channel)
    subscribed, first, second, price = follower.events
    assert [event.type for event in follower.events] == ["subscribed", "message", "message", "price"]
    assert first.data == {"channel": channel, "data": {"n": 1, "x": ""}, "offset": 1}
    assert second.data == {"channel": plain, "data": {"n": 1, "x": ""}}
    assert price.data["tags"] == {"event": "price"}
    assert [event.last_event_id for event in (subscribed, first, second, price)] == [
        f"{head.epoch}:{offset},-" for offset in (0, 1, 1, 2)
    ]


async def test_2_cuts_in_an_event_in_the_replay_and_three_in_a_row(
    feed: Feed, proxy: FaultProxy, component: Callable[[str], str], channel: str
) -> None:
    other = f"{channel}-2"
    async with following(component("node"), address(proxy.port, "/events", channel, other)) as follower:
        books = follower.books
        await feed.publish(channel, 3)
        proxy.links[0].down.cut_after = 700  # in the middle of the next one
        proxy.next_cuts = [900, 0, 400]  # in the replay of it; before the answer; in its head
        await feed.publish(channel, 2, size=1_000)
        await feed.publish(other, 2)
        await until(lambda: books.complete(channel, feed) and books.complete(other, feed))
        await feed.publish(channel, 2)
        await until(lambda: books.complete(channel, feed))
    assert proxy.next_cuts == []
    books.check(channel, feed)
    books.check(other, feed)


async def test_2_a_trimmed_history_is_a_gap(
    feed: Feed, proxy: FaultProxy, component: Callable[[str], str], channel: str
) -> None:
    short = f"short:{channel}"
    async with following(component("node"), address(proxy.port, "/events", short)) as follower:
        proxy.refusing = True
        proxy.cut()
        await feed.publish(short, 9)
        proxy.heal()
        await until(lambda: follower.books.complete(short, feed))
    follower.books.check(short, feed, gaps=1)
    assert follower.books.gaps[0]["to"]["offset"] == 4


async def test_it_gives_up_for_what_must_not_be_tried_again(
    feed: Feed, component: Callable[[str], str], channel: str
) -> None:
    users = f"users:{channel}"
    async with following(component("node"), address(feed.server.port, "/events", users)) as follower:
        await until(lambda: follower.closed is not None)
    assert (follower.closed, follower.events) == (403, [])
    expiring = address(feed.server.port, "/events", users, token=token("ann", 2))
    async with following(component("node"), expiring) as follower:
        await until(lambda: follower.closed is not None)
    assert follower.closed == 401
    assert [event.type for event in follower.events] == ["subscribed", "expired"]
