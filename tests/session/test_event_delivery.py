"""The one rule on `/events`: delivered once, in order, or told. Whatever clients, servers, logs and networks do.

Offsets are followed one by one, so that a notice excuses exactly what it names; numbers that publishers wrote are kept
in a ledger, for an offset is a claim of the server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from roomful.engines.memory import MemoryEngine
from roomful.model.channel import ChannelOptions, Right
from roomful.model.order import DisconnectOrder, UnsubscribeOrder
from roomful.model.publication import Position
from roomful.session.options import ConnectionOptions, LimitOptions
from roomful.testing.ledger import Ledger, Reader
from roomful.wire.stream_id import parse
from tests.event_source import Event
from tests.session.source import Source
from tests.session.world import World

T = TypeVar("T")

pytestmark = pytest.mark.timeout(600)

OPEN: dict[str, Any] = {"subscribe": "client", "publish": Right.CLIENT}
NAMESPACES = {
    "log": ChannelOptions(**OPEN, history_size=100, history_ttl_s=300, recover=True),
    "short": ChannelOptions(**OPEN, history_size=4, history_ttl_s=20, recover=True),
    "ask": ChannelOptions(**OPEN, history_size=8, history_ttl_s=300),
    "plain": ChannelOptions(**OPEN),
    "last": ChannelOptions(**OPEN, slow="latest", history_size=5, history_ttl_s=300),
    "room": ChannelOptions(**OPEN, history_size=20, history_ttl_s=300, recover=True, presence=True, join_leave="all"),
}
CHANNELS = ("log:1", "log:2", "short:1", "ask:1", "plain:1", "last:1", "room:1")
LOGGED = ("log:1", "log:2", "short:1", "ask:1", "room:1")
USERS = ("ann", "bob")
LIMITS = LimitOptions(outbox_max_bytes=700, recovery_max=3, recovery_max_bytes=300)

users = st.sampled_from(USERS)
numbers = st.integers(0, 3)


class Listener:
    """A source with its books."""

    def __init__(self, world: World, user: str, channels: list[str], reader: Reader) -> None:
        self.source = Source(world, channels, world.token(user))
        self.reader = reader
        self.positions: dict[str, Position] = {}
        self.present: set[str] = set()

    @property
    def away(self) -> bool:
        transport = self.source.transport
        return transport is None or transport.closed is not None or self.source.error is not None

    def connect(self) -> None:
        self.cut()
        self.source.connect()

    def cut(self) -> None:
        self.pump()
        self.source.cut()
        for channel in self.present:
            self.reader.unsubscribed(channel)
        self.present.clear()

    def pump(self) -> None:
        for event in self.source.pump():
            self.note(event)
            if event.type in ("subscribed", "gap", "message"):
                self.check_id(event)

    def note(self, event: Event) -> None:
        match event.type:
            case "subscribed":
                self.subscribed(event.data["channels"])
            case "gap":
                channel, since, to = event.data["channel"], event.data["from"], event.data["to"]
                assert event.data["reason"] in ("trimmed", "epoch", "expired", "deaf")
                if since is not None:
                    assert Position(**since) == self.positions[channel]
                    self.positions[channel] = Position(**to)
                self.reader.gap(channel)
            case "message":
                self.message(event)
            case "expired" if "channel" in event.data:
                self.reader.unsubscribed(event.data["channel"])
                self.present.discard(event.data["channel"])

    def subscribed(self, channels: dict[str, Any]) -> None:
        assert sorted(channels) == list(channels) == self.source.channels
        for channel, joined in channels.items():
            known = self.positions.get(channel)
            if "epoch" in joined:
                self.positions[channel] = Position(joined["epoch"], joined["offset"])
                assert known in (None, self.positions[channel])
            assert channel in LOGGED or not joined["recovered"]
            # Where it isn't recovered a gap follows, which excuses what it has to.
            self.reader.subscribed(channel, recovered=joined["recovered"])
            self.present.add(channel)

    def message(self, event: Event) -> None:
        channel, offset = event.data["channel"], event.data.get("offset", 0)
        if channel in LOGGED:
            known = self.positions[channel]
            assert offset == known.offset + 1, (event, known)
            self.positions[channel] = Position(known.epoch, offset)
        if channel == "last:1":
            self.reader.gap(channel)  # newer ones take the place of older ones
        self.reader.read(channel, event.data["data"]["number"], event.data["data"]["writer"])

    def check_id(self, event: Event) -> None:
        known = [self.positions.get(c) if c in LOGGED else None for c in self.source.channels]
        told = parse(event.last_event_id, len(self.source.channels))
        if self.source.channels != ["last:1"]:  # shares its frames, with an id that counts for nothing
            assert told == known, event


class Delivery(RuleBasedStateMachine):
    """Two listeners, their server, and a ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ledger = Ledger()
        self.world = World(limits=LIMITS, options=ConnectionOptions(ping_s=0), **NAMESPACES)
        self.run(self.world.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def act(self, act: Callable[[], object]) -> None:
        async def acting() -> None:
            act()

        self.run(acting())

    def name(self, number: int) -> str:
        return self.channels[number % len(self.channels)]

    def publish_soon(self, channel: str, count: int, size: int) -> None:
        raise NotImplementedError

    @initialize(channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True))
    def everybody_comes(self, channels: list[str]) -> None:
        self.channels = channels
        self.listeners = {
            user: Listener(self.world, user, channels[: 1 + number], self.ledger.reader(user))
            for number, user in enumerate(USERS)
        }
        self.act(lambda: [listener.connect() for listener in self.listeners.values()])

    @rule(user=users, comes_back=st.booleans())
    def go_or_come(self, user: str, comes_back: bool) -> None:
        listener = self.listeners[user]
        if listener.away or comes_back:
            self.act(listener.connect)
        else:
            self.act(listener.cut)

    @rule(user=users)
    def stop_reading_or_go_on(self, user: str) -> None:
        transport = self.listeners[user].source.transport
        if transport is None:
            return
        if transport.paused:
            self.act(transport.resume)
        else:
            transport.paused = True

    @rule(channel=numbers, count=st.integers(1, 12), size=st.sampled_from((0, 100)))
    def publish(self, channel: int, count: int, size: int) -> None:
        self.act(lambda: self.publish_soon(self.name(channel), count, size))

    @rule(user=users, channel=numbers, seldom=st.integers(0, 2))
    def order_unsubscribe(self, user: str, channel: int, seldom: int) -> None:
        if not seldom:
            self.act(lambda: self.world.node.on_order(UnsubscribeOrder(user, self.name(channel))))

    @rule(user=users, seldom=st.integers(0, 3))
    def order_disconnect(self, user: str, seldom: int) -> None:
        if not seldom:
            self.act(lambda: self.world.node.on_order(DisconnectOrder(user)))

    @rule(channel=numbers, seldom=st.integers(0, 5), what=st.sampled_from(("removed", "expired", "forgotten")))
    def a_log_is_lost(self, channel: int, seldom: int, what: str) -> None:
        if seldom:
            return
        memory = self.world.memory.broker
        match what:
            case "removed":
                self.run(memory.remove_history(self.name(channel)))
            case "expired":
                self.world.clock.advance(301.0)
            case "forgotten":
                memory.streams = MemoryEngine(clock=self.world.clock).broker.streams

    @rule(turns=st.integers(1, 10))
    def turns_pass(self, turns: int) -> None:
        self.run(self.world.settle(turns))

    @invariant()
    def once_and_in_order(self) -> None:
        if hasattr(self, "listeners"):
            self.act(lambda: [listener.pump() for listener in self.listeners.values()])
        self.ledger.check(at_rest=False)
        assert not self.world.errors

    async def rest(self) -> None:
        """Everybody is there and reads, until nothing more comes."""
        for _ in range(200):
            before = [len(listener.source.events) for listener in self.listeners.values()]
            for listener in self.listeners.values():
                listener.pump()
                if listener.away or set(listener.source.channels) - listener.present:
                    listener.connect()
                assert listener.source.transport is not None
                if listener.source.transport.paused:
                    listener.source.transport.resume()
            await self.world.engine.rush()
            await self.world.settle(10)
            for listener in self.listeners.values():
                listener.pump()
            if before == [len(listener.source.events) for listener in self.listeners.values()]:
                return
        raise AssertionError("it never comes to rest")

    def teardown(self) -> None:
        try:
            self.run(self.rest())
            for channel in LOGGED:  # so that who has missed something without knowing it yet learns it
                self.act(lambda: self.publish_soon(channel, 1, 0))  # noqa: B023
            self.run(self.rest())
            self.ledger.check()
            for listener in self.listeners.values():
                for channel in set(listener.source.channels) & set(LOGGED):
                    assert self.run(self.world.head(channel)) == listener.positions[channel]
            self.act(lambda: [listener.cut() for listener in self.listeners.values()])
            self.run(self.world.stop())
        finally:
            self.runner.close()


