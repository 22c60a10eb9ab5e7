from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from roomful.engines.memory import MemoryEngine
from roomful.model.channel import ChannelOptions, Right
from roomful.model.client import ClientInfo
from roomful.model.disconnects import Disconnect
from roomful.model.errors import Expired, Forbidden, LimitExceeded, RoomfulError, UnknownChannel
from roomful.model.event import ConnectEvent, DisconnectEvent, SubscribeEvent, SubscribeReply
from roomful.model.order import DisconnectOrder, RefreshOrder, UnsubscribeOrder
from roomful.model.publication import Position, Publication
from roomful.rooms.recovery import Gap
from roomful.session.catch_up import give_out
from roomful.session.options import LimitOptions
from tests.event_source import Event
from tests.session.conftest import MakeWorld
from tests.session.source import Source
from tests.session.world import World

OPEN: dict[str, Any] = {"subscribe": "client", "publish": Right.CLIENT}
SMALL = LimitOptions(outbox_max_bytes=700, recovery_max=3, recovery_max_bytes=300)
"""So small that a burst overflows, and that a recovery takes many pages."""


def texts(events: list[Event]) -> list[Any]:
    return [event.data["data"] for event in events if event.type == "message"]


async def numbers(world: World, channel: str, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await world.publish(channel, b"%d" % number)


# From a request to a live feed


async def test_it_begins_with_what_it_is(world: World) -> None:
    source = Source(world, ["log:1", "news"])
    source.connect()
    await world.settle()
    (event,) = source.pump()
    head = await world.head("log:1")
    assert source.started
    assert event.type == "subscribed"
    assert event.data == {
        "channels": {
            "log:1": {"recovered": False, "epoch": head.epoch, "offset": 0},
            "news": {"recovered": False},
        }
    }
    assert event.last_event_id == f"{head.epoch}:0,-"
    source.cut()


async def test_publications_joins_and_leaves_come_live(world: World) -> None:
    source = Source(world, ["room:1"])
    source.connect()
    ann = await world.client("ann")
    await ann.subscribe("room:1")
    await ann.publish("room:1", {"text": "hi"})
    await world.publish("room:1", b"5", tags={"event": "price"})
    await ann.unsubscribe("room:1")
    await world.settle()
    events = [event for event in source.pump() if event.data.get("info", {}).get("user") != ""]
    assert [event.type for event in events] == ["subscribed", "join", "message", "price", "leave"]
    message, price = events[2:4]
    assert message.data["info"]["user"] == "ann"
    assert (message.data["data"], message.data["offset"]) == ({"text": "hi"}, 1)
    assert price.data["tags"] == {"event": "price"}
    assert [event.last_event_id[-2:] for event in events] == [":0", ":0", ":1", ":2", ":2"]
    assert len(await world.node.presence("room:1")) == 1  # the stream itself
    source.cut()


async def test_a_facet_is_a_channel_like_any_other(world: World) -> None:
    ann = await world.client("ann")
    await ann.subscribe("room:1")
    await ann.publish("typing:room:1", {"typing": True})
    source = Source(world, ["typing:room:1", "room:1"])
    source.connect()
    await world.settle()
    await ann.publish("typing:room:1", {"typing": False})
    await world.publish("room:1", b"1")
    await world.pass_time(1.5)  # one keystroke a second
    subscribed, *events = [event for event in source.pump() if event.type != "join"]
    assert subscribed.data["channels"]["typing:room:1"] == {
        "recovered": False,
        "data": {"typing": [{"user": "ann"}]},
    }
    assert [(event.data["channel"], event.data["data"]) for event in events] == [
        ("typing:room:1", {"user": "ann", "typing": True}),
        ("room:1", 1),
        ("typing:room:1", {"user": "ann", "typing": False}),
    ]
    assert events[1].last_event_id == f"{(await world.head('room:1')).epoch}:1,-"
    source.cut()


async def test_the_people_of_a_room_over_plain_http(world: World) -> None:
    ann = await world.client("ann")
    await ann.subscribe("room:1")
    await world.pass_time(0.5)
    source = Source(world, ["people:room:1"])
    source.connect()
    await world.settle()
    await ann.unsubscribe("room:1")
    await world.pass_time(0.5)
    subscribed, left = source.pump()
    assert [person["user"] for person in subscribed.data["channels"]["people:room:1"]["data"]["people"]] == ["ann"]
    assert left.data["data"] == {"people": [{"user": "ann", "status": "gone"}], "online": 0, "away": 0}
    source.cut()
    source.connect()  # with the id of what it has got
    await world.settle()
    again = source.pump()[-1].data["channels"]["people:room:1"]
    assert (again["recovered"], again["data"]) == (False, {"people": [], "online": 0, "away": 0})
    source.cut()


async def test_who_misses_something_of_a_facet_comes_back_to_its_whole_state(world: World) -> None:
    source = Source(world, ["typing:room:1", "room:1"])
    session = source.connect()
    await world.settle()
    session.subscriptions["typing:room:1"].miss(None, Gap.DEAF)
    last = source.pump()[-1]
    assert (last.type, last.data) == ("drain", {"code": 3010, "reason": "insufficient state"})
    source.cut()


async def test_one_encoding_serves_all_one_channel_streams(world: World) -> None:
    sources = [Source(world, ["log:1"]) for _ in range(3)]
    for source in sources:
        source.connect()
    await world.settle()
    await world.publish("log:1", b"1")
    await world.settle()
    frames = {id(source.transport.written[-1]) for source in sources if source.transport}
    assert len(frames) == 1
    for source in sources:
        source.cut()


async def test_it_goes_on_where_it_was(world: World) -> None:
    source = Source(world, ["log:1"])
    source.connect()
    await numbers(world, "log:1", 1, 3)
    await world.settle()
    source.cut()
    await numbers(world, "log:1", 4, 6)
    source.connect()
    await numbers(world, "log:1", 7, 8)
    await world.settle()
    source.pump()
    assert texts(source.events) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [event.type for event in source.events].count("gap") == 0
    assert source.events[4].data["channels"]["log:1"]["recovered"] is True
    source.cut()
    source.connect()  # nothing was missed: that is never a gap
    await world.settle()
    assert source.pump()[0].data["channels"]["log:1"] == {
        "recovered": True,
        "epoch": (await world.head("log:1")).epoch,
        "offset": 8,
    }
    source.cut()


async def test_the_id_holds_all_channels_at_that_moment(world: World) -> None:
    source = Source(world, ["log:2", "log:1", "room:1"])
    source.connect()
    await world.publish("log:2", b"1")
    await world.publish("log:1", b"2")
    await world.publish("log:2", b"3")
    await world.settle()
    positions = [[part.split(":")[1] for part in event.last_event_id.split(",")] for event in source.pump()]
    assert positions[-3:] == [["0", "1", "0"], ["1", "1", "0"], ["1", "2", "0"]]
    source.cut()


async def test_a_recovery_of_any_length(make_world: MakeWorld) -> None:
    world = await make_world(limits=SMALL)
    source = Source(world, ["log:1", "log:2"])
    source.connect()
    await world.settle()
    source.cut()
    await numbers(world, "log:1", 1, 60)
    await numbers(world, "log:2", 101, 140)
    source.connect()
    await numbers(world, "log:1", 61, 62)
    await world.settle(300)
    source.pump()
    assert [text for text in texts(source.events) if text < 100] == list(range(1, 63))
    assert [text for text in texts(source.events) if text > 100] == list(range(101, 141))
    source.cut()


# Gaps


async def test_trimmed_says_how_far_and_the_rest_follows(make_world: MakeWorld) -> None:
    world = await make_world(short=ChannelOptions(**OPEN, history_size=4, history_ttl_s=60, recover=True))
    source = Source(world, ["short:1"])
    source.connect()
    await numbers(world, "short:1", 1, 2)
    await world.settle()
    source.cut()
    await numbers(world, "short:1", 3, 10)
    source.connect()
    await world.settle()
    epoch = (await world.head("short:1")).epoch
    subscribed, gap, *rest = source.pump()
    assert subscribed.data["channels"]["short:1"]["recovered"] is False
    assert subscribed.last_event_id == f"{epoch}:2"  # cut right here, it hears of the gap once more
    assert gap.type == "gap"
    assert gap.data == {
        "channel": "short:1",
        "from": {"epoch": epoch, "offset": 2},
        "to": {"epoch": epoch, "offset": 6},
        "reason": "trimmed",
    }
    assert gap.last_event_id == f"{epoch}:6"
    assert texts(rest) == [7, 8, 9, 10]
    source.cut()


@pytest.mark.parametrize("reason", ["expired", "epoch"])
async def test_nothing_is_left(world: World, reason: str) -> None:
    source = Source(world, ["log:1"])
    source.connect()
    await numbers(world, "log:1", 1, 2)
    await world.settle()
    source.cut()
    before = Position(source.parser.last_event_id.split(":")[0], 2)
    await numbers(world, "log:1", 3, 5)
    if reason == "expired":
        await world.node.remove_history("log:1")
    else:
        world.memory.broker.streams = MemoryEngine(clock=world.clock).broker.streams
        await numbers(world, "log:1", 1, 1)
    source.connect()
    head = await world.head("log:1")
    await world.publish("log:1", b"9")
    await world.settle()
    _, gap, *rest = source.pump()
    assert gap.data == {
        "channel": "log:1",
        "from": {"epoch": before.epoch, "offset": before.offset},
        "to": {"epoch": head.epoch, "offset": head.offset},
        "reason": reason,
    }
    assert texts(rest) == [9]
    source.cut()


async def test_what_the_node_did_not_hear_comes_from_the_log(world: World) -> None:
    source = Source(world, ["log:1"])
    source.connect()
    subscribed = world.memory.broker._subscribed
    subscribed.discard("log:1")
    await numbers(world, "log:1", 1, 3)
    subscribed.add("log:1")
    await numbers(world, "log:1", 4, 5)
    await world.settle()
    assert texts(source.pump()) == [1, 2, 3, 4, 5]
    source.cut()


async def test_a_deaf_node_tells_streams_of_channels_without_history(world: World) -> None:
    source = Source(world, ["news"])
    session = source.connect()
    await world.settle()
    source.pump()
    session.lose(session.subscriptions["news"], Gap.DEAF)
    await world.publish("news", b"1")
    await world.settle()
    gap, after = source.pump()
    assert gap.data == {"channel": "news", "from": None, "to": None, "reason": "deaf"}
    assert texts([after]) == [1]
    source.cut()


async def test_a_log_that_cannot_be_read_sends_it_away_with_its_position(world: World) -> None:
    source = Source(world, ["log:1"])
    source.connect()
    await numbers(world, "log:1", 1, 2)
    await world.settle()
    source.cut()
    world.engine.broken = {"history"}
    source.connect()
    assert isinstance(source.error, RoomfulError)
    assert source.error.temporary
    assert not source.started
    world.engine.broken = set()
    session = source.connect()
    await world.settle()
    world.engine.broken = {"history"}
    session.subscriptions["log:1"].fall_behind()
    await world.settle()
    last = source.pump()[-1]
    assert (last.type, last.data["code"]) == ("drain", 3010)
    assert last.last_event_id.endswith(":2")
    world.engine.broken = set()
    source.cut()


async def test_an_unsubscribe_that_means_come_again_is_a_gap(world: World) -> None:
    source = Source(world, ["news"], world.token("ann"))
    source.connect()
    await world.settle()
    source.pump()
    world.node.on_order(UnsubscribeOrder("ann", "news", code=2500, reason="come again"))
    await world.publish("news", b"1")
    await world.settle()
    assert [event.type for event in source.pump()] == ["gap", "message"]
    source.cut()


async def test_another_life_of_the_log_that_begins_while_it_is_read(make_world: MakeWorld) -> None:
    world = await make_world()
    source = Source(world, ["log:1"])
    session = source.connect()
    await numbers(world, "log:1", 1, 3)
    await world.settle()
    source.pump()
    world.engine.quick = False
    session.subscriptions["log:1"].fall_behind()
    await world.settle()
    world.engine.let(name="history")  # has read the old log; its answer is on its way
    await world.settle()
    world.memory.broker.streams = MemoryEngine(clock=world.clock).broker.streams
    world.node.hub.broadcast("log:1", Publication(b"1", 1), "another")
    await world.engine.rush()
    await world.settle()
    head = await world.head("log:1")
    (gap,) = source.pump()
    assert (gap.data["reason"], gap.data["to"]) == ("epoch", {"epoch": head.epoch, "offset": head.offset})
    source.cut()


# Slow readers


async def test_joins_that_had_no_room_are_one_gap(make_world: MakeWorld) -> None:
    world = await make_world(limits=SMALL)
    source = Source(world, ["room:1"])
    source.connect()
    await world.settle()
    source.pump()
    assert source.transport is not None
    source.transport.paused = True
    for number in range(20):
        world.node.on_join("room:1", ClientInfo("bob", f"c{number}"))
    source.transport.resume()
    await world.settle(50)
    await numbers(world, "room:1", 1, 20)
    await world.settle(50)
    gaps = [event.data for event in source.pump() if event.type == "gap"]
    epoch = (await world.head("room:1")).epoch
    place = {"epoch": epoch, "offset": 0}
    assert gaps == [{"channel": "room:1", "from": place, "to": place, "reason": "deaf"}]
    source.cut()


async def test_what_of_a_page_has_no_room_is_read_again(make_world: MakeWorld) -> None:
    world = await make_world(limits=SMALL)
    source = Source(world, ["log:1"])
    session = source.connect()
    await world.settle()
    assert source.transport is not None
    source.transport.paused = True
    publications = [Publication(b'"%s"' % (b"x" * 200), offset) for offset in range(1, 6)]
    assert not give_out(session, session.subscriptions["log:1"], publications)
    assert session.subscriptions["log:1"].offset == len(texts(source.pump())) + session.outbox.bytes // 250
    source.cut()


async def test_a_slow_reader_costs_its_outbox_and_reads_on_from_the_log(make_world: MakeWorld) -> None:
    world = await make_world(limits=SMALL)
    source = Source(world, ["log:1"])
    session = source.connect()
    await world.settle()
    assert source.transport is not None
    source.transport.paused = True
    await numbers(world, "log:1", 1, 80)
    await world.settle()
    assert session.outbox.bytes <= SMALL.outbox_max_bytes
    source.transport.resume()
    await world.settle(300)
    assert texts(source.pump()) == list(range(1, 81))
    source.cut()


async def test_the_policies_latest_and_close(make_world: MakeWorld) -> None:
    world = await make_world(
        limits=SMALL,
        last=ChannelOptions(**OPEN, slow="latest", history_size=5, history_ttl_s=300),
        shut=ChannelOptions(**OPEN, slow="close", history_size=5, history_ttl_s=300, recover=True),
    )
    last, shut = Source(world, ["last:1", "log:1"]), Source(world, ["shut:1"])
    for source in (last, shut):
        source.connect()
        await world.settle()
        assert source.transport is not None
        source.transport.paused = True
    await numbers(world, "log:1", 1, 2)
    for number in range(80):
        await world.publish("last:1", b"%d" % number, tags={"key": "a"})
    await numbers(world, "shut:1", 1, 80)
    await world.settle()
    assert shut.transport is not None
    assert shut.transport.closed == (3008, "slow")
    assert last.transport is not None
    last.transport.resume()
    await world.settle()
    events = last.pump()
    assert texts(events)[-1] == 79
    assert len(texts(events)) < 40
    assert events[-1].last_event_id.endswith(":2")
    assert events[-1].last_event_id.startswith("-,")
    last.cut()


# Who may


async def test_rights_are_those_of_a_subscribe(make_world: MakeWorld) -> None:
    world = await make_world(users=ChannelOptions(subscribe="user"), closed=ChannelOptions())
    asked = []

    @world.on(SubscribeEvent, "closed:hook")
    async def granted(event: SubscribeEvent) -> SubscribeReply:
        asked.append((event.user, event.channel))
        return SubscribeReply(data={"topic": 1})

    @world.on(SubscribeEvent, "log:no")
    async def refused(event: SubscribeEvent) -> None:
        raise Forbidden

    async def error(channel: str, token: str = "") -> type | None:
        source = Source(world, [channel], token)
        source.connect()
        await _until(lambda: source.started or source.error is not None)
        source.cut()
        return type(source.error) if source.error else None

    ann = world.token("ann", subs={"$private:1": {}, "closed:sub": {"data": [7]}})
    assert await error("users:1") is Forbidden
    assert await error("users:1", ann) is None
    assert await error("nowhere:1", ann) is UnknownChannel
    assert await error("closed:1", ann) is Forbidden
    assert await error("closed:sub", ann) is None
    assert await error("$closed:1", ann) is Forbidden
    assert await error("news", "a.b.c") is Disconnect
    source = Source(world, ["closed:hook", "closed:sub"], ann)
    source.connect()
    await _until(lambda: source.started)
    await world.settle()
    (event,) = source.pump()
    assert event.data["channels"] == {
        "closed:hook": {"recovered": False, "data": {"topic": 1}},
        "closed:sub": {"recovered": False, "data": [7]},
    }
    assert asked == [("ann", "closed:hook")]
    source.cut()
    refused_source = Source(world, ["log:1", "log:no"])
    refused_source.connect()
    await _until(lambda: refused_source.error is not None)
    assert isinstance(refused_source.error, Forbidden)
    assert not refused_source.started


async def test_no_token_no_anonymous_no_stream(make_world: MakeWorld) -> None:
    world = await make_world(anonymous=False)
    source = Source(world, ["news"])
    source.connect()
    assert isinstance(source.error, Disconnect)
    assert source.error.code == 3501
    expired = Source(world, ["news"], world.token("ann", expire_at=1))
    expired.connect()
    assert isinstance(expired.error, Expired)


async def test_hooks_hear_of_its_begin_and_its_end(world: World) -> None:
    heard: list[Any] = []

    @world.on(ConnectEvent)
    async def on_connect(event: ConnectEvent) -> None:
        heard.append(("connect", event.user, event.transport))

    @world.on(DisconnectEvent)
    async def on_disconnect(event: DisconnectEvent) -> None:
        heard.append(("disconnect", event.user))

    source = Source(world, ["news"], world.token("ann"))
    source.connect()
    await _until(lambda: source.started)
    source.cut()
    await _until(lambda: len(heard) == 2)
    assert heard == [("connect", "ann", "memory"), ("disconnect", "ann")]


async def test_too_many_channels(world: World) -> None:
    source = Source(world, [f"log:{number}" for number in range(33)])
    source.connect()
    assert isinstance(source.error, LimitExceeded)


# How it ends


async def test_an_expired_token_ends_it_at_once(world: World) -> None:
    source = Source(world, ["log:1"], world.token("ann", ttl_s=30))
    source.connect()
    await world.pass_time(31)
    last = source.pump()[-1]
    assert (last.type, last.data) == ("expired", {"code": 3005, "reason": "connection expired"})
    assert source.transport is not None
    assert source.transport.closed is not None
    source.cut()


async def test_the_application_ends_it(world: World) -> None:
    one, many = Source(world, ["news"], world.token("ann")), Source(world, ["log:1", "news"], world.token("ann"))
    for source in (one, many):
        source.connect()
    world.node.on_order(RefreshOrder("ann", expires_at=world.wall() + 100))
    world.node.on_order(UnsubscribeOrder("ann", "news"))
    await world.publish("news", b"1")
    await world.publish("log:1", b"2")
    await world.settle()
    left = {"channel": "news", "code": 2000, "reason": "server unsubscribe"}
    assert [(e.type, e.data) for e in one.pump()[1:]] == [
        ("expired", left),
        ("expired", {"code": 2000, "reason": "server unsubscribe"}),
    ]
    events = many.pump()[1:]
    assert [e.type for e in events] == ["expired", "message"]
    assert events[0].data == left
    world.node.on_order(DisconnectOrder("ann"))
    await world.settle()
    assert [(e.type, e.data["code"]) for e in many.pump()] == [("expired", 3503)]
    one.cut()
    many.cut()


async def test_draining_sends_everybody_away_also_who_just_comes(make_world: MakeWorld) -> None:
    world = await make_world()
    there = Source(world, ["log:1"])
    there.connect()

    @world.on(ConnectEvent)
    async def slow(event: ConnectEvent) -> None:
        await world.hang.wait()

    coming = Source(world, ["log:1"])
    coming.connect()
    world.node._end_all()
    await world.settle()
    for source in (there, coming):
        last = source.pump()[-1]
        assert (last.type, last.data) == ("drain", {"code": 3001, "reason": "shutdown"})
        assert source.started


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # hooks run in tasks and threads of their own
            await asyncio.sleep(0.001)
