"""What every engine promises, as tests. An engine of your own passes them too:

    class TestMyEngine(EngineContract):          # ClusterContract where several nodes can meet
        @pytest.fixture
        def make_engine(self) -> MakeEngine:     # each call: one more node's engine, not started
            return lambda: MyEngine(...)

Needs pytest and pytest-asyncio. Channels have random names, so a server that was used before may serve again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import ClassVar
from uuid import uuid4

import pytest
import pytest_asyncio

from roomful.model.client import ClientInfo, Grant
from roomful.model.order import (
    Answer,
    BurialOrder,
    CommandsOrder,
    DisconnectOrder,
    DocumentRightsOrder,
    Order,
    PersonStatusOrder,
    RefreshOrder,
    RevokeOrder,
    SubscribeOrder,
    Survey,
    UnsubscribeOrder,
)
from roomful.model.publication import Draft, HistoryFilter, Look, Position, Publication, Retention
from roomful.rooms.recovery import Merged, merge
from roomful.seams.engine import Broker, Control, Engine, PresenceStore

MakeEngine = Callable[[], Engine]
PassTime = Callable[[float], Awaitable[object]]

WAIT_S = 10.0
"""How long something may take to arrive. It is waited for, so a passing test takes as long as the engine does."""

KEEP = Retention(100, 60.0, 600.0)
NO_HISTORY = Retention()
ALL = HistoryFilter(limit=None)
TOP = HistoryFilter(limit=0)

ANN = ClientInfo("ann", "client-1", b'{"name":"Ann"}', b'{"role":"host"}')
BOB = ClientInfo("bob", "client-2")

ORDERS: tuple[Order, ...] = (
    SubscribeOrder("ann", "chat:1", "client-1", "s", Grant(b"1", b"2", 3.0), Position("e", 4)),
    UnsubscribeOrder("ann", "chat:1", code=2500, reason="insufficient state"),
    DisconnectOrder("ann", whitelist=["client-1"]),
    RefreshOrder("", expires_at=5.0, info=b"{}"),
    CommandsOrder("node-1", "session-1", b"\x00\xff", "id-1", "node-2"),
    DocumentRightsOrder("ann", "notes", "read"),
    RevokeOrder("user", "ann", 1.5, 2.5),
    PersonStatusOrder("chat:1", "ann", b'"busy"', 6.5),
    BurialOrder("node-1", 7),
)


class Recorder:
    """A sink that remembers everything, in the order of arrival."""

    def __init__(self) -> None:
        self.publications: list[tuple[str, Publication, str]] = []
        self.joins: list[tuple[str, ClientInfo]] = []
        self.leaves: list[tuple[str, ClientInfo]] = []
        self.orders: list[Order] = []
        self.surveys: list[Survey] = []
        self.answers: list[Answer] = []
        self.lapses: list[Collection[str]] = []
        self._changed = asyncio.Event()

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        self.publications.append((channel, publication, epoch))
        self._changed.set()

    def on_join(self, channel: str, info: ClientInfo) -> None:
        self.joins.append((channel, info))
        self._changed.set()

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        self.leaves.append((channel, info))
        self._changed.set()

    def on_order(self, order: Order) -> None:
        self.orders.append(order)
        self._changed.set()

    def on_survey(self, survey: Survey) -> None:
        self.surveys.append(survey)
        self._changed.set()

    def on_answer(self, answer: Answer) -> None:
        self.answers.append(answer)
        self._changed.set()

    def on_lapse(self, channels: Collection[str]) -> None:
        self.lapses.append(channels)
        self._changed.set()

    def of(self, channel: str) -> list[Publication]:
        """The channel's publications so far."""
        return [publication for name, publication, _ in self.publications if name == channel]

    async def until(self, arrived: Callable[[], bool]) -> None:
        """Waits for a condition over what has arrived. Raises TimeoutError after `WAIT_S`."""
        async with asyncio.timeout(WAIT_S):
            while not arrived():
                self._changed.clear()
                await self._changed.wait()


