"""Two nodes on one store and one broker: what is shown is kept, and what is lost on the way is read in the log."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from roomful.crdt import HLC, GCounter, LWWRegister, ORSet, Replicated, from_plain, to_plain
from roomful.model.client import ClientInfo
from roomful.model.errors import BadRequest, Forbidden, InternalError, LimitExceeded, NotAvailable, RoomfulError
from roomful.model.publication import Draft, Position, Publication, Published, Retention
from roomful.node.hub import Hub
from roomful.node.state_options import StateOptions
from roomful.node.state_rooms import LOOK_S, STORE_PREFIX, STORE_TAG, StateRooms
from roomful.node.wheel import Wheel
from roomful.rooms.recovery import Gap
from roomful.seams.store import Entry
from roomful.stores.memory import MemoryStore
from roomful.testing.clock import VirtualClock
from roomful.wire.dialect import JSON_BARE
from tests.node.slow_store import SlowStore

ANN, BOB = ClientInfo("ann", "a1"), ClientInfo("", "b1")
ROOM, CHANNEL = "chat:1", "state:chat:1"
WALL_S = 1_700_000_000.0
_replicas = itertools.count()


@contextmanager
def losing_the_answer(store: MemoryStore, method: str) -> Iterator[None]:
    """The store does what it is asked, and whoever asked doesn't hear it."""
    real = getattr(store, method)

    async def lost_answer(*given: Any) -> None:
        await real(*given)
        raise InternalError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, method, lost_answer)
        yield


class Viewer:
    """A subscriber with a copy of every object."""

    base = 0

    def __init__(self) -> None:
        self.objects: dict[str, Replicated] = {}
        self.told: list[Publication] = []
        self.ended = 0

    def take(self, name: str, plain: Any) -> None:
        delta = from_plain(plain, Replicated)
        self.objects.setdefault(name, type(delta)()).merge(delta)

    def miss(self, head: Position | None, gap: Gap) -> None:
        assert (head, gap) == (None, Gap.EPOCH)
        self.ended += 1

    def deliver(self, publication: Publication, epoch: str, frame: bytes) -> None:
        news = msgspec.json.decode(publication.data)
        self.told.append(publication)
        self.take(news["object"], news["delta"])

    @property
    def values(self) -> dict[str, Any]:
        return {name: state.value for name, state in self.objects.items()}


class Lane:
    """A broker that carries publications to the nodes that it reaches."""

    def __init__(self) -> None:
        self.nodes: list[Side] = []
        self.up = True
        self.duplicates = 1

    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        assert keep.keeps
        if not self.up:
            raise InternalError
        publication = Publication(draft.data, info=draft.info, tags=draft.tags)
        for node in self.nodes * self.duplicates:
            if node.reached and channel in node.hub and not node.rooms.hear(ROOM, publication, ""):
                node.hub.broadcast(channel, publication, "")
        return Published(None)


class Side:
    """One node, with a subscriber."""

    def __init__(self, lane: Lane, store: MemoryStore, clock: VirtualClock, options: StateOptions) -> None:
        self.hub, self.wheel, self.viewer, self.reached = Hub(), Wheel(clock), Viewer(), True
        self.rooms = StateRooms(
            store,
            lane,  # type: ignore[arg-type]  # of a broker it only publishes
            self.hub,
            self.wheel,
            options,
            owner=f"node-{len(lane.nodes)}",
            new_replica=lambda: f"/{next(_replicas)}",
            wall_clock=lambda: WALL_S + clock(),
        )
        lane.nodes.append(self)

    async def subscribe(self) -> Viewer:
        self.hub.add(CHANNEL, JSON_BARE, self.viewer)
        self.viewer.objects.clear()
        for name, plain in msgspec.json.decode((await self.rooms.snapshot(ROOM)).data)["objects"]:
            self.viewer.take(name, plain)
        return self.viewer

    def unsubscribe(self) -> None:
        self.hub.remove(CHANNEL, JSON_BARE, self.viewer)
        self.rooms.deserted(ROOM)

    async def publish(self, sender: ClientInfo, **change: Any) -> None:
        await self.rooms.publish(ROOM, sender, msgspec.json.encode(change))


