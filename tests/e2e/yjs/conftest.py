"""The providers, and servers that all their tests share, on the one event loop of the session."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from tests.e2e.yjs.clients import Bridge
from tests.served import Server, serve

SECRET = "s" * 32


@pytest.fixture(scope="session")
def node(component: Callable[[str], str]) -> str:
    """The program that runs the providers."""
    return component("node")


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def node_process(node: str) -> AsyncIterator[Bridge]:
    bridge = Bridge()
    await bridge.start(node)
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


CLOSED = f"""
[tokens]
hmac_secret = "{SECRET}"
[documents]
unload_s = 0.2
"""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def closed_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """`documents_app`, where a token or a hook is needed."""
    directory = tmp_path_factory.mktemp("closed")
    shutil.copy(Path(__file__).with_name("documents_app.py"), directory)
    server = await serve(directory, "documents_app:app", dev=False, config=CLOSED)
    yield server
    await server.stop()
    print(f"--- roomful serve documents_app:app\n{server.log}")
    assert "Traceback" not in server.log


def token(user: str, **documents: str) -> str:
    """documents: pattern → rights."""
    claims = {"documents": documents}
    return sign(TokenOptions(hmac_secret=SECRET), claims, user=user, now=time.time(), ttl_s=600)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of a document that nobody else has."""
    return f"{request.node.name}"