class EngineNode:
    """A started engine and what its sink has heard."""

    def __init__(self, engine: Engine, heard: Recorder, id: str) -> None:
        self.engine = engine
        self.id = id
        self.heard = heard
        self.broker: Broker = engine.broker
        self.presence: PresenceStore = engine.presence
        self.control: Control = engine.control

    async def settled(self, channel: str) -> list[Publication]:
        """All publications of a subscribed channel up to now: those heard before a marker that is published now."""
        marker = uuid4().bytes
        await self.broker.publish(channel, Draft(marker), NO_HISTORY)
        await self.heard.until(lambda: any(heard.data == marker for heard in self.heard.of(channel)))
        return [heard for heard in self.heard.of(channel) if heard.data != marker]

    async def ordered(self, *orders: Order) -> list[Order]:
        """All orders up to now, once these are among them."""
        await self.heard.until(lambda: all(order in self.heard.orders for order in orders))
        return list(self.heard.orders)

    async def offsets(self, channel: str, wanted: HistoryFilter, keep: Retention = KEEP) -> list[int]:
        page = await self.broker.history(channel, wanted, keep)
        return [publication.offset for publication in page.publications]


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[EngineNode]:
    """A node on this engine, until the end of the block."""
    heard, id = Recorder(), f"node-{uuid4().hex}"
    await engine.start(heard, id)
    try:
        yield EngineNode(engine, heard, id)
    finally:
        await engine.stop()


