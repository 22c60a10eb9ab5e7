"""Publishing by clients. Source: Centrifuge protocol, sections 11.2 and 21.4."""

from __future__ import annotations

from typing import Any

import pytest

from roomful.model.channel import ChannelOptions, Right
from roomful.model.disconnects import Disconnect
from roomful.model.errors import ApplicationError, Forbidden
from roomful.model.event import PublishEvent, PublishReply, Via
from roomful.testing.client import Client, Closed, CommandError
from roomful.wire import centrifuge_pb2 as pb
from tests.session.conftest import MakeWorld
from tests.session.world import World, session_of

Outcome = str | int


async def outcome(client: Client, channel: str, data: Any = 1, **fields: Any) -> Outcome:
    """Whether it was "published", the code of an error reply, or the code of the disconnect."""
    try:
        assert await client.call(publish={"channel": channel, "data": data, **fields}) == {}
    except CommandError as error:
        assert client.transport.closed is None
        return error.code
    except Closed as closed:
        return closed.code
    return "published"


def rights(right: Right) -> ChannelOptions:
    return ChannelOptions(subscribe="client", publish=right)


@pytest.mark.parametrize(
    ("right", "user", "subscribed", "expected"),
    [
        (Right.NOBODY, "ann", True, 103),
        (Right.SUBSCRIBER, "ann", False, 103),
        (Right.SUBSCRIBER, "ann", True, "published"),
        (Right.SUBSCRIBER, "", True, "published"),
        (Right.USER, "ann", False, "published"),
        (Right.USER, "", True, 103),
        (Right.CLIENT, "", False, "published"),
    ],
)
async def test_what_the_namespace_grants(
    make_world: MakeWorld, right: Right, user: str, subscribed: bool, expected: Outcome
) -> None:
    world = await make_world(room=rights(right))
    client = await world.client(user)
    if subscribed:
        await client.subscribe("room:1")
    assert await outcome(client, "room:1") == expected
    assert world.stats.publications == int(expected == "published" and subscribed)


async def test_the_right_of_a_subscriber_ends_with_the_subscription(make_world: MakeWorld) -> None:
    world = await make_world(room=rights(Right.SUBSCRIBER))
    client = await world.client("ann")
    await client.subscribe("room:1")
    await client.unsubscribe("room:1")
    assert await outcome(client, "room:1") == 103


async def test_under_dev_everybody_may(make_world: MakeWorld) -> None:
    world = await make_world(insecure=True, room=ChannelOptions())
    assert await outcome(await world.client(), "room:1") == "published"


@pytest.mark.parametrize(
    ("answer", "where_granted", "where_not"),
    [
        (None, "published", 103),
        (PublishReply(), "published", "published"),
        (Forbidden("no"), 103, 103),
        (ApplicationError(1200, "no"), 1200, 1200),
        (Disconnect(4001, "no"), 4001, 4001),
        (ValueError("no"), 100, 100),
    ],
    ids=repr,
)
async def test_what_the_hook_says(
    make_world: MakeWorld, answer: PublishReply | Exception | None, where_granted: Outcome, where_not: Outcome
) -> None:
    world = await make_world(open=rights(Right.CLIENT), closed=rights(Right.NOBODY))

    @world.on(PublishEvent)
    async def hook(_event: PublishEvent) -> PublishReply | None:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await outcome(await world.client(), "open:1") == where_granted
    assert await outcome(await world.client(), "closed:1") == where_not


async def test_what_the_hook_is_told_and_what_it_may_change(world: World) -> None:
    events: list[PublishEvent] = []

    @world.on(PublishEvent)
    async def hook(event: PublishEvent) -> PublishReply:
        events.append(event)
        return PublishReply(data={"text": "polite"}, tags={"lang": "en"}, exclude=frozenset({event.client}))

    client, other = await world.client("ann"), await world.client("bob")
    for each in (client, other):
        await each.subscribe("log:1")
    await client.publish("log:1", {"text": "rude"})
    (push,) = await other.settle()
    assert push["pub"] == {
        "data": {"text": "polite"},
        "info": {"user": "ann", "client": client.id},
        "offset": 1,
        "tags": {"lang": "en"},
    }
    assert await client.settle() == []
    assert events == [PublishEvent(client.id, "ann", "log:1", {"text": "rude"}, {}, Via("memory", "json"))]
    await world.publish("log:1")
    assert [push["pub"]["offset"] for push in await client.settle()] == [2], "what wasn't for it is no hole"


@pytest.mark.parametrize(
    "reply", [PublishReply(data=b"no json"), PublishReply(data=object()), PublishReply(tags={"n": 1})], ids=repr
)
async def test_a_hooks_impossible_answer_is_our_error_and_reaches_nobody(world: World, reply: PublishReply) -> None:
    @world.on(PublishEvent)
    async def hook(_event: PublishEvent) -> PublishReply:
        return reply

    client, other = await world.client("ann"), await world.client("bob")
    for each in (client, other):
        await each.subscribe("log:1")
    assert await outcome(client, "log:1") == 100
    assert await other.settle() == []
    assert (client.transport.closed, other.transport.closed) == (None, None)


