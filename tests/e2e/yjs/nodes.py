"""Served nodes that share an engine and a store; the way of each to the engine can be broken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from roomful.testing.fault_proxy import FaultProxy
from tests.engines.nats_server import NatsServer
from tests.engines.redis_server import RedisServer
from tests.served import Server, serve
from tests.stores.postgres_server import PostgresServer

KINDS = ("redis-sqlite", "nats-postgres")

CONFIG = """
[engine]
url = "{engine}"
[documents]
store = "{store}"
{options}
"""


class Node:
    """server: the process. link: its way to the engine."""

    def __init__(self, server: Server, link: FaultProxy) -> None:
        self.server = server
        self.link = link

    @property
    def url(self) -> str:
        return self.server.url

    def cut_off(self) -> None:
        """It hears nothing of the others, nor they of it, and nothing is closed."""
        self.link.down.hole()
        self.link.up.hole()

    def heal(self) -> None:
        self.link.down.heal()
        self.link.up.heal()


@asynccontextmanager
async def nodes(
    kind: str, number: int, directory: Path, find: Callable[[str], str], options: str = ""
) -> AsyncIterator[list[Node]]:
    """So many, until the end of the block. kind: one of KINDS. options: more of `[documents]`."""
    engine: RedisServer | NatsServer
    async with AsyncExitStack() as stack:
        store = "sqlite:///roomful.db"
        if kind == "redis-sqlite":
            engine = RedisServer(find("redis-server"), directory / "redis")
        else:
            engine = NatsServer(find("nats-server"), directory)
            postgres = PostgresServer(find("postgres"))
            postgres.start()
            stack.callback(postgres.stop)
            store = postgres.url
        await engine.start()
        stack.push_async_callback(engine.kill)
        running: list[Node] = []
        for _ in range(number):
            link = await stack.enter_async_context(FaultProxy(engine.port))
            url = f"{engine.url.rpartition(':')[0]}:{link.port}"
            config = CONFIG.format(engine=url, store=store, options=options)
            running.append(Node(await serve(directory, config=config), link))
            stack.push_async_callback(running[-1].server.stop)
        yield running
        for node in running:
            assert "Traceback" not in node.server.log, node.server.log
