"""The client in memory, as users test their applications with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roomful import ChannelOptions, Config, ConnectEvent, ConnectReply, Forbidden, Roomful, RpcEvent, RpcReply
from roomful.model.channel import Right
from roomful.seams.transport import Receiver, Request, Transport
from roomful.testing.client import Client, Closed, CommandError, MemoryTransport, connect, open_client

CHAT = ChannelOptions(
    subscribe="client", publish=Right.CLIENT, history_size=10, history_ttl_s=60, recover=True, presence=True
)


@pytest.fixture
async def app() -> AsyncIterator[Roomful]:
    app = Roomful(Config(namespaces={"chat": CHAT}))

    @app.on(ConnectEvent)
    async def who(event: ConnectEvent) -> ConnectReply:
        if event.data == "no":
            raise Forbidden
        return ConnectReply(user="ann")

    @app.on(RpcEvent, method="echo")
    async def echo(event: RpcEvent) -> RpcReply:
        return RpcReply(event.data)

    yield app
    await app.stop()


async def test_the_example_of_its_docstring(app: Roomful) -> None:
    async with connect(app) as ann:
        await ann.subscribe("chat:1")
        await app.publish("chat:1", {"text": "hello"})
        push = await ann.next_push()
        assert push["pub"]["data"] == {"text": "hello"}


async def test_every_call(app: Roomful) -> None:
    async with connect(app) as ann, connect(app) as bob:
        assert ann.id != bob.id
        assert (await ann.subscribe("chat:1", recover=True))["recovered"]
        assert await bob.publish("chat:1", 1) == {}
        assert (await ann.next_push())["pub"]["data"] == 1
        assert await bob.call(rpc={"method": "echo", "data": [1]}) == {"data": [1]}
        assert list((await ann.call(presence={"channel": "chat:1"}))["presence"]) == [ann.id]
        assert await ann.unsubscribe("chat:1") == {}


async def test_an_error_is_raised_with_everything_that_the_reply_says(app: Roomful) -> None:
    async with connect(app) as ann:
        with pytest.raises(CommandError, match="102: unknown channel") as raised:
            await ann.subscribe("nowhere:1")
        assert (raised.value.code, raised.value.message, raised.value.temporary) == (102, "unknown channel", False)


async def test_who_isnt_let_in(app: Roomful) -> None:
    with pytest.raises(Closed, match="3507: permission denied") as raised:
        async with connect(app, data="no"):
            pass
    assert (raised.value.code, raised.value.reason) == (3507, "permission denied")


async def test_the_end_is_seen_by_whoever_waits(app: Roomful) -> None:
    async with connect(app) as ann:
        waits = [asyncio.create_task(wait) for wait in (ann.next_push(), ann.closed())]
        await asyncio.sleep(0)
        await app.disconnect("ann")
        push, closed = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(push, Closed)
        assert closed == (3503, "force disconnect")
        with pytest.raises(Closed):
            await ann.publish("chat:1", 1)


async def test_pushes_that_came_before_the_end_can_still_be_read(app: Roomful) -> None:
    async with connect(app) as ann:
        await ann.subscribe("chat:1")
        await app.publish("chat:1", 1)
        await app.disconnect("ann")
        assert (await ann.next_push())["pub"]["data"] == 1
        with pytest.raises(Closed):
            await ann.next_push()


async def test_an_expectation_that_isnt_met_gives_up(app: Roomful) -> None:
    await app.start()
    client = open_client(app)
    client._timeout_s = 0.01
    for wait in (client.next_push, client.closed):
        with pytest.raises(TimeoutError):
            await wait()
    client.cut()


async def test_settle_takes_everything_that_comes_at_once(app: Roomful) -> None:
    async with connect(app) as ann:
        await ann.subscribe("chat:1")
        for number in range(3):
            await app.publish("chat:1", number)
        assert [push["pub"]["data"] for push in await ann.settle()] == [0, 1, 2]
        assert await ann.settle() == []


async def test_a_slow_reader_and_its_return(app: Roomful) -> None:
    async with connect(app) as ann:
        await ann.subscribe("chat:1")
        ann.transport.paused = True
        await app.publish("chat:1", 1)
        assert await ann.settle() == []
        ann.transport.resume()
        assert len(await ann.settle()) == 1


async def test_it_is_cut_at_the_end_of_the_block(app: Roomful) -> None:
    async with connect(app) as ann:
        await ann.subscribe("chat:1")
        assert (await app.channels()).channels == {"chat:1": 1}
    assert ann.transport.closed == (1006, "")
    ann.cut()
    assert (await app.channels()).channels == {}


async def test_headers_and_query_reach_the_server(app: Roomful) -> None:
    await app.start()
    client = open_client(app, query={"cf_ws_frame_ping_pong": "true"}, headers={"x-a": "b"})
    assert "ping" not in await client.connect()
    client.cut()


async def test_raw_messages(app: Roomful) -> None:
    async with connect(app) as ann:
        ann.send_bytes(b"nonsense")
        assert await ann.closed() == (3501, "bad request")


async def test_the_server_may_be_started_again(app: Roomful) -> None:
    for _ in range(2):
        async with connect(app) as ann:
            await ann.subscribe("chat:1")
        await app.stop()
        assert not app.ready


class Recorder:
    """A receiver that notes what it is told."""

    def __init__(self) -> None:
        self.closed: list[tuple[int, str]] = []
        self.writable = 0

    def on_message(self, data: bytes, binary: bool) -> None: ...

    def on_pong(self) -> None: ...

    def on_writable(self) -> None:
        self.writable += 1

    def on_close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


async def test_the_transport_keeps_the_contract() -> None:
    """seams.transport: close is told once, after it returns; nothing is written after it."""
    transport, receiver = MemoryTransport(), Recorder()
    checked: tuple[Transport, Receiver, Request] = (transport, receiver, Request("/"))
    transport.receiver = receiver
    transport.write(b"a", False)
    transport.close(4000, "bye")
    transport.close(4001, "again")
    transport.write(b"b", False)
    assert receiver.closed == []
    await asyncio.sleep(0)
    assert receiver.closed == [(4000, "bye")]
    assert transport.written == [b"a"]
    assert checked[0].kind == "memory"


async def test_a_client_that_was_closed_by_the_server_isnt_told_again_when_it_is_cut() -> None:
    transport, receiver = MemoryTransport(), Recorder()
    transport.receiver = receiver
    client = Client(transport, receiver)
    transport.close(4000, "bye")
    client.cut()
    await asyncio.sleep(0)
    assert receiver.closed == [(4000, "bye")]
