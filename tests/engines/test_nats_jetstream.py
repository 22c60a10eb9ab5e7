from __future__ import annotations

import asyncio

import pytest

from roomful.engines.nats_jetstream import JetStreamError
from roomful.model.errors import InternalError
from roomful.model.publication import Draft
from roomful.testing.engine_contract import KEEP, NO_HISTORY, running
from tests.engines.nats_server import CHANNEL, Component, NatsServer, answers, engine_at, free_port


async def test_streams_that_somebody_removed_are_made_again(nats: NatsServer) -> None:
    engine = engine_at(nats.url)
    async with running(engine) as node:
        before = (await node.broker.publish(CHANNEL, Draft(b"1"), KEEP)).position
        await engine.jetstream.remove("ROOMFUL_LOG")
        after = (await node.broker.publish(CHANNEL, Draft(b"2"), KEEP)).position
        assert before is not None
        assert after is not None
        assert (after.offset, after.epoch == before.epoch) == (1, False)


async def test_a_server_without_jetstream_is_one_sentence(component: Component, nats: NatsServer) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        component("nats-server"), "-a", "127.0.0.1", "-p", str(port), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while not await answers(port):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        with pytest.raises(InternalError, match="-js"):
            async with running(engine_at(f"nats://127.0.0.1:{port}")):
                pass
    finally:
        process.kill()
        await process.wait()


async def test_what_is_too_large_is_told(nats: NatsServer) -> None:
    async with running(engine_at(nats.url)) as node:
        for keep in (KEEP, NO_HISTORY):
            with pytest.raises(InternalError, match="at most"):
                await node.broker.publish(CHANNEL, Draft(b"x" * 1_100_000), keep)
        assert (await node.broker.publish(CHANNEL, Draft(b"x"), KEEP)).position is not None


async def test_a_storage_that_is_another_is_told(nats: NatsServer) -> None:
    async with running(engine_at(nats.url, "memory")):
        pass
    with pytest.raises((InternalError, JetStreamError), match="storage"):
        async with running(engine_at(nats.url, "file")):
            pass
