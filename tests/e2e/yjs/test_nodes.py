"""Two served nodes that share an engine and a store, real clients on either, and a link that breaks."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.yjs.clients import Bridge
from tests.engines.nats_server import NatsServer
from tests.engines.redis_server import RedisServer
from tests.served import Server, serve
from tests.stores.postgres_server import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

CONFIG = """
[engine]
url = "{scheme}://127.0.0.1:{port}"
[documents]
store = "{store}"
"""


class Nodes:
    """first, second: the servers. link: the way of the second to the engine."""

    def __init__(self, first: Server, second: Server, link: FaultProxy) -> None:
        self.first = first
        self.second = second
        self.link = link


@pytest_asyncio.fixture(loop_scope="session", params=["redis-sqlite", "nats-postgres"])
async def nodes(
    request: pytest.FixtureRequest, tmp_path: Path, component: Callable[[str], str]
) -> AsyncIterator[Nodes]:
    scheme = request.param.partition("-")[0]
    engine: RedisServer | NatsServer
    postgres: PostgresServer | None = None
    if scheme == "redis":
        engine = RedisServer(component("redis-server"), tmp_path / "redis")
    else:
        engine = NatsServer(component("nats-server"), tmp_path)
        postgres = PostgresServer(component("postgres"))
        postgres.start()
    store = postgres.url if postgres else "sqlite:///roomful.db"
    await engine.start()
    async with FaultProxy(engine.port) as link:
        first = await serve(tmp_path, config=CONFIG.format(scheme=scheme, port=engine.port, store=store))
        second = await serve(tmp_path, config=CONFIG.format(scheme=scheme, port=link.port, store=store))
        yield Nodes(first, second, link)
        for server in (first, second):
            await server.stop()
            print(f"--- roomful serve\n{server.log}")
            assert "Traceback" not in server.log
    await engine.kill()
    if postgres:
        postgres.stop()


async def test_clients_of_two_nodes_edit_one_document(nodes: Nodes, yjs: Bridge) -> None:
    ann = await yjs.y_websocket(nodes.first.url, "notes")
    bob = await yjs.hocuspocus(nodes.second.url, "notes")
    await ann.synced()
    await bob.synced()
    await ann.insert("hello")
    await bob.has("hello")
    await bob.insert(" world", at=5)
    await ann.has("hello world")
    await ann.tell("set", state={"name": "Ann"})
    await bob.sees(lambda seen: seen.get(ann.id) == {"name": "Ann"})
    late = await yjs.y_websocket(nodes.second.url, "notes")
    await late.sees(lambda seen: seen.get(ann.id) == {"name": "Ann"})

    # the second node hears nothing of the first, and both sides go on
    nodes.link.down.hole()
    nodes.link.up.hole()
    await ann.insert("first ")
    await bob.insert(" second", at=11)
    await ann.until_text(lambda text: text.startswith("first "))
    nodes.link.down.heal()
    nodes.link.up.heal()
    for client in (ann, bob, late):
        await client.has("first hello world second")

    # whoever goes is gone everywhere
    await ann.destroy()
    for client in (bob, late):
        await client.sees(lambda seen: ann.id not in seen)

    # a node that is killed leaves its clients to the other one
    os.kill(nodes.second.pid, signal.SIGKILL)
    cid = await yjs.hocuspocus(nodes.first.url, "notes")
    await cid.has("first hello world second")
