"""The proxy between a client and an echo server. A hole is proved by a second link that goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from roomful.testing.fault_proxy import FaultProxy, Faults, Way

DEADLINE_S = 5.0

Dial = Callable[[int], Awaitable["Client"]]
"""Connects to a port of loopback; the end of the test closes."""


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), DEADLINE_S)

    async def echoed(self, data: bytes) -> bool:
        self.send(data)
        return await self.receive(len(data)) == data

    async def end(self) -> bytes:
        """What still comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), DEADLINE_S)


class Echo:
    """Answers with what it gets; `received` is all of it, `lost` counts the connections that were reset."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = asyncio.Semaphore(0)
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.received += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            self.lost.release()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    yield echo
    server.close()


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    clients = []

    async def dial(port: int) -> Client:
        clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
        return clients[-1]

    yield dial
    for client in clients:
        client.writer.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(echo.port) as proxy:
        yield proxy


@given(st.lists(st.binary(min_size=1, max_size=50_000), max_size=5))
async def test_all_bytes_arrive_in_order_and_then_the_end(chunks: list[bytes]) -> None:
    server = await asyncio.start_server(Echo().serve, "127.0.0.1", 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
        for chunk in chunks:
            client.send(chunk)
        client.writer.write_eof()
        assert await client.end() == b"".join(chunks)
        assert proxy.up.carried_bytes == proxy.down.carried_bytes == sum(map(len, chunks))
        client.writer.close()


async def test_a_cut_resets_both_ends(proxy: FaultProxy, echo: Echo, dial: Dial) -> None:
    client = await dial(proxy.port)
    assert await client.echoed(b"hello")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await client.end()
    await asyncio.wait_for(echo.lost.acquire(), DEADLINE_S)


@pytest.mark.parametrize("cut_after", [0, 1, 1_000, 20_000])
async def test_a_link_is_cut_at_a_byte(proxy: FaultProxy, dial: Dial, cut_after: int) -> None:
    proxy.next_cuts = [cut_after, None]
    client, other = await dial(proxy.port), await dial(proxy.port)
    client.send(b"x" * 50_000)
    if cut_after:
        assert await client.receive(cut_after) == b"x" * cut_after
    with pytest.raises(ConnectionResetError):
        await client.end()
    assert await other.echoed(b"x" * 50_000)


async def test_a_cut_meets_a_link_that_is_just_being_made(
    proxy: FaultProxy, echo: Echo, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_connection, opening, cut = asyncio.open_connection, asyncio.Event(), asyncio.Event()

    async def slowly(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port == echo.port:
            opening.set()
            await cut.wait()
        return await open_connection(host, port)

    monkeypatch.setattr(asyncio, "open_connection", slowly)
    client = await dial(proxy.port)
    await asyncio.wait_for(opening.wait(), DEADLINE_S)
    proxy.cut()
    cut.set()
    with pytest.raises(ConnectionResetError):
        await client.end()
    await asyncio.wait_for(echo.lost.acquire(), DEADLINE_S)
    assert proxy.links == []


async def test_a_reset_by_one_end_is_passed_on(proxy: FaultProxy, echo: Echo, dial: Dial) -> None:
    client = await dial(proxy.port)
    assert await client.echoed(b"hello")
    async with FaultProxy(proxy.port) as before:
        clients_client = await dial(before.port)
        assert await clients_client.echoed(b"hello")
        before.links[0].cut()
        await asyncio.wait_for(echo.lost.acquire(), DEADLINE_S)
    assert await client.echoed(b"still here")


async def test_a_hole_lets_nothing_through_until_it_heals(proxy: FaultProxy, echo: Echo, dial: Dial) -> None:
    holed, other = await dial(proxy.port), await dial(proxy.port)
    assert await holed.echoed(b"before ")
    assert await other.echoed(b"hello ")
    proxy.links[0].up.hole()
    holed.send(b"in the hole")
    for _ in range(20):
        assert await other.echoed(b".")
    assert echo.received == b"before hello " + b"." * 20
    proxy.links[0].heal()
    assert await holed.receive(11) == b"in the hole"


async def test_a_hole_in_one_direction_leaves_the_other(proxy: FaultProxy, echo: Echo, dial: Dial) -> None:
    holed, other = await dial(proxy.port), await dial(proxy.port)
    assert await holed.echoed(b"a")
    proxy.links[0].down.hole()
    holed.send(b"b")
    while b"b" not in echo.received:
        assert await other.echoed(b".")
    proxy.links[0].heal()
    assert await holed.receive(1) == b"b"


async def test_a_hole_for_all_is_there_for_later_links_too(proxy: FaultProxy, echo: Echo, dial: Dial) -> None:
    proxy.hole()
    holed = await dial(proxy.port)
    holed.send(b"?")
    async with FaultProxy(echo.port) as sound:
        other = await dial(sound.port)
        for _ in range(20):
            assert await other.echoed(b".")
    assert b"?" not in echo.received
    proxy.heal()
    assert await holed.receive(1) == b"?"


async def test_a_holed_link_can_be_cut(proxy: FaultProxy, dial: Dial) -> None:
    client = await dial(proxy.port)
    assert await client.echoed(b"hello")
    proxy.links[0].hole()
    client.send(b"lost")
    proxy.links[0].cut()
    with pytest.raises(ConnectionResetError):
        await client.end()


async def test_refusing_resets_new_connections_and_keeps_the_old(proxy: FaultProxy, dial: Dial) -> None:
    old = await dial(proxy.port)
    assert await old.echoed(b"old")
    proxy.refusing = True
    new = await dial(proxy.port)
    with pytest.raises(ConnectionResetError):
        await new.end()
    assert await old.echoed(b"old")
    proxy.heal()
    assert await (await dial(proxy.port)).echoed(b"new")


async def test_without_a_server_connections_are_reset(dial: Dial) -> None:
    async with FaultProxy(server_port=1) as once:
        free_port = once.port
    async with FaultProxy(free_port) as proxy:
        client = await dial(proxy.port)
        with pytest.raises(ConnectionResetError):
            await client.end()


async def test_delay_and_trickle_wait_as_long_as_they_say(echo: Echo, dial: Dial) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with FaultProxy(echo.port, sleep=sleep) as proxy:
        client = await dial(proxy.port)
        assert await client.echoed(b"at once")
        assert not waits

        proxy.up.delay_s = 3.0
        assert await client.echoed(b"late")
        assert len(waits) == 1
        assert 2.0 < waits.pop() <= 3.0

        proxy.heal()
        proxy.links[0].down.bytes_per_s = 1000.0
        assert await client.echoed(b"x" * 500)
        assert sum(waits) == pytest.approx(0.5, rel=0.2)


async def test_new_links_lead_to_another_server(echo: Echo, proxy: FaultProxy, dial: Dial) -> None:
    old = await dial(proxy.port)
    assert await old.echoed(b"old")
    other = Echo()
    server = await asyncio.start_server(other.serve, "127.0.0.1", 0)
    proxy.lead_to(server.sockets[0].getsockname()[1])
    assert await (await dial(proxy.port)).echoed(b"new")
    assert await old.echoed(b"old")
    assert (echo.received, other.received) == (b"oldold", b"new")
    server.close()


def test_an_end_that_was_reset_is_one_on_uvloop_too() -> None:
    """Its transport raises RuntimeError when one writes to it then, where asyncio's has no effect."""

    async def scenario() -> None:
        async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

        server = await asyncio.start_server(idle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await reader.read()
        source = asyncio.StreamReader()
        source.feed_data(b"x")
        way = Way(source, writer, (Faults(), Faults()), asyncio.sleep)
        taking = asyncio.ensure_future(way.take())
        with pytest.raises(ConnectionResetError):
            await way.give()
        taking.cancel()
        server.close()

    uvloop.run(asyncio.wait_for(scenario(), DEADLINE_S))
