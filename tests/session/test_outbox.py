"""Frames in order, one write a turn, and a bounded number of bytes for a client that doesn't read."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.node.backlog import Backlog
from roomful.node.flusher import Flusher
from roomful.node.stats import Stats
from roomful.session.outbox import PIECE_BYTES, Outbox
from roomful.testing.client import MemoryTransport
from roomful.wire.dialect import JSON_BARE

MAX = 100


class Manual(Flusher):
    """The end of the turn is when the test says so."""

    def __init__(self) -> None:
        self.marked: list[Outbox] = []

    def mark(self, outbox: Outbox) -> None:  # type: ignore[override]
        self.marked.append(outbox)

    def end_turn(self) -> None:
        marked, self.marked = self.marked, []
        for outbox in marked:
            outbox.flush()


class Stalling(MemoryTransport):
    """Takes `takes` writes, then its client reads no more."""

    def __init__(self, takes: int) -> None:
        super().__init__()
        self._takes = takes

    def write(self, data: bytes, binary: bool) -> None:
        super().write(data, binary)
        self._takes -= 1
        self.paused = self._takes <= 0


class Room:
    """An outbox with everything around it."""

    def __init__(self, max_bytes: int = MAX, transport: MemoryTransport | None = None) -> None:
        self.transport = transport or MemoryTransport()
        self.flusher = Manual()
        self.stats = Stats()
        self.outbox = Outbox(self.transport, JSON_BARE, self.flusher, self.stats, max_bytes, Backlog(self.stats))
        self.rooms = 0

    def note_room(self) -> None:
        self.rooms += 1

    @property
    def frames(self) -> list[bytes]:
        """What the client got, document by document."""
        return [frame for piece in self.transport.written for frame in piece.split(b"\n")]


@pytest.fixture
async def room() -> Room:
    return Room()


async def test_one_write_a_turn(room: Room) -> None:
    for number in range(5):
        assert room.outbox.put(b"%d" % number)
    room.outbox.force(b"5")
    assert room.transport.written == []
    room.flusher.end_turn()
    assert room.transport.written == [b"0\n1\n2\n3\n4\n5"]
    assert (room.stats.writes, room.stats.bytes_out) == (1, 11)
    assert (room.outbox.bytes, room.flusher.marked) == (0, [])


async def test_it_is_marked_once_a_turn(room: Room) -> None:
    for _ in range(3):
        room.outbox.put(b"x")
    assert room.flusher.marked == [room.outbox]


async def test_with_a_real_flusher() -> None:
    transport = MemoryTransport()
    outbox = Outbox(transport, JSON_BARE, Flusher(), Stats(), MAX, Backlog(Stats()))
    outbox.put(b"a")
    outbox.put(b"b")
    await asyncio.sleep(0)
    assert transport.written == [b"a\nb"]


# A client that doesn't read


async def test_what_doesnt_fit_changes_nothing(room: Room) -> None:
    room.transport.paused = True
    assert room.outbox.put(b"x" * MAX)
    room.flusher.end_turn()
    assert not room.outbox.put(b"y")
    assert room.outbox.bytes == MAX
    room.transport.paused = False
    room.outbox.flush()
    assert room.frames == [b"x" * MAX]


async def test_one_frame_above_the_budget_may_go_when_nothing_waits(room: Room) -> None:
    room.transport.paused = True
    assert room.outbox.put(b"x" * 2 * MAX)
    assert not room.outbox.put(b"y")


async def test_who_reads_well_gets_a_burst_above_the_budget_in_early_writes(room: Room) -> None:
    frames = [b"%d" % number * 20 for number in range(10, 40)]
    assert all(room.outbox.put(frame) for frame in frames)
    room.flusher.end_turn()
    assert room.frames == frames
    assert len(room.transport.written) > 1


async def test_what_must_be_told_goes_beyond_the_budget(room: Room) -> None:
    room.transport.paused = True
    room.outbox.put(b"x" * MAX)
    room.outbox.force(b"end")
    assert not room.outbox.put(b"y")
    room.transport.paused = False
    room.outbox.flush()
    assert room.frames == [b"x" * MAX, b"end"]


async def test_a_backlog_leaves_in_pieces_and_stops_when_the_client_does() -> None:
    room = Room(10 * PIECE_BYTES, Stalling(takes=2))
    frames = [bytes([65 + number]) * (PIECE_BYTES // 2) for number in range(10)]
    for frame in frames:
        assert room.outbox.put(frame)
    room.outbox.flush()
    assert room.frames == frames[:4]
    assert room.outbox.bytes == 6 * (PIECE_BYTES // 2)
    room.transport.paused = False
    room.outbox.flush()
    assert room.frames == frames[:6]


# Room for a catch-up


async def test_it_says_when_there_is_room_but_not_while_the_client_doesnt_read() -> None:
    room = Room(transport=Stalling(takes=1))
    room.outbox.on_room = room.note_room
    room.outbox.put(b"x")
    room.flusher.end_turn()
    assert room.rooms == 0
    room.transport.paused = False
    room.outbox.flush()
    assert room.rooms == 1


async def test_it_says_nothing_while_more_than_a_quarter_waits() -> None:
    room = Room(4 * PIECE_BYTES, Stalling(takes=1))
    room.outbox.on_room = room.note_room
    for _ in range(4):
        room.outbox.put(b"x" * PIECE_BYTES)
    room.outbox.flush()
    assert room.outbox.bytes == 3 * PIECE_BYTES
    room.transport.paused = False
    room.outbox.flush()
    assert (room.rooms, room.outbox.bytes) == (0, 2 * PIECE_BYTES)


async def test_it_says_so_once_a_flush(room: Room) -> None:
    room.outbox.on_room = room.note_room
    room.outbox.put(b"x")
    room.flusher.end_turn()
    assert room.rooms == 1
    room.outbox.flush()
    assert room.rooms == 2


# The newest of each key


async def test_the_newest_of_each_key_waits_in_place_of_the_older(room: Room) -> None:
    room.transport.paused = True
    room.outbox.put(b"x" * (MAX - 1))
    for number in range(10):
        assert room.outbox.put_latest(("a", str(number % 2)), b"%d" % number)
    # the first one fitted: it can't be taken back
    assert room.stats.replaced == 7
    room.transport.paused = False
    room.outbox.flush()
    assert room.frames == [b"x" * (MAX - 1), b"0", b"9", b"8"]
    room.outbox.put_latest(("a", "1"), b"10")
    room.flusher.end_turn()
    assert room.frames[-1] == b"10"


async def test_also_they_are_bounded(room: Room) -> None:
    room.transport.paused = True
    room.outbox.put(b"x" * MAX)
    taken = [room.outbox.put_latest(("a", str(number)), b"y" * 10) for number in range(12)]
    assert taken == [True] * 10 + [False] * 2
    assert room.outbox.put_latest(("a", "0"), b"z" * 10), "in place of another"
    assert not room.outbox.put_latest(("a", "0"), b"z" * 11)


async def test_what_waits_of_a_channel_that_was_left_doesnt_come(room: Room) -> None:
    room.transport.paused = True
    room.outbox.put(b"x" * MAX)
    for channel in ("a", "b"):
        for key in "12":
            room.outbox.put_latest((channel, key), channel.encode() * 20)
    room.outbox.forget_latest("a")
    assert room.outbox.put_latest(("b", "3"), b"b" * 60), "there is room again"
    room.outbox.forget_latest("b")
    room.outbox.forget_latest("c")
    room.outbox.force(b"end")
    room.transport.paused = False
    room.outbox.flush()
    assert room.frames == [b"x" * MAX, b"end"]
    assert room.outbox.put_latest(("a", "1"), b"again")


async def test_clear_forgets_everything(room: Room) -> None:
    room.transport.paused = True
    room.outbox.put(b"x" * MAX)
    room.outbox.put_latest(("a", ""), b"y")
    room.outbox.on_room = room.note_room
    room.outbox.clear()
    room.transport.paused = False
    room.outbox.flush()
    assert (room.frames, room.rooms, room.outbox.bytes) == ([], 0, 0)


Step = tuple[str, int]


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "force", "latest", "turn", "pause", "resume", "stall"]), st.integers(1, 60)),
        max_size=80,
    )
)
def test_in_order_once_and_within_the_budget(steps: list[Step]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[Step]) -> None:
    room, sent, newest, forced = Room(), list[bytes](), dict[str, int](), 0
    for number, (kind, size) in enumerate(steps):
        frame = b"%d." % number + b"x" * size
        match kind:
            case "put":
                if room.outbox.put(frame):
                    sent.append(frame)
            case "force":
                room.outbox.force(frame)
                sent.append(frame)
                forced += len(frame)
            case "latest":
                key = str(size % 3)
                if room.outbox.put_latest(("channel", key), b"L%s.%d" % (key.encode(), number)):
                    newest[key] = number
            case "turn":
                room.flusher.end_turn()
            case "pause":
                room.transport.paused = True
            case "resume":
                room.transport.paused = False
                room.outbox.flush()
        assert room.outbox.bytes <= MAX + forced + 63
    room.transport.paused = False
    room.flusher.end_turn()
    room.outbox.flush()
    frames = [frame for frame in room.frames if not frame.startswith(b"L")]
    assert frames == sent
    for key, number in newest.items():
        got = [int(frame.split(b".")[1]) for frame in room.frames if frame.startswith(b"L" + key.encode())]
        assert got == sorted(set(got))
        assert got[-1] == number
    assert room.outbox.bytes == 0
