from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
import uvloop

from roomful.engines import redis_broker
from roomful.engines.options import EngineOptions
from roomful.engines.redis import RedisEngine
from roomful.model.errors import InternalError
from roomful.model.publication import Draft, Look, Position, Retention
from roomful.testing.engine_contract import ALL, KEEP, NO_HISTORY, TOP, EngineNode, running
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.conftest import StartRedis
from tests.engines.redis_server import RedisServer, eventually

MakeNode = Callable[[int], AbstractAsyncContextManager[EngineNode]]


@pytest.fixture
async def server(start_redis: StartRedis) -> RedisServer:
    return await start_redis()


def node_on(port: int) -> AbstractAsyncContextManager[EngineNode]:
    return running(RedisEngine(EngineOptions(url=f"redis://127.0.0.1:{port}", publish_deadline_s=2.0)))


@pytest.fixture
async def node(server: RedisServer) -> AsyncIterator[EngineNode]:
    async with node_on(server.port) as node:
        yield node


async def head(node: EngineNode) -> Position:
    return (await node.broker.history("a", TOP, KEEP)).head


async def published(node: EngineNode) -> Position:
    position = (await node.broker.publish("a", Draft(b"1"), KEEP)).position
    assert position is not None
    return position


async def test_4_a_publish_that_was_sent_twice_is_published_once(server: RedisServer) -> None:
    async with FaultProxy(server.port) as proxy, node_on(proxy.port) as node:
        await node.broker.subscribe("a")
        commands = proxy.links[0]
        commands.down.hole()  # Redis does it, and nobody hears that it did
        publishing = [asyncio.create_task(node.broker.publish("a", Draft(b"%d" % n), KEEP)) for n in range(20)]
        await node.heard.until(lambda: len(node.heard.of("a")) == 20)
        commands.cut()
        answers = [await each for each in publishing]
        assert [answer.position and answer.position.offset for answer in answers] == list(range(1, 21))
        assert not any(answer.repeated for answer in answers)
        assert await node.offsets("a", ALL) == list(range(1, 21))
        assert len(await node.settled("a")) == 20


async def test_6_without_a_key_and_without_history_it_isnt_sent_twice(server: RedisServer) -> None:
    async with FaultProxy(server.port) as proxy, node_on(proxy.port) as node:
        await node.broker.subscribe("a")
        proxy.links[0].down.hole()
        publishing = asyncio.create_task(node.broker.publish("a", Draft(b"1"), NO_HISTORY))
        await node.heard.until(lambda: len(node.heard.of("a")) == 1)
        proxy.links[0].cut()
        with pytest.raises(InternalError):
            await publishing
        await node.settled("a")
        assert [p.data for p in node.heard.of("a")].count(b"1") == 1


@pytest.mark.parametrize("options", [(), ("--appendonly", "yes"), ("--save", "3600 1")], ids=["empty", "aof", "dump"])
async def test_1_another_life_of_redis_is_another_epoch(start_redis: StartRedis, options: tuple[str, ...]) -> None:
    server = await start_redis(*options)
    async with node_on(server.port) as node:
        first = await published(node)
        await (server.kill() if "--appendonly" in options else server.stop())
        await server.start()
        second = await published(node)
        assert second.epoch != first.epoch
        assert await head(node) == second
        assert await published(node) == Position(second.epoch, second.offset + 1)


async def test_1_redis_that_writes_each_append_to_disk_goes_on(start_redis: StartRedis) -> None:
    server = await start_redis("--appendonly", "yes", "--appendfsync", "always")
    async with node_on(server.port) as node:
        first = await published(node)
        await server.kill()
        await server.start()
        assert await published(node) == Position(first.epoch, 2)


async def test_1_nodes_that_come_to_one_life_agree_on_the_epoch(server: RedisServer) -> None:
    async with node_on(server.port) as one, node_on(server.port) as other:
        assert await head(one) == await head(other)


async def test_8_an_evicted_stream_is_another_epoch(node: EngineNode, server: RedisServer) -> None:
    first = await published(node)
    await server.do("DEL", "roomful:m:{.a}")
    second = await published(node)
    assert second.epoch != first.epoch
    assert await node.offsets("a", ALL) == [1]


async def test_8_evicted_publications_are_missing_and_the_position_is_not(
    node: EngineNode, server: RedisServer
) -> None:
    first = await published(node)
    await server.do("DEL", "roomful:l:{.a}")
    assert (await node.broker.history("a", ALL, KEEP)).head == first
    assert await node.offsets("a", ALL) == []


async def test_heads_of_many_streams_are_one_call(node: EngineNode, server: RedisServer) -> None:
    looks = [Look(f"a{n}", KEEP) for n in range(500)]
    assert len(set(await node.broker.heads(looks))) <= 500
    stats: bytes = await server.do("INFO", "commandstats")
    assert b"cmdstat_evalsha:calls=" in stats
    await server.do("CONFIG", "RESETSTAT")
    await node.broker.heads(looks)
    stats = await server.do("INFO", "commandstats")
    assert b"cmdstat_evalsha:calls=1," in stats


async def test_a_stranger_in_a_channel_is_logged_and_ignored(
    node: EngineNode, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    await node.broker.subscribe("a")
    await server.do("PUBLISH", "roomful:c:{.a}", "hello")
    await server.do("PUBLISH", "roomful:c:{.a}", "0  2pxyz")
    assert await node.settled("a") == []
    assert [record.msg for record in caplog.records] == ["node of another version, or a stranger, in %r: %s"] * 2


async def test_1_two_megabytes_at_once_kill_the_listener_and_nothing_is_lost_unnoticed(server: RedisServer) -> None:
    await server.do("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    async with node_on(server.port) as node:
        await node.broker.subscribe("a")
        big = Draft(b"x" * 2_000_000)
        await asyncio.gather(*(node.broker.publish("a", big, KEEP) for _ in range(5)))
        await eventually(lambda: bool(node.heard.lapses) or len(node.heard.of("a")) == 5)
        assert await node.offsets("a", ALL) == [1, 2, 3, 4, 5]


def test_it_runs_on_uvloop_too(component: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> None:
    async def run() -> None:
        server = RedisServer(component("redis-server"), tmp_path_factory.mktemp("redis"))
        await server.start()
        try:
            async with node_on(server.port) as node:
                await node.broker.subscribe("a")
                await published(node)
                assert len(await node.settled("a")) == 1
        finally:
            await server.kill()

    uvloop.run(run())


async def test_publications_expire_by_the_clock_of_redis(node: EngineNode, server: RedisServer) -> None:
    await node.broker.publish("a", Draft(b"1"), Retention(5, 20.0, 100.0))
    assert 15_000 < await server.do("PTTL", "roomful:l:{.a}") <= 20_000
    assert 110_000 < await server.do("PTTL", "roomful:m:{.a}") <= 120_000


async def test_29_each_node_decodes_its_share_and_no_more(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = redis_broker.decode
    monkeypatch.setattr(redis_broker, "decode", lambda *given: (decoded.append(1), decode(*given))[1])
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node_on(server.port)) for _ in range(4)]
        rooms = {f"a{n}": nodes[n % 4] for n in range(400)}
        await asyncio.gather(*(node.broker.subscribe(room) for room, node in rooms.items()))
        await asyncio.gather(*(nodes[0].broker.publish(room, Draft(b"1"), KEEP) for room in rooms))
        for room, node in rooms.items():
            await node.heard.until(lambda node=node, room=room: bool(node.heard.of(room)))  # type: ignore[misc]
        assert [len(node.heard.publications) for node in nodes] == [100] * 4
        assert len(decoded) == 400
