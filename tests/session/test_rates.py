"""Commands that come too often: what their sender is told, and what it costs nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomful.model import document as d
from roomful.model.channel import ChannelOptions, Right
from roomful.model.errors import TooManyRequests
from roomful.model.event import ConnectEvent, ConnectReply, DisconnectEvent, MessageEvent, RpcEvent, RpcReply
from roomful.node.rate_options import ConnectionRates, RateOptions, RoomRates, VisitorRates
from roomful.seams.transport import Request
from roomful.session.options import LimitOptions
from roomful.session.poll import Poll
from roomful.session.session import COMMANDS_A_TURN, RATED
from roomful.testing.client import Client, CommandError
from roomful.wire.poll import POLL
from tests.session.conftest import MakeDocumentWorld, MakeWorld
from tests.session.world import session_of

OPEN: dict[str, Any] = {"subscribe": "client", "publish": Right.CLIENT, "history": Right.CLIENT}
OPEN |= {"see_presence": Right.CLIENT, "presence": True, "history_size": 10, "history_ttl_s": 60.0}
ONE = "0.1/s burst 1"


def rated(**rates: Any) -> LimitOptions:
    return LimitOptions(rates=RateOptions(**rates))


async def too_many(client: Client, **command: Any) -> CommandError:
    with pytest.raises(CommandError) as caught:
        await client.call(**command)
    assert (caught.value.code, caught.value.temporary) == (111, True)
    assert "retry after 10 s" in caught.value.message
    return caught.value


ROOM_COMMANDS: dict[str, dict[str, Any]] = {
    "publish": {"publish": {"channel": "open:1", "data": {}}},
    "presence": {"presence_stats": {"channel": "open:1"}},
    "history": {"history": {"channel": "open:1"}},
}
COMMANDS = {**ROOM_COMMANDS, "rpc": {"rpc": {"method": "echo", "data": {}}}}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("by", ["connection", "user", "address"])
async def test_one_too_many_is_told_and_the_next_may_come_in_time(make_world: MakeWorld, by: str, command: str) -> None:
    kind = ConnectionRates if by == "connection" else VisitorRates
    world = await make_world(limits=rated(**{by: kind(**{command: ONE})}), open=ChannelOptions(**OPEN))
    world.on(RpcEvent)(lambda event: RpcReply({}))
    ann = await world.client("ann")
    await ann.call(**COMMANDS[command])
    await too_many(ann, **COMMANDS[command])
    await world.pass_time(1)
    await ann.call(subscribe={"channel": "open:1"})  # has a rate of its own, or none
    await world.pass_time(9)
    await ann.call(**COMMANDS[command])
    assert world.stats.rate_limited == {(by, command): 1}
    assert world.stats.errors == {111: 1}


@pytest.mark.parametrize("command", ROOM_COMMANDS)
async def test_a_room_can_have_too_much_of_all_together(make_world: MakeWorld, command: str) -> None:
    world = await make_world(limits=rated(room=RoomRates(**{command: ONE})), open=ChannelOptions(**OPEN))
    ann, bob = await world.client("ann"), await world.client("bob")
    await ann.call(**ROOM_COMMANDS[command])
    await too_many(bob, **ROOM_COMMANDS[command])
    ((name, fields),) = ROOM_COMMANDS[command].items()
    await bob.call(**{name: {**fields, "channel": "open:2"}})


async def test_who_may_not_uses_up_nothing_of_the_room(make_world: MakeWorld) -> None:
    shut = ChannelOptions(**{**OPEN, "subscribe": "nobody", "publish": Right.USER, "history": Right.USER})
    rates = RoomRates(subscribe=ONE, publish=ONE, history=ONE)
    world = await make_world(limits=rated(room=rates), open=shut)
    stranger, ann = await world.client(), await world.client("ann")
    for _ in range(5):
        for name, fields in {"publish": {"data": {}}, "history": {}, "subscribe": {}}.items():
            with pytest.raises(CommandError) as caught:
                await stranger.call(**{name: {"channel": "open:1", **fields}})
            assert caught.value.code == 103
    await ann.publish("open:1", {})
    await ann.call(history={"channel": "open:1"})
    await ann.subscribe("open:1", token=world.channel_token("ann", "open:1"))


async def test_what_the_application_publishes_is_not_counted(make_world: MakeWorld) -> None:
    world = await make_world(limits=rated(room=RoomRates(publish=ONE)), open=ChannelOptions(**OPEN))
    ann = await world.client("ann")
    await ann.publish("open:1", {})
    for _ in range(9):
        await world.publish("open:1")
    await too_many(ann, publish={"channel": "open:1", "data": {}})


async def test_a_facet_is_a_room_of_its_own(make_world: MakeWorld) -> None:
    world = await make_world(limits=rated(room=RoomRates(publish=ONE)), open=ChannelOptions(**OPEN))
    ann = await world.client("ann")
    await ann.publish("typing:open:1", {"typing": True})
    await ann.publish("open:1", {})
    await too_many(ann, publish={"channel": "typing:open:1", "data": {"typing": True}})


async def test_a_message_without_answer_is_refused_by_the_end(make_world: MakeWorld) -> None:
    heard = []
    world = await make_world(limits=rated(connection=ConnectionRates(send=ONE)))
    world.on(MessageEvent)(lambda event: heard.append(event.data))
    ann = await world.client("ann")
    ann.send({"send": {"data": 1}}, {"send": {"data": 2}})
    assert await ann.closed() == (3013, "too many requests")
    assert heard == [1]


async def test_a_connect_that_comes_too_soon_meets_no_hook_and_no_token(make_world: MakeWorld) -> None:
    asked: list[str] = []
    world = await make_world(limits=rated(address=VisitorRates(connect=ONE)))
    world.on(ConnectEvent)(lambda event: asked.append(event.user))
    world.on(DisconnectEvent)(lambda event: asked.append("gone"))
    await world.client("ann")
    late = world.open()
    await too_many(late, connect={"token": "nonsense"})
    await world.pass_time(6)
    assert late.transport.closed is not None
    assert asked == ["ann"]
    await world.pass_time(5)
    await world.client("ann")


async def test_the_user_of_a_token_is_counted_before_the_hook_is_asked(make_world: MakeWorld) -> None:
    asked = []
    world = await make_world(limits=rated(user=VisitorRates(connect=ONE)))
    world.on(ConnectEvent)(lambda event: asked.append(event.user))
    await world.client("ann")
    await too_many(world.open(), connect={"token": world.token("ann")})
    await world.client("bob")
    assert asked == ["ann", "bob"]


async def test_the_user_that_a_hook_names_is_counted(make_world: MakeWorld) -> None:
    gone = []
    world = await make_world(limits=rated(user=VisitorRates(connect=ONE)))
    world.on(ConnectEvent)(lambda event: ConnectReply(user=event.data["name"]))
    world.on(DisconnectEvent)(lambda event: gone.append(event.user))
    await world.client(data={"name": "ann"})
    late = world.open()
    await too_many(late, connect={"data": {"name": "ann"}})
    late.cut()
    await world.client(data={"name": "bob"})
    async with asyncio.timeout(5):
        while gone != ["ann"]:  # noqa: ASYNC110  # its hook was asked, so its end is told, too
            await asyncio.sleep(0.001)


async def test_subscriptions_that_a_connect_asks_for_count_for_their_rooms(make_world: MakeWorld) -> None:
    world = await make_world(limits=rated(room=RoomRates(subscribe=ONE)), open=ChannelOptions(**OPEN))
    await world.client("ann", subs={"open:1": {}})
    late = world.open()
    await too_many(late, connect={"token": world.token("bob"), "subs": {"open:1": {}}})
    by_token = {"token": world.token("bob", channels=["open:1"])}
    await world.client(**by_token)  # whom the server subscribes isn't counted
    carl = await world.client("carl")
    await too_many(carl, subscribe={"channel": "open:1"})


async def test_polls_have_a_rate_of_their_own(make_world: MakeWorld) -> None:
    world = await make_world(limits=rated(address=VisitorRates(poll=ONE, connect=ONE)), open=ChannelOptions(**OPEN))

    async def poll() -> None:
        request = Request("/poll", address="192.0.2.1")
        await Poll(world.context, POLL, request, {"open:1": None}, first=True).ask("", 0.0)

    await poll()
    with pytest.raises(TooManyRequests):
        await poll()
    await world.client("ann")


async def test_a_rate_of_a_command_in_a_flood_lets_exactly_so_many_through(make_world: MakeWorld) -> None:
    limits = rated(connection=ConnectionRates(publish="1/h burst 5"))
    world = await make_world(limits=limits, open=ChannelOptions(**OPEN))
    flood, other = await world.client("eve"), await world.client("bob")
    await other.subscribe("open:1")
    flood.send(*({"id": 100 + n, "publish": {"channel": "open:1", "data": n}} for n in range(500)))
    pushes = await other.settle()
    assert [push["pub"]["data"] for push in pushes] == [0, 1, 2, 3, 4]
    await flood.settle()  # its commands take turns
    assert flood.transport.closed is None
    await other.publish("open:1", "mine")


async def test_who_floods_waits_and_is_not_read_meanwhile(make_world: MakeWorld) -> None:
    limits = rated(connection=ConnectionRates(publish="1/h burst 5"))
    world = await make_world(limits=limits, open=ChannelOptions(**OPEN))
    flood = await world.client("eve")
    flood.send(*({"id": 100 + n, "publish": {"channel": "open:1", "data": n}} for n in range(20)))
    flood.send({"id": 200, "rpc": {"method": "x"}})
    await world.settle()
    assert world.stats.errors == {111: 1}
    assert not flood.transport.reading
    assert not session_of(flood).receive(b'{"id":9,"rpc":{}}')  # nor what comes by another way
    await world.pass_time(0.5)
    assert 2 <= world.stats.errors[111] <= 6
    assert not flood.transport.reading
    await world.pass_time(20.0)
    assert world.stats.errors == {111: 15, 108: 1}  # and the rpc behind them has had its turn
    assert flood.transport.reading
    flood.send({"id": 201, "publish": {"channel": "open:1", "data": 0}})
    flood.cut()  # in the middle of its wait, which leaves nothing


async def test_its_pongs_are_waited_for_while_it_is_not_read(make_world: MakeWorld) -> None:
    limits = rated(connection=ConnectionRates(publish="1/h burst 1"))
    world = await make_world(limits=limits, open=ChannelOptions(**OPEN))
    flood = await world.client("eve")
    flood.send(*({"id": 100 + n, "publish": {"channel": "open:1", "data": n}} for n in range(600)))
    await world.pass_time(50)
    assert flood.transport.closed is None
    assert not flood.transport.reading
    await world.pass_time(40)
    assert flood.transport.closed is None or flood.transport.closed[0] == 3012  # it is read again, and had its time


async def test_what_waits_behind_a_refusal_is_not_done_all_at_once(make_world: MakeWorld) -> None:
    world = await make_world(limits=rated(connection=ConnectionRates(publish=ONE)), open=ChannelOptions(**OPEN))
    flood = await world.client("eve")
    for id in (100, 101):
        flood.send({"id": id, "publish": {"channel": "open:1", "data": 0}})
    for id in range(200, 1200):
        flood.send({"id": id, "unsubscribe": {"channel": "open:1"}})
    world.clock.advance(1.0)
    world.node.wheel.advance()
    before, most, turns = world.stats.commands, 0, 0
    while not flood.transport.reading:
        await asyncio.sleep(0)
        most, before, turns = max(most, world.stats.commands - before), world.stats.commands, turns + 1
        assert turns < 2000
    assert world.stats.commands == 1003
    assert most <= COMMANDS_A_TURN


async def test_what_only_the_room_has_too_much_of_costs_no_time(make_world: MakeWorld) -> None:
    world = await make_world(limits=rated(room=RoomRates(publish=ONE)), open=ChannelOptions(**OPEN))
    ann = await world.client("ann")
    ann.send(*({"id": 100 + n, "publish": {"channel": "open:1", "data": n}} for n in range(20)))
    await world.settle()
    assert world.stats.errors == {111: 19}
    assert ann.transport.reading


def test_every_command_that_makes_work_has_a_rate() -> None:
    assert set(RATED.values()) == set(ConnectionRates.__struct_fields__) - {
        *("open", "edit", "sync", "awareness", "stateless"),
    }


# Documents


async def test_edits_that_come_too_often_end_the_connection_and_are_not_lost(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(rates=RateOptions(connection=ConnectionRates(edit="1/s burst 3")))
    ann, bob = await documents.y_websocket().open(), await documents.hocuspocus().open()
    for peer, ending in ((ann, 1013), (bob, 4205)):
        for _ in range(3):  # one was spent by the answer to the server's step 1
            assert peer.closed is None
            peer.type("x")
        assert peer.closed is not None
        assert peer.closed[0] == ending
        again = documents.y_websocket()
        again.doc = peer.doc
        await again.open()
        assert again.closed is None
    reader = await documents.y_websocket().open()
    assert reader.text == "xxxxxx"
    assert documents.stats.rate_limited == {("connection", "edit"): 2}


@pytest.mark.parametrize("wire", ["y_websocket", "hocuspocus"])
@pytest.mark.parametrize("by", ["user", "address", "room"])
async def test_documents_that_are_opened_too_often(make_documents: MakeDocumentWorld, wire: str, by: str) -> None:
    rates = RateOptions(**{by: RoomRates(open=ONE) if by == "room" else VisitorRates(open=ONE)})
    documents = await make_documents(rates=rates)

    async def opened() -> tuple[int, str] | None:
        token = documents.token("ann")
        if wire == "hocuspocus":
            return (await documents.hocuspocus(address="192.0.2.1").open(token)).closed
        return (await documents.y_websocket(token=token, address="192.0.2.1").open()).closed

    assert await opened() is None
    ending = await opened()
    assert ending is not None
    assert ending[0] == (4205 if wire == "hocuspocus" else 1013)
    await documents.pass_time(10)
    assert await opened() is None


async def test_each_document_on_one_socket_counts(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(rates=RateOptions(connection=ConnectionRates(open="0.1/s burst 2")))
    peer = documents.hocuspocus()
    await peer.open(key="one")
    await peer.open(key="two")
    assert peer.closed is None
    await peer.open(key="three")
    assert peer.closed == (4205, "Reset Connection")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("awareness", d.AwarenessUpdate((d.AwarenessEntry(7, 1, b"{}"),))),
        ("sync", d.QueryAwareness()),
        ("stateless", d.Stateless("hello")),
        ("refresh", d.Authenticate("", "4.8.0")),
    ],
)
async def test_other_messages_of_documents(
    make_documents: MakeDocumentWorld, command: str, message: d.FromClient
) -> None:
    # Opening takes one question, and nothing of the others.
    rates = ConnectionRates(**{command: "0.1/s burst 2" if command == "sync" else ONE})
    documents = await make_documents(rates=RateOptions(connection=rates))
    peer = await documents.hocuspocus().open()
    peer.send(message)
    await documents.settle()
    assert peer.closed is None
    peer.send(message)
    await documents.settle()
    assert peer.closed == (4205, "Reset Connection")
    assert documents.stats.rate_limited == {("connection", command): 1}
