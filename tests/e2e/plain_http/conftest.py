"""The server that these tests share, on the event loop of the session."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio

from roomful.testing.fault_proxy import FaultProxy
from tests.components import find
from tests.e2e.nginx import Nginx
from tests.e2e.plain_http.feed import CONFIG, SECRET, Books, Feed, address
from tests.event_source import Parser
from tests.served import serve

QUIET_CHANNEL = "quiet"


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def feed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Feed]:
    server = await serve(tmp_path_factory.mktemp("feed"), dev=False, config=CONFIG)
    feed = Feed(server)
    yield feed
    await feed.close()
    await server.stop()
    assert "Traceback" not in server.log
    assert "eyJ" not in server.log  # no token is ever logged


class Quiet:
    """A stream behind nginx on which nothing happens. ended: nginx or the server has cut it."""

    def __init__(self) -> None:
        self.books = Books()
        self.heartbeats = 0
        self.ended = False
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was opened."""
        return time.monotonic() - self._begun

    async def read(self, port: int) -> None:
        parser = Parser()
        url = address(port, "/events", QUIET_CHANNEL)
        async with httpx.AsyncClient(timeout=60) as http, http.stream("GET", url) as response:
            async for line in response.aiter_lines():
                self.heartbeats += line.startswith(":")
                for event in parser.feed(f"{line}\n".encode()):
                    self.books.note(event)
        self.ended = True


@pytest_asyncio.fixture(loop_scope="session", scope="session", autouse=True)
async def quiet(feed: Feed, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quiet]:
    """Opened before the first test, because it takes half a minute to prove something."""
    program, quiet = find("nginx"), Quiet()
    if program is None:
        yield quiet
        return
    async with Nginx(program, tmp_path_factory.mktemp("quiet"), feed.server.port) as nginx:
        reading = asyncio.create_task(quiet.read(nginx.port))
        yield quiet
        reading.cancel()
        await asyncio.wait((reading,))


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(feed: Feed) -> AsyncIterator[FaultProxy]:
    """On the way to `feed`."""
    async with FaultProxy(feed.server.port) as proxy:
        yield proxy


@pytest.fixture
def channel() -> str:
    """One that no other test has."""
    return uuid.uuid4().hex[:12]


def token(user: str, ttl_s: float = 3600.0, **claims: Any) -> str:
    """As an application's backend signs it."""
    return jwt.encode({"sub": user, "exp": time.time() + ttl_s, **claims}, SECRET, "HS256")
