"""Who is let in, and with which subscriptions.

Source: Centrifuge protocol, sections 5, 6 and 13; design: who decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from roomful.auth.options import TokenOptions
from roomful.model.channel import ChannelOptions
from roomful.model.disconnects import Disconnect
from roomful.model.errors import ApplicationError, Forbidden, InternalError, TooManyRequests
from roomful.model.event import ConnectEvent, ConnectReply, SubscribeEvent, SubscribeReply, SubscriptionOptions, Via
from roomful.session.options import ConnectionOptions, LimitOptions
from roomful.testing.client import Client, Closed, CommandError
from tests.session.conftest import MakeWorld
from tests.session.world import ROOM, SlowHook, World, session_of


async def outcome(client: Client, **fields: Any) -> str | int:
    """Whether it is "in", the code of an error reply, or the code of the disconnect."""
    try:
        await client.connect(**fields)
    except CommandError as error:
        assert client.transport.closed is None
        return error.code
    except Closed as closed:
        return closed.code
    return "in"


# 5.1 The reply


async def test_the_reply(world: World) -> None:
    client = world.open()
    result = await client.connect()
    assert result == {"client": client.id, "version": "Roomful test", "ping": 25, "pong": True}
    assert len(client.id) == 36


async def test_the_reply_with_everything(make_world: MakeWorld) -> None:
    world = await make_world(options=ConnectionOptions(server_time=True, ping_s=2.5, pong_s=1))

    @world.on(ConnectEvent)
    async def let_in(event: ConnectEvent) -> ConnectReply:
        return ConnectReply(data={"hello": event.user})

    client = world.open()
    result = await client.connect(token=world.token("ann", ttl_s=60.2), data={"x": 1})
    assert result["data"] == {"hello": "ann"}
    assert (result["expires"], result["ttl"], result["ping"]) == (True, 60, 3)
    assert result["time"] == int(world.wall() * 1000)


async def test_what_the_hook_is_told(world: World) -> None:
    events: list[ConnectEvent] = []

    @world.on(ConnectEvent)
    async def note(event: ConnectEvent) -> None:
        events.append(event)

    client = world.open(headers={"user-agent": "test"})
    token = world.token("ann", role="host")
    await client.connect(token=token, data={"x": 1}, name="js", version="1.2", headers={"X-A": "b"}, subs={"news": {}})
    (event,) = events
    assert event.token_claims["role"] == "host"
    assert event == ConnectEvent(
        client=client.id,
        user="ann",
        token_claims=event.token_claims,
        data={"x": 1},
        name="js",
        version="1.2",
        headers={"user-agent": "test"},
        client_headers={"X-A": "b"},
        address="192.0.2.1",
        transport="memory",
        channels=["news"],
        via=Via("memory", "json"),
    )
    assert session_of(client).request.headers == {}, "forgotten, once it is in"


# 5.2 Who the client is


@pytest.mark.parametrize(
    ("make_token", "expected"),
    [
        (lambda world: "", 3501),
        (lambda world: world.token("ann"), "in"),
        (lambda world: world.token("ann", ttl_s=10), "in"),
        (lambda world: world.token("ann", ttl_s=-1), 109),
        (lambda world: world.token("ann", nbf=world.wall() + 60), 109),
        (lambda world: world.token("ann", expire_at=world.wall() - 1), 110),
        (lambda world: world.token("ann", expire_at=world.wall() + 60), "in"),
        (lambda world: world.token("ann", ttl_s=10, expire_at=0), "in"),
        (lambda world: world.token("ann") + "x", 3500),
        (lambda world: "nonsense", 3500),
        (lambda world: world.channel_token("ann", "news"), 3500),
        (lambda world: world.token("ann", sub=7), 3500),
        (lambda world: world.token("", sub="~ann"), 3500),
        (lambda world: world.token("", subs={"nowhere:1": {}}), 102),
        (lambda world: world.token("ann", channels=["news", "log:1"]), "in"),
    ],
)
async def test_token_outcomes(make_world: MakeWorld, make_token: Callable[[World], str], expected: str | int) -> None:
    world = await make_world(anonymous=False)
    assert await outcome(world.open(), token=make_token(world)) == expected


async def test_without_any_key_no_token_is_believed(make_world: MakeWorld) -> None:
    world = await make_world(tokens=TokenOptions())
    assert await outcome(world.open(), token=world.token("ann")) == 3500
    assert await outcome(world.open()) == "in"


async def test_keys_that_cant_be_fetched_are_our_trouble_for_now(world: World) -> None:
    class Down:
        async def connection(self, _token: str) -> Any:
            raise InternalError("the keys can't be fetched")

    object.__setattr__(world.context, "authenticator", Down())
    client = world.open()
    with pytest.raises(CommandError) as raised:
        await client.connect(token="t")
    assert (raised.value.code, raised.value.temporary) == (100, True)


REFUSALS: list[tuple[Exception, str | int]] = [
    (Forbidden("not you"), 3507),
    (ApplicationError(1001, "busy", temporary=True), 1001),
    (TooManyRequests(), 111),
    (Disconnect(4444, "moved"), 4444),
    (ValueError("ours"), 100),
]


@pytest.mark.parametrize("with_token", [True, False])
@pytest.mark.parametrize(("error", "expected"), REFUSALS, ids=lambda value: repr(value))
async def test_a_hook_refuses_also_against_a_token(
    world: World, error: Exception, expected: str | int, with_token: bool
) -> None:
    @world.on(ConnectEvent)
    async def refuse(_event: ConnectEvent) -> None:
        raise error

    token = world.token("ann") if with_token else ""
    assert await outcome(world.open(), token=token) == expected


@pytest.mark.parametrize(
    ("anonymous", "with_token", "reply", "expected"),
    [
        (False, False, None, 3501),
        (False, False, ConnectReply(), "in"),
        (False, True, None, "in"),
        (False, True, ConnectReply(), "in"),
        (True, False, None, "in"),
    ],
)
async def test_who_decides(
    make_world: MakeWorld, anonymous: bool, with_token: bool, reply: ConnectReply | None, expected: str | int
) -> None:
    world = await make_world(anonymous=anonymous)

    @world.on(ConnectEvent)
    async def hook(_event: ConnectEvent) -> ConnectReply | None:
        return reply

    token = world.token("ann") if with_token else ""
    assert await outcome(world.open(), token=token) == expected


async def test_the_hooks_answer_stands_above_the_token(world: World) -> None:
    @world.on(ConnectEvent)
    async def hook(event: ConnectEvent) -> ConnectReply:
        if event.data == "keep":
            return ConnectReply(meta={"b": 2})
        return ConnectReply(user="bob", info={"name": "Bob"}, expires_at=world.wall() + 5, meta={"b": 2})

    claims: dict[str, Any] = {"info": {"name": "Ann"}, "meta": {"a": 1}}
    replaced, kept = world.open(), world.open()
    result = await replaced.connect(token=world.token("ann", **claims, ttl_s=60))
    session = session_of(replaced)
    assert "expires" not in result, "the hook renews it, not the client"
    assert (session.user, session.conn_info, session.meta) == ("bob", b'{"name":"Bob"}', {"a": 1, "b": 2})
    assert session.expires_at == world.wall() + 5
    result = await kept.connect(token=world.token("ann", **claims, ttl_s=60), data="keep")
    session = session_of(kept)
    assert (result["expires"], result["ttl"]) == (True, 60)
    assert (session.user, session.conn_info, session.meta) == ("ann", b'{"name":"Ann"}', {"a": 1, "b": 2})


@pytest.mark.parametrize("reply", [ConnectReply(user="~ann"), ConnectReply(info=object()), ConnectReply(data={1, 2j})])
async def test_a_hooks_impossible_answer_is_our_error(world: World, reply: ConnectReply) -> None:
    @world.on(ConnectEvent)
    async def hook(_event: ConnectEvent) -> ConnectReply:
        return reply

    assert await outcome(world.open()) == 100


async def test_a_hook_that_lets_in_only_until_now_is_told_so(world: World) -> None:
    @world.on(ConnectEvent)
    async def hook(_event: ConnectEvent) -> ConnectReply:
        return ConnectReply(expires_at=world.wall())

    assert await outcome(world.open()) == 110


# --dev


async def test_under_dev_everybody_comes_in_and_a_name_is_believed(make_world: MakeWorld) -> None:
    world = await make_world(insecure=True, anonymous=False, room=ROOM)
    client = world.open()
    await client.connect(token="nonsense", data={"name": "Ann" * 100})
    assert (session_of(client).user, len(session_of(client).conn_info)) == ("", len(b'{"name":""}') + 64)
    known = world.open()
    result = await known.connect(token=world.token("ann", ttl_s=5))
    assert "expires" not in result
    assert session_of(known).user == "ann"
    late = world.open()
    await late.connect(token=world.token("ann", ttl_s=-5), data=[1])
    assert session_of(late).user == ""


# Limits


async def test_connections_of_one_user_are_limited(make_world: MakeWorld) -> None:
    world = await make_world(limits=LimitOptions(connections_per_user_max=2))
    for expected in ("in", "in", 3504):
        assert await outcome(world.open(), token=world.token("ann")) == expected
    for _ in range(4):
        assert await outcome(world.open()) == "in", "anonymous clients have nothing in common"
    assert await outcome(world.open(), token=world.token("bob")) == "in"


async def test_also_when_they_come_at_once(make_world: MakeWorld) -> None:
    world = await make_world(limits=LimitOptions(connections_per_user_max=2))
    world.engine.quick = False
    clients = [world.open() for _ in range(5)]
    for client in clients:
        client.send({"id": 1, "connect": {"token": world.token("ann", channels=["room:1"])}})
    await world.settle()
    await world.engine.rush()
    assert sum(client.transport.closed == (3504, "connection limit") for client in clients) == 3
    assert len(await world.node.presence("room:1")) == 2


async def test_more_server_side_subscriptions_than_channels(make_world: MakeWorld) -> None:
    world = await make_world(limits=LimitOptions(channels_max=2))
    assert await outcome(world.open(), token=world.token("ann", channels=["a", "b"])) == "in"
    assert await outcome(world.open(), token=world.token("ann", channels=["a", "b", "c"])) == 3505
    assert await outcome(world.open(), subs={"a": {}, "b": {}, "c": {}}) == 3505


# 13 Server-side subscriptions


async def test_of_the_token(world: World) -> None:
    position = await world.publish("log:1")
    assert position is not None
    subs = {"log:1": {"data": {"a": 1}}, "$secret": {}, "news": {}}
    client = world.open()
    result = await client.connect(token=world.token("ann", subs=subs))
    log = {"recoverable": True, "positioned": True, "epoch": position.epoch, "offset": 1, "data": {"a": 1}}
    assert result["subs"] == {"log:1": log, "$secret": {}, "news": {}}
    await world.publish("log:1")
    await world.publish("$secret")
    assert [push["channel"] for push in await client.settle()] == ["log:1", "$secret"]


async def test_of_the_hook_beside_the_token(world: World) -> None:
    @world.on(ConnectEvent)
    async def hook(event: ConnectEvent) -> ConnectReply:
        if event.data == "list":
            return ConnectReply(subs=["$hook"])
        return ConnectReply(subs={"$hook": SubscriptionOptions(data=1), "$token": SubscriptionOptions(data=2)})

    token = world.token("ann", subs={"$token": {"data": 3}, "$other": {}})
    assert (await world.open().connect(token=token))["subs"] == {
        "$hook": {"data": 1},
        "$token": {"data": 2},
        "$other": {},
    }
    assert (await world.open().connect(data="list"))["subs"] == {"$hook": {}}


async def test_the_personal_channel(make_world: MakeWorld) -> None:
    world = await make_world(options=ConnectionOptions(personal_channel=True, personal_namespace="log"))
    assert list((await world.open().connect(token=world.token("ann")))["subs"]) == ["log:#ann"]
    assert "subs" not in await world.open().connect()


async def test_the_newest_connection_stays(make_world: MakeWorld) -> None:
    options = ConnectionOptions(personal_channel=True, personal_namespace="room", single_connection=True)
    world = await make_world(options=options)
    first, stranger = await world.client("ann"), await world.client("bob")
    second = await world.client("ann")
    closed: list[Any] = [client.transport.closed for client in (first, second, stranger)]
    assert closed == [(3504, "connection limit"), None, None]
    await world.settle()
    assert list(await world.node.presence("room:#ann")) == [second.id]


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("log:1", "subscribed"),
        ("news", "subscribed"),
        ("$secret", "skipped"),
        ("closed:1", "skipped"),
        ("limited:#bob", "skipped"),
        ("limited:#ann", "subscribed"),
        ("hooked:no", "skipped"),
        ("hooked:yes", "subscribed"),
        ("hooked:later", 111),
        ("hooked:broken", 100),
        ("nowhere:1", 3501),
        ("x" * 256, 107),
    ],
)
async def test_those_that_the_client_asks_for(make_world: MakeWorld, channel: str, expected: str | int) -> None:
    world = await make_world(
        closed=ChannelOptions(), hooked=ChannelOptions(), limited=ChannelOptions(user_limited=True)
    )

    @world.on(SubscribeEvent, "hooked:*")
    async def hook(event: SubscribeEvent) -> SubscribeReply | None:
        match event.channel:
            case "hooked:yes":
                return SubscribeReply()
            case "hooked:no":
                raise Forbidden
            case "hooked:later":
                raise TooManyRequests
        raise ValueError

    client = world.open()
    fields: dict[str, Any] = {"token": world.token("ann"), "subs": {channel: {}}}
    if isinstance(expected, int):
        assert await outcome(client, **fields) == expected
    else:
        subs = (await client.connect(**fields)).get("subs", {})
        assert list(subs) == ([channel] if expected == "subscribed" else [])


async def test_they_recover(world: World) -> None:
    position = await world.publish("log:1", b"1")
    assert position is not None
    await world.publish("log:1", b"2")
    await world.publish("log:2", b"1")
    client = world.open()
    subs = {
        "log:1": {"recover": True, "epoch": position.epoch, "offset": 1},
        "log:2": {"recover": True, "epoch": "other", "offset": 1},
        "log:3": {},
    }
    result = (await client.connect(subs=subs))["subs"]
    assert result["log:1"] == {
        "recoverable": True,
        "positioned": True,
        "epoch": position.epoch,
        "offset": 1,
        "recovered": True,
        "was_recovering": True,
        "publications": [{"data": 2, "offset": 2}],
    }
    assert (result["log:2"]["was_recovering"], "recovered" in result["log:2"]) == (True, False)
    assert "was_recovering" not in result["log:3"]
    assert "offset" not in result["log:3"]
    with pytest.raises(CommandError) as raised:
        await client.subscribe("log:1")
    assert raised.value.code == 105


async def test_one_page_for_all_of_them_and_the_rest_as_pushes(make_world: MakeWorld) -> None:
    world = await make_world(limits=LimitOptions(recovery_max_bytes=100))
    epochs: dict[str, str] = {}
    for number in range(4):
        for _ in range(10):
            position = await world.publish(f"log:{number}", b'"%s"' % (b"x" * 20))
            assert position is not None
            epochs[f"log:{number}"] = position.epoch
    subs = {channel: {"recover": True, "epoch": epoch, "offset": 0} for channel, epoch in epochs.items()}
    client = world.open()
    result = (await client.connect(subs=subs))["subs"]
    assert [len(result[channel]["publications"]) for channel in epochs] == [4, 1, 1, 1]
    assert all(subscribed["recovered"] for subscribed in result.values())
    pushes = await client.settle()
    for channel in epochs:
        got = [p["offset"] for p in result[channel]["publications"]]
        got += [push["pub"]["offset"] for push in pushes if push["channel"] == channel]
        assert got == list(range(1, 11))


async def test_a_catch_up_begins_also_where_the_join_of_another_takes_its_time(make_world: MakeWorld) -> None:
    """The connect reply has left long since when the second subscription begins, and nothing else will be sent."""
    world = await make_world(limits=LimitOptions(recovery_max=1))
    for _ in range(4):
        await world.publish("log:1")
    client = world.open()
    world.engine.quick = False
    client.send({"id": 1, "connect": {"subs": {"room:1": {}, "log:1": {"recover": True}}}})
    while not client.transport.written:
        world.engine.let()
        await world.settle()
    await world.engine.rush()
    assert [push["pub"]["offset"] for push in await client.settle() if "pub" in push] == [2, 3, 4]


@pytest.mark.parametrize("broken", ["subscribe", "add", "history"])
async def test_if_one_of_them_fails_none_is_left(world: World, broken: str) -> None:
    world.engine.broken.add(broken)
    client = world.open()
    assert await outcome(client, token=world.token("ann", channels=["news", "room:1"])) == 100
    world.engine.broken.clear()
    assert world.node.channels() == {}
    assert await world.node.presence("room:1") == {}
    assert len(world.node.directory) == 0


async def test_the_join_comes_after_the_reply_and_to_itself(world: World) -> None:
    client = world.open()
    client.send({"id": 1, "connect": {"token": world.token("ann", channels=["room:1"])}})
    override = {"force_push_join_leave": {"value": True}}
    other = world.open()
    await other.connect(token=world.token("bob", subs={"room:1": {"override": override}}))
    (push,) = await other.settle()
    assert push["join"]["info"] == {"user": "bob", "client": other.id}


async def test_who_goes_while_it_is_let_in_leaves_nothing(world: World) -> None:
    for steps in range(12):
        client = world.open()
        world.engine.quick = False
        client.send({"id": 1, "connect": {"token": world.token("ann", channels=["room:1", "log:1", "news"])}})
        for _ in range(steps):
            await world.settle()
            world.engine.let()
        client.cut()
        await world.settle()
        await world.engine.rush()
        await world.settle()
        world.assert_empty()


async def test_nobody_is_addressed_before_he_is_in(world: World) -> None:
    slow = SlowHook(world, ConnectEvent)
    client = world.open()
    client.send({"id": 1, "connect": {"token": world.token("ann")}})
    await slow.asked.wait()
    assert len(world.node.directory) == 0
    slow.answers.set()
    await world.settle()
    assert len(world.node.directory) == 1
