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
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from roomful.engines.memory import MemoryEngine
from roomful.model.channel import ChannelOptions, Right
from roomful.model.order import DisconnectOrder, SubscribeOrder, UnsubscribeOrder
from roomful.session.options import ConnectionOptions, LimitOptions
from roomful.testing.ledger import Ledger
from tests.session.sdk import Sdk
from tests.session.world import World

T = TypeVar("T")

pytestmark = pytest.mark.timeout(600)
"""A failure is made smaller before it is shown, which takes minutes; without one it's seconds."""

OPEN: dict[str, Any] = {"subscribe": "client", "publish": Right.CLIENT}
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

LIMITS = LimitOptions(outbox_max_bytes=1_500, recovery_max=3, recovery_max_bytes=300)
"""So small that a burst overflows, and that a recovery takes many pages."""

users = st.sampled_from(USERS)
numbers = st.integers(0, 2)
"""A channel by its number among those of this run."""


class Delivery(RuleBasedStateMachine):
    """Three clients, their server, and a ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ledger = Ledger()
        self.world = World(limits=LIMITS, options=ConnectionOptions(ping_s=0), **NAMESPACES)
        self.sdks = {user: Sdk(self.world, self.ledger, user) for user in USERS}
        self.run(self.world.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def publish_soon(self, channel: str, count: int, size: int, excluded: str | None) -> None:
        """Runs in the loop."""
        raise NotImplementedError

    def name(self, channel: int) -> str:
        return self.channels[channel % len(self.channels)]

    # Clients

    @initialize(channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True))
    def everybody_comes(self, channels: list[str]) -> None:
        """A few channels a run, so that things happen to the same ones."""
        self.channels = channels

        async def connect() -> None:
            for sdk in self.sdks.values():
                sdk.connect()

        self.run(connect())

    @rule(user=users)
    def connect(self, user: str) -> None:
        self.run(_do(self.sdks[user].connect))

    @rule(user=users)
    def cut(self, user: str) -> None:
        self.run(_do(self.sdks[user].cut))

    @rule(user=users)
    def come_back_at_once(self, user: str) -> None:
        self.run(_do(self.sdks[user].cut))
        self.run(_do(self.sdks[user].connect))

    @rule(user=users, channel=numbers, asks=st.booleans(), server_side=st.booleans())
    def subscribe(self, user: str, channel: int, asks: bool, server_side: bool) -> None:
        fields = {"recoverable": True} if asks else {}
        self.run(_do(lambda: self.sdks[user].subscribe(self.name(channel), server_side=server_side, **fields)))

    @rule(user=users)
    def subscribe_everything(self, user: str) -> None:
        def act() -> None:
            for channel in self.channels:
                self.sdks[user].subscribe(channel)

        self.run(_do(act))

    @rule(user=users, channel=numbers)
    def unsubscribe(self, user: str, channel: int) -> None:
        self.run(_do(lambda: self.sdks[user].unsubscribe(self.name(channel))))

    @rule(user=users, channel=numbers)
    def unsubscribe_and_subscribe(self, user: str, channel: int) -> None:
        def act() -> None:
            self.sdks[user].unsubscribe(self.name(channel))
            self.sdks[user].subscribe(self.name(channel))

        self.run(_do(act))

    @rule(user=users)
    def stop_reading(self, user: str) -> None:
        client = self.sdks[user].client
        if client is not None:
            client.transport.paused = True

    @rule(user=users)
    def read_again(self, user: str) -> None:
        client = self.sdks[user].client
        if client is not None:
            self.run(_do(client.transport.resume))

    # Publishers

    @rule(
        channel=numbers,
        count=st.integers(1, 12),
        size=st.sampled_from((0, 100)),
        excluded=st.none() | users,
    )
    def publish(self, channel: int, count: int, size: int, excluded: str | None) -> None:
        self.run(_do(lambda: self.publish_soon(self.name(channel), count, size, excluded)))

    # The application

    @rule(user=users, channel=numbers)
    def order_subscribe(self, user: str, channel: int) -> None:
        self.run(_do(lambda: self.world.node.on_order(SubscribeOrder(user, self.name(channel)))))

    @rule(user=users, channel=numbers, code=st.sampled_from((2000, 2500)))
    def order_unsubscribe(self, user: str, channel: int, code: int) -> None:
        self.run(_do(lambda: self.world.node.on_order(UnsubscribeOrder(user, self.name(channel), code=code))))

    @rule(user=users)
    def order_disconnect(self, user: str) -> None:
        self.run(_do(lambda: self.world.node.on_order(DisconnectOrder(user))))

    # Logs

    @rule(channel=numbers)
    def remove_history(self, channel: int) -> None:
        self.run(self.world.memory.broker.remove_history(self.name(channel)))

    @rule(seconds=st.sampled_from((1.0, 21.0, 301.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule()
    def the_engine_forgets_everything(self) -> None:
        self.world.memory.broker.streams = MemoryEngine(clock=self.world.clock).broker.streams

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

    def publish_soon(self, channel: str, count: int, size: int, excluded: str | None) -> None:
        for _ in range(count):
            number = self.ledger.write(channel)
            ids = self.sdks[excluded].exclude(channel, "", number) if excluded else frozenset[str]()
            _finish(self.world.publish(channel, _payload("", number, size), tags={"key": ""}, exclude=ids))


class Slowly(Delivery):
    """An engine far away: calls and reports arrive when they like. Each writer publishes one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.publishing: dict[str, asyncio.Task[Any]] = {}

    @rule()
    def the_engine_slows_down(self) -> None:
        self.world.engine.quick = False

    @precondition(lambda self: not self.world.engine.quick)
    @rule(order=st.lists(st.integers(0, 7), min_size=1, max_size=8))
    def messages_arrive(self, order: list[int]) -> None:
        async def arrive() -> None:
            for number in order:
                if number % 3 == 0:
                    self.world.engine.report()
                else:
                    self.world.engine.let(number)
                await self.world.settle(2)

        self.run(arrive())

    @precondition(lambda self: not self.world.engine.quick)
    @rule(count=st.integers(1, 3))
    def answers_arrive(self, count: int) -> None:
        async def arrive() -> None:
            for _ in range(count):
                self.world.engine.let()
                await self.world.settle(2)

        self.run(arrive())

    @precondition(lambda self: not self.world.engine.quick)
    @rule(count=st.integers(1, 6))
    def reports_arrive(self, count: int) -> None:
        async def arrive() -> None:
            for _ in range(count):
                self.world.engine.report()

        self.run(arrive())

    @precondition(lambda self: self.world.engine.reports)
    @rule()
    def a_report_is_lost(self) -> None:
        self.world.engine.lose_publication()

    @precondition(lambda self: not self.world.engine.quick)
    @rule()
    def the_engine_is_quick_again(self) -> None:
        self.run(self.world.engine.rush())

    def publish_soon(self, channel: str, count: int, size: int, excluded: str | None) -> None:
        for index in range(count):
            writer = f"w{index}"
            under_way = self.publishing.get(writer)
            if under_way is not None and not under_way.done():
                continue
            number = self.ledger.write(channel, writer)
            ids = self.sdks[excluded].exclude(channel, writer, number) if excluded else frozenset[str]()
            publish = self.world.publish(channel, _payload(writer, number, size), tags={"key": writer}, exclude=ids)
            self.publishing[writer] = asyncio.get_running_loop().create_task(publish)


def _payload(writer: str, number: int, size: int) -> bytes:
    return b'{"writer":"%s","number":%d,"x":"%s"}' % (writer.encode(), number, b"x" * size)


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
