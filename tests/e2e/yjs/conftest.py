"""The providers, and servers that all their tests share, on the one event loop of the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.e2e.yjs.clients import Bridge
from tests.served import Server, serve


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def node_process(component: Callable[[str], str]) -> AsyncIterator[Bridge]:
    bridge = Bridge()
    await bridge.start(component("node"))
    yield bridge
    await bridge.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def yjs(node_process: Bridge) -> AsyncIterator[Bridge]:
    """All its clients are destroyed after the test."""
    yield node_process
    await node_process.close()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """`roomful serve --dev`: documents in SQLite, everything open."""
    server = await serve(tmp_path_factory.mktemp("documents"))
    yield server
    await server.stop()
    print(f"--- roomful serve --dev\n{server.log}")
    assert "Traceback" not in server.log


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of a document that nobody else has."""
    return f"{request.node.name}"
