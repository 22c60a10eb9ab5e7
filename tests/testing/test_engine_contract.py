"""The contract has teeth: it passes a sound cluster, and fails each engine that breaks one promise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import msgspec
import pytest

from roomful.engines.memory import MemoryEngine
from roomful.model.client import ClientInfo
from roomful.model.order import Answer, Order, Survey
from roomful.model.publication import Draft, HistoryFilter, Look, Page, Position, Publication, Published, Retention
from roomful.rooms.presence import Presence
from roomful.seams.engine import Broker, Engine, Sink
from roomful.testing import engine_contract
from roomful.testing.clock import VirtualClock
from roomful.testing.engine_contract import (
    ClusterContract,
    EngineContract,
    EngineNode,
    MakeEngine,
    PassTime,
    Recorder,
    running,
)


class Fanout:
    """The sink of the one memory engine that all nodes of a `SharedEngine` share; passes on who subscribed to what."""

    def __init__(self, clock: VirtualClock) -> None:
        self.engine = MemoryEngine(clock=clock)
        self.presence = Presence()
        self.nodes: dict[str, tuple[Sink, set[str]]] = {}

    def listening(self, channel: str) -> list[Sink]:
        return [sink for sink, channels in self.nodes.values() if channel in channels]

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        for sink in self.listening(channel):
            sink.on_publication(channel, publication, epoch)

    def on_join(self, channel: str, info: ClientInfo) -> None:
        for sink in self.listening(channel):
            sink.on_join(channel, info)

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        for sink in self.listening(channel):
            sink.on_leave(channel, info)

    def on_order(self, order: Order) -> None:
        for sink, _ in self.nodes.values():
            sink.on_order(order)

    def on_survey(self, survey: Survey) -> None:
        for sink, _ in self.nodes.values():
            sink.on_survey(survey)

    def on_answer(self, answer: Answer) -> None:
        raise AssertionError("answers go to the node that asked")

    def on_lapse(self, channels: Collection[str]) -> None:
        raise AssertionError("the memory engine always hears")


class SharedEngine:
    """One node of several in this process, which is what the second half of the contract wants to see."""

    alone = False

    def __init__(self, fanout: Fanout) -> None:
        self.fanout = fanout
        self.node = ""
        self.channels: set[str] = set()
        self.broker = SharedBroker(self)
        self.presence = SharedPresence(self)
        self.control = SharedControl(fanout)

    @property
    def ready(self) -> bool:
        return self.node in self.fanout.nodes

    async def start(self, sink: Sink, node: str) -> None:
        self.node = node
        if not self.fanout.nodes:
            await self.fanout.engine.start(self.fanout, "all")
        self.fanout.nodes[node] = (sink, self.channels)
        self.fanout.presence.renew(node, float("inf"))

    async def stop(self) -> None:
        self.fanout.presence.drop(self.node)
        if self.fanout.nodes.pop(self.node, None) and not self.fanout.nodes:
            await self.fanout.engine.stop()


class SharedBroker:
    def __init__(self, engine: SharedEngine) -> None:
        shared = engine.fanout.engine.broker
        self.engine = engine
        self.publish, self.history, self.remove_history = shared.publish, shared.history, shared.remove_history
        self.publish_join, self.publish_leave = shared.publish_join, shared.publish_leave
        self.heads = shared.heads

    async def subscribe(self, channel: str) -> None:
        self.engine.channels.add(channel)
        await self.engine.fanout.engine.broker.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        self.engine.channels.discard(channel)


class SharedControl:
    def __init__(self, fanout: Fanout) -> None:
        self.fanout = fanout
        self.send, self.ask = fanout.engine.control.send, fanout.engine.control.ask

    async def answer(self, node: str, answer: Answer) -> None:
        if node in self.fanout.nodes:
            self.fanout.nodes[node][0].on_answer(answer)

    async def nodes(self) -> Collection[str]:
        return list(self.fanout.nodes)


class SharedPresence:
    def __init__(self, engine: SharedEngine) -> None:
        self.engine = engine
        self.all = engine.fanout.presence

    async def add(self, channel: str, info: ClientInfo) -> None:
        self.all.add(channel, info, self.engine.node)

    async def remove(self, channel: str, client: str) -> None:
        self.all.remove(channel, client)

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        return self.all.members(channel)

    async def counts(self, channel: str) -> tuple[int, int]:
        return self.all.counts(channel)


class TestSeveralNodes(ClusterContract):
    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def make_engine(self, clock: VirtualClock) -> MakeEngine:
        fanout = Fanout(clock)
        return lambda: SharedEngine(fanout)

    @pytest.fixture
    def pass_time(self, clock: VirtualClock) -> PassTime:
        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        return advance


class Broken:
    """A broker that is sound but for the methods which a subclass spoils."""

    def __init__(self, sound: Broker, sink: Sink) -> None:
        self.sound = sound
        self.sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sound, name)


class Forgets(Broken):
    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        return await self.sound.publish(channel, msgspec.structs.replace(draft, key=""), keep)


class SaysTooLittle(Broken):
    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        await self.sound.publish(channel, draft, keep)
        return Published()


class DeliversTwice(Broken):
    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        published = await self.sound.publish(channel, draft, keep)
        if published.position is not None:
            page = await self.sound.history(channel, HistoryFilter(1, reverse=True), keep)
            self.sink.on_publication(channel, page.publications[0], page.head.epoch)
        return published


class DropsWho(Broken):
    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        return await self.sound.publish(channel, msgspec.structs.replace(draft, exclude=frozenset(), info=None), keep)


class DeliversWithoutAPlace(Broken):
    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        published = await self.sound.publish(f"{channel}:log", draft, keep)
        await self.sound.publish(channel, draft, Retention())
        return published


class KeepsAll(Broken):
    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        return await self.sound.publish(channel, draft, Retention(1000, keep.ttl_s) if keep.keeps else keep)


class ReadsForward(Broken):
    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        return await self.sound.history(channel, msgspec.structs.replace(wanted, reverse=False), keep)


class ReadsTooMuch(Broken):
    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        return await self.sound.history(channel, msgspec.structs.replace(wanted, max_bytes=None), keep)


class HeadsTooFar(Broken):
    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        page = await self.sound.history(channel, wanted, keep)
        return Page(page.publications, Position(page.head.epoch, page.head.offset + 1))


class AlwaysANewEpoch(Broken):
    reads = 0

    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        page = await self.sound.history(channel, wanted, keep)
        self.reads += 1
        return Page(page.publications, Position(f"e{self.reads}", page.head.offset))


class LooksOnlyAtTheFirst(Broken):
    async def heads(self, looks: Sequence[Look]) -> list[Position]:
        return await self.sound.heads(looks[:1]) * len(looks)


class TrustsAShorterLog(Broken):
    async def heads(self, looks: Sequence[Look]) -> list[Position]:
        return await self.sound.heads([Look(look.channel, look.keep) for look in looks])


class RemovesNothing(Broken):
    async def remove_history(self, channel: str) -> None:
        pass


class HearsEverything(Broken):
    async def unsubscribe(self, channel: str) -> None:
        pass


class IsDeaf(Broken):
    async def subscribe(self, channel: str) -> None:
        pass


Check = Callable[[EngineNode], Awaitable[None]]

contract = EngineContract()
everything = HistoryFilter(limit=None)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Forgets, lambda node: contract.test_a_key_publishes_once(node, "a")),
        (Forgets, lambda node: contract.test_retries_at_once_publish_once(node, "a")),
        (SaysTooLittle, lambda node: contract.test_a_publish_answers_with_its_place(node, "a")),
        (DeliversTwice, lambda node: contract.test_subscribing_twice_hears_once(node, "a")),
        (DropsWho, lambda node: contract.test_what_was_published_arrives_as_it_was(node, "a", b"1")),
        (DeliversWithoutAPlace, lambda node: contract.test_the_epoch_is_heard_too(node, "a")),
        (KeepsAll, lambda node: contract.test_pages(node, "a", None, None, False, [5, 6, 7, 8, 9, 10])),
        (KeepsAll, lambda node: contract.test_a_smaller_size_drops_the_oldest(node, "a")),
        (ReadsForward, lambda node: contract.test_pages(node, "a", 2, None, True, [10, 9])),
        (
            ReadsTooMuch,
            lambda node: contract.test_a_page_stops_before_it_is_too_large(node, "a", 250, None, False, [1, 2]),
        ),
        (HeadsTooFar, lambda node: contract.test_a_publish_answers_with_its_place(node, "a")),
        (AlwaysANewEpoch, lambda node: contract.test_an_empty_channel_has_a_position(node, "a")),
        (LooksOnlyAtTheFirst, lambda node: contract.test_heads_are_those_of_the_history(node, "a")),
        (TrustsAShorterLog, lambda node: contract.test_a_stream_that_has_lost_its_end_begins_anew(node, "a")),
        (RemovesNothing, lambda node: contract.test_removing_history_keeps_the_position(node, "a")),
        (HearsEverything, lambda node: contract.test_after_unsubscribing_nothing_is_heard(node, "a")),
        (IsDeaf, lambda node: contract.test_who_subscribes_and_then_reads_misses_nothing(node, "a")),
    ],
)
async def test_a_broken_promise_is_found(broken: type[Broken], check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_contract, "WAIT_S", 0.05)
    engine: Engine = MemoryEngine(clock=VirtualClock())
    async with running(engine) as node:
        await check(node)  # sound so far
    engine = MemoryEngine(clock=VirtualClock())
    async with running(engine) as node:
        node.broker = broken(node.broker, node.heard)
        with pytest.raises((AssertionError, TimeoutError)):
            await check(node)


async def test_a_recorder_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_contract, "WAIT_S", 0.01)
    heard = Recorder()
    with pytest.raises(TimeoutError):
        await heard.until(lambda: bool(heard.orders))


async def test_a_recorder_waits_for_what_arrives() -> None:
    heard = Recorder()
    heard.on_leave("a", ClientInfo("ann", "client-1"))
    asyncio.get_running_loop().call_soon(heard.on_join, "a", ClientInfo("ann", "client-1"))
    await heard.until(lambda: len(heard.joins) == 1)
