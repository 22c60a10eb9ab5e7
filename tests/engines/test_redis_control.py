from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from roomful.engines.options import EngineOptions
from roomful.engines.redis import RedisEngine
from roomful.model.order import Answer, DisconnectOrder, Survey
from roomful.testing.engine_contract import EngineNode, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.conftest import StartRedis
from tests.engines.redis_server import RedisServer, eventually


def node_on(port: int) -> AbstractAsyncContextManager[EngineNode]:
    return running(RedisEngine(EngineOptions(url=f"redis://127.0.0.1:{port}")))


@pytest.fixture
async def server(start_redis: StartRedis) -> RedisServer:
    return await start_redis()


@pytest.fixture
async def node(server: RedisServer) -> AsyncIterator[EngineNode]:
    async with node_on(server.port) as node:
        yield node


async def test_27_orders_that_were_given_while_a_node_was_deaf_reach_it(
    node: EngineNode, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with FaultProxy(server.port) as proxy, node_on(proxy.port) as deaf:
        proxy.refusing = True
        proxy.links[1].cut()
        await eventually(lambda: not deaf.engine.ready)
        orders = [DisconnectOrder(f"user-{n}") for n in range(600)]
        for order in orders:
            await node.control.send(order)
        proxy.heal()
        assert await deaf.ordered(orders[-1]) == orders
        last = DisconnectOrder("last")
        await node.control.send(last)
        assert await deaf.ordered(last) == [*orders, last]
        assert await node.ordered(last) == [*orders, last]
    assert "the listener is deaf: %s; trying again" in {record.msg for record in caplog.records}


async def test_orders_are_known_even_when_one_is_lost_on_the_way(node: EngineNode, server: RedisServer) -> None:
    orders = [DisconnectOrder(name) for name in "abc"]
    await node.control.send(orders[0])
    await node.ordered(orders[0])
    subscribed = "roomful:c:{control}"
    node.engine.control.on_message(b"9 nowhere ")  # type: ignore[attr-defined]
    assert await server.do("PUBSUB", "NUMSUB", subscribed) == [subscribed.encode(), 1]
    for order in orders[1:]:
        await node.control.send(order)
    assert await node.ordered(*orders) == orders


async def test_what_cant_be_understood_is_logged_and_the_rest_goes_on(
    node: EngineNode, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    await server.do("PUBLISH", "roomful:c:{control}", "0  9q")
    await server.do("PUBLISH", "roomful:c:{control}", "nonsense")
    order = DisconnectOrder("ann")
    await node.control.send(order)
    assert await node.ordered(order) == [order]
    unclear = "an order can't be understood, so it isn't carried out here: %s"
    assert [record.msg for record in caplog.records] == [unclear] * 2


async def test_orders_that_cant_be_read_are_told_and_read_later(
    node: EngineNode, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    orders = [DisconnectOrder("ann"), DisconnectOrder("bob")]
    await node.control.send(orders[0])
    await node.ordered(orders[0])
    stream, aside = "roomful:l:{control}", "roomful:aside:{control}"
    await server.do("RENAME", stream, aside)
    await server.do("SET", stream, "no stream")
    node.engine.control.catch_up()  # type: ignore[attr-defined]
    told = "the orders of other nodes can't be read: %s"
    await eventually(lambda: told in {record.msg for record in caplog.records})
    await server.do("RENAME", aside, stream)
    await node.control.send(orders[1])
    assert await node.ordered(orders[1]) == orders


async def test_29_a_node_that_doesnt_hear_is_still_named(node: EngineNode, server: RedisServer) -> None:
    async with FaultProxy(server.port) as proxy, node_on(proxy.port) as deaf:
        proxy.hole()
        assert deaf.id in await node.control.nodes()
        survey = Survey("s", node.id, "info")
        await node.control.ask(survey)
        await node.control.answer(node.id, Answer("s", node.id, b"1"))
        await node.heard.until(lambda: bool(node.heard.answers))
        assert deaf.heard.surveys == []
        proxy.heal()