class World:
    def __init__(self, options: StateOptions | None = None) -> None:
        self.clock = VirtualClock(1_000.0)
        self.lane, self.store = Lane(), SlowStore()
        options = options or StateOptions()
        self.here, self.there = (Side(self.lane, self.store, self.clock, options) for _ in range(2))

    async def look(self) -> None:
        """The time comes at which nodes compare their rooms with the log."""
        self.clock.advance(LOOK_S + 1)
        for side in self.lane.nodes:
            side.wheel.advance()
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
def world() -> World:
    return World()


async def test_what_one_does_everybody_sees_and_whoever_comes_later(world: World) -> None:
    here, there = await world.here.subscribe(), await world.there.subscribe()
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment", by=3)
    await world.there.publish(BOB, object="likes", op="increment")
    mine = GCounter("ann/tab1")
    await world.here.publish(ANN, object="likes", delta=to_plain(mine.increment(5)))
    assert here.values == there.values == {"likes": 9}
    assert [publication.info for publication in here.told] == [ANN, BOB, ANN]
    late = Side(world.lane, world.store, world.clock, StateOptions())
    assert (await late.subscribe()).values == {"likes": 9}
    snapshot = msgspec.json.decode((await late.rooms.snapshot(ROOM)).data)
    assert snapshot["now"] == round((WALL_S + world.clock()) * 1000)


async def test_twice_and_late_changes_nothing(world: World) -> None:
    viewer = await world.here.subscribe()
    world.lane.duplicates = 2
    mine = GCounter("ann/tab1")
    deltas = [to_plain(mine.increment()) for _ in range(3)]
    for delta in [*reversed(deltas), *deltas]:
        await world.here.publish(ANN, object="likes", delta=delta)
    assert viewer.values == {"likes": 3}
    assert len(world.store.appends) == 1, "the newest says it all: what was known already isn't kept again"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (b"7", BadRequest),
        (b"[" * 100_000, BadRequest),
        ({"object": "likes", "op": "increment"}, BadRequest),
        ({"object": "likes", "type": "gcounter", "op": "decrement"}, BadRequest),
        ({"object": "likes", "type": "gcounter", "op": "increment", "by": "1"}, BadRequest),
        ({"object": "likes", "delta": [1, "nothing", []]}, BadRequest),
        ({"object": "likes", "delta": to_plain(GCounter("bob/x").increment())}, Forbidden),
        ({"object": "likes", "delta": to_plain(GCounter("/1").increment())}, Forbidden),
        ({"object": "title", "delta": to_plain(ORSet("ann/x").add("y")), "op": "add"}, BadRequest),
        (
            {
                "object": "t",
                "delta": to_plain(LWWRegister("ann/x", clock=HLC(lambda: int(WALL_S + 9e6) * 1000)).set(1)),
            },
            BadRequest,
        ),
    ],
)
async def test_what_is_refused_costs_nobody_but_its_sender(
    world: World, change: bytes | dict[str, Any], error: type[RoomfulError]
) -> None:
    viewer = await world.here.subscribe()
    data = change if isinstance(change, bytes) else msgspec.json.encode(change)
    bad = asyncio.ensure_future(world.here.rooms.publish(ROOM, ANN, data))
    good = world.here.publish(BOB, object="views", type="gcounter", op="increment")
    await good  # of the same batch
    with pytest.raises(error):
        await bad
    assert viewer.values == {"views": 1}
    assert (await Side(world.lane, world.store, world.clock, StateOptions()).subscribe()).values == {"views": 1}


LIKE = {"object": "likes", "type": "gcounter", "op": "increment", "idempotency_key": "k1"}


async def test_a_wish_sent_again_is_done_once(world: World) -> None:
    here, there = await world.here.subscribe(), await world.there.subscribe()
    for side in (world.here, world.here, world.there):
        await side.publish(ANN, **LIKE)
    assert here.values == there.values == {"likes": 1}
    assert [msgspec.json.decode(each.data).keys() for each in here.told] == [{"object", "delta"}], "nobody has the key"
    late = Side(world.lane, world.store, world.clock, StateOptions())
    await late.publish(BOB, **LIKE)
    assert (await late.subscribe()).values == {"likes": 1}


