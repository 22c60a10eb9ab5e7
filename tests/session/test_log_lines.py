"""What goes wrong with a connection is logged once, with the level and in the words of docs/monitoring.md, and says
whose it is."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roomful.model.channel import ChannelOptions, Right
from roomful.model.errors import Forbidden
from roomful.model.event import (
    ConnectEvent,
    ConnectReply,
    DisconnectEvent,
    PublishEvent,
    PublishReply,
    RpcEvent,
    RpcReply,
)
from roomful.model.order import RefreshOrder, SubscribeOrder
from roomful.model.publication import Position
from roomful.rooms.recovery import Gap
from roomful.testing.client import Client, Closed, CommandError
from tests.session.conftest import MakeWorld
from tests.session.world import World, session_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"

Provoke = Callable[[World], Awaitable[Client]]


async def tried(call: Awaitable[Any]) -> None:
    """An error or a close is part of the story."""
    with contextlib.suppress(CommandError, Closed):
        await call


async def bad_token(world: World) -> Client:
    client = world.open()
    await tried(client.connect(token="a.b.c"))
    return client


async def refused_by_hook(world: World) -> Client:
    @world.on(ConnectEvent)
    async def refuse(_event: ConnectEvent) -> None:
        raise Forbidden("not today")

    client = world.open()
    await tried(client.connect())
    return client


async def hook_names_a_tilde(world: World) -> Client:
    @world.on(ConnectEvent)
    async def wrong(_event: ConnectEvent) -> ConnectReply:
        return ConnectReply(user="~ann")

    client = world.open()
    await tried(client.connect())
    return client


async def hook_raises(world: World) -> Client:
    @world.on(ConnectEvent)
    async def wrong(_event: ConnectEvent) -> None:
        raise ZeroDivisionError

    client = world.open()
    await tried(client.connect())
    return client


async def unasked_for(world: World) -> Client:
    client = world.open()
    await client.connect(token=world.token("ann"), subs={"closed:1": {}})
    return client


async def bad_token_to_refresh(world: World) -> Client:
    client = await world.client("ann")
    await tried(client.call(refresh={"token": "a.b.c"}))
    return client


async def bad_subscription_token(world: World) -> Client:
    client = await world.client("ann")
    await tried(client.subscribe("closed:1", token="a.b.c"))
    return client


async def bad_subscription_token_to_refresh(world: World) -> Client:
    client = await world.client("ann")
    await client.subscribe("closed:1", token=world.channel_token("ann", "closed:1", ttl_s=60))
    await tried(client.call(sub_refresh={"channel": "closed:1", "token": "a.b.c"}))
    return client


async def nonsense(world: World) -> Client:
    client = await world.client("ann")
    client.send_bytes(b"{")
    return client


async def unspeakable_reply(world: World) -> Client:
    @world.on(RpcEvent)
    async def unspeakable(_event: RpcEvent) -> RpcReply:
        return RpcReply(object())

    client = await world.client("ann")
    await tried(client.call(rpc={"method": "x"}))
    return client


async def late_refusal(world: World) -> Client:
    @world.on(DisconnectEvent)
    async def too_late(_event: DisconnectEvent) -> None:
        raise Forbidden

    client = await world.client("ann")
    client.cut()
    return client


async def bad_payload(world: World) -> Client:
    @world.on(PublishEvent)
    async def wrong(_event: PublishEvent) -> PublishReply:
        return PublishReply(data=[1])

    client = await world.client("ann")
    await tried(client.publish("objects:1", {}))
    return client


async def unknown_channel_ordered(world: World) -> Client:
    client = await world.client("ann")
    await world.node.order(SubscribeOrder("ann", "nowhere:1"))
    return client


async def broken_order(world: World) -> Client:
    client = await world.client("ann")
    await world.node.order(RefreshOrder("ann", expires_at="soon"))  # type: ignore[arg-type]  # a bug of ours
    return client


async def position_gone(world: World) -> Client:
    client = await world.client("ann")
    await client.subscribe("log:1", recover=True, epoch="another", offset=3)
    return client


async def position_lost(world: World) -> Client:
    client = await world.client("ann")
    epoch = (await client.subscribe("log:1"))["epoch"]
    world.node.hub.miss("log:1", Position(epoch, 5), Gap.TRIMMED)
    return client


LINES: dict[str, tuple[Provoke, int]] = {
    "a bad token: %s": (bad_token, logging.INFO),
    "the connect hook refused it: %s": (refused_by_hook, logging.INFO),
    "the connect hook named the user %r; user ids can't start with %r": (hook_names_a_tilde, logging.ERROR),
    "hook %s for %s %s": (hook_raises, logging.ERROR),
    "%r was asked for in the connect and isn't given: %s": (unasked_for, logging.DEBUG),
    "a bad token to refresh: %s": (bad_token_to_refresh, logging.INFO),
    "a bad subscription token for %r: %s": (bad_subscription_token, logging.INFO),
    "a bad subscription token to refresh: %s": (bad_subscription_token_to_refresh, logging.INFO),
    "no commands were sent: %s": (nonsense, logging.INFO),
    "it ends with %d: %s": (nonsense, logging.INFO),
    "%s can't be refused, but its hook raised %r": (late_refusal, logging.WARNING),
    "the publish hook for %r gave a payload that the namespace doesn't take: %s": (bad_payload, logging.ERROR),
    "it could not be subscribed to %r: %s": (unknown_channel_ordered, logging.WARNING),
    "a %s could not be carried out": (broken_order, logging.ERROR),
    "a %s command failed": (unspeakable_reply, logging.ERROR),
    "the position in %r is lost: %s": (position_lost, logging.INFO),
    "%r could not be recovered: %s": (position_gone, logging.INFO),
}


@pytest.mark.parametrize("template", LINES)
async def test_each_line_comes_once_and_says_whose_it_is(
    template: str, make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world(
        closed=ChannelOptions(),
        objects=ChannelOptions(subscribe="client", publish=Right.CLIENT, data_format="json_object"),
    )
    provoke, level = LINES[template]
    with caplog.at_level(logging.DEBUG, "roomful"):
        client = await provoke(world)
        await world.settle()
    (line,) = [record for record in caplog.records if record.msg == template]
    session = session_of(client)
    assert line.levelno == level
    assert line.__dict__["client"] == session.client
    assert line.__dict__.get("user", "") == session.user
    if template not in ("hook %s for %s %s", "%s can't be refused, but its hook raised %r"):
        assert line.__dict__["trace"] == session.client.replace("-", "")


async def test_lines_are_found_by_the_trace_of_the_request(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "roomful")
    by_header = world.open(headers={"traceparent": TRACEPARENT})
    await by_header.connect()
    by_command = world.open()
    await by_command.connect(headers={"traceparent": TRACEPARENT})
    both = world.open(headers={"traceparent": TRACEPARENT})
    await both.connect(headers={"traceparent": TRACEPARENT.replace("4", "5")})
    for client in (by_header, by_command, both):
        client.send_bytes(b"{")
    # Of each: what was wrong, and how it ended.
    assert [record.__dict__["trace"] for record in caplog.records] == [TRACE] * 6
