from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from roomful.engines.redis_listener import Listener
from roomful.engines.redis_url import Address
from roomful.model.errors import InternalError
from roomful.testing.fault_proxy import FaultProxy
from tests.engines.conftest import StartRedis
from tests.engines.redis_server import LOGIN, RedisServer, eventually


class Ear:
    """A listener and what it has reported."""

    def __init__(self, port: int, deadline_s: float = 2.0) -> None:
        async def find() -> Address:
            return "127.0.0.1", port

        self.messages: list[tuple[bytes, bytes]] = []
        self.lapses: list[set[bytes]] = []
        self.listener = Listener(find, LOGIN, self.on_message, self.on_lapse, deadline_s=deadline_s)
        self._changed = asyncio.Event()

    def on_message(self, name: bytes, data: bytes) -> None:
        self.messages.append((name, data))
        self._changed.set()

    def on_lapse(self, names: set[bytes]) -> None:
        self.lapses.append(names)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10.0):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def server(start_redis: StartRedis) -> RedisServer:
    return await start_redis()


@pytest.fixture
async def ear(server: RedisServer) -> AsyncIterator[Ear]:
    ear = Ear(server.port)
    await ear.listener.open()
    yield ear
    await ear.listener.close()


async def test_names_of_a_turn_are_one_command(ear: Ear, server: RedisServer) -> None:
    await asyncio.gather(*(ear.listener.subscribe(b"%d" % n) for n in range(400)))
    stats: bytes = await server.do("INFO", "commandstats")
    assert b"cmdstat_subscribe:calls=1," in stats
    for n in range(400):
        assert await server.do("PUBLISH", str(n), "x") == 1
    await ear.until(lambda: len(ear.messages) == 400)


async def test_1_names_are_heard_again_after_a_loss_and_that_is_reported_then(
    ear: Ear, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.gather(*(ear.listener.subscribe(b"%d" % n) for n in range(1_200)))
    for round in range(3):
        await server.do("CLIENT", "KILL", "TYPE", "pubsub")
        await ear.until(lambda round=round: len(ear.lapses) == round + 1)  # type: ignore[misc]
        assert ear.listener.hears
        assert await server.do("PUBLISH", "7", "x") == 1
    assert ear.lapses == [{b"%d" % n for n in range(1_200)}] * 3
    assert "Redis was not heard for a while; %d names are heard again" in {record.msg for record in caplog.records}


async def test_a_subscription_that_redis_refuses_is_told(
    ear: Ear, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    await server.do("ACL", "SETUSER", "default", "resetchannels", "&allowed")
    refused = asyncio.ensure_future(ear.listener.subscribe(b"other"))
    told = "Redis refuses a subscription: %s"
    await eventually(lambda: told in {record.msg for record in caplog.records})
    refused.cancel()


async def test_who_waits_for_a_name_is_served_by_the_next_connection(ear: Ear, server: RedisServer) -> None:
    await server.kill()
    await eventually(lambda: not ear.listener.hears)
    waiting = ear.listener.subscribe(b"a")
    await server.start()
    await waiting
    assert await server.do("PUBLISH", "a", "x") == 1
    assert ear.lapses == []


async def test_what_is_left_meanwhile_is_not_heard_again(ear: Ear, server: RedisServer) -> None:
    await asyncio.gather(ear.listener.subscribe(b"a"), ear.listener.subscribe(b"b"))
    await server.do("CLIENT", "KILL", "TYPE", "pubsub")
    await eventually(lambda: not ear.listener.hears)
    ear.listener.unsubscribe(b"a")
    await ear.until(lambda: bool(ear.lapses))
    assert ear.lapses == [{b"b"}]
    assert await server.do("PUBSUB", "CHANNELS") == [b"b"]


async def test_6_a_subscription_that_isnt_confirmed_fails_and_isnt_wanted(server: RedisServer) -> None:
    async with FaultProxy(server.port) as proxy:
        ear = Ear(proxy.port, deadline_s=0.3)
        await ear.listener.open()
        proxy.hole()
        with pytest.raises(InternalError, match="confirm"):
            await ear.listener.subscribe(b"a")
        proxy.heal()
        await ear.listener.subscribe(b"b")
        assert await server.do("PUBSUB", "CHANNELS") == [b"b"]
        await ear.listener.close()


async def test_subscribing_and_leaving_in_any_order_ends_as_asked(ear: Ear, server: RedisServer) -> None:
    listener = ear.listener
    changes = [listener.subscribe(b"a"), listener.unsubscribe(b"a"), listener.subscribe(b"a"), listener.subscribe(b"b")]
    changes += [listener.unsubscribe(b"b"), listener.unsubscribe(b"b")]
    await asyncio.gather(*filter(None, changes))
    assert await server.do("PUBSUB", "CHANNELS") == [b"a"]
    assert ear.lapses == []


async def test_1_a_connection_that_confirms_nothing_is_found_out() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SETNAME")
        writer.write(b"+OK\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    ear = Ear(server.sockets[0].getsockname()[1])
    await ear.listener.open()
    ear.listener.adopt({b"a"}, {b"a"})
    await eventually(lambda: ear.listener.stuck(0.05))
    ear.listener.drop()
    assert not ear.listener.stuck(0.0)
    await eventually(lambda: ear.listener.stuck(0.05))
    await ear.listener.close()
    server.close()


async def test_1_a_connection_that_ends_right_after_the_greeting_is_none() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"SETNAME")
        writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    ear = Ear(server.sockets[0].getsockname()[1])
    with suppress(InternalError):  # or it ends a turn later, and is lost
        await ear.listener.open()
        await eventually(lambda: ear.listener.losses >= 1)  # the next one ends alike
    await ear.listener.close()
    server.close()
