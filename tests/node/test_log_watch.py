from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.engines.memory import MemoryEngine
from roomful.model.errors import InternalError
from roomful.model.publication import Draft, HistoryFilter, Page, Position, Publication, Retention
from roomful.model.push import Push
from roomful.node import log_watch
from roomful.node.hub import Hub
from roomful.node.log_watch import LogWatch
from roomful.node.stats import Stats
from roomful.rooms.recovery import Gap
from roomful.testing.engine_contract import Recorder

KEEP = Retention(100, 60.0)
SMALL = Retention(3, 60.0)


class Plain:
    """A dialect for subscribers that look at the publication."""

    def push(self, push: Push) -> bytes:
        return b""


class Listener:
    """What one subscriber got: offsets, and what it was told it misses."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.missed: list[tuple[Position | None, Gap]] = []
        self.changed = asyncio.Event()

    def deliver(self, publication: Publication, epoch: str, frame: bytes) -> None:
        if publication.offset > (self.got or [0])[-1]:
            self.got.append(publication.offset)
        self.changed.set()

    def miss(self, head: Position | None, gap: Gap) -> None:
        self.missed.append((head, gap))
        self.changed.set()

    def notice(self, frame: bytes | None, client: str) -> None:
        raise AssertionError

    def refuse(self) -> None:
        raise AssertionError

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10.0):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Station:
    """A log watch over a memory engine whose reports the test passes on, or loses."""

    def __init__(self, check_s: float = 60.0) -> None:
        self.engine = MemoryEngine()
        self.hub = Hub()
        self.stats = Stats()
        self.listener = Listener()
        self.reads = 0
        self.failing = False
        self.watch = LogWatch(cast(Any, self), self.hub, self.stats, self.retention, check_s)
        self.dialect: Any = Plain()
        self.hub.add("log", self.dialect, self.listener)
        self.hub.add("live", self.dialect, self.listener)

    def retention(self, channel: str) -> Retention:
        return KEEP if channel == "log" else Retention()

    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        await asyncio.sleep(0)
        self.reads += 1
        if self.failing:
            raise InternalError("the broker is gone")
        return await self.engine.broker.history(channel, wanted, keep)

    async def heads(self, looks: list[log_watch.Look]) -> list[Position]:
        await asyncio.sleep(0)
        if self.failing:
            raise InternalError("the broker is gone")
        return await self.engine.broker.heads(looks)

    async def publish(self, *, heard: bool, keep: Retention = KEEP) -> None:
        position = (await self.engine.broker.publish("log", Draft(b"1"), keep)).position
        assert position is not None
        if heard:
            self.hear(position)

    def hear(self, position: Position) -> None:
        if self.watch.admit("log", position.offset, position.epoch):
            self.hub.broadcast("log", Publication(b"1", position.offset), position.epoch)

    async def subscribed(self) -> None:
        """Somebody has read the position."""
        page = await self.history("log", HistoryFilter(), KEEP)
        self.watch.note("log", page.head)


@pytest.fixture
async def station() -> AsyncIterator[Station]:
    station = Station()
    await station.engine.start(Recorder(), "n")
    await station.subscribed()
    yield station
    station.watch.stop()
    await station.engine.stop()


@given(st.lists(st.booleans(), max_size=40).map(lambda heard: [*heard, True]), st.integers(0, 3))
async def test_1_whatever_is_lost_on_the_way_comes_from_the_log(heard: list[bool], turns: int) -> None:
    station = Station()
    await station.subscribed()
    for each in heard:
        await station.publish(heard=each)
        for _ in range(turns):
            await asyncio.sleep(0)
    await station.listener.until(lambda: len(station.listener.got) == len(heard))
    assert station.listener.got == list(range(1, len(heard) + 1))
    assert station.listener.missed == []


async def test_what_comes_in_order_reads_nothing(station: Station) -> None:
    for _ in range(5):
        await station.publish(heard=True)
    assert (station.listener.got, station.reads, station.stats.repaired) == ([1, 2, 3, 4, 5], 1, 0)


async def test_1_what_was_missed_during_a_lapse_comes_from_the_log_at_once(station: Station) -> None:
    for _ in range(3):
        await station.publish(heard=False)
    station.watch.on_lapse(["log"])
    await station.listener.until(lambda: station.listener.got == [1, 2, 3])
    assert (station.stats.lapses, station.stats.repaired, station.listener.missed) == (1, 3, [])


async def test_1_what_was_missed_unnoticed_is_found_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_watch, "SETTLE_S", 0.0)
    station = Station(check_s=0.01)
    await station.subscribed()
    await station.publish(heard=False)
    station.watch.start()
    await station.listener.until(lambda: station.listener.got == [1])
    station.watch.stop()


async def test_8_what_the_log_has_trimmed_meanwhile_is_told(station: Station, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        await station.publish(heard=False, keep=SMALL)
    station.watch.on_lapse(["log"])
    await station.listener.until(lambda: bool(station.listener.missed))
    [(head, gap)] = station.listener.missed
    assert head is not None
    assert (head.offset, gap, station.listener.got) == (5, Gap.TRIMMED, [])
    await station.publish(heard=True)
    assert station.listener.got == [6], "it goes on from there"
    assert "this node has missed publications of %r, and the log can't give them back: %s" in {
        record.msg for record in caplog.records
    }


async def test_1_another_life_of_the_log_is_told(station: Station) -> None:
    await station.publish(heard=True)
    station.engine.broker.streams = MemoryEngine().broker.streams
    station.watch.on_lapse(["log"])
    await station.listener.until(lambda: bool(station.listener.missed))
    assert [gap for _, gap in station.listener.missed] == [Gap.EPOCH]


async def test_1_a_log_that_has_become_shorter_is_another_life(station: Station) -> None:
    await station.publish(heard=True)
    head = (await station.engine.broker.history("log", HistoryFilter(), KEEP)).head
    station.hear(Position(head.epoch, 2))  # which the log has lost since
    station.watch.on_lapse(["log"])
    await station.listener.until(lambda: bool(station.listener.missed))
    assert [gap for _, gap in station.listener.missed] == [Gap.EPOCH]


async def test_1_who_listens_to_a_channel_without_log_is_told_of_each_lapse(station: Station) -> None:
    station.watch.on_lapse(["log", "live", "nobody is here"])
    await station.listener.until(lambda: bool(station.listener.missed))
    assert station.listener.missed == [(None, Gap.DEAF)]


async def test_6_a_log_that_cant_be_read_is_tried_again(station: Station, caplog: pytest.LogCaptureFixture) -> None:
    station.failing = True
    await station.publish(heard=False)
    await station.publish(heard=True)
    station.watch.on_lapse(["log"])
    for _ in range(10):
        await asyncio.sleep(0)
    assert (station.listener.got, station.listener.missed) == ([], [])
    station.failing = False
    await station.publish(heard=True)
    await station.listener.until(lambda: station.listener.got == [1, 2, 3])
    assert {"the heads of the log can't be read: %s", "the log of %r can't be read, so the node stays behind: %s"} <= {
        record.msg for record in caplog.records
    }


async def test_29_who_has_left_costs_nothing(station: Station) -> None:
    await station.publish(heard=True)
    station.watch.forget("log")
    station.hub.remove("log", station.dialect, station.listener)
    await station.publish(heard=True)
    station.watch.on_lapse(["log"])
    await asyncio.sleep(0)
    assert (station.reads, station.watch._places) == (1, {})


@pytest.mark.parametrize(
    ("check_s", "calls", "pause_s"), [(5.0, 1, 5.0), (5.0, 10, 0.5), (5.0, 20, 0.25), (5.0, 200, 0.25), (0.1, 10, 0.1)]
)
def test_a_round_is_spread_and_never_rushed(check_s: float, calls: int, pause_s: float) -> None:
    assert log_watch.pause_s(check_s, calls) == pause_s
