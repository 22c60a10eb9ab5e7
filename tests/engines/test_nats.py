"""The NATS engine against a real server: the contract with both storages, and a server that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest
import pytest_asyncio

from roomful.engines import nats as nats_engine
from roomful.model.errors import RoomfulError
from roomful.model.order import DisconnectOrder
from roomful.model.publication import Draft, Look, Position
from roomful.testing.engine_contract import ALL, ANN, KEEP, NO_HISTORY, ClusterContract, MakeEngine, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.nats_server import CHANNEL, Component, NatsServer, engine_at, until


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def file_server(component: Component, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async for server in one_server(component, tmp_path_factory):
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def memory_server(component: Component, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    async for server in one_server(component, tmp_path_factory):
        yield server


async def one_server(component: Component, folders: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    server = NatsServer(component("nats-server"), folders.mktemp("nats"))
    await server.start()
    yield server
    await server.kill()


class TestFileStorage(ClusterContract):
    unit_s = 0.25

    @pytest.fixture
    def make_engine(self, file_server: NatsServer) -> MakeEngine:
        return lambda: engine_at(file_server.url)


class TestMemoryStorage(ClusterContract):
    unit_s = 0.25

    @pytest.fixture
    def make_engine(self, memory_server: NatsServer) -> MakeEngine:
        return lambda: engine_at(memory_server.url, "memory")


@pytest.mark.parametrize("name", ["a.b", "*", ">", "a b", "a\r\nPUB x 1", "é" * 200, "=", "x" * 5000, "$JS.API"])
async def test_any_name_is_a_channel_of_its_own(nats: NatsServer, name: str) -> None:
    async with running(engine_at(nats.url)) as node:
        await node.broker.subscribe(name)
        await node.broker.publish(f"{name}x", Draft(b"elsewhere"), KEEP)
        await node.broker.publish(name, Draft(b"here"), KEEP)
        assert [p.data for p in await node.settled(name)] == [b"here"]
        await node.presence.add(name, ANN)
        assert dict(await node.presence.members(name)) == {ANN.client: ANN}
        assert dict(await node.presence.members(f"{name}x")) == {}


@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_9_a_server_that_is_killed_and_comes_back(
    nats: NatsServer, storage: Literal["file", "memory"], caplog: pytest.LogCaptureFixture
) -> None:
    async with running(engine_at(nats.url, storage)) as node, running(engine_at(nats.url, storage)) as other:
        await node.broker.subscribe(CHANNEL)
        await node.presence.add(CHANNEL, ANN)
        before = (await other.broker.publish(CHANNEL, Draft(b"1"), KEEP)).position
        for _ in range(3):
            lapses = len(node.heard.lapses)
            await nats.kill()
            await until(lambda: not (node.engine.ready or other.engine.ready))
            await nats.start()
            await until(lambda: node.engine.ready and other.engine.ready)
            await node.heard.until(lambda lapses=lapses: len(node.heard.lapses) > lapses)  # type: ignore[misc]
            assert node.heard.lapses[-1] == [CHANNEL]
        after = (await other.broker.publish(CHANNEL, Draft(b"2"), KEEP)).position
        assert before is not None
        assert after is not None
        if storage == "file":
            assert after == Position(before.epoch, 2)
        else:
            assert after.epoch != before.epoch
            assert after.offset == 1
        assert (await node.settled(CHANNEL))[-1].data == b"2"
        assert dict(await other.presence.members(CHANNEL)) == {ANN.client: ANN}
        assert {node.id, other.id} <= set(await other.control.nodes())
        assert node.heard.leaves == []
    assert {
        "adding %d entries of presence again: the server had lost them, or our lease",
        "the connection to NATS is lost; trying again",
    } <= {record.msg for record in caplog.records}


async def test_a_node_that_stops_has_lost_nothing(nats: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    async with running(engine_at(nats.url)) as node:
        await node.broker.subscribe(CHANNEL)
        await node.presence.add(CHANNEL, ANN)
        assert node.engine.ready
    assert not node.engine.ready
    assert [record.msg for record in caplog.records] == []


async def test_6_a_node_that_stops_while_nats_is_mute_says_what_stays(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nats_engine, "STOP_S", 0.1)
    async with FaultProxy(nats.port) as proxy, running(engine_at(f"nats://127.0.0.1:{proxy.port}")) as node:
        await node.presence.add(CHANNEL, ANN)
        proxy.hole()
    assert "NATS keeps this node's presence until its lease ends: %s" in {record.msg for record in caplog.records}


async def test_6_every_call_has_a_deadline(nats: NatsServer) -> None:
    options = {"publish_deadline_s": 0.3}
    async with FaultProxy(nats.port) as proxy, running(engine_at(f"nats://127.0.0.1:{proxy.port}", **options)) as node:
        proxy.hole()
        calls = [
            node.broker.publish(CHANNEL, Draft(b"1"), KEEP),
            node.broker.publish(CHANNEL, Draft(b"1"), NO_HISTORY),
            node.broker.publish(CHANNEL, Draft(b"1", key="k"), NO_HISTORY),
            node.broker.publish_join(CHANNEL, ANN),
            node.broker.subscribe(CHANNEL),
            node.broker.history(CHANNEL, ALL, KEEP),
            node.broker.heads([Look(CHANNEL, KEEP)]),
            node.broker.remove_history(CHANNEL),
            node.presence.add(CHANNEL, ANN),
            node.presence.members(CHANNEL),
            node.presence.counts(CHANNEL),
            node.control.send(DisconnectOrder("ann")),
            node.control.nodes(),
        ]
        async with asyncio.timeout(5.0):
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results if not isinstance(result, RoomfulError)] == []
