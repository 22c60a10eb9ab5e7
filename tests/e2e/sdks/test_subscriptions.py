"""Subscriptions: how they begin, how they end, and what the server does to them."""

from __future__ import annotations

import pytest

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.rooms import Rooms, token, url_of
from tests.e2e.sdks.sdk import SDKS, Client, Sdk
from tests.served import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def channel(name: str) -> str:
    return f"room:{name}"


async def connected(sdk: Sdk, rooms: Rooms, name: str) -> Client:
    client = await sdk.client(rooms.url, token=token(name))
    await client.connected()
    return client


async def nobody_in(rooms: Rooms, channel: str) -> None:
    """Waits: an unsubscribe is said to have happened before the server has heard of it."""
    while await rooms.call("presence", channel):
        continue


async def test_ten_times_in_and_out(sdk: Sdk, rooms: Rooms, name: str, channel: str) -> None:
    client = await connected(sdk, rooms, name)
    room = await client.subscription(channel)
    for _ in range(10):
        await room.subscribed()
        await room.unsubscribe()
        assert (await room.log.take("unsubscribed")).code == 0
    await nobody_in(rooms, channel)
    await room.subscribed()
    await client.publish(channel, "here")
    assert await room.log.take_data(1) == ["here"]


async def test_ten_times_without_waiting_for_the_answer(sdk: Sdk, rooms: Rooms, name: str, channel: str) -> None:
    client = await connected(sdk, rooms, name)
    room = await client.subscription(channel)
    for _ in range(10):
        await room.subscribe()
        await room.unsubscribe()
    await room.subscribe()
    states = ("subscribing", "subscribed", "unsubscribed")
    await room.log.until(
        lambda: [event.name for event in room.log.events if event.name in states][-2:] == ["subscribing", "subscribed"],
        "not subscribed at last",
    )
    await client.publish(channel, "here")
    assert await room.log.take_data(1) == ["here"]
    assert await client.presence_stats(channel) == (1, 1)
    await room.unsubscribe()
    await nobody_in(rooms, channel)


async def test_subscribed_before_it_is_connected(sdk: Sdk, rooms: Rooms, name: str) -> None:
    client = await sdk.client(rooms.url, token=token(name))
    wanted = [await client.subscription(f"room:{name}-{n}") for n in range(4)]
    for room in wanted[:2]:
        await room.subscribe()
    await client.connect()
    for room in wanted[2:]:
        await room.subscribe()
    for room in wanted[::2]:
        await room.unsubscribe()
    await client.log.take("connected")
    for room in wanted[1::2]:
        await room.log.take("subscribed")
        await client.publish(room.channel, "here")
        assert await room.log.take_data(1) == ["here"]
    for room in wanted[::2]:
        await room.log.take("unsubscribed")
        assert await rooms.call("presence", room.channel) == {}


@pytest.mark.parametrize("sdk", SDKS, indirect=True)  # over single requests centrifuge-js waits for each answer
async def test_unsubscribed_while_the_answer_is_on_its_way(
    sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str, channel: str
) -> None:
    witness = await connected(sdk, rooms, f"witness-{name}")
    seen = await witness.subscribed(channel)
    await seen.log.take("join")
    client = await sdk.client(rooms.via(proxy), token=token(name))
    await client.connected()
    room = await client.subscription(channel)
    proxy.down.hole()
    await room.subscribe()
    await seen.log.take("join")
    await room.unsubscribe()
    await seen.log.take("leave")
    await room.subscribe()
    await seen.log.take("join")
    proxy.heal()
    await room.log.take("subscribed")
    await client.publish(channel, "here")
    assert await room.log.take_data(1) == ["here"]
    assert [event.name for event in room.log.events if event.name not in ("join", "publication")] == [
        "subscribing",
        "unsubscribed",
        "subscribing",
        "subscribed",
    ]


async def test_the_server_ends_one_for_good(sdk: Sdk, rooms: Rooms, name: str, channel: str) -> None:
    client = await connected(sdk, rooms, name)
    room = await client.subscribed(channel)
    await rooms.call("unsubscribe", name, channel)
    ending = await room.log.take("unsubscribed")
    assert (ending.code, ending.reason) == (2000, "server unsubscribe")
    assert await rooms.call("presence", channel) == {}
    await rooms.publish(channel, "missed")
    again = await room.subscribed()
    assert again.recovered
    assert await room.log.take_data(1) == ["missed"]


async def test_the_server_ends_one_for_a_moment(sdk: Sdk, rooms: Rooms, name: str, channel: str) -> None:
    client = await connected(sdk, rooms, name)
    room = await client.subscribed(channel)
    await room.log.take("join")
    for code in (2500, 2999):
        await rooms.call("unsubscribe", name, channel, code=code, reason="once more")
        ending = await room.log.take("subscribing")
        assert (ending.code, ending.reason) == (code, "once more")
        assert (await room.log.take("subscribed")).recovered
    assert room.log.named("unsubscribed") == []
    assert await client.presence_stats(channel) == (1, 1)


async def test_the_server_invalidates_what_a_client_knows(sdk: Sdk, rooms: Rooms, name: str, channel: str) -> None:
    client = await connected(sdk, rooms, name)
    room = await client.subscribed(channel)
    await rooms.call("unsubscribe", name, channel, code=2502, reason="state invalidated")
    again = await room.log.take("subscribed")
    assert (again.was_recovering, again.recovered) == (True, False)
    await rooms.call("disconnect", name, code=3014, reason="state invalidated")
    again = await room.log.take("subscribed")
    assert (again.was_recovering, again.recovered) == (True, False)


async def test_five_hundred(sdk: Sdk, rooms: Rooms, name: str) -> None:
    """centrifuge-js sends them with its connect in one frame."""
    client = await sdk.client(rooms.url, token=token(name))
    wanted = [await client.subscription(f"room:{name}-{n}") for n in range(500)]
    for room in wanted:
        await room.subscribe()
    await client.connected()
    for room in wanted:
        await room.log.take("subscribed")
    for room in (wanted[0], wanted[-1]):
        await rooms.publish(room.channel, room.channel)
        assert await room.log.take_data(1) == [room.channel]


async def test_the_129th_is_one_too_many(sdk: Sdk, strict: Server, name: str) -> None:
    client = await sdk.client(url_of(strict.port), token=token(name))
    wanted = [await client.subscription(f"room:{name}-{n}") for n in range(130)]
    for room in wanted:
        await room.subscribe()
    await client.connected()
    for room in wanted[:128]:
        await room.log.take("subscribed")
    for room in wanted[128:]:
        assert (await room.log.take("unsubscribed")).code == 106
    await wanted[0].unsubscribe()
    await wanted[-1].subscribed()
