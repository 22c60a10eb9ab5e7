from __future__ import annotations

import pytest

from roomful.engines import nats_presence
from roomful.testing.engine_contract import ANN, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.nats_server import CHANNEL, NatsServer, engine_at, until


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


async def test_presence_that_cant_be_looked_after_is_told(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nats_presence, "LOOK_S", 0.05)
    caplog.set_level("INFO", "roomful")
    async with FaultProxy(nats.port) as proxy, running(engine_at(f"nats://127.0.0.1:{proxy.port}", renew_s=0.1)):
        proxy.refusing = True
        proxy.cut()
        await until(lambda: "presence is looked after later: %s" in {record.msg for record in caplog.records})


async def test_a_surprise_while_presence_is_looked_after_doesnt_end_that(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[int] = []

    async def surprise(presence: nats_presence.NatsPresence) -> None:
        looks.append(len(looks))
        if len(looks) == 1:
            raise ValueError("nobody has thought of that")

    monkeypatch.setattr(nats_presence, "LOOK_S", 0.05)
    monkeypatch.setattr(nats_presence.NatsPresence, "_bury_the_dead", surprise)
    async with running(engine_at(nats.url)):
        await until(lambda: len(looks) >= 2)
    told = "something about presence could not be looked after; going on"
    assert [record.msg for record in caplog.records if record.exc_info] == [told]