async def test_the_publisher_gets_it_too_and_everybody_who_sent_it(world: World) -> None:
    client = await world.client("ann", data=None)
    token = world.channel_token("ann", "log:1", info={"role": "host"})
    await client.subscribe("log:1", token=token)
    await client.publish("log:1", "hi")
    (push,) = await client.settle()
    info = {"user": "ann", "client": client.id, "chan_info": {"role": "host"}}
    assert push == {"channel": "log:1", "pub": {"data": "hi", "info": info, "offset": 1}}
    await client.publish("news", "not subscribed")
    assert session_of(client).info_in("news").chan_info == b""


async def test_but_not_where_the_namespace_says_so(make_world: MakeWorld) -> None:
    quiet = ChannelOptions(
        subscribe="client", publish=Right.CLIENT, exclude_self=True, history_size=5, history_ttl_s=60, recover=True
    )
    world = await make_world(quiet=quiet)
    client, other = await world.client(), await world.client()
    for each in (client, other):
        await each.subscribe("quiet:1")
    await client.publish("quiet:1", 1)
    await other.publish("quiet:1", 2)
    assert [push["pub"]["data"] for push in await client.settle()] == [2]
    assert [push["pub"]["data"] for push in await other.settle()] == [1]


# What may be published


FORMATS: list[tuple[str, Any, Outcome]] = [
    ("json", {"a": 1}, "published"),
    ("json", 0, "published"),
    ("json", None, "published"),
    ("json", "", "published"),
    ("json_object", {"a": 1}, "published"),
    ("json_object", [1], 107),
    ("json_object", None, 107),
]


@pytest.mark.parametrize(("data_format", "data", "expected"), FORMATS)
async def test_the_formats_of_json_clients(
    make_world: MakeWorld, data_format: Any, data: Any, expected: Outcome
) -> None:
    world = await make_world(room=ChannelOptions(publish=Right.CLIENT, data_format=data_format))
    assert await outcome(await world.client(), "room:1", data) == expected


@pytest.mark.parametrize(("data_format", "code"), [("json", 107), ("json_object", 107), ("binary", 0)])
async def test_no_data_at_all(make_world: MakeWorld, data_format: Any, code: int) -> None:
    world = await make_world(room=ChannelOptions(publish=Right.CLIENT, data_format=data_format))
    client = await world.client()
    client.send({"id": 9, "publish": {"channel": "room:1"}})
    await world.settle()
    client.read()
    assert client._replies[9].get("error", {"code": 0})["code"] == code


@pytest.mark.parametrize(
    ("data_format", "data", "code"),
    [
        ("json", b'{"a":1}', 0),
        ("json", b"\xff\x00", 107),
        ("json", b"", 107),
        ("json_object", b"[]", 107),
        ("json_object", b"{}", 0),
        ("binary", b"\xff\x00", 0),
        ("binary", b"", 0),
    ],
)
async def test_the_formats_of_protobuf_clients(make_world: MakeWorld, data_format: Any, data: bytes, code: int) -> None:
    world = await make_world(room=ChannelOptions(publish=Right.CLIENT, data_format=data_format))
    client = world.open(query={"format": "protobuf"})
    client.send_bytes(_message(pb.Command(id=1, connect=pb.ConnectRequest())))
    await world.settle()
    client.send_bytes(_message(pb.Command(id=2, publish=pb.PublishRequest(channel="room:1", data=data))))
    await world.settle()
    reply = pb.Reply.FromString(client.transport.written[-1][1:])
    assert (reply.id, reply.error.code) == (2, code)


def _message(command: pb.Command) -> bytes:
    document = command.SerializeToString()
    assert len(document) < 128
    return bytes([len(document)]) + document


@pytest.mark.parametrize(
    ("channel", "fields", "expected"),
    [
        ("", {}, 3501),
        ("x" * 256, {}, 107),
        ("nowhere:1", {}, 102),
        ("closed:1", {"type": 1}, 108),
        ("closed:1", {"data": [1]}, 107),
        ("closed:1", {}, 103),
    ],
)
async def test_the_order_of_checks(
    make_world: MakeWorld, channel: str, fields: dict[str, Any], expected: Outcome
) -> None:
    world = await make_world(closed=ChannelOptions(data_format="json_object"))
    assert await outcome(await world.client(), channel, **{"data": {}, **fields}) == expected


async def test_it_answers_when_the_engine_has_it(world: World) -> None:
    client = await world.client()
    world.engine.quick = False
    client.send({"id": 9, "publish": {"channel": "log:1", "data": 1}})
    await world.settle()
    client.read()
    assert 9 not in client._replies
    await world.engine.rush()
    client.read()
    assert client._replies[9] == {"id": 9, "publish": {}}


async def test_an_engine_that_fails_is_told(world: World) -> None:
    client = await world.client()
    world.engine.broken.add("publish")
    assert await outcome(client, "log:1") == 100
    world.engine.broken.clear()
    assert (await world.head("log:1")).offset == 0
