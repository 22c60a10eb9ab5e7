"""What is told of each delivery, of a subscription and of a connection; who isn't traced pays nothing for it."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest

from roomful.model.channel import ChannelOptions, Right
from roomful.model.errors import Forbidden, TokenExpired
from roomful.model.event import ConnectEvent
from roomful.model.order import UnsubscribeOrder
from roomful.model.publication import Draft, HistoryFilter, Position
from roomful.model.tracing import HAPPENINGS, Happening, TraceAnswer, TraceQuestion, Wanted
from roomful.node.tracing import LEASE_S
from roomful.session.options import LimitOptions
from roomful.session.subscription import Subscription
from roomful.session.watched import Watched
from roomful.testing.client import Client, Closed, CommandError
from tests.session.conftest import MakeWorld
from tests.session.source import Source
from tests.session.test_poll import poll
from tests.session.world import LOG, World, session_of

ROOM = Wanted(channel="log:1")
SMALL = LimitOptions(outbox_max_bytes=2_000)
LATEST = ChannelOptions(subscribe="client", publish=Right.CLIENT, slow="latest")
TAGGED = ChannelOptions(subscribe="client", publish=Right.CLIENT, history_size=9, history_ttl_s=60, tags_filter=True)


class Trace:
    """What the node of a world shows to one who traces."""

    def __init__(self, world: World, wanted: Wanted) -> None:
        self._world = world
        self._question = msgspec.msgpack.encode(TraceQuestion("trace", wanted))
        self.more()

    def more(self) -> list[Happening]:
        """What is new."""
        answer = msgspec.msgpack.decode(self._world.node.tracer.answer(self._question), type=TraceAnswer)
        assert {each.event for each in answer.happenings} <= HAPPENINGS.keys()
        return answer.happenings

    def told(self) -> list[tuple[str, int | None]]:
        return [(each.event, each.offset) for each in self.more()]


async def test_a_message_from_its_publisher_to_its_readers(world: World) -> None:
    ann, bob = await world.client("ann"), await world.client("bob")
    for client in (ann, bob):
        await client.subscribe("log:1")
    trace = Trace(world, ROOM)
    await ann.publish("log:1", {"secret": "swordfish"})
    happenings = trace.more()
    assert [(each.event, each.user, each.offset, each.count) for each in happenings] == [
        ("arrived", "ann", 1, 2),
        ("delivered", "ann", 1, None),
        ("delivered", "bob", 1, None),
        ("published", "ann", 1, None),
    ]
    assert {each.epoch for each in happenings} == {(await world.head("log:1")).epoch}
    assert b"swordfish" not in msgspec.json.encode(happenings)


async def test_why_ann_did_not_get_message_42(world: World) -> None:
    """She was away; and what she missed came with the reply when she was back."""
    trace = Trace(world, Wanted("ann", "log:1"))
    ann = await world.client("ann")
    epoch = (await ann.subscribe("log:1"))["epoch"]
    ann.cut()
    await world.settle()
    for _ in range(3):
        await world.publish("log:1")
    back = await world.client("ann")
    await back.subscribe("log:1", recover=True, epoch=epoch, offset=0)
    happenings = trace.more()
    assert [(each.event, each.code, each.count) for each in happenings] == [
        ("connected", 0, None),
        ("subscribed", 0, 0),
        ("unsubscribed", 1006, None),
        ("closed", 1006, 0),
        ("published", 0, None),
        ("published", 0, None),
        ("published", 0, None),
        ("connected", 0, None),
        ("subscribed", 0, 3),
    ]
    assert (happenings[-1].since, happenings[-1].offset, happenings[-1].reason) == (0, 3, "recovered")
    assert happenings[0].trace == happenings[0].client.replace("-", "")


async def test_a_client_that_reads_slowly(make_world: MakeWorld) -> None:
    world = await make_world(limits=SMALL)
    ann = await world.client("ann")
    await ann.subscribe("log:1")
    await world.settle()
    trace = Trace(world, ROOM)
    ann.transport.paused = True
    for _ in range(4):
        await world.publish("log:1", json.dumps("x" * 700).encode())
    told = [(event, offset) for event, offset in trace.told() if event not in ("arrived", "published")]
    assert told == [("queued", 1), ("queued", 2), ("fell_behind", 2), ("left_to_log", 3), ("left_to_log", 4)]
    ann.transport.resume()
    await world.settle()
    assert trace.told() == [("read_on", 4), ("caught_up", 4)]
    await world.publish("log:1")
    assert ("delivered", 5) in trace.told()


async def test_only_the_newest_waits(make_world: MakeWorld) -> None:
    world = await make_world(limits=SMALL, cursors=LATEST)
    ann = await world.client("ann")
    await ann.subscribe("cursors:1")
    trace = Trace(world, Wanted(user="ann"))
    ann.transport.paused = True
    for _ in range(4):
        await world.publish("cursors:1", json.dumps("x" * 900).encode(), tags={"key": "mouse"})
    assert [event for event, _ in trace.told()] == ["queued", "queued", "queued", "replaces"]


async def test_who_is_not_to_get_it(make_world: MakeWorld) -> None:
    world = await make_world(tagged=TAGGED)
    ann, bob = await world.client("ann"), await world.client("bob")
    await ann.subscribe("tagged:1", tf={"key": "sport", "cmp": "eq", "val": "chess"})
    await bob.subscribe("tagged:1")
    trace = Trace(world, Wanted(channel="tagged:1"))
    await world.publish("tagged:1", tags={"sport": "go"}, exclude=frozenset({bob.id}))
    assert [(each.event, each.user) for each in trace.more()[1:3]] == [("filtered", "ann"), ("excluded", "bob")]


async def test_what_comes_before_the_reply_and_what_comes_twice(world: World) -> None:
    trace = Trace(world, ROOM)
    ann = await world.client("ann")
    world.engine.quick = False
    ann.send({"id": 5, "subscribe": {"channel": "log:1"}})
    await world.settle()
    while world.engine.let(name="subscribe"):
        await world.settle()
    world.engine.let(name="history")  # has reached the log: what comes now isn't in the page
    await world.settle()
    await world.memory.broker.publish("log:1", Draft(b"1"), LOG.retention)
    world.engine.report()
    await world.engine.rush()
    assert trace.told() == [("arrived", 1), ("waiting", 1), ("subscribed", 0), ("delivered", 1)]
    subscription = session_of(ann).subscriptions["log:1"]
    subscription.offset = 2
    page = await world.node.history("log:1", HistoryFilter(limit=None))
    world.node.hub.broadcast("log:1", page.publications[0], subscription.epoch)
    assert trace.told() == [("seen_before", 1)]


async def refused_by_hook(world: World) -> Client:
    @world.on(ConnectEvent)
    async def refuse(_event: ConnectEvent) -> None:
        raise Forbidden

    client = world.open()
    with pytest.raises(Closed):
        await client.connect(token=world.token("ann"))
    return client


async def expired(world: World) -> Client:
    client = world.open()
    with pytest.raises(CommandError):
        await client.connect(token=world.token("ann", ttl_s=-60))
    return client


async def forbidden(world: World) -> Client:
    client = await world.client("ann")
    with pytest.raises(CommandError):
        await client.subscribe("closed:1")
    return client


async def ordered_out(world: World) -> Client:
    client = await world.client("ann")
    await client.subscribe("log:1")
    await world.node.order(UnsubscribeOrder("ann", "log:1", code=2042, reason="enough"))
    await world.settle()
    return client


async def lost(world: World) -> Client:
    client = await world.client("ann")
    await client.subscribe("log:1", recover=True, epoch="of another life", offset=7)
    return client


@pytest.mark.parametrize(
    ("provoke", "event", "code", "reason"),
    [
        (refused_by_hook, "closed", 3507, "permission denied"),
        (expired, "refused", 109, "connect: token expired"),
        (forbidden, "refused", 103, "subscribe: permission denied"),
        (ordered_out, "unsubscribed", 2042, "enough"),
        (lost, "subscribed", 0, "epoch"),
    ],
)
async def test_each_refusal_and_each_end_says_why(
    provoke: Callable[[World], object], event: str, code: int, reason: str, make_world: MakeWorld
) -> None:
    world = await make_world(closed=ChannelOptions())
    trace = Trace(world, Wanted(user="ann"))
    client: Client = await provoke(world)  # type: ignore[misc]  # every one of them is a coroutine function
    last = trace.more()[-1]
    assert (last.event, last.code, last.reason, last.user) == (event, code, reason, "ann")
    assert last.client == session_of(client).client


async def test_nobody_is_watched_who_is_not_traced_and_nobody_any_longer(world: World) -> None:
    ann, bob = await world.client("ann"), await world.client("bob")
    for client in (ann, bob):
        await client.subscribe("log:1")
        await client.subscribe("log:2")

    def watched() -> list[tuple[str, str]]:
        return [
            (session.user, channel)
            for session in map(session_of, (ann, bob))
            for channel, subscription in session.subscriptions.items()
            if type(subscription) is Watched
        ]

    assert watched() == []
    trace = Trace(world, Wanted("ann", "log:1"))
    assert watched() == [("ann", "log:1")]
    await ann.unsubscribe("log:1")
    await ann.subscribe("log:1")
    assert watched() == [("ann", "log:1")]
    trace.more()
    await world.pass_time(LEASE_S + 1)
    await world.publish("log:1")
    assert watched() == []
    assert type(session_of(ann).subscriptions["log:1"]) is Subscription
    assert not world.node.tracer.on


async def test_what_a_poll_was_answered(world: World) -> None:
    trace = Trace(world, ROOM)
    first = await poll(world, {"log:1": None})
    await world.publish("log:1")
    await poll(world, first.next)
    await poll(world, {"log:1": Position("of another life", 3)})
    told = [(each.event, each.offset, each.count) for each in trace.more() if each.event != "published"]
    assert told == [("polled", 0, 0), ("polled", 1, 1), ("gap", 3, None), ("polled", 1, 0)]


async def test_a_refused_poll_says_why(world: World) -> None:
    trace = Trace(world, Wanted(user="ann"))
    with pytest.raises(TokenExpired):
        await poll(world, {"log:1": None}, world.token("ann", ttl_s=-60))
    assert [(each.event, each.user, each.reason) for each in trace.more()] == [
        ("refused", "ann", "poll: token expired")
    ]


async def test_a_publication_that_came_too_early_is_held_until_the_log_was_read(world: World) -> None:
    ann = await world.client("ann")
    await ann.subscribe("log:1")
    trace = Trace(world, ROOM)
    world.engine.quick = False
    for _ in range(2):
        await world.memory.broker.publish("log:1", Draft(b"1"), LOG.retention)
    world.engine.lose_publication({"log:1"})
    await world.engine.rush()
    assert trace.told() == [("held", 2), ("delivered", 1), ("delivered", 2)]


async def test_an_event_stream_is_told_what_is_missing_and_so_is_who_traces_it(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world(short=ChannelOptions(subscribe="client", history_size=2, history_ttl_s=60, recover=True))
    head = await world.head("short:1")
    source = Source(world, ["short:1"], last_event_id=f"{head.epoch}:0")
    for _ in range(5):
        await world.publish("short:1")
    trace = Trace(world, Wanted(channel="short:1"))
    caplog.set_level("INFO", "roomful")
    source.connect()
    await world.settle()
    await world.publish("short:1")
    told = [
        (each.event, each.offset, each.reason) for each in trace.more() if each.event not in ("published", "arrived")
    ]
    assert told == [("gap", 0, "trimmed"), ("subscribed", 5, "trimmed"), ("delivered", 6, "")]
    assert [line.msg for line in caplog.records] == [
        "%r could not be recovered: %s",
        "an event stream misses something of %r: %s",
    ]
    source.cut()
