from __future__ import annotations

import pytest

from roomful.engines import nats_presence
from roomful.testing.engine_contract import ANN, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.nats_server import CHANNEL, NatsServer, engine_at


async def test_19_a_silent_nodes_members_leave_once_and_join_again_when_it_is_back(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_presence, "SETTLE_S", 0.0)
    async with (
        FaultProxy(nats.port) as proxy,
        running(engine_at(nats.url, lease_s=2.0, renew_s=0.7)) as one,
        running(engine_at(nats.url, lease_s=2.0, renew_s=0.7)) as two,
        running(engine_at(f"nats://127.0.0.1:{proxy.port}", lease_s=2.0, renew_s=0.7)) as silent,
    ):
        for each in (one, two):
            await each.broker.subscribe(CHANNEL)
        await silent.presence.add(CHANNEL, ANN)
        assert dict(await one.presence.members(CHANNEL)) == {ANN.client: ANN}
        proxy.hole()
        await one.heard.until(lambda: bool(one.heard.leaves))
        assert dict(await two.presence.members(CHANNEL)) == {}
        assert silent.id not in await one.control.nodes()
        await one.settled(CHANNEL)
        await two.settled(CHANNEL)
        assert one.heard.leaves == two.heard.leaves == [(CHANNEL, ANN)]
        proxy.cut()
        proxy.heal()
        await one.heard.until(lambda: bool(one.heard.joins))
        assert dict(await two.presence.members(CHANNEL)) == {ANN.client: ANN}
        assert silent.id in await one.control.nodes()
        await two.settled(CHANNEL)
        assert one.heard.joins == two.heard.joins == [(CHANNEL, ANN)]
