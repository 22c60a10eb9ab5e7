from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from roomful.engines.memory import TIDY_EACH_TICK, MemoryEngine, Usage
from roomful.engines.options import EngineOptions
from roomful.model.client import ClientInfo
from roomful.model.errors import RoomfulError
from roomful.model.order import DisconnectOrder
from roomful.model.publication import Draft, Look, Position, Publication, Retention
from roomful.testing.clock import VirtualClock
from roomful.testing.engine_contract import (
    ALL,
    ANN,
    KEEP,
    NO_HISTORY,
    TOP,
    EngineContract,
    EngineNode,
    MakeEngine,
    PassTime,
    Recorder,
    running,
)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def engine(clock: VirtualClock) -> MemoryEngine:
    return MemoryEngine(clock=clock)


class TestMemoryEngine(EngineContract):
    @pytest.fixture
    def make_engine(self, clock: VirtualClock) -> MakeEngine:
        return lambda: MemoryEngine(clock=clock)

    @pytest.fixture
    def pass_time(self, clock: VirtualClock) -> PassTime:
        async def advance(seconds: float) -> None:
            clock.advance(seconds)

        return advance


@pytest.fixture
async def node(engine: MemoryEngine) -> AsyncIterator[EngineNode]:
    async with running(engine) as node:
        yield node


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never suspends, as a session gets it."""
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return end.value.value


def test_nothing_ever_suspends(engine: MemoryEngine) -> None:
    broker, presence = engine.broker, engine.presence
    at_once(broker.subscribe("a"))
    assert at_once(broker.publish("a", Draft(b"1", key="k"), KEEP)).position.offset == 1
    at_once(broker.publish_join("a", ANN))
    at_once(broker.publish_leave("a", ANN))
    assert len(at_once(broker.history("a", ALL, KEEP)).publications) == 1
    assert [head.offset for head in at_once(broker.heads([Look("a", KEEP)]))] == [1]
    at_once(broker.remove_history("a"))
    at_once(broker.unsubscribe("a"))
    at_once(presence.add("a", ANN))
    assert at_once(presence.counts("a")) == (1, 1)
    assert at_once(presence.members("a")) == {"client-1": ANN}
    at_once(presence.remove("a", "client-1"))
    at_once(engine.control.send(DisconnectOrder("ann")))
    checked = {"subscribe", "publish", "publish_join", "publish_leave", "history", "heads", "remove_history"}
    checked.add("unsubscribe")
    assert checked == {name for name, _ in inspect.getmembers(broker, inspect.iscoroutinefunction)}


async def test_a_publication_is_delivered_before_publish_returns(node: EngineNode) -> None:
    await node.broker.subscribe("a")
    at_once(node.broker.publish("a", Draft(b"1"), KEEP))
    assert node.heard.of("a") == [Publication(b"1", 1)]


class Reacting(Recorder):
    """A sink with two listeners, the first of which answers each question from within the call that brings it."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__()
        self.engine = engine
        self.seen: tuple[list[bytes], list[bytes]] = ([], [])

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        super().on_publication(channel, publication, epoch)
        self.seen[0].append(publication.data)
        if publication.data.endswith(b"?"):
            before = (len(self.joins), len(self.orders))
            at_once(self.engine.broker.publish_join(channel, ANN))
            position = at_once(self.engine.broker.publish(channel, Draft(publication.data[:-1]), KEEP)).position
            at_once(self.engine.control.send(DisconnectOrder("ann")))
            assert position.offset == publication.offset + 1
            assert (len(self.joins), len(self.orders)) == before
        self.seen[1].append(publication.data)


async def test_an_answer_from_within_a_delivery_does_not_overtake_it(engine: MemoryEngine) -> None:
    sink = Reacting(engine)
    await engine.start(sink, "n")
    await engine.broker.subscribe("a")
    await engine.broker.publish("a", Draft(b"1??"), KEEP)
    await engine.broker.publish("a", Draft(b"2?"), KEEP)
    assert sink.seen[0] == sink.seen[1] == [b"1??", b"1?", b"1", b"2?", b"2"]
    assert [p.offset for p in sink.of("a")] == [1, 2, 3, 4, 5]
    assert (len(sink.joins), len(sink.orders)) == (3, 3)
    await engine.stop()