async def test_a_wish_that_two_nodes_have_at_once_is_done_once(world: World) -> None:
    """The first node still waits for its disk when the client, on another one, asks again."""
    here, there = await world.here.subscribe(), await world.there.subscribe()
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment", by=10)
    told = len(there.told)
    world.store.hold()
    both = [asyncio.ensure_future(side.publish(ANN, **LIKE)) for side in (world.here, world.there)]
    other = asyncio.ensure_future(world.there.publish(BOB, object="views", type="gcounter", op="increment"))
    for _ in range(5):
        await asyncio.sleep(0)
    world.store.release()
    await asyncio.gather(*both, other)
    await world.look()
    assert here.values == there.values == {"likes": 11, "views": 1}
    assert (await Side(world.lane, world.store, world.clock, StateOptions()).subscribe()).values == here.values
    assert all("views" not in str(each.data) or each.info == BOB for each in there.told[told:])
    for side in (world.here, world.there):
        await side.publish(ANN, object="likes", op="increment")
    assert here.values == there.values == {"likes": 13, "views": 1}, "no number was used twice"


async def test_a_wish_whose_fate_the_store_did_not_tell_is_done_once(world: World) -> None:
    viewer = await world.here.subscribe()
    with losing_the_answer(world.store, "append_next"), pytest.raises(InternalError):
        await world.here.publish(ANN, **LIKE)
    await world.here.publish(ANN, **LIKE)
    assert viewer.values == {"likes": 1}


async def test_keys_outlive_the_log() -> None:
    world = World(StateOptions(compact_entries=2))
    await world.here.publish(ANN, **LIKE)
    for _ in range(5):
        await world.here.publish(ANN, object="views", type="gcounter", op="increment")
    stored = await world.store.load(STORE_PREFIX + ROOM)
    assert stored is not None
    assert stored.snapshot is not None
    late = Side(world.lane, world.store, world.clock, StateOptions())
    await late.publish(ANN, **LIKE)
    assert (await late.subscribe()).values == {"likes": 1, "views": 5}


async def test_the_type_of_an_object_stays(world: World) -> None:
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    with pytest.raises(BadRequest):
        await world.there.publish(ANN, object="likes", type="orset", op="add", element="x")


async def test_a_full_room_takes_no_more() -> None:
    world = World(StateOptions(objects_max=2, room_max_bytes=2_000))
    for name in ("a", "b"):
        await world.here.publish(ANN, object=name, type="orset", op="add", element="x")
    with pytest.raises(LimitExceeded):
        await world.there.publish(ANN, object="c", type="orset", op="add", element="x")
    with pytest.raises(LimitExceeded):
        await world.here.publish(ANN, object="a", op="add", element="x" * 3_000)
    await world.here.publish(ANN, object="a", op="remove", element="x")


async def test_nothing_is_shown_that_is_not_kept(world: World) -> None:
    viewer = await world.here.subscribe()
    world.store.hold()
    change = asyncio.ensure_future(world.here.publish(ANN, object="likes", type="gcounter", op="increment"))
    newcomer = asyncio.ensure_future(world.here.rooms.snapshot(ROOM))
    await asyncio.sleep(0)
    assert (viewer.told, newcomer.done()) == ([], False)
    world.store.failing = True
    world.store.release()
    with pytest.raises(InternalError):
        await change
    with pytest.raises(InternalError):
        await newcomer
    world.store.failing = False
    assert msgspec.json.decode((await world.here.rooms.snapshot(ROOM)).data)["objects"] == []
    assert viewer.told == []
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    assert viewer.values == {"likes": 1}


async def test_what_the_store_took_and_did_not_say_so_is_told(world: World) -> None:
    viewer = await world.here.subscribe()
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    with losing_the_answer(world.store, "append"), pytest.raises(InternalError):
        await world.here.publish(ANN, object="likes", op="increment")
    await world.here.publish(ANN, object="likes", op="increment")
    assert viewer.values == {"likes": 3}, "under another replica: no number was used twice"


async def test_what_pubsub_loses_is_read_in_the_log(world: World) -> None:
    here, there = await world.here.subscribe(), await world.there.subscribe()
    world.there.reached = False
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    assert (here.values, there.values) == ({"likes": 1}, {})
    await world.look()
    assert there.values == {"likes": 1}
    await world.here.publish(ANN, object="likes", op="increment")
    await world.there.publish(BOB, object="title", type="lww", op="set", value="x")
    assert there.values == {"likes": 2}, "the log is read before a change too"


async def test_a_dead_broker_keeps_nobody_from_sharing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    here, there = await world.here.subscribe(), await world.there.subscribe()
    world.lane.up = False
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    await world.there.publish(BOB, object="likes", op="increment")
    await world.look()
    assert here.values == there.values == {"likes": 2}
    assert "a change of the state of %r is stored, but was told only here: %s" in {
        record.msg for record in caplog.records
    }


