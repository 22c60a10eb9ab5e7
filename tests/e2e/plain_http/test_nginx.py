"""Behind nginx with buffering, gzip and a read timeout of 30 s."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.e2e.nginx import Nginx
from tests.e2e.plain_http.conftest import QUIET_CHANNEL, Quiet
from tests.e2e.plain_http.feed import Feed, address, until
from tests.e2e.plain_http.test_httpx import Source, following

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENCODINGS = {"Accept-Encoding": "gzip"}


@pytest_asyncio.fixture(loop_scope="session", params=["1.0", "1.1"])
async def nginx(
    request: pytest.FixtureRequest, feed: Feed, component: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Nginx]:
    async with Nginx(component("nginx"), tmp_path, feed.server.port, http_version=request.param) as nginx:
        yield nginx


async def test_each_event_comes_at_once(feed: Feed, nginx: Nginx, channel: str) -> None:
    """A proxy that buffers would wait for the end, or for some kilobytes."""
    source = Source(nginx.port, channel)
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
