"""The NATS engine against a real server: the contract with both storages, and what only NATS has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from roomful.engines.nats import NatsEngine
from roomful.engines.options import EngineOptions
from roomful.testing.engine_contract import ClusterContract, MakeEngine
from tests.engines.nats_server import NatsServer

Component = Callable[[str], str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(component: Component, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    server = NatsServer(component("nats-server"), tmp_path_factory.mktemp("nats"))
    await server.start()
    yield server
    await server.kill()


class TestFileStorage(ClusterContract):
    unit_s = 0.25

    @pytest.fixture
    def make_engine(self, shared: NatsServer) -> MakeEngine:
        return lambda: NatsEngine(EngineOptions(url=shared.url))
