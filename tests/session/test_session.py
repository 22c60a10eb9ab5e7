"""The life of a connection: which commands when, in which order, pings, endings, and who is told.

Source: Centrifuge protocol, sections 4, 8 and 17.4.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from roomful.model.disconnects import Disconnect
from roomful.model.errors import ApplicationError, Forbidden
from roomful.model.event import (
    ConnectEvent,
    MessageEvent,
    RpcEvent,
    RpcReply,
    SubscribeEvent,
)
from roomful.model.order import DisconnectOrder, SubscribeOrder, UnsubscribeOrder
from roomful.node.relay import Arrival
from roomful.session.life import State
from roomful.session.options import ConnectionOptions, LimitOptions
from roomful.testing.client import Client, Closed, CommandError, MemoryTransport
from tests.session.conftest import MakeWorld
from tests.session.world import SlowHook, World, session_of

BAD_REQUEST = (3501, "bad request")
OTHER_COMMANDS: list[dict[str, Any]] = [
    {"id": 2, "subscribe": {"channel": "news"}},
    {"id": 2, "unsubscribe": {"channel": "news"}},
    {"id": 2, "publish": {"channel": "news", "data": {}}},
    {"id": 2, "presence": {"channel": "room:1"}},
    {"id": 2, "presence_stats": {"channel": "room:1"}},
    {"id": 2, "history": {"channel": "log:1"}},
    {"id": 2, "rpc": {}},
    {"id": 2, "refresh": {"token": "t"}},
    {"id": 2, "sub_refresh": {"channel": "news", "token": "t"}},
    {"send": {"data": {}}},
    {},
]


def name_of(command: dict[str, Any]) -> str:
    return next((name for name in command if name != "id"), "pong")


def replies(client: Client) -> list[dict[str, Any]]:
    """Everything that was written, in order."""
    return [json.loads(line) for piece in client.transport.written for line in piece.split(b"\n")]


# 4.1 States


@pytest.mark.parametrize("command", OTHER_COMMANDS, ids=name_of)
async def test_before_connect_only_connect_is_allowed(world: World, command: dict[str, Any]) -> None:
    client = world.open()
    client.send(command)
    assert await client.closed() == BAD_REQUEST
    assert replies(client) == []


async def test_who_never_says_connect_is_stale(world: World) -> None:
    client = world.open()
    await world.pass_time(9.8)
    assert client.transport.closed is None
    await world.pass_time(0.4)
    assert client.transport.closed == (3502, "stale")


async def test_a_second_connect_is_a_violation(world: World) -> None:
    client = await world.client()
    client.send({"id": 2, "connect": {}})
    assert await client.closed() == BAD_REQUEST


async def test_after_a_refused_connect_the_rest_of_the_frame_is_ignored(world: World) -> None:
    """centrifuge-js sends its subscribes right behind; 3501 would tell it never to come back."""
    client = world.open()
    token = world.token("ann", ttl_s=-10)
    client.send(
        {"id": 1, "connect": {"token": token}},
        {"id": 2, "subscribe": {"channel": "news"}},
        {},
        {"id": 3, "connect": {}},
    )
    await world.settle()
    assert replies(client) == [{"id": 1, "error": {"code": 109, "message": "token expired"}}]
    assert client.transport.closed is None


async def test_what_came_while_the_refused_connect_was_decided_is_ignored_too(world: World) -> None:
    decided = asyncio.Event()

    @world.on(ConnectEvent)
    async def refuse(_event: ConnectEvent) -> None:
        await decided.wait()
        raise ApplicationError(1000, "not today", temporary=True)

    client = world.open()
    client.send({"id": 1, "connect": {}})
    client.send({"id": 2, "subscribe": {"channel": "news"}})
    decided.set()
    await world.settle()
    error = {"code": 1000, "message": "not today", "temporary": True}
    assert replies(client) == [{"id": 1, "error": error}]
    assert client.transport.closed is None


@pytest.mark.parametrize("command", [*OTHER_COMMANDS, {"id": 2, "connect": {}}], ids=name_of)
async def test_a_command_that_comes_after_a_refused_connect_is_a_violation(
    world: World, command: dict[str, Any]
) -> None:
    client = world.open()
    with pytest.raises(CommandError):
        await client.connect(token=world.token("ann", ttl_s=-10))
    client.send(command)
    assert await client.closed() == BAD_REQUEST


async def test_a_refused_client_has_five_seconds_to_close(world: World) -> None:
    client = world.open()
    await world.pass_time(9.0)
    with pytest.raises(CommandError):
        await client.connect(token=world.token("ann", ttl_s=-10))
    await world.pass_time(4.8)
    assert client.transport.closed is None
    await world.pass_time(0.5)
    assert client.transport.closed == (3000, "connection closed")


# 4.2 Command rules


async def test_the_empty_command_is_a_pong_whatever_it_contains(world: World) -> None:
    client = await world.client()
    client.send({"subscribe": {"channel": "news"}})
    assert await client.closed() == BAD_REQUEST, "no ping was sent, so no pong is due"


@pytest.mark.parametrize("command", [{"id": 1, "ping": {}}, {"id": 1}, {"id": 1, "dance": {}}])
async def test_a_command_that_we_dont_know_is_a_violation(world: World, command: dict[str, Any]) -> None:
    client = await world.client()
    client.send(command)
    assert await client.closed() == BAD_REQUEST


@pytest.mark.parametrize("message", [b"", b"\n", b"x", b"[]", b'{"id":1', b'"a"', b"\xff", b'{"id":1,"rpc":{}}\n\n'])
async def test_what_isnt_a_command_is_a_violation(world: World, message: bytes) -> None:
    client = await world.client()
    client.send_bytes(message)
    assert await client.closed() == BAD_REQUEST


async def test_each_command_gets_one_reply_in_order(world: World) -> None:
    client = await world.client()
    client.send(*({"id": number, "rpc": {}} for number in range(10, 20)))
    client.send({"id": 20, "unsubscribe": {"channel": "news"}})
    await world.settle()
    assert [reply["id"] for reply in replies(client)[1:]] == list(range(10, 21))


async def test_connect_and_subscribes_in_one_frame(world: World) -> None:
    client = world.open()
    client.send(
        {"id": 1, "connect": {}},
        {"id": 2, "subscribe": {"channel": "log:1"}},
        {"id": 3, "subscribe": {"channel": "nowhere:1"}},
        {"id": 4, "subscribe": {"channel": "news"}},
    )
    await world.settle()
    assert [next(key for key in reply if key != "id") for reply in replies(client)] == [
        "connect",
        "subscribe",
        "error",
        "subscribe",
    ]
    assert len(client.transport.written) == 1, "what is answered in one turn is one write"


async def test_commands_wait_for_the_one_before(world: World) -> None:
    go_on, order = asyncio.Event(), list[str]()

    @world.on(RpcEvent)
    async def slow(event: RpcEvent) -> RpcReply:
        order.append(f"{event.method} begins")
        await go_on.wait()
        order.append(f"{event.method} ends")
        return RpcReply(event.method)

    client = await world.client()
    client.send({"id": 2, "rpc": {"method": "a"}}, {"id": 3, "rpc": {"method": "b"}})
    client.send({"id": 4, "rpc": {"method": "c"}})
    await world.settle()
    assert order == ["a begins"]
    go_on.set()
    await world.settle()
    assert order == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
    assert [reply["id"] for reply in replies(client)[1:]] == [2, 3, 4]


async def test_one_clients_slow_hook_holds_up_no_other_client(world: World) -> None:
    @world.on(RpcEvent)
    async def hang(_event: RpcEvent) -> None:
        await world.hang.wait()

    slow, quick = await world.client(), await world.client()
    slow.send({"id": 2, "rpc": {}})
    await quick.subscribe("news")
    assert await quick.publish("news", 1) == {}


async def test_send_is_never_answered_also_not_when_it_is_refused(world: World) -> None:
    heard: list[Any] = []

    @world.on(MessageEvent)
    async def hear(event: MessageEvent) -> None:
        heard.append(event.data)
        raise Forbidden

    client = await world.client()
    client.send(
        {"send": {"data": {"a": 1}}}, {"id": 7, "send": {"data": 2}}, {"id": 8, "unsubscribe": {"channel": "x"}}
    )
    await world.settle()
    assert heard == [{"a": 1}, 2]
    assert [reply["id"] for reply in replies(client)[1:]] == [8]


async def test_an_unexpected_exception_costs_its_command_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    @world.on(RpcEvent, "object")
    async def unspeakable(_event: RpcEvent) -> RpcReply:
        return RpcReply(object())

    client = await world.client()
    with pytest.raises(CommandError) as raised:
        await client.call(rpc={"method": "object"})
    assert (raised.value.code, raised.value.message, raised.value.temporary) == (100, "internal server error", True)
    assert "Traceback" in caplog.text
    assert await client.unsubscribe("news") == {}


@pytest.mark.parametrize("code", [4000, 4500])
async def test_a_hook_may_end_the_connection(world: World, code: int) -> None:
    @world.on(RpcEvent)
    async def go(_event: RpcEvent) -> None:
        raise Disconnect(code, "go away")

    client = await world.client()
    with pytest.raises(Closed) as closed:
        await client.call(rpc={})
    assert (closed.value.code, closed.value.reason) == (code, "go away")


# 4.3 Missing arguments


@pytest.mark.parametrize(
    "command",
    [
        {"subscribe": {}},
        {"unsubscribe": {}},
        {"publish": {"data": {}}},
        {"presence": {}},
        {"presence_stats": {}},
        {"history": {}},
        {"sub_refresh": {}},
        {"refresh": {}},
        {"subscribe": {"channel": "news", "delta": "zip"}},
    ],
    ids=lambda command: next(iter(command)),
)
async def test_without_its_main_argument_a_command_is_a_violation(world: World, command: dict[str, Any]) -> None:
    client = await world.client()
    with pytest.raises(Closed) as closed:
        await client.call(**command)
    assert (closed.value.code, closed.value.reason) == BAD_REQUEST


CHANNEL_COMMANDS: list[dict[str, dict[str, Any]]] = [
    {"subscribe": {}},
    {"publish": {"data": {}}},
    {"presence": {}},
    {"presence_stats": {}},
    {"history": {}},
]


@pytest.mark.parametrize("command", CHANNEL_COMMANDS, ids=lambda command: next(iter(command)))
@pytest.mark.parametrize(
    ("channel", "code"),
    [("x" * 256, 107), ("nowhere:1", 102), ("über", 107), ("typing:people:room:1", 107), ("typing:nowhere:1", 102)],
)
async def test_a_bad_channel_name_costs_the_command(
    world: World, command: dict[str, dict[str, Any]], channel: str, code: int
) -> None:
    client = await world.client()
    (name, fields), *_ = command.items()
    with pytest.raises(CommandError) as raised:
        await client.call(**{name: fields | {"channel": channel}})
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"presence": {"channel": "news"}}, 108),
        ({"presence_stats": {"channel": "news"}}, 108),
        ({"history": {"channel": "news"}}, 108),
        ({"rpc": {"method": "x"}}, 108),
        ({"publish": {"channel": "news", "data": {}, "type": 1}}, 108),
        ({"subscribe": {"channel": "news", "type": 1}}, 103),
        ({"subscribe": {"channel": "news", "tf": {"key": "a", "cmp": "ex"}}}, 107),
        ({"sub_refresh": {"channel": "news"}}, 107),
    ],
    ids=str,
)
async def test_what_isnt_there_costs_the_command(world: World, command: dict[str, Any], code: int) -> None:
    client = await world.client()
    with pytest.raises(CommandError) as raised:
        await client.call(**command)
    assert raised.value.code == code


# 8 Ping and pong


async def test_pings_come_and_are_answered(world: World) -> None:
    client = world.open()
    result = await client.connect()
    assert (result["ping"], result["pong"]) == (25, True)
    await world.pass_time(18.5)
    client.read()
    assert client.pings == 0, "random() is 0.5: the first one after three quarters of the interval"
    await world.pass_time(0.5)
    client.read()
    assert client.pings == 1
    client.send({})
    await world.pass_time(24.8)
    client.read()
    assert client.pings == 1
    await world.pass_time(0.4)
    client.read()
    assert client.pings == 2
    client.send({})
    await world.pass_time(20)
    assert client.transport.closed is None


async def test_without_a_pong_it_is_over(world: World) -> None:
    client = await world.client()
    await world.pass_time(19.0)
    await world.pass_time(7.7)
    assert client.transport.closed is None
    await world.pass_time(0.5)
    assert client.transport.closed == (3012, "no pong")


async def test_a_second_pong_is_a_violation(world: World) -> None:
    client = await world.client()
    await world.pass_time(19.0)
    client.send({})
    assert client.transport.closed is None
    client.send({})
    assert client.transport.closed == BAD_REQUEST


async def test_a_pong_counts_at_once_also_when_a_hook_is_busy(world: World) -> None:
    """A hook may take longer than a pong: that its client is alive has been seen all the same."""
    slow = SlowHook(world, RpcEvent)
    client = await world.client()
    client.send({"id": 2, "rpc": {}})
    await world.pass_time(19.0)
    client.send({"id": 3, "unsubscribe": {"channel": "x"}})
    client.send({})
    await world.pass_time(9.0)
    assert client.transport.closed is None
    slow.answers.set()
    await world.settle()
    assert [reply["id"] for reply in replies(client) if reply][1:] == [2, 3]


async def test_a_stray_pong_is_a_violation_also_when_a_hook_is_busy(world: World) -> None:
    @world.on(RpcEvent)
    async def hang(_event: RpcEvent) -> None:
        await world.hang.wait()

    client = await world.client()
    client.send({"id": 2, "rpc": {}})
    client.send({})
    assert client.transport.closed == BAD_REQUEST


async def test_whom_we_dont_read_we_dont_blame_for_a_missing_pong(make_world: MakeWorld) -> None:
    world = await make_world(limits=LimitOptions(inbox_max_bytes=100))
    slow = SlowHook(world, RpcEvent)
    client = await world.client()
    client.send(*({"id": number, "rpc": {}} for number in range(2, 4)))
    client.send(*({"id": number, "rpc": {}} for number in range(4, 20)))
    assert not client.transport.reading
    await world.pass_time(40.0)
    assert client.transport.closed is None
    slow.answers.set()
    await world.settle()
    assert client.transport.reading
    await world.pass_time(8.2)
    assert client.transport.closed == (3012, "no pong")


@pytest.mark.parametrize("ping_s", [0.0])
async def test_no_pings(make_world: MakeWorld, ping_s: float) -> None:
    world = await make_world(options=ConnectionOptions(ping_s=ping_s))
    client = world.open()
    assert "ping" not in await client.connect()
    await world.pass_time(100, step_s=1.0)
    client.read()
    assert (client.pings, client.transport.closed) == (0, None)
    client.send({})
    assert client.transport.closed == BAD_REQUEST


async def test_native_pings_on_request(world: World) -> None:
    client = world.open(query={"cf_ws_frame_ping_pong": "true"})
    result = await client.connect()
    assert "ping" not in result
    assert "pong" not in result
    await world.pass_time(19.0)
    assert (client.transport.pings, client.pings) == (1, 0)
    session_of(client).on_pong()
    await world.pass_time(9.0)
    assert client.transport.closed is None
    await world.pass_time(25.0)
    assert client.transport.closed == (3012, "no pong")


async def test_a_native_pong_proves_nothing_where_ours_are_due(world: World) -> None:
    client = await world.client()
    await world.pass_time(19.0)
    session_of(client).on_pong()
    await world.pass_time(9.0)
    assert client.transport.closed == (3012, "no pong")


async def test_native_pings_where_the_host_has_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pong will be told, so none is waited for."""
    monkeypatch.setattr(MemoryTransport, "ping", lambda transport: False)
    client = world.open(query={"cf_ws_frame_ping_pong": "true"})
    await client.connect()
    await world.pass_time(60.0)
    assert client.transport.closed is None


