from __future__ import annotations

import asyncio

import pytest

from roomful.engines.nats_deadline import within
from roomful.model.errors import InternalError
from roomful.model.publication import Draft
from roomful.node import eager
from roomful.testing.engine_contract import KEEP, NO_HISTORY, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.nats_server import CHANNEL, NatsServer, engine_at, until


async def test_6_one_call_after_the_other_costs_one_deadline_altogether(nats: NatsServer) -> None:
    async with FaultProxy(nats.port) as proxy:
        options = {"publish_deadline_s": 1.0}
        async with running(engine_at(f"nats://127.0.0.1:{proxy.port}", **options)) as node:
            proxy.refusing = True
            proxy.cut()
            await until(lambda: not node.engine.ready)
            with pytest.raises(InternalError, match="within"):
                await node.broker.publish(CHANNEL, Draft(b"1"), KEEP)
            for call in (
                node.broker.publish(CHANNEL, Draft(b"1"), KEEP),
                node.broker.publish(CHANNEL, Draft(b"1"), NO_HISTORY),
                node.presence.members(CHANNEL),
                node.control.nodes(),
            ):
                with pytest.raises(InternalError, match="can't be reached"):
                    await call
            proxy.heal()
            await until(lambda: node.engine.ready)
            assert (await node.broker.publish(CHANNEL, Draft(b"2"), KEEP)).position is not None


async def test_the_result_comes_through() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 3

    assert await within(5.0, work()) == 3


async def test_what_takes_longer_is_cancelled_and_told() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(InternalError, match=r"within 0\.01 s"):
        await within(0.01, work())
    assert ended.is_set()


async def test_an_error_comes_through() -> None:
    async def work() -> None:
        raise InternalError("as it was")

    with pytest.raises(InternalError, match="as it was"):
        await within(5.0, work())


async def test_who_is_cancelled_cancels_the_work() -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(within(5.0, work()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(ended.wait(), 1.0)


async def test_a_command_that_steps_itself_may_use_it() -> None:
    results: list[int] = []

    async def work() -> int:
        async with asyncio.timeout(1.0):
            await asyncio.sleep(0)
        return 4

    async def command() -> None:
        results.append(await within(5.0, work()))

    task = eager.start(command())
    assert task is not None
    await task
    assert results == [4]
