"""Who was cut off gets exactly what was missed, or is told that it can't be had."""

from __future__ import annotations

import asyncio

import pytest

from roomful import Position
from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.rooms import Rooms, token
from tests.e2e.sdks.sdk import WAIT_S, Client, Sdk

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def behind(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> Client:
    """Connected through the proxy."""
    client = await sdk.client(rooms.via(proxy), token=token(name))
    await client.connected()
    return client


async def cut_off(client: Client, proxy: FaultProxy) -> None:
    """The connection is reset, and none can be made until `proxy.heal()`."""
    proxy.refusing = True
    proxy.cut()
    await client.log.take("connecting")


def numbers(first: int, last: int) -> list[dict[str, int]]:
    """What `publish_numbers` publishes."""
    return [{"n": number} for number in range(first, last + 1)]


@pytest.mark.parametrize("missed", [0, 1, 10, 100])
async def test_2_all_that_was_missed_once_and_in_order(
    sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str, missed: int
) -> None:
    channel = f"room:{name}"
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel)
    await rooms.publish_numbers(channel, 1, 3)
    assert await room.log.take_data(3) == numbers(1, 3)
    await cut_off(client, proxy)
    await rooms.publish_numbers(channel, 4, 3 + missed)
    proxy.heal()
    again = await room.log.take("subscribed")
    assert (again.was_recovering, again.recovered) == (True, True)
    await rooms.publish(channel, "live")
    assert await room.log.take_data(missed + 1) == [*numbers(4, 3 + missed), "live"]
    assert [event.offset for event in room.log.named("publication")] == list(range(1, missed + 5))


async def test_2_what_was_missed_before_the_first_was_seen(
    sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str
) -> None:
    channel = f"room:{name}"
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel)
    await cut_off(client, proxy)
    await rooms.publish_numbers(channel, 1, 2)
    proxy.heal()
    assert (await room.log.take("subscribed")).recovered
    assert await room.log.take_data(2) == numbers(1, 2)


async def test_more_than_a_page(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    channel = f"long:{name}"
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel)
    await cut_off(client, proxy)
    await rooms.publish_numbers(channel, 1, 1000)
    proxy.heal()
    assert (await room.log.take("subscribed")).recovered
    await rooms.publish(channel, "live")
    assert await room.log.take_data(1001) == [*numbers(1, 1000), "live"]


async def test_2_more_than_is_kept(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    channel = f"short:{name}"
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel)
    await rooms.publish(channel, "seen")
    assert await room.log.take_data(1) == ["seen"]
    await cut_off(client, proxy)
    await rooms.publish_numbers(channel, 2, 6)
    proxy.heal()
    again = await room.log.take("subscribed")
    assert (again.was_recovering, again.recovered) == (True, False)
    assert again.stream_position is not None
    assert again.stream_position.offset == 6
    await rooms.publish(channel, "live")
    assert await room.log.take_data(1) == ["live"]
    await cut_off(client, proxy)
    await rooms.publish(channel, "one more")
    proxy.heal()
    assert (await room.log.take("subscribed")).recovered
    assert await room.log.take_data(1) == ["one more"]


async def test_2_cut_again_and_again_while_others_publish(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    channel, last = f"long:{name}", 1500
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel)
    publishing = asyncio.create_task(rooms.publish_numbers(channel, 1, last))
    async with asyncio.timeout(WAIT_S):
        while not publishing.done():
            proxy.cut()
            await client.log.take("connecting")
            await client.log.take("connected")
    await publishing
    assert await room.log.take_data(last) == numbers(1, last)
    assert all(event.recovered for event in room.log.named("subscribed")[1:])
    await rooms.publish(channel, "live")
    assert await room.log.take_data(1) == ["live"]


async def test_who_reads_nothing_for_a_while(sdks: list[Sdk], rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    """More than socket, proxy and outbox can hold is read from the log later; the connection and the order stay."""
    channel, last = f"long:{name}", 1500
    clients = [await behind(sdk, rooms, proxy, f"{name}-{n}") for n, sdk in enumerate(sdks)]
    subscriptions = [await client.subscribed(channel) for client in clients]
    proxy.down.hole()
    await rooms.publish_numbers(channel, 1, last, padding_bytes=10_000)
    proxy.heal()
    await rooms.publish(channel, {"n": "live"})
    for client, room in zip(clients, subscriptions, strict=True):
        assert [data["n"] for data in await room.log.take_data(last + 1)] == [*range(1, last + 1), "live"]
        assert len(room.log.named("subscribing")) == len(client.log.named("connecting")) == 1


async def test_back_in_the_room_after_a_while(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"room:{name}"
    client = await sdk.client(rooms.url, token=token(name))
    await client.connected()
    room = await client.subscribed(channel)
    await room.unsubscribe()
    await rooms.publish_numbers(channel, 1, 10)
    assert (await room.subscribed()).recovered
    assert await room.log.take_data(10) == numbers(1, 10)


async def test_on_demand_where_it_is_not_forced(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    channel = f"optional:{name}"
    client = await behind(sdk, rooms, proxy, name)
    plain = await client.subscription(channel)
    assert not (await plain.subscribed()).recoverable
    await plain.unsubscribe()
    other = await behind(sdk, rooms, proxy, f"other-{name}")
    asking = await other.subscription(channel, positioned=True, recoverable=True)
    first = await asking.subscribed()
    assert (first.positioned, first.recoverable) == (True, True)
    await cut_off(other, proxy)
    await rooms.publish_numbers(channel, 1, 3)
    proxy.heal()
    assert (await asking.log.take("subscribed")).recovered
    assert await asking.log.take_data(3) == numbers(1, 3)


async def test_the_excluded_miss_nothing_either(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    """The position moves past what a client isn't to get. Who is excluded is a connection: a new one gets all."""
    channel = f"echoless:{name}"
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel)
    await client.publish(channel, "mine")
    await rooms.publish(channel, "theirs")
    assert await room.log.take_data(1) == ["theirs"]
    await client.publish(channel, "mine again")
    await room.unsubscribe()
    await rooms.publish(channel, "theirs again")
    assert (await room.subscribed()).recovered
    assert await room.log.take_data(1) == ["theirs again"]
    await cut_off(client, proxy)
    await rooms.publish_numbers(channel, 5, 6)
    proxy.heal()
    assert (await room.log.take("subscribed")).recovered
    assert await room.log.take_data(2) == numbers(5, 6)


async def test_state_of_the_application_then_what_follows_it(
    sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str
) -> None:
    channel, asked = f"short:{name}", 0

    async def state() -> Position:
        nonlocal asked
        asked += 1
        place = await rooms.call("history", channel)
        top = Position(place["head"]["epoch"], place["head"]["offset"])
        if asked == 1:
            return Position("another epoch", 3)
        if asked == 2:
            await rooms.publish(channel, "between")
        return top

    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscription(channel, get_state=state)
    await rooms.publish_numbers(channel, 1, 5)
    assert (await room.subscribed()).recovered
    assert await room.log.take_data(1) == ["between"]
    assert asked == 2

    await cut_off(client, proxy)
    await rooms.publish_numbers(channel, 7, 8)
    proxy.heal()
    assert (await room.log.take("subscribed")).recovered
    assert await room.log.take_data(2) == numbers(7, 8)
    assert asked == 2

    await cut_off(client, proxy)
    await rooms.publish_numbers(channel, 9, 12)
    proxy.heal()
    assert (await room.log.take("subscribed")).recovered
    assert asked == 3
    await rooms.publish(channel, "live")
    assert await room.log.take_data(1) == ["live"]
    assert room.log.named("unsubscribed") == []
