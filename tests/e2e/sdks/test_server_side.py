"""Subscriptions that the server makes: personal channel, token, application."""

from __future__ import annotations

import time

import pytest

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.rooms import Rooms, token
from tests.e2e.sdks.sdk import Event, Info, Log, Sdk

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def next_in(log: Log, name: str, channel: str) -> Event:
    """The next event of that name in a channel; all server-side subscriptions share the log of their connection."""
    event = await log.take(name)
    while event.channel != channel:
        event = await log.take(name)
    return event


async def test_the_personal_channel(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"personal:#{name}"
    first = await sdk.client(rooms.url, token=token(name))
    me = Info(name, (await first.connected()).client)
    entered = await first.log.take("subscribed")
    assert (entered.channel, entered.recoverable, entered.positioned) == (channel, True, True)
    joined = await first.log.take("join")
    assert (joined.channel, joined.info) == (channel, me)

    second = await sdk.client(rooms.url, token=token(name))
    also_me = Info(name, (await second.connected()).client)
    assert (await first.log.take("join")).info == also_me
    await rooms.publish(channel, {"text": "for you"})
    for client in (first, second):
        heard = await client.log.take("publication")
        assert (heard.channel, heard.data, heard.offset) == (channel, {"text": "for you"}, 1)
    await second.disconnect()
    left = await first.log.take("leave")
    assert (left.channel, left.info) == (channel, also_me)


async def test_all_that_was_missed_once_and_in_order(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    channels = [f"personal:#{name}", f"room:{name}", f"long:{name}"]
    client = await sdk.client(rooms.via(proxy), token=token(name, channels=channels[1:]))
    await client.connected()
    assert {(await client.log.take("subscribed")).channel for _ in channels} == set(channels)
    await rooms.publish(channels[0], "before")
    assert await client.log.take_data(1) == ["before"]
    proxy.refusing = True
    proxy.cut()
    await client.log.take("connecting")
    assert {(await client.log.take("subscribing")).channel for _ in channels} == set(channels)
    for channel in channels:
        await rooms.publish_numbers(channel, 1, 50)
    proxy.heal()
    for _ in channels:
        again = await client.log.take("subscribed")
        assert (again.was_recovering, again.recovered) == (True, True)
    for channel in channels:
        await rooms.publish(channel, "live")
    heard = [await client.log.take("publication") for _ in range(3 * 51)]
    for channel in channels:
        assert [event.data for event in heard if event.channel == channel] == [
            *({"n": n} for n in range(1, 51)),
            "live",
        ]


async def test_more_than_a_page_and_more_than_is_kept(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    long, short = f"long:{name}", f"short:{name}"
    client = await sdk.client(rooms.via(proxy), token=token(name, channels=[long, short]))
    await client.connected()
    for _ in range(3):
        await client.log.take("subscribed")
    proxy.refusing = True
    proxy.cut()
    await client.log.take("connecting")
    await rooms.publish_numbers(long, 1, 1000)
    await rooms.publish_numbers(short, 1, 3)
    proxy.heal()
    await client.log.take("connected")
    again = {event.channel: event for event in [await client.log.take("subscribed") for _ in range(3)]}
    assert again[long].recovered
    assert (again[short].was_recovering, again[short].recovered) == (True, False)
    assert await client.log.take_data(1000) == [{"n": n} for n in range(1, 1001)]
    await rooms.publish(short, "live")
    assert await client.log.take_data(1) == ["live"]


async def test_the_application_subscribes_and_unsubscribes(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"closed:{name}"
    client = await sdk.client(rooms.url, token=token(name))
    id = (await client.connected()).client
    place = await rooms.publish(channel, "too early")
    await rooms.publish_numbers(channel, 1, 3)
    since = {"epoch": place.epoch, "offset": place.offset}
    await rooms.call("subscribe", name, channel, info={"seat": 7}, data={"topic": "caves"}, recover_since=since)
    entered = await next_in(client.log, "subscribed", channel)
    assert (entered.data, entered.recoverable) == ({"topic": "caves"}, True)
    assert await client.log.take_data(3) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert (await next_in(client.log, "join", channel)).info == Info(name, id, None, {"seat": 7})
    await rooms.publish(channel, "live")
    assert (await client.log.take("publication")).channel == channel
    await rooms.call("unsubscribe", name, channel)
    assert (await client.log.take("unsubscribed")).channel == channel
    assert await rooms.call("presence", channel) == {}


async def test_a_lost_position_ends_the_connection_and_it_recovers(sdk: Sdk, rooms: Rooms, name: str) -> None:
    """3010 stands for it; the client comes back with what it had."""
    channel = f"room:{name}"
    client = await sdk.client(rooms.url, token=token(name, channels=[channel]))
    await client.connected()
    await next_in(client.log, "subscribed", channel)
    await rooms.call("disconnect", name, code=3010, reason="insufficient state")
    await client.log.take("connecting")
    assert (await next_in(client.log, "subscribed", channel)).recovered


async def test_what_the_server_subscribed_a_client_cannot_subscribe_again(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"room:{name}"
    client = await sdk.client(rooms.url, token=token(name, subs={channel: {"data": {"by": "token"}}}))
    await client.connected()
    assert (await next_in(client.log, "subscribed", channel)).data == {"by": "token"}
    again = await client.subscription(channel)
    await again.subscribe()
    assert (await again.log.take("unsubscribed")).code == 105


async def test_without_a_hook_that_renews_it_an_expired_one_ends_the_connection(
    sdk: Sdk, rooms: Rooms, name: str
) -> None:
    channel = f"room:{name}"
    client = await sdk.client(rooms.url, token=token(name))
    await client.connected()
    await rooms.call("subscribe", name, channel, expires_at=time.time() + 0.2)
    await next_in(client.log, "subscribed", channel)
    ending = await client.log.take("connecting")
    assert (ending.code, ending.reason) == (3006, "subscription expired")
    await client.log.take("connected")
    await rooms.publish(f"personal:#{name}", "still here")
    assert await client.log.take_data(1) == ["still here"]