class EngineContract:
    """The promises that one node can check."""

    pytestmark = pytest.mark.asyncio

    unit_s: ClassVar[float] = 1.0
    """The time-to-live in tests that let it pass, up to six times. Engines with coarser clocks need a longer one."""

    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        """A function that makes an engine; yours to override."""
        raise NotImplementedError("override the fixture make_engine")

    @pytest.fixture
    def pass_time(self) -> PassTime:
        """A function that lets seconds pass; yours to override where the engine takes a clock."""
        return asyncio.sleep

    @pytest.fixture
    def channel(self) -> str:
        return f"contract:{uuid4().hex}"

    @pytest_asyncio.fixture
    async def node(self, make_engine: MakeEngine) -> AsyncIterator[EngineNode]:
        async with running(make_engine()) as node:
            yield node

    # Publishing

    async def test_a_publish_answers_with_its_place(self, node: EngineNode, channel: str) -> None:
        first = (await node.broker.publish(channel, Draft(b"1"), KEEP)).position
        second = (await node.broker.publish(channel, Draft(b"2"), KEEP)).position
        assert first is not None
        assert first.epoch
        assert (first.offset, second) == (1, Position(first.epoch, 2))
        page = await node.broker.history(channel, ALL, KEEP)
        assert page.head == second
        assert [(p.offset, p.data) for p in page.publications] == [(1, b"1"), (2, b"2")]

    @pytest.mark.parametrize("keep", [Retention(0, 0.0), Retention(0, 60.0), Retention(10, 0.0)])
    async def test_without_history_there_is_no_position(self, node: EngineNode, channel: str, keep: Retention) -> None:
        await node.broker.subscribe(channel)
        published = await node.broker.publish(channel, Draft(b"1"), keep)
        assert (published.position, published.repeated) == (None, False)
        assert await node.settled(channel) == [Publication(b"1", 0)]
        assert {epoch for _, _, epoch in node.heard.publications} == {""}
        page = await node.broker.history(channel, ALL, keep)
        assert (page.publications, page.head) == ([], Position("", 0))

    async def test_one_publication_may_pass_by_the_history(self, node: EngineNode, channel: str) -> None:
        await node.broker.subscribe(channel)
        await node.broker.publish(channel, Draft(b"kept"), KEEP)
        assert (await node.broker.publish(channel, Draft(b"not kept"), NO_HISTORY)).position is None
        await node.broker.publish(channel, Draft(b"kept too"), KEEP)
        heard = await node.settled(channel)
        assert [(p.offset, p.data) for p in heard] == [(1, b"kept"), (0, b"not kept"), (2, b"kept too")]
        assert await node.offsets(channel, ALL) == [1, 2]

    @pytest.mark.parametrize("data", [b"", b'{"text":"h\xc3\xa9"}', bytes(range(256)), b"x" * 60_000])
    async def test_what_was_published_arrives_as_it_was(self, node: EngineNode, channel: str, data: bytes) -> None:
        tags = {"event": "edit", "": "é\n"}
        await node.broker.subscribe(channel)
        await node.broker.publish(channel, Draft(data, ANN, tags, frozenset({"client-1", "client-2"})), KEEP)
        wanted = Publication(data, 1, ANN, tags, frozenset({"client-1", "client-2"}))
        assert await node.settled(channel) == [wanted]
        assert (await node.broker.history(channel, ALL, KEEP)).publications == [wanted]

    async def test_what_was_not_given_stays_absent(self, node: EngineNode, channel: str) -> None:
        await node.broker.subscribe(channel)
        await node.broker.publish(channel, Draft(b"1"), KEEP)
        assert await node.settled(channel) == [Publication(b"1", 1, None, None, frozenset())]
        assert (await node.broker.history(channel, ALL, KEEP)).publications == [Publication(b"1", 1)]

    async def test_publications_at_once_are_numbered_and_heard_in_one_order(
        self, node: EngineNode, channel: str
    ) -> None:
        await node.broker.subscribe(channel)
        drafts = [Draft(str(n).encode()) for n in range(50)]
        answers = await asyncio.gather(*(node.broker.publish(channel, draft, KEEP) for draft in drafts))
        log = (await node.broker.history(channel, ALL, KEEP)).publications
        assert [p.offset for p in log] == list(range(1, 51))
        assert await node.settled(channel) == log
        places = {
            draft.data: answer.position and answer.position.offset
            for draft, answer in zip(drafts, answers, strict=True)
        }
        assert places == {p.data: p.offset for p in log}

    async def test_channels_are_numbered_apart(self, node: EngineNode, channel: str) -> None:
        for name in (channel, f"{channel}:b", channel):
            await node.broker.publish(name, Draft(name.encode()), KEEP)
        assert await node.offsets(channel, ALL) == [1, 2]
        assert await node.offsets(f"{channel}:b", ALL) == [1]

    # Subscribing

    async def test_only_subscribed_channels_are_heard(self, node: EngineNode, channel: str) -> None:
        await node.broker.publish(channel, Draft(b"too early"), KEEP)
        await node.broker.subscribe(channel)
        await node.broker.publish(f"{channel}:b", Draft(b"elsewhere"), KEEP)
        await node.broker.publish(channel, Draft(b"heard"), KEEP)
        assert [p.data for p in await node.settled(channel)] == [b"heard"]
        assert {name for name, _, _ in node.heard.publications} == {channel}

    async def test_the_epoch_is_heard_too(self, node: EngineNode, channel: str) -> None:
        await node.broker.subscribe(channel)
        position = (await node.broker.publish(channel, Draft(b"1"), KEEP)).position
        await node.heard.until(lambda: bool(node.heard.publications))
        _, publication, epoch = node.heard.publications[0]
        assert Position(epoch, publication.offset) == position

    async def test_subscribing_twice_hears_once(self, node: EngineNode, channel: str) -> None:
        await node.broker.subscribe(channel)
        await node.broker.subscribe(channel)
        await node.broker.publish(channel, Draft(b"1"), KEEP)
        assert len(await node.settled(channel)) == 1

    async def test_after_unsubscribing_nothing_is_heard(self, node: EngineNode, channel: str) -> None:
        await node.broker.unsubscribe(channel)
        await node.broker.subscribe(channel)
        await node.broker.unsubscribe(channel)
        await node.broker.unsubscribe(channel)
        await node.broker.publish(channel, Draft(b"missed"), KEEP)
        await node.broker.publish_join(channel, ANN)
        await node.broker.subscribe(channel)
        await node.broker.publish(channel, Draft(b"heard"), KEEP)
        assert [(p.offset, p.data) for p in await node.settled(channel)] == [(2, b"heard")]
        assert node.heard.joins == []

    async def test_joins_and_leaves_are_heard_and_not_stored(self, node: EngineNode, channel: str) -> None:
        await node.broker.subscribe(channel)
        await node.broker.publish_join(f"{channel}:b", BOB)
        await node.broker.publish_join(channel, ANN)
        await node.broker.publish_leave(channel, ANN)
        await node.heard.until(lambda: bool(node.heard.leaves))
        await node.settled(channel)
        assert node.heard.joins == node.heard.leaves == [(channel, ANN)]
        page = await node.broker.history(channel, ALL, KEEP)
        assert (page.publications, page.head.offset) == ([], 0)

    async def test_who_subscribes_and_then_reads_misses_nothing(self, node: EngineNode, channel: str) -> None:
        under_way = asyncio.Event()

        async def publish() -> None:
            for n in range(1, 101):
                await node.broker.publish(channel, Draft(str(n).encode()), KEEP)
                if n == 20:
                    under_way.set()
                await asyncio.sleep(0)  # the memory engine never suspends

        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(publish())
            await under_way.wait()
            await node.broker.subscribe(channel)
            page = await node.broker.history(channel, ALL, KEEP)
            live = [(publication, epoch) for _, publication, epoch in node.heard.publications]
            merged = merge(Position(page.head.epoch, 0), page, live)
        assert isinstance(merged, Merged)
        later = [p for p in await node.settled(channel) if p.offset > merged.position.offset]
        assert [p.offset for p in [*merged.publications, *later]] == list(range(1, 101))

    # History

    async def test_an_empty_channel_has_a_position(self, node: EngineNode, channel: str) -> None:
        head = (await node.broker.history(channel, TOP, KEEP)).head
        assert head.epoch
        assert head.offset == 0
        assert (await node.broker.history(channel, ALL, KEEP)).head == head
        assert (await node.broker.publish(channel, Draft(b"1"), KEEP)).position == Position(head.epoch, 1)

    @pytest.mark.parametrize(
        ("limit", "since", "reverse", "offsets"),
        [
            (None, None, False, [5, 6, 7, 8, 9, 10]),
            (0, None, False, []),
            (3, None, False, [5, 6, 7]),
            (6, None, False, [5, 6, 7, 8, 9, 10]),
            (99, None, False, [5, 6, 7, 8, 9, 10]),
            (None, 7, False, [8, 9, 10]),
            (2, 7, False, [8, 9]),
            (0, 7, False, []),
            (None, 4, False, [5, 6, 7, 8, 9, 10]),
            (2, 1, False, [5, 6]),
            (None, 0, False, [5, 6, 7, 8, 9, 10]),
            (None, 10, False, []),
            (None, 99, False, []),
            (None, None, True, [10, 9, 8, 7, 6, 5]),
            (2, None, True, [10, 9]),
            (0, None, True, []),
            (None, 8, True, [7, 6, 5]),
            (1, 8, True, [7]),
            (None, 11, True, [10, 9, 8, 7, 6, 5]),
            (1, 99, True, [10]),
            (None, 5, True, []),
            (None, 3, True, []),
        ],
    )
    async def test_pages(
        self, node: EngineNode, channel: str, limit: int | None, since: int | None, reverse: bool, offsets: list[int]
    ) -> None:
        keep = Retention(6, 60.0, 600.0)
        for n in range(1, 11):
            await node.broker.publish(channel, Draft(str(n).encode()), keep)
        head = (await node.broker.history(channel, TOP, keep)).head
        position = None if since is None else Position(head.epoch, since)
        page = await node.broker.history(channel, HistoryFilter(limit, position, reverse), keep)
        assert [(p.offset, p.data) for p in page.publications] == [(n, str(n).encode()) for n in offsets]
        assert page.head == head
        assert head.offset == 10

    @pytest.mark.parametrize(
        ("max_bytes", "limit", "reverse", "offsets"),
        [
            (1000, None, False, [1, 2, 3, 4]),
            (400, None, False, [1, 2, 3, 4]),
            (399, None, False, [1, 2, 3]),
            (250, None, True, [4, 3]),
            (250, 1, False, [1]),
            (99, None, False, [1]),
            (0, None, True, [4]),
            (250, 0, False, []),
        ],
    )
    async def test_a_page_stops_before_it_is_too_large(
        self, node: EngineNode, channel: str, max_bytes: int, limit: int | None, reverse: bool, offsets: list[int]
    ) -> None:
        for _ in range(4):
            await node.broker.publish(channel, Draft(b"x" * 100), KEEP)
        assert await node.offsets(channel, HistoryFilter(limit, None, reverse, max_bytes)) == offsets

    async def test_a_smaller_size_drops_the_oldest(self, node: EngineNode, channel: str) -> None:
        for size in (6, 6, 6, 6, 2):
            await node.broker.publish(channel, Draft(b"1"), Retention(size, 60.0, 600.0))
        assert await node.offsets(channel, ALL) == [4, 5]

    async def test_removing_history_keeps_the_position(self, node: EngineNode, channel: str) -> None:
        await node.broker.remove_history(f"{channel}:unknown")
        await node.broker.publish(channel, Draft(b"1"), KEEP)
        before = (await node.broker.publish(channel, Draft(b"2"), KEEP)).position
        assert before is not None
        await node.broker.remove_history(channel)
        page = await node.broker.history(channel, ALL, KEEP)
        assert (page.publications, page.head) == ([], before)
        after = (await node.broker.publish(channel, Draft(b"3"), KEEP)).position
        assert after == Position(before.epoch, 3)
        assert await node.offsets(channel, ALL) == [3]

    async def test_publications_live_from_the_last_one_on(
        self, node: EngineNode, channel: str, pass_time: PassTime
    ) -> None:
        keep = Retention(10, self.unit_s, 600.0)
        await node.broker.publish(channel, Draft(b"1"), keep)
        await pass_time(0.6 * self.unit_s)
        await node.broker.publish(channel, Draft(b"2"), keep)
        await pass_time(0.6 * self.unit_s)
        assert await node.offsets(channel, ALL, keep) == [1, 2]
        await pass_time(0.6 * self.unit_s)
        page = await node.broker.history(channel, ALL, keep)
        assert (page.publications, page.head.offset) == ([], 2)
        third = (await node.broker.publish(channel, Draft(b"3"), keep)).position
        assert third == Position(page.head.epoch, 3)
        assert await node.offsets(channel, ALL, keep) == [3]

    async def test_a_stream_that_nobody_used_begins_anew(
        self, node: EngineNode, channel: str, pass_time: PassTime
    ) -> None:
        keep = Retention(10, self.unit_s, self.unit_s)
        old = (await node.broker.publish(channel, Draft(b"1"), keep)).position
        await pass_time(3.0 * self.unit_s)
        new = (await node.broker.publish(channel, Draft(b"2"), keep)).position
        assert old is not None
        assert new is not None
        assert new.epoch != old.epoch
        assert new.offset == 1
        assert await node.offsets(channel, ALL, keep) == [1]
        await pass_time(3.0 * self.unit_s)
        read = await node.broker.history(channel, ALL, keep)
        assert read.head.epoch not in ("", old.epoch, new.epoch)
        assert (read.publications, read.head.offset) == ([], 0)

    async def test_reading_keeps_a_stream_alive(self, node: EngineNode, channel: str, pass_time: PassTime) -> None:
        keep = Retention(10, self.unit_s / 2, self.unit_s)
        position = (await node.broker.publish(channel, Draft(b"1"), keep)).position
        for _ in range(4):
            await pass_time(0.6 * self.unit_s)
            assert (await node.broker.history(channel, TOP, keep)).head == position

    # Heads

    async def test_heads_are_those_of_the_history(self, node: EngineNode, channel: str) -> None:
        names = [f"{channel}:{number}" for number in range(20)]
        for name in names[:10]:
            await node.broker.publish(name, Draft(b"1"), KEEP)
        looks = [Look(name, KEEP) for name in names]
        heads = await node.broker.heads([*looks, Look(channel, NO_HISTORY)])
        assert [head.offset for head in heads] == [1] * 10 + [0] * 11
        assert heads == [(await node.broker.history(name, TOP, KEEP)).head for name in names] + [Position("", 0)]
        known = [Look(name, KEEP, head) for name, head in zip(names, heads, strict=False)]
        assert await node.broker.heads(known) == heads[:20]
        assert await node.broker.heads([]) == []

    async def test_a_stream_that_has_lost_its_end_begins_anew(self, node: EngineNode, channel: str) -> None:
        for data in (b"1", b"2"):
            await node.broker.publish(channel, Draft(data), KEEP)
        head = (await node.broker.history(channel, TOP, KEEP)).head
        other = Position(f"{head.epoch}x", 9)
        assert await node.broker.heads([Look(channel, KEEP, other)]) == [head]
        [renewed] = await node.broker.heads([Look(channel, KEEP, Position(head.epoch, 3))])
        assert renewed.epoch not in ("", head.epoch)
        position = (await node.broker.publish(channel, Draft(b"3"), KEEP)).position
        assert position == Position(renewed.epoch, renewed.offset + 1)

    # Idempotency

    async def test_a_key_publishes_once(self, node: EngineNode, channel: str) -> None:
        await node.broker.subscribe(channel)
        first = await node.broker.publish(channel, Draft(b"1", key="k"), KEEP)
        await node.broker.publish(channel, Draft(b"2", key="other"), KEEP)
        again = await node.broker.publish(channel, Draft(b"1", key="k"), KEEP)
        assert (first.repeated, again.repeated) == (False, True)
        assert first.position == again.position
        assert [(p.offset, p.data) for p in await node.settled(channel)] == [(1, b"1"), (2, b"2")]
        assert await node.offsets(channel, ALL) == [1, 2]

    async def test_a_key_publishes_once_without_history(self, node: EngineNode, channel: str) -> None:
        await node.broker.subscribe(channel)
        answers = [await node.broker.publish(channel, Draft(b"1", key="k"), NO_HISTORY) for _ in range(3)]
        assert [(answer.position, answer.repeated) for answer in answers] == [(None, False), (None, True), (None, True)]
        assert len(await node.settled(channel)) == 1

    async def test_a_key_is_the_channels_own(self, node: EngineNode, channel: str) -> None:
        for name in (channel, f"{channel}:b"):
            assert not (await node.broker.publish(name, Draft(b"1", key="k"), KEEP)).repeated

    async def test_no_key_is_no_key(self, node: EngineNode, channel: str) -> None:
        for offset in (1, 2):
            published = await node.broker.publish(channel, Draft(b"1", key=""), KEEP)
            assert not published.repeated
            assert published.position is not None
            assert published.position.offset == offset

    async def test_retries_at_once_publish_once(self, node: EngineNode, channel: str) -> None:
        answers = await asyncio.gather(*(node.broker.publish(channel, Draft(b"1", key="k"), KEEP) for _ in range(10)))
        assert [answer.repeated for answer in answers].count(False) == 1
        assert len({answer.position for answer in answers}) == 1
        assert await node.offsets(channel, ALL) == [1]

    async def test_a_key_is_forgotten_in_time(self, node: EngineNode, channel: str, pass_time: PassTime) -> None:
        draft = Draft(b"1", key="k", idempotency_ttl_s=self.unit_s)
        await node.broker.publish(channel, draft, KEEP)
        await pass_time(2.0 * self.unit_s)
        assert not (await node.broker.publish(channel, draft, KEEP)).repeated
        assert (await node.broker.publish(channel, draft, KEEP)).repeated
        assert await node.offsets(channel, ALL) == [1, 2]

    # Presence

    async def test_nobody_is_present(self, node: EngineNode, channel: str) -> None:
        await node.presence.remove(channel, "client-1")
        assert dict(await node.presence.members(channel)) == {}
        assert await node.presence.counts(channel) == (0, 0)

    async def test_members_come_change_and_go(self, node: EngineNode, channel: str) -> None:
        await node.presence.add(channel, BOB)
        await node.presence.add(channel, ClientInfo("ann", "client-1"))
        await node.presence.add(channel, ANN)
        await node.presence.add(f"{channel}:b", ClientInfo("cid", "client-3"))
        assert dict(await node.presence.members(channel)) == {"client-1": ANN, "client-2": BOB}
        assert await node.presence.counts(channel) == (2, 2)
        await node.presence.remove(channel, "client-2")
        await node.presence.remove(channel, "client-2")
        assert dict(await node.presence.members(channel)) == {"client-1": ANN}
        assert await node.presence.counts(f"{channel}:b") == (1, 1)
        await node.presence.remove(channel, "client-1")
        assert await node.presence.counts(channel) == (0, 0)

    async def test_users_are_counted_once_and_so_are_all_anonymous_ones(self, node: EngineNode, channel: str) -> None:
        for number, user in enumerate(("ann", "ann", "", "", "bob")):
            await node.presence.add(channel, ClientInfo(user, f"client-{number}"))
        assert await node.presence.counts(channel) == (5, 3)

    async def test_a_replaced_entry_may_have_another_user(self, node: EngineNode, channel: str) -> None:
        await node.presence.add(channel, ClientInfo("ann", "client-1"))
        await node.presence.add(channel, ClientInfo("bob", "client-1"))
        assert await node.presence.counts(channel) == (1, 1)

    async def test_members_are_a_snapshot(self, node: EngineNode, channel: str) -> None:
        await node.presence.add(channel, ANN)
        before = await node.presence.members(channel)
        await node.presence.add(channel, BOB)
        assert dict(before) == {"client-1": ANN}

    # Control

    async def test_orders_come_back_once(self, node: EngineNode) -> None:
        for order in ORDERS:
            await node.control.send(order)
        await node.ordered(*ORDERS)
        last = DisconnectOrder(uuid4().hex)
        await node.control.send(last)
        assert len(await node.ordered(last)) == len(ORDERS) + 1

    async def test_a_survey_comes_and_its_answer_too(self, node: EngineNode) -> None:
        assert node.id in await node.control.nodes()
        survey = Survey(uuid4().hex, node.id, "channels", b"\x00*")
        await node.control.ask(survey)
        await node.heard.until(lambda: survey in node.heard.surveys)
        answer = Answer(survey.id, node.id, b"\x00\xff")
        await node.control.answer("gone", answer)
        await node.control.answer(node.id, answer)
        await node.heard.until(lambda: bool(node.heard.answers))
        assert (node.heard.surveys, node.heard.answers) == ([survey], [answer])

    # Life

    async def test_an_engine_is_ready_while_it_runs(self, make_engine: MakeEngine) -> None:
        engine = make_engine()
        assert not engine.ready
        async with running(engine):
            assert engine.ready
        assert not engine.ready

    async def test_stopping_twice_is_stopping(self, make_engine: MakeEngine, channel: str) -> None:
        engine = make_engine()
        async with running(engine) as node:
            await node.broker.subscribe(channel)
            await node.presence.add(channel, ANN)
            await engine.stop()
        async with running(make_engine()) as other:
            assert dict(await other.presence.members(channel)) == {}


