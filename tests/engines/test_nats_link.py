from __future__ import annotations

import asyncio
import signal

import pytest

from roomful.model.errors import InternalError
from roomful.model.publication import Draft
from roomful.testing.engine_contract import KEEP, NO_HISTORY, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.nats_server import CHANNEL, NatsServer, engine_at, free_port, until


async def test_a_mute_link_is_told_and_made_anew(nats: NatsServer) -> None:
    async with FaultProxy(nats.port) as proxy, running(engine_at(f"nats://127.0.0.1:{proxy.port}")) as node:
        await node.broker.subscribe(CHANNEL)
        proxy.hole()
        begun = asyncio.get_running_loop().time()
        with pytest.raises(InternalError):
            await node.broker.publish(CHANNEL, Draft(b"1"), NO_HISTORY)
        await until(lambda: not node.engine.ready, 10.0)
        assert asyncio.get_running_loop().time() - begun < 10.0
        proxy.heal()
        await until(lambda: node.engine.ready)
        await node.heard.until(lambda: bool(node.heard.lapses))
        await node.broker.publish(CHANNEL, Draft(b"2"), KEEP)
        assert [p.data for p in await node.settled(CHANNEL)][-1] == b"2"


async def test_a_frozen_server_holds_up_nothing_here(nats: NatsServer) -> None:
    async with running(engine_at(nats.url, publish_deadline_s=0.3)) as node:
        nats.signal(signal.SIGSTOP)
        try:
            with pytest.raises(InternalError):
                await node.broker.publish(CHANNEL, Draft(b"1"), KEEP)
        finally:
            nats.signal(signal.SIGCONT)
        await until(lambda: node.engine.ready)
        assert (await node.broker.publish(CHANNEL, Draft(b"2"), KEEP)).position is not None


async def test_no_server_is_one_sentence() -> None:
    port = free_port()
    with pytest.raises(InternalError, match=f"can't reach NATS at nats://127.0.0.1:{port}: .*refused"):
        async with running(engine_at(f"nats://ann:secret@127.0.0.1:{port}")):
            pass