async def test_changes_that_come_together_are_written_together(world: World) -> None:
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    world.store.hold()
    changes = [asyncio.ensure_future(world.here.publish(ANN, object="likes", op="increment")) for _ in range(50)]
    for _ in range(3):
        await asyncio.sleep(0)
    changes[7].cancel()  # who gives up takes nothing from the others
    world.store.release()
    await asyncio.gather(*changes, return_exceptions=True)
    assert (await world.there.subscribe()).values == {"likes": 51}
    assert len(world.store.appends) <= 3


async def test_a_long_log_is_compacted_and_nodes_that_were_behind_it_load_anew() -> None:
    world = World(StateOptions(compact_entries=5))
    there = await world.there.subscribe()
    world.there.reached = False
    for _ in range(20):
        await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    stored = await world.store.load(STORE_PREFIX + ROOM)
    assert stored is not None
    assert stored.snapshot is not None
    assert len(stored.tail) <= 6
    await world.look()
    assert there.values == {"likes": 20}


async def test_a_room_that_nobody_uses_is_unloaded_and_loaded_again(world: World) -> None:
    await world.here.subscribe()
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    for _ in range(3):
        await world.look()
    assert len(world.here.rooms) == 1
    world.here.unsubscribe()
    for _ in range(3):
        await world.look()
    assert len(world.here.rooms) == 0
    assert len(world.here.wheel) == 0
    assert (await world.here.subscribe()).values == {"likes": 1}


async def test_what_cannot_be_read_is_not_taken_for_empty(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    for rubbish in (b"\xc1", msgspec.msgpack.encode({"object": "x", "delta": [9, "gcounter", []]})):
        first = await world.store.append(STORE_PREFIX + ROOM, [Entry(rubbish)], 0)
        with pytest.raises(InternalError):
            await world.there.rooms.snapshot(ROOM)
        await world.store.quarantine(STORE_PREFIX + ROOM, [first], "rubbish")
    assert msgspec.json.decode((await world.there.rooms.snapshot(ROOM)).data)["objects"]
    assert "the store has for the state of %r what this version can't read: %s" in {
        record.msg for record in caplog.records
    }


async def test_nodes_with_different_stores_serve_no_state(world: World, caplog: pytest.LogCaptureFixture) -> None:
    other = Side(world.lane, MemoryStore(), world.clock, StateOptions())
    await world.here.subscribe()
    await other.subscribe()
    await other.publish(ANN, object="likes", type="gcounter", op="increment")
    with pytest.raises(NotAvailable):
        await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    assert "another node keeps state in the store %s, this one in %s: no state is served" in {
        record.msg for record in caplog.records
    }


async def test_a_message_that_cannot_be_read_costs_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    here = await world.here.subscribe()
    for rubbish in (b"?", msgspec.json.encode({"object": "x", "delta": [9, "gcounter", []]})):
        caplog.clear()
        world.here.rooms.hear(ROOM, Publication(rubbish, tags={STORE_TAG: world.store.id}), "")
        assert [record.msg for record in caplog.records] == [
            "another node says of the state of %r what this version doesn't know: %s"
        ]
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    assert here.values == {"likes": 1}


async def test_a_store_that_cannot_be_asked_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    there = await world.there.subscribe()
    world.there.reached = False
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "heads", unavailable)
        await world.look()
    assert {record.msg for record in caplog.records} == {"the state of rooms could not be compared with the store: %s"}
    assert there.values == {}
    await world.look()
    assert there.values == {"likes": 1}


async def test_a_compaction_that_fails_costs_nothing_but_length(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(StateOptions(compact_entries=1))
    here = await world.here.subscribe()
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "compact", unavailable)
        for _ in range(2):
            await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    assert [record.msg for record in caplog.records] == ["the log of the state of %r was not compacted: %s"]
    assert here.values == {"likes": 2}
    await world.here.publish(ANN, object="likes", op="increment")
    stored = await world.store.load(STORE_PREFIX + ROOM)
    assert stored is not None
    assert stored.snapshot is not None


async def unavailable(*_: Any) -> Any:
    raise InternalError("the store is gone")


