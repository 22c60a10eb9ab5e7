"""Two nodes on one broker: what a client of one types, the subscribers of both see, and everything is forgotten."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from roomful.engines.memory import MemoryEngine
from roomful.model.client import ClientInfo
from roomful.model.errors import BadRequest, InternalError
from roomful.model.publication import Draft, Publication, Published, Retention
from roomful.node.hub import Hub
from roomful.node.typing_rooms import SHOWN_MAX, TypingRooms
from roomful.node.wheel import Wheel
from roomful.rooms.typing_indicator import HEARD_S, SILENCE_S
from roomful.testing.clock import VirtualClock
from roomful.wire.dialect import JSON_BARE

ANN, BOB = ClientInfo("ann", "a1", b'{"name":"Ann"}'), ClientInfo("bob", "b1")
ROOM = "chat:1"


class Viewer:
    """A subscriber that notes what it is shown."""

    base = 0

    def __init__(self) -> None:
        self.shown: list[tuple[str, bool]] = []

    def deliver(self, publication: Publication, epoch: str, frame: bytes) -> None:
        shown = msgspec.json.decode(publication.data)
        self.shown.append((shown["user"], shown["typing"]))


class Lane:
    """A broker that carries publications between two nodes while it is up."""

    def __init__(self) -> None:
        self.nodes: list[Side] = []
        self.up = True

    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        assert not keep.keeps
        if not self.up:
            raise InternalError
        for node in self.nodes:
            if channel in node.hub:
                node.rooms.hear(channel.partition(":")[2], Publication(draft.data, info=draft.info), "")
        return Published(None)


class Side:
    """One of the nodes. viewer None: nobody is subscribed there."""

    def __init__(self, lane: Lane, clock: VirtualClock) -> None:
        self.hub, self.wheel, self.viewer = Hub(), Wheel(clock), Viewer()
        self.rooms = TypingRooms(lane, self.hub, self.wheel)  # type: ignore[arg-type]  # of a broker it only publishes
        lane.nodes.append(self)

    def watch(self) -> None:
        self.hub.add(f"typing:{ROOM}", JSON_BARE, self.viewer)  # type: ignore[arg-type]

    async def state(self) -> object:
        return msgspec.json.decode((await self.rooms.snapshot(ROOM)).data)["typing"]


class Pair:
    def __init__(self) -> None:
        self.clock = VirtualClock(100.0)
        self.lane = Lane()
        self.here, self.there = Side(self.lane, self.clock), Side(self.lane, self.clock)

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            for side in self.lane.nodes:
                side.wheel.advance()
        await asyncio.sleep(0)

    async def type(self, info: ClientInfo = ANN, typing: bool = True) -> None:
        await self.here.rooms.publish(ROOM, info, msgspec.json.encode({"typing": typing}))


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.here.watch()
    pair.there.watch()
    return pair


async def test_both_nodes_show_it_and_its_end(pair: Pair) -> None:
    await pair.type()
    for side in (pair.here, pair.there):
        assert side.viewer.shown == [("ann", True)]
        assert await side.state() == [{"user": "ann", "info": {"name": "Ann"}}]
    await pair.pass_time(SILENCE_S + 0.2)
    for side in (pair.here, pair.there):
        assert side.viewer.shown == [("ann", True), ("ann", False)]
        assert await side.state() == []
    await pair.pass_time(2.0)
    assert (len(pair.here.rooms), len(pair.there.rooms)) == (0, 0)


async def test_a_new_viewer_where_nobody_listened(pair: Pair) -> None:
    pair = Pair()
    await pair.type()
    assert await pair.here.state() == [{"user": "ann", "info": {"name": "Ann"}}]


async def test_20_a_typist_whose_node_crashed_has_stopped_within_eight_seconds(pair: Pair) -> None:
    await pair.type()
    pair.lane.nodes.remove(pair.here)
    await pair.pass_time(HEARD_S + 0.2)
    assert pair.there.viewer.shown == [("ann", True), ("ann", False)]


async def test_20_a_typist_who_left_has_stopped_at_once(pair: Pair) -> None:
    await pair.type()
    await pair.type(BOB)
    pair.here.rooms.left(ROOM, "a1")
    await asyncio.sleep(0)
    assert pair.there.viewer.shown == [("ann", True), ("bob", True), ("ann", False)]
    assert await pair.there.state() == [{"user": "bob"}]


async def test_a_dead_broker_is_told_to_who_types_and_to_nobody_else(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    await pair.type()
    pair.lane.up = False
    with pytest.raises(InternalError):
        await pair.type(BOB)
    await pair.pass_time(HEARD_S + 2.0)
    assert pair.there.viewer.shown == [("ann", True), ("ann", False)]
    assert (len(pair.here.rooms), len(pair.there.rooms)) == (0, 0)
    assert "the typing in %r was not told: %s" in {record.msg for record in caplog.records}


@pytest.mark.parametrize("data", [b"", b"1", b"{}", b'{"typing":1}', b'{"typing":true,"user":"bob"}', b"\xff"])
async def test_anything_else_is_refused(pair: Pair, data: bytes) -> None:
    with pytest.raises(BadRequest):
        await pair.here.rooms.publish(ROOM, ANN, data)
    assert len(pair.here.rooms) == 0


async def test_what_another_version_says_shows_nothing(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    assert pair.here.rooms.hear(ROOM, Publication(b'{"keys":3}', info=ANN), "")
    assert pair.here.viewer.shown == []
    assert "another node says of the typing in %r what this version doesn't know: %s" in {
        record.msg for record in caplog.records
    }


async def test_where_nobody_watches_any_more_nothing_is_kept(pair: Pair) -> None:
    await pair.type()
    pair.there.rooms.deserted(ROOM)
    assert (await pair.there.state(), len(pair.there.rooms)) == ([], 0)


async def test_a_crowd_is_cut(pair: Pair) -> None:
    for number in range(SHOWN_MAX + 5):
        await pair.type(ClientInfo(f"u{number}", f"c{number}"))
    state = await pair.there.state()
    assert isinstance(state, list)
    assert len(state) == SHOWN_MAX


async def test_the_memory_engine_fits(pair: Pair) -> None:
    """The same over a real broker's seam."""
    engine = MemoryEngine(clock=pair.clock)
    rooms = TypingRooms(engine.broker, pair.here.hub, pair.here.wheel)
    await rooms.publish(ROOM, ANN, b'{"typing":true}')
    assert len(rooms) == 1


async def test_who_typed_before_anybody_listened_is_shown_to_stop() -> None:
    """Nothing reaches a node from the broker before it listens, not even what its own clients say."""
    pair = Pair()
    here = pair.here
    await here.rooms.publish(ROOM, ANN, b'{"typing": true}')
    here.watch()
    assert [shown["user"] for shown in await here.state()] == ["ann"]  # type: ignore[attr-defined]
    await pair.pass_time(SILENCE_S + 1)
    assert here.viewer.shown[-1] == ("ann", False)
    assert await here.state() == []
