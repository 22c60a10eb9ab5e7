from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest

from roomful.engines.options import EngineOptions
from roomful.engines.redis import RedisEngine
from roomful.model.client import ClientInfo
from roomful.testing.engine_contract import ANN, BOB, EngineNode, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.conftest import StartRedis
from tests.engines.redis_server import RedisServer, eventually

SHORT_S = 1.0
LONG_S = 30.0
"""Who is to live through the test holds on through a machine that stands still for a second."""


def node_on(port: int, lease_s: float) -> AbstractAsyncContextManager[EngineNode]:
    url = f"redis://127.0.0.1:{port}"
    return running(RedisEngine(EngineOptions(url=url, lease_s=lease_s, renew_s=0.3, publish_deadline_s=0.5)))


@pytest.fixture
async def server(start_redis: StartRedis) -> RedisServer:
    return await start_redis()


@pytest.fixture
async def survivors(server: RedisServer) -> AsyncIterator[list[EngineNode]]:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node_on(server.port, LONG_S)) for _ in range(2)]
        for node in nodes:
            await node.broker.subscribe("a")
        yield nodes


async def members(node: EngineNode) -> set[str]:
    return set(await node.presence.members("a"))


async def test_19_a_dead_nodes_members_leave_once_and_a_stopped_one_doesnt_resurrect_them(
    server: RedisServer, survivors: list[EngineNode], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    node, other = survivors
    await node.presence.add("a", BOB)
    async with FaultProxy(server.port) as proxy, node_on(proxy.port, SHORT_S) as frozen:
        many = [ClientInfo(f"user-{n}", f"frozen-{n}") for n in range(50)]
        await asyncio.gather(*(frozen.presence.add("a", info) for info in many))
        assert len(await members(node)) == 51
        proxy.hole()  # it neither renews its lease nor hears
        await node.heard.until(lambda: len(node.heard.leaves) >= 50)
        assert await members(other) == {BOB.client}
        assert await other.presence.counts("a") == (1, 1)

        gone = many.pop()
        removing = asyncio.create_task(frozen.presence.remove("a", gone.client))
        await asyncio.sleep(0)
        proxy.heal()
        await node.heard.until(lambda: len(node.heard.joins) >= 49)
        await asyncio.gather(removing, return_exceptions=True)
        await eventually(lambda: _has(node, {BOB.client, *(info.client for info in many)}))
        await node.settled("a")
        await other.settled("a")
        for each in survivors:
            left = [info.client for _, info in each.heard.leaves]
            assert sorted(left) == sorted(f"frozen-{n}" for n in range(50)), "one leave each"
            assert gone.client not in {info.client for _, info in each.heard.joins}
    assert "the lease of %s has ended: its members leave %d channels" in {record.msg for record in caplog.records}


async def _has(node: EngineNode, clients: set[str]) -> bool:
    return await members(node) == clients


async def test_19_an_emptied_redis_is_filled_again(
    server: RedisServer, survivors: list[EngineNode], caplog: pytest.LogCaptureFixture
) -> None:
    node, other = survivors
    await node.presence.add("a", ANN)
    await other.presence.add("a", BOB)
    await server.kill()
    await server.start()
    await eventually(lambda: _has(node, {ANN.client, BOB.client}))
    assert {
        "Redis has lost the orders of other nodes; what was ordered while this one was deaf is unknown",
        "this node's lease was lost: its members are entered anew",
    } <= {record.msg for record in caplog.records}


async def test_19_what_a_dead_node_left_behind_is_found_by_who_looks(
    server: RedisServer, survivors: list[EngineNode]
) -> None:
    node, other = survivors
    await node.presence.add("a", ANN)
    await server.do("HSET", "roomful:p:{.a}", "ghost", b"long-gone#0 1l\x94\xa5ghost\xa5ghost\xc4\x00\xc4\x00")
    assert await members(other) == {ANN.client}
    await node.heard.until(lambda: bool(node.heard.leaves))
    assert [info.client for _, info in node.heard.leaves] == ["ghost"]
    assert await server.do("HLEN", "roomful:p:{.a}") == 1


async def test_an_entry_that_cant_be_read_is_told_and_nobodys(
    server: RedisServer, survivors: list[EngineNode], caplog: pytest.LogCaptureFixture
) -> None:
    await survivors[0].presence.add("a", ANN)
    await server.do("HSET", "roomful:p:{.a}", "odd", "someone#0 nonsense")
    assert await members(survivors[1]) == {ANN.client}
    assert "an entry of presence can't be read: %s" in {record.msg for record in caplog.records}


async def test_members_that_cant_be_taken_out_are_told(
    server: RedisServer, survivors: list[EngineNode], caplog: pytest.LogCaptureFixture
) -> None:
    await server.do("SET", "roomful:h:{gone#0}", "no set")
    await server.do("ZADD", "roomful:nodes:{nodes}", 1, "gone#0")
    told = "members of a node that is gone could not be taken out yet: %s"
    await eventually(lambda: told in {record.msg for record in caplog.records})


async def test_leases_that_cant_be_looked_at_are_told_by_each_node_and_taken_again(
    server: RedisServer, survivors: list[EngineNode], caplog: pytest.LogCaptureFixture
) -> None:
    told = "the leases of the nodes can't be looked at: %s"
    await survivors[0].presence.add("a", ANN)
    await server.do("DEL", "roomful:nodes:{nodes}")
    await server.do("SET", "roomful:nodes:{nodes}", "no leases")
    await eventually(lambda: [record.msg for record in caplog.records].count(told) == 2)  # one of each node
    await server.do("DEL", "roomful:nodes:{nodes}")
    await eventually(lambda: _lease_holders(server, 2))
    await eventually(lambda: _has(survivors[1], {ANN.client}))


async def _lease_holders(server: RedisServer, number: int) -> bool:
    return bool(await server.do("ZCARD", "roomful:nodes:{nodes}") == number)


async def test_a_node_that_stops_without_reaching_its_entries_says_so(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with node_on(server.port, SHORT_S) as node:
        await node.presence.add("a", ANN)
        await server.do("SET", "roomful:p:{.a}", "no entries")
    assert "this node's members stay in presence until its lease ends: %s" in {record.msg for record in caplog.records}


async def test_a_node_that_stops_leaves_nothing(server: RedisServer) -> None:
    async with node_on(server.port, SHORT_S) as node:
        await node.presence.add("a", ANN)
        await node.presence.add("b", ANN)
        await node.presence.remove("b", ANN.client)
        assert len(await server.do("KEYS", "roomful:h:*")) == 1
    assert await server.do("KEYS", "roomful:[hp]:*") == []
    assert await server.do("ZCARD", "roomful:nodes:{nodes}") == 0
