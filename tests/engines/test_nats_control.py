from __future__ import annotations

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