class Failing(Recorder):
    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        super().on_publication(channel, publication, epoch)
        if len(self.publications) == 1:
            raise RuntimeError("a sink never raises")


async def test_a_sink_that_breaks_its_word_is_told_and_goes_on_hearing(engine: MemoryEngine) -> None:
    sink = Failing()
    await engine.start(sink, "n")
    await engine.broker.subscribe("a")
    with pytest.raises(RuntimeError):
        await engine.broker.publish("a", Draft(b"1"), KEEP)
    await engine.broker.publish("a", Draft(b"2"), KEEP)
    assert [p.offset for p in sink.of("a")] == [1, 2]
    await engine.stop()


class Leaving(Recorder):
    """A sink that answers, and then stops the engine before the answer could come back."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__()
        self.engine = engine

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        super().on_publication(channel, publication, epoch)
        at_once(self.engine.broker.publish(channel, Draft(b"2"), KEEP))
        at_once(self.engine.stop())


async def test_after_stop_nothing_is_delivered(engine: MemoryEngine) -> None:
    sink = Leaving(engine)
    await engine.start(sink, "n")
    await engine.broker.subscribe("a")
    await engine.broker.publish("a", Draft(b"1"), KEEP)
    assert [p.data for p in sink.of("a")] == [b"1"]


async def test_one_engine_has_one_node(engine: MemoryEngine, node: EngineNode) -> None:
    with pytest.raises(RoomfulError, match="one node"):
        await engine.start(Recorder(), "second")


async def test_a_stopped_engine_is_deaf_and_empty_but_for_the_log(engine: MemoryEngine) -> None:
    async with running(engine) as before:
        await before.broker.subscribe("a")
        await before.presence.add("a", ANN)
    head = (await engine.broker.publish("a", Draft(b"1"), KEEP)).position
    await engine.broker.publish_join("a", ANN)
    await engine.control.send(DisconnectOrder("ann"))
    assert (before.heard.publications, before.heard.joins, before.heard.orders) == ([], [], [])
    async with running(engine) as after:
        assert await after.presence.counts("a") == (0, 0)
        assert (await after.broker.history("a", TOP, KEEP)).head == head
        await after.broker.publish("a", Draft(b"2"), KEEP)
        assert after.heard.publications == []


async def test_each_engine_has_epochs_of_its_own() -> None:
    heads = [(await MemoryEngine().broker.history("a", TOP, KEEP)).head for _ in range(100)]
    assert len({head.epoch for head in heads}) == 100


async def test_the_timer_frees_what_nobody_asks_for(clock: VirtualClock) -> None:
    engine = MemoryEngine(clock=clock, tick_s=0.0)
    async with asyncio.timeout(10.0), running(engine) as node:
        for n in range(3 * TIDY_EACH_TICK):
            await node.broker.publish(
                f"chat:{n}", Draft(b"1", key="k", idempotency_ttl_s=5.0), Retention(10, 5.0, 20.0)
            )
        for passed, usage in (
            (0.0, Usage(3 * TIDY_EACH_TICK, 0, 3 * TIDY_EACH_TICK, 0)),
            (5.0, Usage(0, 3 * TIDY_EACH_TICK, 0, 0)),
            (20.0, Usage(0, 0, 0, 0)),
        ):
            clock.advance(passed)
            while engine.usage() != usage:  # noqa: ASYNC110  the timer has no event to wait for
                await asyncio.sleep(0)


async def test_a_tick_that_has_not_freed_all_keys_is_followed_by_the_next(
    engine: MemoryEngine, clock: VirtualClock
) -> None:
    for n in range(TIDY_EACH_TICK + 1):
        await engine.broker.publish("a", Draft(b"1", key=str(n)), NO_HISTORY)
    assert not engine.broker.tidy(TIDY_EACH_TICK)
    clock.advance(300.0)
    assert engine.broker.tidy(TIDY_EACH_TICK)
    assert not engine.broker.tidy(TIDY_EACH_TICK)


async def test_stopping_stops_the_timer(clock: VirtualClock) -> None:
    engine = MemoryEngine(clock=clock)
    async with running(engine):
        timer = engine._timer
        assert timer is not None
        assert not timer.cancelled()
    assert timer.cancelled()


@pytest.mark.parametrize("use", ["publish", "history", "publish with key"])
async def test_nothing_grows_under_churn(engine: MemoryEngine, clock: VirtualClock, node: EngineNode, use: str) -> None:
    """100,000 channels come and go, 100 a second, and no timer runs: the calls themselves keep up."""
    keep, info = Retention(10, 5.0, 20.0), ClientInfo("ann", "client-1")
    peak = Usage(0, 0, 0, 0)
    for n in range(100_000):
        channel = f"chat:{n}"
        await node.broker.subscribe(channel)
        await node.presence.add(channel, info)
        if use == "history":
            await node.broker.history(channel, TOP, keep)
        else:
            await node.broker.publish(channel, Draft(b"1", key=use[7:], idempotency_ttl_s=5.0), keep)
        await node.presence.remove(channel, "client-1")
        await node.broker.unsubscribe(channel)
        clock.advance(0.01)
        if n % 1000 == 999:
            usage = engine.usage()
            peak = Usage(*(max(pair) for pair in zip(_numbers(peak), _numbers(usage), strict=True)))
    assert peak.channels <= 502
    assert peak.idle_channels <= 2502
    assert peak.keys <= 502
    for _ in range(2):  # what is full becomes idle first
        clock.advance(25.0)
        while engine.broker.tidy(TIDY_EACH_TICK):
            pass
    assert engine.usage() == Usage(0, 0, 0, 0)
    assert engine.broker._subscribed == set()


def _numbers(usage: Usage) -> tuple[int, int, int, int]:
    return usage.channels, usage.idle_channels, usage.keys, usage.present


async def test_too_many_idle_channels_forget_the_longest_unused(clock: VirtualClock) -> None:
    engine = MemoryEngine(EngineOptions(idle_channels_max=2), clock)
    keep = Retention(10, 5.0, 1000.0)
    heads = {name: (await engine.broker.publish(name, Draft(b"1"), keep)).position for name in "abc"}
    clock.advance(5.0)
    engine.broker.tidy(TIDY_EACH_TICK)
    assert engine.usage() == Usage(0, 2, 0, 0)
    for name, known in (("c", True), ("b", True), ("a", False)):
        clock.advance(1.0)
        head = (await engine.broker.history(name, TOP, keep)).head
        assert (head == heads[name]) is known
    # Asking for "a" began it anew and pushed out the one that nobody had asked for so long.
    assert (await engine.broker.history("b", TOP, keep)).head == heads["b"]
    assert (await engine.broker.history("c", TOP, keep)).head != heads["c"]


async def test_forgetting_a_channel_without_publications_loses_nothing() -> None:
    engine = MemoryEngine(EngineOptions(idle_channels_max=2))
    heads = [(await engine.broker.history(name, TOP, KEEP)).head for name in "abcda"]
    assert heads[0] == heads[4] == Position(heads[0].epoch, 0)


async def test_too_many_keys_forget_the_next_to_end() -> None:
    engine = MemoryEngine(EngineOptions(idempotency_keys_max=2))
    for key in "abc":
        await engine.broker.publish("a", Draft(b"1", key=key), NO_HISTORY)
    assert engine.usage().keys == 2
    assert (await engine.broker.publish("a", Draft(b"1", key="c"), NO_HISTORY)).repeated
    assert not (await engine.broker.publish("a", Draft(b"1", key="a"), NO_HISTORY)).repeated
