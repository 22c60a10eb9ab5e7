"""The server that these tests share, on the event loop of the session."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import pytest_asyncio

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.plain_http.feed import CONFIG, SECRET, Feed
from tests.served import serve


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def feed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Feed]:
    server = await serve(tmp_path_factory.mktemp("feed"), dev=False, config=CONFIG)
    feed = Feed(server)
    yield feed
    await feed.close()
    await server.stop()
    assert "Traceback" not in server.log
    assert "eyJ" not in server.log  # no token is ever logged


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
