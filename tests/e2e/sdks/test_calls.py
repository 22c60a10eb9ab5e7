"""What an SDK is answered instead of a result, and calls of the application's own methods."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.sdks.rooms import Rooms, token, url_of
from tests.e2e.sdks.sdk import Sdk, SdkError
from tests.served import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED_CALLS: list[tuple[str, list[Any], int]] = [
    ("publish", ["nowhere:1", {}], 102),
    ("publish", ["room:never-subscribed", {}], 103),
    ("publish", ["room:" + "x" * 300, {}], 107),
    ("publish", ["room:żółw", {}], 107),
    ("publish", ["objects:1", "no object"], 107),
    ("presence", ["nowhere:1"], 102),
    ("presence", ["room:never-subscribed"], 103),
    ("presence", ["bare:1"], 108),
    ("presence_stats", ["room:never-subscribed"], 103),
    ("presence_stats", ["bare:1"], 108),
    ("history", ["room:never-subscribed"], 103),
    ("history", ["bare:1"], 108),
    ("rpc", ["no such method"], 104),
    ("rpc", ["call", ["info", [], {}]], 103),
]

REFUSED_CHANNELS = [("nowhere:1", 102), ("closed:1", 103), ("$room:1", 103), ("room:" + "x" * 300, 107)]


@pytest.mark.parametrize(("method", "arguments", "code"), REFUSED_CALLS)
async def test_refused_calls(sdk: Sdk, rooms: Rooms, method: str, arguments: list[Any], code: int) -> None:
    client = await sdk.client(rooms.url)
    await client.connected()
    with pytest.raises(SdkError) as refused:
        await getattr(client, method)(*arguments)
    assert refused.value.code == code
    assert refused.value.message
    assert not refused.value.temporary
    await client.rpc("echo")


@pytest.mark.parametrize(("channel", "code"), REFUSED_CHANNELS)
async def test_refused_channels(sdk: Sdk, rooms: Rooms, channel: str, code: int) -> None:
    client = await sdk.client(rooms.url)
    await client.connected()
    room = await client.subscription(channel)
    await room.subscribe()
    assert (await room.log.take("unsubscribed")).code == code
    await client.rpc("echo")


@pytest.mark.parametrize("said", [{"a": [1, None, "żółw 💬"]}, "text", 17, False, None, ["x" * 30_000]])
async def test_an_echo(sdk: Sdk, rooms: Rooms, said: Any) -> None:
    client = await sdk.client(rooms.url)
    await client.connected()
    assert await client.rpc("echo", said) == said


async def test_a_method_refuses_and_a_method_crashes(sdk: Sdk, rooms: Rooms) -> None:
    client = await sdk.client(rooms.url)
    await client.connected()
    for method, code, message in [("refuse", 1000, "the kettle is empty"), ("crash", 100, "internal server error")]:
        with pytest.raises(SdkError) as refused:
            await client.rpc(method)
        error = refused.value
        assert (error.code, error.message, error.temporary) == (code, message, True)


async def test_calls_made_before_the_connection_wait_for_it(sdk: Sdk, rooms: Rooms, name: str) -> None:
    client = await sdk.client(rooms.url, token=token(name))
    await client.connect()
    assert (await client.rpc("who"))["user"] == name


async def test_without_methods_there_is_nothing_to_call(sdk: Sdk, strict: Server, name: str) -> None:
    client = await sdk.client(url_of(strict.port), token=token(name))
    await client.connect()
    with pytest.raises(SdkError) as refused:
        await client.rpc("echo")
    assert refused.value.code == 108


async def test_messages_that_nobody_listens_to_end_the_connection(sdks: list[Sdk], strict: Server, name: str) -> None:
    for sdk in sdks:
        if sdk.can_send:
            client = await sdk.client(url_of(strict.port), token=token(name))
            await client.connected()
            await client.send({})
            assert (await client.log.take("disconnected")).code == 3508
