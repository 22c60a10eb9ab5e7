"""What the application has done to connections. Source: Centrifuge protocol, section 23.2."""

from __future__ import annotations

from typing import Any

import pytest

from roomful.model.channel import ChannelOptions, Right
from roomful.model.client import Grant
from roomful.model.event import SubscribeEvent, UnsubscribeEvent
from roomful.model.order import DisconnectOrder, RefreshOrder, SubscribeOrder, UnsubscribeOrder
from roomful.model.publication import Position
from roomful.session.options import LimitOptions
from roomful.testing.client import Client, CommandError
from tests.session.conftest import MakeWorld
from tests.session.world import SlowHook, World


def offsets(pushes: list[dict[str, Any]]) -> list[int]:
    return [push["pub"]["offset"] for push in pushes if "pub" in push]


# Subscribe


async def test_subscribed_by_the_server(world: World) -> None:
    client = await world.client("ann")
    await world.publish("log:1")
    head = await world.head("log:1")
    await world.node.order(SubscribeOrder("ann", "log:1", grant=Grant(b'"info"', b'{"hello":1}')))
    await world.publish("log:1")
    first, second = await client.settle()
    assert first == {
        "channel": "log:1",
        "subscribe": {
            "recoverable": True,
            "positioned": True,
            "epoch": head.epoch,
            "offset": 1,
            "data": {"hello": 1},
        },
    }
    assert (second["channel"], second["pub"]["offset"]) == ("log:1", 2)
    with pytest.raises(CommandError) as raised:
        await client.subscribe("log:1")
    assert raised.value.code == 105
    assert await client.unsubscribe("log:1") == {}
    assert world.node.channels() == {}


async def test_all_connections_of_the_user_or_the_one_that_is_meant(world: World) -> None:
    one, other, stranger = [await world.client(user) for user in ("ann", "ann", "bob")]
    await world.node.order(SubscribeOrder("ann", "news"))
    await world.node.order(SubscribeOrder("ann", "log:1", client=one.id))
    assert [[push["channel"] for push in await c.settle()] for c in (one, other, stranger)] == [
        ["news", "log:1"],
        ["news"],
        [],
    ]


async def test_who_has_it_already_is_left_alone(world: World) -> None:
    client = await world.client("ann")
    await client.subscribe("log:1")
    await world.node.order(SubscribeOrder("ann", "log:1"))
    assert await client.settle() == []
    assert world.node.channels() == {"log:1": 1}


async def test_what_was_missed_follows_page_by_page(make_world: MakeWorld) -> None:
    world = await make_world(limits=LimitOptions(recovery_max=3))
    client = await world.client("ann")
    await world.publish("log:1")
    since = await world.head("log:1")
    for _ in range(10):
        await world.publish("log:1")
    await world.node.order(SubscribeOrder("ann", "log:1", recover_since=since))
    pushes = await client.settle()
    assert pushes[0]["subscribe"]["offset"] == 1
    assert offsets(pushes) == list(range(2, 12))
    await world.publish("log:1")
    assert offsets(await client.settle()) == [12]


async def test_a_position_that_cant_be_recovered_begins_at_the_head(world: World) -> None:
    client = await world.client("ann")
    await world.publish("log:1")
    await world.node.order(SubscribeOrder("ann", "log:1", recover_since=Position("other", 0)))
    pushes = await client.settle()
    assert pushes[0]["subscribe"]["offset"] == 1
    assert offsets(pushes) == []


async def test_more_than_the_limit_ends_the_connection(make_world: MakeWorld) -> None:
    world = await make_world(limits=LimitOptions(channels_max=1))
    client = await world.client("ann")
    await world.node.order(SubscribeOrder("ann", "news"))
    await world.node.order(SubscribeOrder("ann", "other"))
    assert client.transport.closed == (3505, "channel limit")


@pytest.mark.parametrize("broken", ["subscribe", "history", "add"])
async def test_an_engine_that_fails_leaves_nothing(world: World, broken: str, caplog: pytest.LogCaptureFixture) -> None:
    client = await world.client("ann")
    world.engine.broken.add(broken)
    await world.node.order(SubscribeOrder("ann", "room:1"))
    await world.settle()
    world.engine.broken.clear()
    assert "could not be subscribed" in caplog.text
    assert await client.settle() == []
    assert world.node.channels() == {}
    assert await world.node.presence("room:1") == {}


# Unsubscribe


@pytest.mark.parametrize("by_server", [False, True])
async def test_unsubscribed_by_the_server(world: World, by_server: bool) -> None:
    told: list[tuple[str, int, str]] = []

    @world.on(UnsubscribeEvent)
    async def unsubscribed(event: UnsubscribeEvent) -> None:
        told.append((event.channel, event.code, event.reason))

    watcher, client = await world.client(), await world.client("ann")
    await watcher.subscribe("room:1", join_leave=True)
    if by_server:
        await world.node.order(SubscribeOrder("ann", "room:1"))
    else:
        await client.subscribe("room:1")
    await client.settle()
    await watcher.settle()
    await world.node.order(UnsubscribeOrder("ann", "room:1", code=2077, reason="because"))
    assert await client.settle() == [{"channel": "room:1", "unsubscribe": {"code": 2077, "reason": "because"}}]
    assert [push["leave"]["info"]["client"] for push in await watcher.settle()] == [client.id]
    assert list(await world.node.presence("room:1")) == [watcher.id]
    await world.settle()
    assert told == [("room:1", 2077, "because")]


