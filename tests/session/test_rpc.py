"""Calls and messages to the application. Source: Centrifuge protocol, sections 11.5 and 11.6."""

from __future__ import annotations

from typing import Any

import pytest

from roomful.model.errors import ApplicationError, Forbidden, TooManyRequests
from roomful.model.event import MessageEvent, RpcEvent, RpcReply, Via
from roomful.testing.client import CommandError
from tests.session.world import World

VIA = Via("memory", "json")


async def test_without_any_hook_there_is_no_rpc(world: World) -> None:
    with pytest.raises(CommandError) as raised:
        await (await world.client()).call(rpc={"method": "x"})
    assert raised.value.code == 108


async def test_a_method_without_a_hook(world: World) -> None:
    @world.on(RpcEvent, "add")
    async def add(_event: RpcEvent) -> None: ...

    with pytest.raises(CommandError) as raised:
        await (await world.client()).call(rpc={"method": "subtract"})
    assert raised.value.code == 104


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (RpcReply({"sum": 3}), {"data": {"sum": 3}}),
        (RpcReply(0), {"data": 0}),
        (RpcReply(False), {"data": False}),
        (RpcReply(b'{"raw":1}'), {"data": {"raw": 1}}),
        (RpcReply(), {}),
        (None, {}),
    ],
    ids=repr,
)
async def test_what_the_hook_replies(world: World, reply: RpcReply | None, result: dict[str, Any]) -> None:
    events: list[RpcEvent] = []

    @world.on(RpcEvent)
    async def hook(event: RpcEvent) -> RpcReply | None:
        events.append(event)
        return reply

    client = await world.client("ann")
    assert await client.call(rpc={"method": "add", "data": [1, 2]}) == result
    assert await client.call(rpc={}) == result
    assert events == [
        RpcEvent(client.id, "ann", "add", [1, 2], {}, VIA),
        RpcEvent(client.id, "ann", "", None, {}, VIA),
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Forbidden("not you"), (103, "not you", False)),
        (ApplicationError(1999, "mine", temporary=True), (1999, "mine", True)),
        (TooManyRequests(), (111, "too many requests", True)),
        (ValueError("a secret"), (100, "internal server error", True)),
    ],
    ids=repr,
)
async def test_what_the_hook_refuses_with(world: World, error: Exception, expected: tuple[int, str, bool]) -> None:
    @world.on(RpcEvent)
    async def hook(_event: RpcEvent) -> None:
        raise error

    with pytest.raises(CommandError) as raised:
        await (await world.client()).call(rpc={})
    assert (raised.value.code, raised.value.message, raised.value.temporary) == expected


async def test_what_json_cant_carry_ends_the_one_who_asked(world: World) -> None:
    @world.on(RpcEvent)
    async def hook(_event: RpcEvent) -> RpcReply:
        return RpcReply(b"\xff")

    client = await world.client()
    client.send({"id": 2, "rpc": {}})
    assert await client.closed() == (3506, "inappropriate protocol")


async def test_a_message_to_nobody(world: World) -> None:
    client = await world.client()
    client.send({"send": {"data": 1}})
    assert await client.closed() == (3508, "not available")


async def test_a_message(world: World) -> None:
    heard: list[MessageEvent] = []

    @world.on(MessageEvent)
    async def hook(event: MessageEvent) -> None:
        heard.append(event)

    client = await world.client("ann")
    client.send({"send": {"data": {"a": 1}}})
    await world.settle()
    assert heard == [MessageEvent(client.id, "ann", {"a": 1}, {})]
