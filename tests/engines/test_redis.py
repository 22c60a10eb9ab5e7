from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from roomful.engines.options import EngineOptions
from roomful.engines.redis import RedisEngine
from roomful.testing.engine_contract import ClusterContract, MakeEngine
from tests.engines.conftest import StartRedis
from tests.engines.redis_server import RedisCluster


class TestRedis(ClusterContract):
    unit_s = 0.3
    program = "redis-server"

    @pytest.fixture
    async def make_engine(self, start_redis: StartRedis) -> MakeEngine:
        server = await start_redis(program=self.program)
        return lambda: RedisEngine(EngineOptions(url=server.url))


class TestValkey(TestRedis):
    program = "valkey-server"


@pytest.fixture(scope="module")
def cluster(component: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(component("redis-server"), tmp_path_factory.mktemp("cluster"))
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.kill())


class TestRedisCluster(ClusterContract):
    unit_s = 0.3

    @pytest.fixture
    def make_engine(self, cluster: RedisCluster) -> MakeEngine:
        return lambda: RedisEngine(EngineOptions(url=cluster.url))
