from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from roomful.engines.options import EngineOptions
from roomful.engines.redis import RedisEngine
from roomful.model.publication import Draft
from roomful.testing.engine_contract import KEEP, ClusterContract, MakeEngine, running
from tests.engines.conftest import StartRedis
from tests.engines.redis_server import RedisCluster, eventually


class TestRedis(ClusterContract):
    unit_s = 0.3
    program = "redis-server"

    @pytest.fixture
    async def make_engine(self, start_redis: StartRedis) -> MakeEngine:
        server = await start_redis(program=self.program)
        return lambda: RedisEngine(EngineOptions(url=server.url))


class TestValkey(TestRedis):
    program = "valkey-server"


async def test_8_a_redis_that_may_evict_from_now_on_is_told_and_served(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_redis()
    async with running(RedisEngine(EngineOptions(url=server.url))) as node:
        for setting in (("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")):
            await server.do("CONFIG", "SET", *setting)
        await server.do("CLIENT", "KILL", "TYPE", "normal")
        told = "Redis was changed while we run: %s"
        await eventually(lambda: told in {record.msg for record in caplog.records})
        assert (await node.broker.publish("a", Draft(b"1"), KEEP)).position is not None


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