async def test_from_all_channels(world: World) -> None:
    client = await world.client("ann")
    for channel in ("news", "log:1", "room:1"):
        await client.subscribe(channel)
    await client.settle()
    await world.node.order(UnsubscribeOrder("ann", ""))
    assert [push["channel"] for push in await client.settle()] == ["news", "log:1", "room:1"]


@pytest.mark.parametrize("channel", ["log:1", ""])
async def test_who_is_just_being_asked_about_is_ended_as_soon_as_it_has_begun(world: World, channel: str) -> None:
    """The right may have been taken away after the hook looked, and before it answered."""
    slow = SlowHook(world, SubscribeEvent)
    client = await world.client("ann")
    client.send({"id": 9, "subscribe": {"channel": "log:1"}})
    await slow.asked.wait()
    await world.node.order(UnsubscribeOrder("ann", channel))
    slow.answers.set()
    await world.settle()
    assert [push["unsubscribe"]["code"] for push in await client.settle()] == [2000]
    assert world.node.channels() == {}


async def test_who_is_just_subscribing_at_a_slow_engine_is_ended_too(world: World) -> None:
    client = await world.client("ann")
    world.engine.quick = False
    client.send({"id": 9, "subscribe": {"channel": "log:1"}})
    await world.settle()
    world.node.on_order(UnsubscribeOrder("ann", "log:1"))
    await world.engine.rush()
    assert [push["unsubscribe"]["code"] for push in await client.settle()] == [2000]
    assert world.node.channels() == {}


@pytest.mark.parametrize("quick", [False, True])
async def test_the_last_order_counts(world: World, quick: bool) -> None:
    client = await world.client("ann")
    world.engine.quick = quick
    for order in (SubscribeOrder, UnsubscribeOrder) * 3:
        world.node.on_order(order("ann", "room:1"))
    await world.engine.rush()
    assert world.node.channels() == {}
    assert await world.node.presence("room:1") == {}
    world.engine.quick = quick
    for order in (SubscribeOrder, UnsubscribeOrder) * 3 + (SubscribeOrder,):
        world.node.on_order(order("ann", "room:1"))
        await world.settle()
        await world.engine.rush()
    pushes = await client.settle()
    assert "subscribe" in pushes[-1]
    assert world.node.channels() == {"room:1": 1}
    assert len(await world.node.presence("room:1")) == 1


# Disconnect


async def test_disconnected_but_for_the_spared(world: World) -> None:
    one, other, stranger = [await world.client(user) for user in ("ann", "ann", "bob")]
    await world.node.order(DisconnectOrder("ann", code=4321, reason="move", whitelist=[other.id]))
    closed: list[Any] = [client.transport.closed for client in (one, other, stranger)]
    assert closed == [(4321, "move"), None, None]


# Refresh


async def expiry(world: World, client: Client) -> float:
    """After how many seconds it is ended."""
    start = world.clock()
    while client.transport.closed is None:
        await world.pass_time(1.0, step_s=1.0)
        client.read()
        if client.pings:
            client.pings -= 1
            client.send({})
    assert client.transport.closed == (3005, "connection expired")
    return world.clock() - start


async def test_a_new_expiry(world: World) -> None:
    client = world.open()
    await client.connect(token=world.token("ann", ttl_s=1000))
    await world.node.order(RefreshOrder("ann", expires_at=world.wall() + 50, info=b'{"name":"Ann"}'))
    assert await client.settle() == [{"refresh": {"expires": True, "ttl": 50}}]
    await client.subscribe("room:1")
    (info,) = (await world.node.presence("room:1")).values()
    assert info.conn_info == b'{"name":"Ann"}'
    assert 74 <= await expiry(world, client) <= 77


async def test_no_expiry_any_more(world: World) -> None:
    client = world.open()
    await client.connect(token=world.token("ann", ttl_s=10))
    await world.node.order(RefreshOrder("ann"))
    assert await client.settle() == [{"refresh": {}}]
    await world.pass_time(18, step_s=1.0)
    await world.pass_time(26, step_s=27.0)
    assert client.transport.closed != (3005, "connection expired")


async def test_expired_at_once(world: World) -> None:
    client = await world.client("ann")
    await world.node.order(RefreshOrder("ann", expired=True))
    assert client.transport.closed == (3005, "connection expired")


async def test_an_order_for_a_namespace_that_isnt_there_does_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    client = await world.client("ann")
    await world.node.order(SubscribeOrder("ann", "nowhere:1"))
    assert await client.settle() == []
    assert "unknown channel" in caplog.text


async def test_the_rights_of_the_namespace_dont_matter(make_world: MakeWorld) -> None:
    closed = ChannelOptions(history_size=5, history_ttl_s=60, recover=True, history=Right.NOBODY)
    world = await make_world(closed=closed)
    client = await world.client("ann")
    with pytest.raises(CommandError):
        await client.subscribe("closed:1")
    await world.node.order(SubscribeOrder("ann", "$closed:1"))
    assert (await client.settle())[0]["subscribe"]["recoverable"]