# Without a close frame


async def test_the_end_is_told_by_a_push(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryTransport, "has_close_frame", False)
    client = world.open()
    result = await client.connect()
    assert (len(result["session"]), result["node"]) == (36, world.node.id)
    session_of(client).end(3008, "slow \ud800")
    assert await client.next_push() == {"disconnect": {"code": 3008, "reason": "slow ?"}}
    assert client.transport.closed == (3008, "slow \ud800")


async def test_3000_says_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryTransport, "has_close_frame", False)
    client = await world.client()
    session_of(client).end(3000, "connection closed")
    with pytest.raises(Closed):
        await client.next_push()


async def test_commands_may_come_another_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryTransport, "has_close_frame", False)
    client = world.open()
    secret = (await client.connect())["session"]
    carry = world.node.relay.carry
    assert await carry(world.node.id, secret, b'{"id":9,"rpc":{"method":"none"}}') is Arrival.TAKEN
    await world.settle()
    assert replies(client)[-1]["id"] == 9
    client.cut()
    assert await carry(world.node.id, secret, b"{}") is Arrival.UNKNOWN


async def test_a_websocket_has_no_session_id(world: World) -> None:
    result = await world.open().connect()
    assert "session" not in result
    assert "node" not in result


# Bounds


async def test_commands_that_wait_are_bounded(make_world: MakeWorld) -> None:
    world = await make_world(limits=LimitOptions(inbox_max_bytes=200))
    slow = SlowHook(world, RpcEvent)
    client = await world.client()
    sent = 2
    while client.transport.reading:
        client.send({"id": sent, "rpc": {"data": "x" * 20}})
        sent += 1
    assert sent < 12
    slow.answers.set()
    await world.settle(200)
    assert client.transport.reading
    assert len(replies(client)) == sent - 1


