"""The echo as a user starts it: a whole Roomful with one more WebSocket route."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect

from roomful.testing.raw_websocket import TEXT, RawWebSocket, frame
from tests.served import Serve


async def test_what_is_sent_comes_back(served: Serve) -> None:
    server = await served("roomful.testing.echo:app", dev=False)
    async with connect(f"ws://127.0.0.1:{server.port}/echo", max_size=None) as client:
        for message in ("κόσμε", b"\x00\xff", "", b"*" * (16 << 20)):
            await client.send(message)
            assert await client.recv() == message
    assert await server.stop() == 0


async def test_rooms_are_there_too(served: Serve) -> None:
    server = await served("roomful.testing.echo:app")
    async with connect(f"ws://127.0.0.1:{server.port}/connection/websocket") as client:
        await client.send('{"id": 1, "connect": {}}')
        assert '"client"' in str(await client.recv())


async def test_a_client_that_only_sends_is_not_read_for_ever(served: Serve) -> None:
    server = await served("roomful.testing.echo:app", dev=False)

    def flood() -> bool:
        """Whether sending was stopped at some time, as the echo doesn't read what it can't send back."""
        with RawWebSocket(("127.0.0.1", server.port), timeout_s=1.0) as client:
            client.open("/echo")
            try:
                client.send(*[frame(TEXT, b"*" * 65_536)] * 2000)
            except TimeoutError:
                return True
            return False

    assert await asyncio.to_thread(flood)
