from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.engines.nats_server import NatsServer
from tests.engines.redis_server import RedisServer

pytest.register_assert_rewrite("roomful.testing.engine_contract")

StartRedis = Callable[..., Awaitable[RedisServer]]


@pytest.fixture
async def start_redis(component: Callable[[str], str], tmp_path: Path) -> AsyncIterator[StartRedis]:
    """Starts a redis-server with more options; stopped after the test."""
    servers: list[RedisServer] = []

    async def start(*options: str, program: str = "redis-server", port: int = 0) -> RedisServer:
        server = RedisServer(component(program), tmp_path / f"redis-{len(servers)}", *options, port=port)
        servers.append(server)
        await server.start()
        return server

    yield start
    await asyncio.gather(*(server.kill() for server in servers))


@pytest.fixture
async def nats(component: Callable[[str], str], tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A NATS server of the test's own."""
    server = NatsServer(component("nats-server"), tmp_path)
    await server.start()
    yield server
    await server.kill()
