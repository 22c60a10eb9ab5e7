"""The one rule: delivered once, in order, or told. Whatever clients, servers, logs and networks do, in any order.

A failing run prints the steps that led to it, as a program that can be run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from roomful.engines.memory import MemoryEngine
from roomful.model.channel import ChannelOptions, Right
from roomful.model.order import DisconnectOrder, SubscribeOrder, UnsubscribeOrder
from roomful.session.options import ConnectionOptions, LimitOptions
from roomful.testing.ledger import Ledger
from tests.session.sdk import LETTERS, ODD, Sdk
from tests.session.world import World

T = TypeVar("T")

pytestmark = pytest.mark.timeout(600)
"""A failure is made smaller before it is shown, which takes minutes; without one it's seconds."""

OPEN: dict[str, Any] = {
    "subscribe": "client",
    "publish": Right.CLIENT,
    "tags_filter": True,
    "delta": True,
    "compact": "all",
}
NAMESPACES = {
    "log": ChannelOptions(**OPEN, history_size=100, history_ttl_s=300, recover=True),
    "short": ChannelOptions(**OPEN, history_size=4, history_ttl_s=20, recover=True),
    "ask": ChannelOptions(**OPEN, history_size=8, history_ttl_s=300),
    "plain": ChannelOptions(**OPEN),
    "last": ChannelOptions(**OPEN, slow="latest", history_size=5, history_ttl_s=300),
    "close": ChannelOptions(**OPEN, slow="close", history_size=20, history_ttl_s=300, recover=True),
    "room": ChannelOptions(**OPEN, history_size=20, history_ttl_s=300, recover=True, presence=True, join_leave="all"),
}
CHANNELS = ("log:1", "log:2", "short:1", "ask:1", "plain:1", "last:1", "close:1", "room:1")
LOGGED = ("log:1", "log:2", "short:1", "ask:1", "close:1", "room:1")
USERS = ("ann", "bob", "cid")

LIMITS = LimitOptions(outbox_max_bytes=700, recovery_max=3, recovery_max_bytes=300)
"""So small that a burst overflows, and that a recovery takes many pages."""

WISHES: list[dict[str, Any]] = [
    {},
    {"recoverable": True},
    {"delta": "fossil"},
    {"delta": "fossil", "recoverable": True, "flag": 1},
    {"tf": ODD},
    {"tf": ODD, "recoverable": True, "flag": 1},
    {"flag": 1},
]
"""What a client asks for in a subscribe."""

users = st.sampled_from(USERS)
wishes = st.sampled_from(WISHES)
numbers = st.integers(0, 2)
"""A channel by its number among those of this run."""