class AtOnce(Delivery):
    """The engine of a single process: nothing in it ever waits."""

    @rule(channel=numbers, count=st.integers(1, 3))
    def the_node_is_deaf_for_a_moment(self, channel: int, count: int) -> None:
        name, subscribed = self.name(channel), self.world.memory.broker._subscribed
        if name in LOGGED and name in subscribed:
            subscribed.discard(name)
            self.act(lambda: self.publish_soon(name, count, 0))
            subscribed.add(name)

    def publish_soon(self, channel: str, count: int, size: int) -> None:
        for _ in range(count):
            _finish(self.world.publish(channel, _payload("", self.ledger.write(channel), size), tags={"key": ""}))


class Slowly(Delivery):
    """An engine far away: calls and reports arrive when they like. Each writer publishes one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.publishing: dict[str, asyncio.Task[Any]] = {}

    @rule(seldom=st.integers(0, 3))
    def the_engine_slows_down_or_hurries(self, seldom: int) -> None:
        if self.world.engine.quick:
            self.world.engine.quick = False
        elif seldom == 0:
            self.run(self.world.engine.rush())

    @rule(order=st.lists(st.integers(0, 7), min_size=1, max_size=16))
    def messages_arrive(self, order: list[int]) -> None:
        async def arrive() -> None:
            for number in order:
                if number % 3 == 0:
                    self.world.engine.report()
                else:
                    self.world.engine.let(number)
                await self.world.settle(2)

        self.run(arrive())

    @rule()
    def a_report_is_lost(self) -> None:
        self.world.engine.lose_publication(LOGGED)

    def publish_soon(self, channel: str, count: int, size: int) -> None:
        for index in range(count):
            writer = f"w{index}"
            under_way = self.publishing.get(writer)
            if under_way is None or under_way.done():
                work = self.world.publish(
                    channel, _payload(writer, self.ledger.write(channel, writer), size), tags={"key": writer}
                )
                self.publishing[writer] = asyncio.get_running_loop().create_task(work)


def _payload(writer: str, number: int, size: int) -> bytes:
    return b'{"writer":"%s","number":%d,"x":"%s"}' % (writer.encode(), number, b"x" * size)


def _finish(work: Awaitable[Any]) -> None:
    """Runs what never suspends."""
    with pytest.raises(StopIteration):
        work.send(None)  # type: ignore[attr-defined]


STEPS = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)

TestAtOnce = AtOnce.TestCase
TestAtOnce.settings = STEPS
TestSlowly = Slowly.TestCase
TestSlowly.settings = STEPS