async def test_a_defect_ends_one_change_and_not_the_room(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def defective(*_: Any) -> Any:
        raise ArithmeticError("a defect")

    with monkeypatch.context() as broken:
        broken.setattr(world.store, "append", defective)
        with pytest.raises(InternalError):
            await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    assert [(record.msg, record.exc_info is not None) for record in caplog.records] == [
        ("the state of %r could not be changed", True)
    ]
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    assert (await world.there.subscribe()).values == {"likes": 1}


async def test_a_deleted_state_is_gone_for_everybody_and_in_the_store(world: World) -> None:
    here, there = await world.here.subscribe(), await world.there.subscribe()
    await world.here.publish(ANN, object="secret", type="lww", op="set", value="the password")
    await world.there.publish(BOB, **LIKE)
    assert await world.here.rooms.delete(ROOM)
    assert (here.ended, there.ended) == (1, 0)
    await world.look()
    assert (here.ended, there.ended) == (1, 1)
    for side in (world.here, world.there, Side(world.lane, world.store, world.clock, StateOptions())):
        assert (await side.subscribe()).values == {}
        assert msgspec.json.decode((await side.rooms.snapshot(ROOM)).data)["life"] == 1
    assert (here.ended, there.ended) == (1, 1)
    base, tail = await world.store.raw(STORE_PREFIX + ROOM)
    assert (base.update if base else None, tail) == (msgspec.msgpack.encode([]), [])
    assert not await world.there.rooms.delete(ROOM)
    assert not await world.here.rooms.delete("chat:never")


async def test_a_room_begins_anew_after_its_state_was_deleted(world: World) -> None:
    here, there = await world.here.subscribe(), await world.there.subscribe()
    for side in (world.here, world.there):
        await side.publish(ANN, object="likes", type="gcounter", op="increment", by=10)
    await world.here.rooms.delete(ROOM)
    await world.here.subscribe()
    await world.there.publish(BOB, object="likes", type="gcounter", op="increment")  # that hasn't looked yet
    assert there.ended == 1
    await world.there.subscribe()
    await world.here.publish(ANN, object="likes", op="increment")
    assert here.values == there.values == {"likes": 2}
    assert there.ended == 1


async def test_what_was_done_in_a_former_life_is_refused_if_it_says_so(world: World) -> None:
    await world.here.publish(ANN, **LIKE, life=0)
    await world.here.rooms.delete(ROOM)
    mine = GCounter("ann/tab1").increment(7)
    for change in ({**LIKE, "life": 0}, {"object": "likes", "life": 0, "delta": to_plain(mine)}, {**LIKE, "life": "x"}):
        with pytest.raises(BadRequest):
            await world.there.publish(ANN, **change)
    await world.there.publish(ANN, **LIKE, life=1)  # its key was deleted too
    assert (await world.here.subscribe()).values == {"likes": 1}


async def test_a_state_that_others_change_and_compact_can_be_deleted() -> None:
    world = World(StateOptions(compact_entries=1))
    for _ in range(5):
        await world.there.publish(ANN, object="likes", type="gcounter", op="increment")
    assert await world.here.rooms.delete(ROOM), "the lease isn't kept longer than it is needed"
    assert await world.store.lease(STORE_PREFIX + ROOM, "a node that died", 60.0) is not None
    await world.here.publish(ANN, object="likes", type="gcounter", op="increment")
    with pytest.raises(InternalError):
        await world.here.rooms.delete(ROOM)
    assert (await world.there.subscribe()).values == {"likes": 1}


async def test_what_is_deleted_is_deleted_though_the_lease_is_not_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await world.here.publish(ANN, **LIKE)
    lease = world.store.lease

    async def once(name: str, owner: str, ttl_s: float) -> Any:
        if not ttl_s:
            raise InternalError
        return await lease(name, owner, ttl_s)

    monkeypatch.setattr(world.store, "lease", once)
    assert await world.here.rooms.delete(ROOM)
    assert [record.msg for record in caplog.records] == ["the lease of the state of %r ends by itself only: %s"]
    assert (await world.there.subscribe()).values == {}


async def test_a_deletion_whose_fate_is_unknown_is_found_out(world: World) -> None:
    viewer = await world.here.subscribe()
    await world.here.publish(ANN, **LIKE)
    with losing_the_answer(world.store, "replace"), pytest.raises(InternalError):
        await world.here.rooms.delete(ROOM)
    await world.look()
    assert viewer.ended == 1
    assert (await world.here.subscribe()).values == {}