class ClusterContract(EngineContract):
    """And those that need two nodes: each call of `make_engine` gives one of the same cluster."""

    @pytest_asyncio.fixture
    async def other(self, make_engine: MakeEngine) -> AsyncIterator[EngineNode]:
        async with running(make_engine()) as other:
            yield other

    async def test_all_nodes_hear_one_order(self, node: EngineNode, other: EngineNode, channel: str) -> None:
        await asyncio.gather(node.broker.subscribe(channel), other.broker.subscribe(channel))
        await asyncio.gather(
            *(each.broker.publish(channel, Draft(str(n).encode()), KEEP) for n in range(25) for each in (node, other))
        )
        log = (await other.broker.history(channel, ALL, KEEP)).publications
        assert [p.offset for p in log] == list(range(1, 51))
        assert await node.settled(channel) == log
        await other.heard.until(lambda: len(other.heard.of(channel)) >= 51)
        assert other.heard.of(channel)[:50] == log

    async def test_a_node_hears_what_it_subscribed_to(self, node: EngineNode, other: EngineNode, channel: str) -> None:
        await node.broker.subscribe(channel)
        await other.broker.subscribe(f"{channel}:b")
        await other.broker.publish(channel, Draft(b"1"), KEEP)
        await other.broker.publish_join(channel, ANN)
        await other.broker.publish_leave(channel, ANN)
        await node.heard.until(lambda: bool(node.heard.of(channel) and node.heard.joins and node.heard.leaves))
        assert await other.settled(f"{channel}:b") == []
        assert (other.heard.of(channel), other.heard.joins, other.heard.leaves) == ([], [], [])

    async def test_one_node_leaving_a_channel_leaves_the_others_in(
        self, node: EngineNode, other: EngineNode, channel: str
    ) -> None:
        await asyncio.gather(node.broker.subscribe(channel), other.broker.subscribe(channel))
        await other.broker.unsubscribe(channel)
        await other.broker.publish(channel, Draft(b"1"), KEEP)
        assert [p.data for p in await node.settled(channel)] == [b"1"]

    async def test_the_stream_is_shared(self, node: EngineNode, other: EngineNode, channel: str) -> None:
        head = (await node.broker.history(channel, TOP, KEEP)).head
        position = (await other.broker.publish(channel, Draft(b"1"), KEEP)).position
        assert position == Position(head.epoch, 1)
        await node.broker.remove_history(channel)
        page = await other.broker.history(channel, ALL, KEEP)
        assert (page.publications, page.head) == ([], position)

    async def test_keys_are_shared(self, node: EngineNode, other: EngineNode, channel: str) -> None:
        first = await node.broker.publish(channel, Draft(b"1", key="k"), KEEP)
        again = await other.broker.publish(channel, Draft(b"1", key="k"), KEEP)
        assert again.repeated
        assert again.position == first.position

    async def test_presence_is_shared(self, node: EngineNode, other: EngineNode, channel: str) -> None:
        await node.presence.add(channel, ANN)
        await other.presence.add(channel, BOB)
        for each in (node, other):
            assert dict(await each.presence.members(channel)) == {"client-1": ANN, "client-2": BOB}
            assert await each.presence.counts(channel) == (2, 2)

    async def test_a_node_that_stops_takes_its_members_along(
        self, node: EngineNode, other: EngineNode, channel: str
    ) -> None:
        await node.presence.add(channel, ANN)
        await other.presence.add(channel, BOB)
        await other.engine.stop()
        assert dict(await node.presence.members(channel)) == {"client-1": ANN}
        assert await node.presence.counts(channel) == (1, 1)

    async def test_orders_reach_all_nodes_once(self, node: EngineNode, other: EngineNode) -> None:
        first, last = DisconnectOrder(uuid4().hex), DisconnectOrder(uuid4().hex)
        await node.control.send(first)
        await node.control.send(last)
        for each in (node, other):
            assert len(await each.ordered(first, last)) == 2

    async def test_all_nodes_are_asked_and_one_gets_the_answers(self, node: EngineNode, other: EngineNode) -> None:
        assert {node.id, other.id} <= set(await node.control.nodes())
        survey = Survey(uuid4().hex, node.id, "info")
        await node.control.ask(survey)
        for each in (node, other):
            await each.heard.until(lambda each=each: survey in each.heard.surveys)  # type: ignore[misc]
            await each.control.answer(node.id, Answer(survey.id, each.id, b"1"))
        await node.heard.until(lambda: len(node.heard.answers) == 2)
        assert {answer.node for answer in node.heard.answers} == {node.id, other.id}
        assert other.heard.answers == []

    async def test_a_node_that_stopped_is_no_node(self, node: EngineNode, other: EngineNode) -> None:
        await other.engine.stop()
        nodes = await node.control.nodes()
        assert node.id in nodes
        assert other.id not in nodes
