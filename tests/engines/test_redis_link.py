from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roomful.engines.redis_link import Link
from roomful.engines.redis_scripts import LEASE
from roomful.engines.redis_url import Address
from roomful.model.errors import InternalError
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.conftest import StartRedis
from tests.engines.redis_server import LOGIN, RedisServer, eventually

DEADLINE_S = 0.6


@pytest.fixture
async def server(start_redis: StartRedis) -> RedisServer:
    return await start_redis()


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def link(proxy: FaultProxy) -> AsyncIterator[Link]:
    link = make_link(proxy.port)
    await link.open()
    yield link
    await link.close()


def make_link(port: int, *, backlog_max_bytes: int = 1_000_000, deadline_s: float = DEADLINE_S) -> Link:
    async def find() -> Address:
        return "127.0.0.1", port

    return Link(
        find,
        LOGIN,
        deadline_s=deadline_s,
        backlog_max_bytes=backlog_max_bytes,
        alone=True,
        on_connected=lambda server: None,
    )


async def test_replies_come_in_order(link: Link) -> None:
    calls = [link.call("INCR", "n", again=False) for _ in range(1_000)]
    assert await asyncio.gather(*calls) == list(range(1, 1_001))


async def test_all_calls_of_a_turn_are_one_write(link: Link, server: RedisServer) -> None:
    async def reads() -> int:
        info: bytes = await server.do("INFO", "stats")
        return int(info.split(b"total_reads_processed:")[1].split()[0])

    before = await reads()
    await asyncio.gather(*(link.call("PING", again=True) for _ in range(100)))
    assert await reads() - before < 10


async def test_a_refusal_is_an_error(link: Link) -> None:
    with pytest.raises(InternalError, match="Redis answers: ERR"):
        await link.call("INCR", again=False)
    assert await link.call("PING", again=True) == b"PONG"


async def test_4_what_may_be_repeated_is_after_a_loss_and_the_rest_is_not(
    link: Link, proxy: FaultProxy, server: RedisServer
) -> None:
    proxy.links[0].down.hole()  # commands arrive, replies don't
    repeated, once = link.call("INCR", "a", again=True), link.call("INCR", "b", again=False)
    await eventually(lambda: server.do("GET", "b"))
    proxy.cut()
    with pytest.raises(InternalError, match="whether it was done can't be said"):
        await once
    assert await repeated == 2
    assert await server.do("GET", "b") == b"1"


async def test_6_a_server_that_is_gone_is_waited_for(
    link: Link, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    await server.kill()
    calls = [link.call("INCR", "n", again=False) for _ in range(3)]
    await eventually(lambda: not link.connected)
    calls.append(link.call("INCR", "n", again=False))
    told = "no connection to Redis: %s; trying again"
    await eventually(lambda: told in {record.msg for record in caplog.records})
    await server.start()
    assert await calls[-1] in (1, 2, 3, 4)
    await asyncio.gather(*calls, return_exceptions=True)


async def test_6_a_loss_and_its_end_are_told_once_each(
    proxy: FaultProxy, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "roomful")
    proxy.refusing = True
    proxy.cut()
    told = "no connection to Redis: %s; trying again"
    await eventually(lambda: told in {record.msg for record in caplog.records})
    proxy.heal()
    await eventually(lambda: "Redis is back" in {record.msg for record in caplog.records})
    assert [record.msg for record in caplog.records] == [told, "Redis is back"]


async def test_6_a_mute_server_costs_a_deadline_and_is_found_again(
    link: Link, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.hole()
    with pytest.raises(InternalError, match="doesn't answer in time"):
        await link.call("PING", again=True)
    assert not link.connected
    proxy.heal()
    await eventually(lambda: link.connected)
    assert await link.call("PING", again=True) == b"PONG"
    assert "Redis doesn't answer in time: the connection is given up" in {record.msg for record in caplog.records}


async def test_6_one_call_after_the_other_costs_one_deadline_altogether(link: Link, proxy: FaultProxy) -> None:
    proxy.hole()
    with pytest.raises(InternalError, match="doesn't answer in time"):
        await link.call("PING", again=True)
    with pytest.raises(InternalError, match="can't be reached"):
        link.call("PING", again=True)  # not even a future to wait for


async def test_6_a_server_that_has_just_gone_is_waited_for_until_its_absence_is_a_deadline_old(
    link: Link, server: RedisServer
) -> None:
    await server.kill()
    await eventually(lambda: not link.connected)
    with pytest.raises(InternalError, match="can't be reached"):
        await link.call("PING", again=True)
    with pytest.raises(InternalError, match="can't be reached"):
        link.call("PING", again=True)
    await server.start()
    await eventually(lambda: link.connected)
    assert await link.call("PING", again=True) == b"PONG"


async def test_6_what_waits_is_bounded(proxy: FaultProxy) -> None:
    link = make_link(proxy.port, backlog_max_bytes=10_000)
    await link.open()
    proxy.hole()
    calls = [link.call("SET", "a", b"x" * 1_000, again=True) for _ in range(10)]
    with pytest.raises(InternalError, match="doesn't keep up"):
        link.call("PING", again=True)
    await asyncio.gather(*calls, return_exceptions=True)
    proxy.heal()
    await eventually(lambda: link.connected)
    assert await link.call("PING", again=True) == b"PONG"
    await link.close()


async def test_scripts_that_the_server_has_forgotten_are_given_again(link: Link, server: RedisServer) -> None:
    await server.do("SCRIPT", "FLUSH")
    assert (await link.run(LEASE, 1, "z", "me", 1_000, 1, again=False))[1] == b"me"


async def test_calls_fail_when_it_is_closed(proxy: FaultProxy) -> None:
    link = make_link(proxy.port)
    await link.open()
    proxy.hole()
    call = link.call("PING", again=True)
    await link.close()
    with pytest.raises(InternalError, match="stopped"):
        await call


async def test_a_server_that_isnt_there_is_one_sentence() -> None:
    link = make_link(1)
    with pytest.raises(InternalError, match=r"Redis at 127\.0\.0\.1:1 can't be used: .*"):
        await link.open()


async def test_a_server_tells_whether_it_may_lose_something(start_redis: StartRedis) -> None:
    lives = []
    for options in ((), ("--appendonly", "yes"), ("--appendonly", "yes", "--appendfsync", "always")):
        server = await start_redis(*options)
        link = make_link(server.port)
        lives.append((await link.open()).life)
        await link.close()
    assert lives[0] != lives[1]
    assert [life == b"durable" for life in lives] == [False, False, True]


async def test_a_replica_is_not_used(start_redis: StartRedis, server: RedisServer) -> None:
    replica = await start_redis("--replicaof", "127.0.0.1", str(server.port))
    link = make_link(replica.port)
    with pytest.raises(InternalError, match="it is a replica"):
        await link.open()