async def test_pushes_that_nobody_reads_end_it_in_the_end(make_world: MakeWorld) -> None:
    """News about its subscriptions is queued beyond the budget, but not for ever."""
    world = await make_world(limits=LimitOptions(outbox_max_bytes=1_000))
    client = await world.client("ann")
    client.transport.paused = True
    for _ in range(100):
        await world.node.order(SubscribeOrder("ann", "log:1"))
        await world.settle()
        await world.node.order(UnsubscribeOrder("ann", "log:1"))
        assert session_of(client).outbox.bytes <= 2_000
    assert client.transport.closed == (3008, "slow")


# 4.5 Endings


async def test_what_is_queued_goes_out_before_the_end(world: World) -> None:
    client = await world.client("ann")
    await client.subscribe("news")
    await world.publish("news", b"1")
    await world.node.order(DisconnectOrder("ann"))
    client.read()
    assert [push["pub"]["data"] for push in client.pushes] == [1]
    assert client.transport.closed == (3503, "force disconnect")


async def test_messages_after_the_end_are_ignored(world: World) -> None:
    client = await world.client("ann")
    await world.node.order(DisconnectOrder("ann"))
    written = len(client.transport.written)
    client.send({"id": 5, "rpc": {}})
    client.send_bytes(b"nonsense")
    session_of(client).on_writable()
    session_of(client).on_pong()
    session_of(client).on_close(1006, "")
    await world.settle()
    assert len(client.transport.written) == written
    assert client.transport.closed == (3503, "force disconnect")
    assert world.stats.disconnects == {3503: 1}


