"""What no SDK sends by itself, or not every one: spelled with the official codec, over a bare WebSocket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from centrifuge.codecs import _JsonCodec, _ProtobufCodec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.sdks.rooms import Rooms, token, url_of
from tests.e2e.sdks.sdk import WAIT_S
from tests.served import Server

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("codec", [_JsonCodec, _ProtobufCodec], ids=["json", "protobuf"]),
]

Codec = type[_JsonCodec] | type[_ProtobufCodec]
Message = dict[str, Any]


class Wire:
    """A bare connection: commands as dictionaries go out in one frame, replies come one by one."""

    def __init__(self, codec: Codec, socket: ClientConnection) -> None:
        self._codec = codec
        self._socket = socket
        self._replies: deque[Message] = deque()

    async def send(self, *commands: Message) -> None:
        await self._socket.send(self._codec.encode_commands(commands))

    async def receive(self) -> Message:
        """The next reply or push; a ping is {}. Raises ConnectionClosed."""
        if not self._replies:
            async with asyncio.timeout(WAIT_S):
                self._replies += self._codec.decode_replies(await self._socket.recv())
        return self._replies.popleft()

    async def replies(self, count: int) -> dict[int, Message]:
        """As many replies, by id; pushes and pings between them are left out."""
        found: dict[int, Message] = {}
        while len(found) < count:
            reply = await self.receive()
            if "id" in reply:
                found[reply["id"]] = reply
        return found


@asynccontextmanager
async def opened(codec: Codec, url: str) -> AsyncIterator[Wire]:
    subprotocols = ["centrifuge-protobuf"] if codec is _ProtobufCodec else None
    async with connect(url, subprotocols=subprotocols, proxy=None, max_size=None) as socket:
        yield Wire(codec, socket)


async def test_everything_in_one_frame(codec: Codec, rooms: Rooms, name: str) -> None:
    channel = f"room:{name}"
    async with opened(codec, rooms.url) as wire:
        await wire.send(
            {"id": 1, "connect": {"token": token(name), "name": "test"}},
            {"id": 2, "subscribe": {"channel": channel}},
            {"id": 3, "presence_stats": {"channel": channel}},
            {"id": 4, "unsubscribe": {"channel": channel}},
            {"id": 5, "subscribe": {"channel": channel}},
            {"id": 6, "subscribe": {"channel": channel}},
        )
        first = await wire.receive()
        assert first["id"] == 1
        assert first["connect"]["client"]
        assert first["connect"]["version"].startswith("Roomful ")
        assert (first["connect"]["ping"], first["connect"]["pong"]) == (25, True)
        rest = await wire.replies(5)
        assert list(rest) == [2, 3, 4, 5, 6]
        assert rest[3]["presence_stats"] == {"num_clients": 1, "num_users": 1}
        assert rest[4]["unsubscribe"] == {}
        assert rest[2]["subscribe"] == rest[5]["subscribe"]
        assert rest[6]["error"]["code"] == 105


async def test_five_hundred_subscriptions_in_one_frame(codec: Codec, rooms: Rooms, name: str) -> None:
    wanted = [{"id": n, "subscribe": {"channel": f"room:{name}-{n}"}} for n in range(2, 502)]
    async with opened(codec, rooms.url) as wire:
        await wire.send({"id": 1, "connect": {}}, *wanted)
        replies = await wire.replies(501)
        assert list(replies) == list(range(1, 502))
        assert [id for id, reply in replies.items() if "error" in reply] == []


async def test_from_the_129th_on_it_is_too_many(codec: Codec, strict: Server, name: str) -> None:
    wanted = [{"id": n, "subscribe": {"channel": f"room:{name}-{n}"}} for n in range(1, 501)]
    async with opened(codec, url_of(strict.port)) as wire:
        await wire.send({"id": 1000, "connect": {"token": token(name)}}, *wanted)
        replies = await wire.replies(501)
        assert {id: reply["error"]["code"] for id, reply in replies.items() if "error" in reply} == dict.fromkeys(
            range(129, 501), 106
        )


async def test_who_never_answers_a_ping_is_let_go(codec: Codec, strict: Server, name: str) -> None:
    async with opened(codec, url_of(strict.port)) as wire:
        await wire.send({"id": 1, "connect": {"token": token(name)}})
        assert (await wire.receive())["connect"]["ping"] == 1
        assert await wire.receive() == {}
        await wire.send({})
        assert await wire.receive() == {}
        with pytest.raises(ConnectionClosed) as closed:
            await wire.receive()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3012, "no pong")


async def test_a_subscription_is_renewed_without_its_name(codec: Codec, rooms: Rooms, name: str) -> None:
    """As centrifuge-python does before 0.7: the token says which one it is."""
    channel = f"$room:{name}"
    async with opened(codec, rooms.url) as wire:
        await wire.send(
            {"id": 1, "connect": {"token": token(name)}},
            {"id": 2, "subscribe": {"channel": channel, "token": token(name, 60.0, channel=channel)}},
            {"id": 3, "sub_refresh": {"token": token(name, 120.0, channel=channel)}},
        )
        replies = await wire.replies(3)
        assert replies[2]["subscribe"]["ttl"] == 60
        assert replies[3]["sub_refresh"] == {"expires": True, "ttl": 120}


async def test_an_empty_subprotocol_is_none(codec: Codec, rooms: Rooms) -> None:
    """As centrifuge-python offers it before 0.7, with JSON."""
    url = rooms.url if codec is _JsonCodec else f"{rooms.url}?format=protobuf"
    async with connect(url, subprotocols=[], proxy=None) as socket:
        assert socket.subprotocol is None
        wire = Wire(codec, socket)
        await wire.send({"id": 1, "connect": {}})
        assert "connect" in await wire.receive()


async def test_nonsense_costs_the_connection(codec: Codec, rooms: Rooms) -> None:
    for commands in ([{"id": 1, "rpc": {"method": "echo"}}], [{"id": 1, "connect": {}}, {"id": 2, "connect": {}}]):
        async with opened(codec, rooms.url) as wire:
            await wire.send(*commands)
            with pytest.raises(ConnectionClosed) as closed:
                await wire.replies(len(commands) + 1)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3501, "bad request")