class Delivery(RuleBasedStateMachine):
    """Three clients, their server, and a ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ledger = Ledger()
        self.world = World(limits=LIMITS, options=ConnectionOptions(ping_s=0), **NAMESPACES)
        self.sdks = {user: Sdk(self.world, self.ledger, user, protobuf=user == "bob") for user in USERS}
        self.run(self.world.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def publish_soon(self, channel: str, count: int, size: int, excluded: str | None) -> None:
        """Runs in the loop."""
        raise NotImplementedError

    def written(self, channel: str, writer: str = "") -> tuple[int, dict[str, str]]:
        """The number of what is published next, and its tags."""
        number = self.ledger.write(channel, writer)
        for sdk in self.sdks.values():
            sdk.published(channel, writer, number)
        return number, {"key": writer, "odd": str(number % 2)}

    def name(self, channel: int) -> str:
        return self.channels[channel % len(self.channels)]

    # Clients

    @initialize(
        channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True),
        asked=st.tuples(wishes, wishes, wishes),
        server_side=st.booleans(),
    )
    def everybody_comes(self, channels: list[str], asked: tuple[dict[str, Any], ...], server_side: bool) -> None:
        """A few channels a run, so that things happen to the same ones."""
        self.channels = channels

        def act() -> None:
            for sdk, fields in zip(self.sdks.values(), asked, strict=True):
                for channel in channels:
                    sdk.subscribe(channel, server_side=server_side, **fields)
                sdk.connect()

        self.run(_do(act))

    @rule(user=users, comes_back=st.booleans())
    def go_or_come(self, user: str, comes_back: bool) -> None:
        """Who is away comes; who is here is cut, and comes back at once or later."""
        sdk = self.sdks[user]

        def act() -> None:
            if sdk.client is None:
                sdk.connect()
            else:
                sdk.cut()
                if comes_back:
                    sdk.connect()

        self.run(_do(act))

    @rule(user=users)
    def stop_reading_or_go_on(self, user: str) -> None:
        client = self.sdks[user].client
        if client is None:
            return
        if client.transport.paused:
            self.run(_do(client.transport.resume))
        else:
            client.transport.paused = True

    @rule(user=users, channel=numbers, fields=wishes, server_side=st.booleans())
    def subscribe_or_unsubscribe(self, user: str, channel: int, fields: dict[str, Any], server_side: bool) -> None:
        sdk, name = self.sdks[user], self.name(channel)

        def act() -> None:
            if name in sdk.wanted:
                sdk.unsubscribe(name)
            else:
                sdk.subscribe(name, server_side=server_side, **fields)

        self.run(_do(act))

    @rule(user=users, channel=numbers)
    def unsubscribe_and_subscribe(self, user: str, channel: int) -> None:
        def act() -> None:
            self.sdks[user].unsubscribe(self.name(channel))
            self.sdks[user].subscribe(self.name(channel))

        self.run(_do(act))

    # Publishers

    @rule(channel=numbers, count=st.integers(1, 12), size=st.sampled_from((0, 100)), excluded=st.none() | users)
    def publish(self, channel: int, count: int, size: int, excluded: str | None) -> None:
        self.run(_do(lambda: self.publish_soon(self.name(channel), count, size, excluded)))

    @rule(channel=numbers, count=st.integers(1, 12))
    def publish_much(self, channel: int, count: int) -> None:
        self.run(_do(lambda: self.publish_soon(self.name(channel), count, 100, None)))

    # The application

    @rule(user=users, channel=numbers)
    def order_subscribe(self, user: str, channel: int) -> None:
        self.run(_do(lambda: self.world.node.on_order(SubscribeOrder(user, self.name(channel)))))

    @rule(user=users, channel=numbers, code=st.sampled_from((2000, 2500)))
    def order_unsubscribe(self, user: str, channel: int, code: int) -> None:
        self.run(_do(lambda: self.world.node.on_order(UnsubscribeOrder(user, self.name(channel), code=code))))

    # Trouble, but not too much of it: a client that was told of a gap proves nothing about what lies before

    @rule(user=users, much=st.integers(0, 3))
    def order_disconnect(self, user: str, much: int) -> None:
        if much == 0:
            self.run(_do(lambda: self.world.node.on_order(DisconnectOrder(user))))

    @rule(channel=numbers, much=st.integers(0, 7), what=st.sampled_from(("removed", "expired", "forgotten")))
    def a_log_is_lost(self, channel: int, much: int, what: str) -> None:
        if much:
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

    # What has to hold

    @invariant()
    def once_and_in_order(self) -> None:
        self.run(self._pump())
        self.ledger.check(at_rest=False)
        assert not self.world.errors

    async def _pump(self) -> None:
        for sdk in self.sdks.values():
            sdk.pump()

    async def _rest(self) -> None:
        """Everybody reads, and nothing new happens, until nothing more comes."""
        for _ in range(200):
            before = self._activity()
            for sdk in self.sdks.values():
                if sdk.client is not None and sdk.client.transport.paused:
                    sdk.client.transport.resume()
                sdk.pump()
            await self.world.engine.rush()
            await self.world.settle(5)
            if self._activity() == before:
                return
        raise AssertionError("it never comes to rest")

    def _activity(self) -> list[Any]:
        return [
            (sdk.client, sdk.client and len(sdk.client.transport.written), sdk._last_id) for sdk in self.sdks.values()
        ]

    def teardown(self) -> None:
        try:
            self.run(self._rest())
            for channel in LOGGED:  # so that whoever has missed something without knowing it yet learns it
                self.run(_do(lambda: self.publish_soon(channel, 1, 0, None)))  # noqa: B023
            self.run(self._rest())
            self.ledger.check()
            for user, sdk in self.sdks.items():
                if sdk.client is not None:
                    assert all(w.state == "in" for w in sdk.wanted.values() if not w.server_side), user
                for channel, members in sdk.members.items():
                    assert members == set(self.world.memory.presence._presence.members(channel)), user
            self.run(self.world.stop())
        finally:
            self.runner.close()


async def _do(act: Any) -> None:
    act()


class AtOnce(Delivery):
    """The engine of a single process: nothing in it ever waits."""

    @rule(channel=numbers, count=st.integers(1, 3))
    def the_node_is_deaf_for_a_moment(self, channel: int, count: int) -> None:
        """Publications that reach the log but not this node, as a broker's pub/sub loses them now and then."""
        name, subscribed = self.name(channel), self.world.memory.broker._subscribed
        if name in LOGGED and name in subscribed:
            subscribed.discard(name)
            self.run(_do(lambda: self.publish_soon(name, count, 0, None)))
            subscribed.add(name)

    def publish_soon(self, channel: str, count: int, size: int, excluded: str | None) -> None:
        for _ in range(count):
            number, tags = self.written(channel)
            ids = self.sdks[excluded].exclude(channel, "", number) if excluded else frozenset[str]()
            _finish(self.world.publish(channel, _payload("", number, size), tags=tags, exclude=ids))


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

    @rule(count=st.integers(1, 6))
    def answers_arrive(self, count: int) -> None:
        async def arrive() -> None:
            for _ in range(count):
                self.world.engine.let()
                await self.world.settle(2)

        self.run(arrive())

    @rule(count=st.integers(1, 6))
    def reports_arrive(self, count: int) -> None:
        async def arrive() -> None:
            for _ in range(count):
                self.world.engine.report()

        self.run(arrive())

    @rule()
    def a_report_is_lost(self) -> None:
        self.world.engine.lose_publication(LOGGED)

    def publish_soon(self, channel: str, count: int, size: int, excluded: str | None) -> None:
        for index in range(count):
            writer = f"w{index}"
            under_way = self.publishing.get(writer)
            if under_way is not None and not under_way.done():
                continue
            number, tags = self.written(channel, writer)
            ids = self.sdks[excluded].exclude(channel, writer, number) if excluded else frozenset[str]()
            publish = self.world.publish(channel, _payload(writer, number, size), tags=tags, exclude=ids)
            self.publishing[writer] = asyncio.get_running_loop().create_task(publish)


def _payload(writer: str, number: int, size: int) -> bytes:
    text = "x" * size + LETTERS[number % 3]
    return b'{"writer":"%s","number":%d,"text":"%s"}' % (writer.encode(), number, text.encode())


def _finish(work: Coroutine[Any, Any, Any]) -> None:
    """Runs what never suspends."""
    with pytest.raises(StopIteration):
        work.send(None)


STEPS = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)

TestAtOnce = AtOnce.TestCase
TestAtOnce.settings = STEPS
TestSlowly = Slowly.TestCase
TestSlowly.settings = STEPS