async def test_commands_behind_one_that_ended_the_connection_arent_done(world: World) -> None:
    client = await world.client()
    client.send({"id": 2, "ping": {}}, {"id": 3, "subscribe": {"channel": "room:1"}})
    await world.settle()
    assert client.transport.closed == BAD_REQUEST
    world.assert_empty()


# What the hub must not be told twice


async def test_a_server_side_and_a_client_side_subscribe_at_once_make_one_subscription(world: World) -> None:
    slow = SlowHook(world, SubscribeEvent)
    client = await world.client("ann")
    client.send({"id": 2, "subscribe": {"channel": "log:1"}})
    await slow.asked.wait()
    await world.node.order(SubscribeOrder("ann", "log:1"))
    slow.answers.set()
    await world.settle()
    assert world.node.channels() == {"log:1": 1}
    await world.publish("log:1")
    pushes = await client.settle()
    assert [push["pub"]["offset"] for push in pushes if "pub" in push] == [1]
    assert [reply["error"]["code"] for reply in replies(client) if "error" in reply] == [105]


async def test_the_state_says_what_is_going_on(world: World) -> None:
    client = world.open()
    session = session_of(client)
    assert (session.state, session.closed) == (State.OPENED, False)
    await client.connect()
    assert session.state is State.CONNECTED
    client.cut()
    assert (session.state, session.closed) == (State.CLOSED, True)
