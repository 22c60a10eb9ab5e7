from __future__ import annotations

import pytest

from roomful.model.order import DisconnectOrder
from roomful.testing.engine_contract import running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.nats_server import NatsServer, engine_at, until


async def test_orders_that_were_missed_come_later(nats: NatsServer) -> None:
    orders = [DisconnectOrder(f"user-{n}") for n in range(5)]
    async with FaultProxy(nats.port) as proxy, running(engine_at(nats.url)) as node:
        async with running(engine_at(f"nats://127.0.0.1:{proxy.port}")) as deaf:
            await node.control.send(orders[0])
            await deaf.ordered(orders[0])
            proxy.down.hole()
            for order in orders[1:4]:
                await node.control.send(order)
            proxy.cut()
            proxy.heal()
            await until(lambda: deaf.engine.ready)
            await node.control.send(orders[4])
            assert await deaf.ordered(*orders) == orders
        assert node.heard.orders == orders


async def test_an_order_that_isnt_understood_is_told_and_the_next_is_carried_out(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine, order = engine_at(nats.url), DisconnectOrder("ann")
    async with running(engine) as node:
        await engine.jetstream.publish("roomful.order", b"nonsense", {})
        await node.control.send(order)
        assert await node.ordered(order) == [order]
    assert "an order that this version doesn't understand: %s" in {record.msg for record in caplog.records}


async def test_a_loss_while_missed_orders_are_read_is_told_and_they_come_later(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "roomful")
    order = DisconnectOrder("ann")
    async with FaultProxy(nats.port) as proxy, running(engine_at(nats.url)) as node:
        engine = engine_at(f"nats://127.0.0.1:{proxy.port}")
        async with running(engine) as deaf:
            proxy.down.hole()
            await node.control.send(order)
            engine.control._catch_up_soon()
            proxy.cut()
            told = "orders that were missed are read after the next connection: %s"
            await until(lambda: told in {record.msg for record in caplog.records})
            proxy.heal()
            assert await deaf.ordered(order) == [order]
