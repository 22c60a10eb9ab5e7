from __future__ import annotations

import pytest

from roomful.engines.options import EngineOptions
from roomful.engines.redis import RedisEngine
from roomful.testing.engine_contract import ClusterContract, MakeEngine
from tests.engines.conftest import StartRedis


class TestRedis(ClusterContract):
    unit_s = 0.3

    @pytest.fixture
    async def make_engine(self, start_redis: StartRedis) -> MakeEngine:
        server = await start_redis()
        return lambda: RedisEngine(EngineOptions(url=server.url))
