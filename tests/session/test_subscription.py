"""What one subscription lets through: once, in order, and told when it can't be. Source: Centrifuge protocol, 10.5."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.client import ClientInfo
from roomful.model.publication import Position, Publication
from roomful.node.backlog import Backlog
from roomful.node.stats import Stats
from roomful.rooms.recovery import Gap
from roomful.session.outbox import Outbox
from roomful.session.subscription import Phase, Subscription, Traits
from roomful.testing.client import MemoryTransport
from roomful.wire.dialect import JSON_BARE
from tests.session.test_outbox import Manual

HERE = "client-1"
EPOCH = "epoch"
MAX = 40
TRACKED = Traits(tracked=True, positioned=True, recoverable=True, notices=True)
UNTRACKED = Traits(notices=True)
LATEST = Traits(latest=True, notices=True)
CLOSES = Traits(tracked=True, closes=True, notices=True)


class Holder:
    client = HERE

    def __init__(self) -> None:
        self.lost: list[Gap] = []
        self.behind = 0
        self.slow = 0
        self.inappropriate = 0

    def lose(self, subscription: Subscription, gap: Gap) -> None:
        self.lost.append(gap)
        subscription.phase = Phase.ENDED

    def fall_behind(self, subscription: Subscription) -> None:
        self.behind += 1

    def end_slow(self) -> None:
        self.slow += 1

    def end_inappropriate(self) -> None:
        self.inappropriate += 1


class Room:
    """A subscription, its holder and its outbox; the client reads when `read` is called."""

    def __init__(self, traits: Traits = TRACKED, max_bytes: int = MAX) -> None:
        self.transport = MemoryTransport()
        self.transport.paused = True
        self.flusher = Manual()
        self.holder = Holder()
        self.outbox = Outbox(self.transport, JSON_BARE, self.flusher, Stats(), max_bytes, Backlog(Stats()))
        self.subscription = Subscription(self.holder, self.outbox, "chat", traits)

    def begin(self, offset: int = 0, *, complete: bool = True) -> Room:
        self.subscription.begin(Position(EPOCH, offset), complete=complete)
        return self

    def deliver(self, offset: int, *, epoch: str = EPOCH, **fields: Any) -> None:
        self.subscription.deliver(Publication(b"", offset, **fields), epoch, b"%d" % offset)

    def skip(self, offset: int) -> None:
        self.subscription.skip(Publication(b"", offset), EPOCH)

    def notice(self, client: str) -> None:
        self.subscription.notice(b"~" + client.encode(), client)

    def read(self) -> list[str]:
        self.transport.paused = False
        self.outbox.flush()
        self.transport.paused = True
        read = [frame.decode() for piece in self.transport.written for frame in piece.split(b"\n")]
        self.transport.written.clear()
        return read


@pytest.fixture
async def room() -> Room:
    return Room()


# While the reply isn't out


async def test_nothing_overtakes_the_reply(room: Room) -> None:
    for offset in range(3, 7):
        room.deliver(offset)
    room.notice("other")
    assert room.read() == []
    room.begin(4)
    assert room.read() == ["5", "6", "~other"]
    assert room.subscription.position == Position(EPOCH, 6)


@pytest.mark.parametrize(
    ("offsets", "epoch", "gap"),
    [([5, 6], EPOCH, None), ([6], EPOCH, Gap.DEAF), ([5], "new", Gap.EPOCH), ([1], "new", Gap.EPOCH)],
)
async def test_what_came_meanwhile_passes_the_same_check(
    room: Room, offsets: list[int], epoch: str, gap: Gap | None
) -> None:
    for offset in offsets:
        room.deliver(offset, epoch=epoch)
    room.begin(4)
    assert room.holder.lost == ([gap] if gap else [])


async def test_what_waits_for_the_reply_is_bounded_and_the_log_has_the_rest(room: Room) -> None:
    for offset in range(1, 100):
        room.deliver(offset)
    room.begin(0)
    assert room.subscription.phase is Phase.BEHIND
    assert (room.read(), room.holder.behind, room.holder.slow) == ([], 1, 0)
    assert not room.subscription.catch_up_with(Position(EPOCH, 98)), "99 has been seen"
    room.subscription.offset = 99
    assert room.subscription.catch_up_with(Position(EPOCH, 99))
    room.deliver(100)
    assert room.read() == ["100"]


@pytest.mark.parametrize("unlogged", ["notice", "publication"])
async def test_a_notice_that_had_no_room_to_wait_is_a_gap_in_the_end(room: Room, unlogged: str) -> None:
    for offset in range(1, 100):
        room.deliver(offset)
    room.notice("other") if unlogged == "notice" else room.deliver(0)
    room.begin(99)
    room.subscription.catch_up_with(Position(EPOCH, 99))
    assert room.holder.lost == [Gap.UNLOGGED]


@pytest.mark.parametrize("traits", [UNTRACKED, LATEST])
async def test_without_a_log_it_is_slow(traits: Traits) -> None:
    room = Room(traits)
    for _ in range(50):
        room.deliver(0)
    assert room.holder.slow > 0


# Live


@pytest.mark.parametrize(
    ("offset", "epoch", "sent", "gap"),
    [
        (5, EPOCH, ["5"], None),
        (4, EPOCH, [], None),
        (1, EPOCH, [], None),
        (6, EPOCH, [], Gap.DEAF),
        (5, "new", [], Gap.EPOCH),
        (1, "new", [], Gap.EPOCH),
        (0, "", ["0"], None),
    ],
)
async def test_each_has_to_be_the_next_one(
    room: Room, offset: int, epoch: str, sent: list[str], gap: Gap | None
) -> None:
    room.begin(4).deliver(offset, epoch=epoch)
    assert room.read() == sent
    assert room.holder.lost == ([gap] if gap else [])


@pytest.mark.parametrize("traits", [UNTRACKED, LATEST])
async def test_without_tracking_everything_is_sent_as_it_comes(traits: Traits) -> None:
    room = Room(traits).begin()
    for offset in (5, 3, 0, 7):
        room.deliver(offset, info=ClientInfo("", str(offset)))
    assert room.read() == ["5", "3", "0", "7"]
    assert room.holder.lost == []


@pytest.mark.parametrize("traits", [TRACKED, UNTRACKED, LATEST])
async def test_who_is_excluded_moves_on_without_it(traits: Traits) -> None:
    room = Room(traits).begin(4)
    room.deliver(5, exclude=frozenset({HERE}))
    room.deliver(6, exclude=frozenset({"other"}))
    assert room.read() == ["6"]
    assert room.holder.lost == []


async def test_what_a_filter_leaves_out_is_a_step_like_any_other() -> None:
    room = Room(max_bytes=200)
    room.skip(5)
    room.deliver(6)
    room.skip(7)
    room.begin(4)
    room.skip(8)
    room.skip(8)
    room.skip(0)
    room.deliver(9)
    assert room.read() == ["6", "9"]
    assert room.subscription.position == Position(EPOCH, 9)
    room.skip(11)
    assert room.holder.lost == [Gap.DEAF]


@pytest.mark.parametrize("traits", [UNTRACKED, LATEST])
async def test_without_tracking_there_is_no_step(traits: Traits) -> None:
    room = Room(traits).begin()
    room.skip(7)
    assert (room.read(), room.holder.lost, room.subscription.offset) == ([], [], 0)


async def test_what_a_filter_leaves_out_takes_room_while_it_waits_and_the_log_has_it(room: Room) -> None:
    for offset in range(1, 100):
        room.skip(offset)
    room.begin(0)
    assert (room.subscription.phase, room.holder.behind) == (Phase.BEHIND, 1)
    room.skip(100)
    assert not room.subscription.catch_up_with(Position(EPOCH, 99)), "100 has been seen"
    room.subscription.skip(Publication(b"", 101), "new")
    assert room.holder.lost == [Gap.EPOCH]


async def test_the_base_is_what_the_client_got_last(room: Room) -> None:
    def base_after(offset: int, **fields: Any) -> int:
        room.deliver(offset, **fields)
        return room.subscription.base

    room.subscription.begin(Position(EPOCH, 4), complete=True, base=4)
    assert room.subscription.base == 4
    assert base_after(5) == 5
    assert base_after(6, exclude=frozenset({HERE})) == 5
    assert base_after(5) == 5, "seen already"
    assert base_after(7) == 7
    assert base_after(0) == 0, "it isn't in the log"
    assert base_after(8) == 8
    room.outbox.put(b"x" * (MAX - room.outbox.bytes))
    assert base_after(9) == 8, "there was no room for it"


async def test_notices_only_to_who_wants_them() -> None:
    room = Room(Traits(tracked=True)).begin()
    room.notice("other")
    room.subscription.notice(None, "other")
    assert (room.read(), room.holder.inappropriate) == ([], 0)


async def test_what_the_encoding_cant_carry_ends_the_connection(room: Room) -> None:
    room.begin()
    room.subscription.refuse()
    room.subscription.notice(None, "other")
    assert room.holder.inappropriate == 2


async def test_what_has_ended_is_silent(room: Room) -> None:
    room.begin()
    room.subscription.phase = Phase.ENDED
    room.deliver(1)
    room.notice("other")
    room.subscription.refuse()
    room.subscription.notice(None, "other")
    assert room.read() == []
    assert (room.holder.lost, room.holder.inappropriate, room.holder.slow) == ([], 0, 0)


# Slow clients


def filled(room: Room) -> Room:
    """Not a byte more has room."""
    room.begin()
    room.outbox.put(b"x" * room.outbox.max_bytes)
    return room


async def test_resume_queues_nothing_and_reads_the_log(room: Room) -> None:
    filled(room).deliver(1)
    room.deliver(2)
    assert (room.subscription.phase, room.holder.behind) == (Phase.BEHIND, 1)
    assert room.subscription.position == Position(EPOCH, 0)
    assert room.read() == ["x" * MAX]
    room.deliver(3)
    assert room.read() == [], "also with room: the log comes first"
    assert not room.subscription.catch_up_with(Position(EPOCH, 2))
    room.subscription.offset = 3
    assert room.subscription.catch_up_with(Position(EPOCH, 3))
    room.deliver(4)
    assert room.read() == ["4"]


@pytest.mark.parametrize("traits", [UNTRACKED, CLOSES])
async def test_close_ends_the_connection(traits: Traits) -> None:
    room = filled(Room(traits))
    room.deliver(1)
    assert (room.holder.slow, room.holder.behind) == (1, 0)


async def test_latest_replaces_by_key() -> None:
    room = filled(Room(LATEST))
    room.deliver(1, tags={"key": "a"})
    room.deliver(2, tags={"key": "b"})
    room.deliver(3, tags={"key": "a"})
    room.deliver(4, info=ClientInfo("ann", "c1"))
    room.deliver(5, info=ClientInfo("ann", "c2"), tags={"other": "x"})
    room.deliver(6, info=ClientInfo("ann", "c1"))
    room.deliver(7)
    room.deliver(8, exclude=frozenset({HERE}))
    room.notice("c1")
    assert room.read() == ["x" * MAX, "3", "2", "6", "5", "7", "~c1"]
    assert (room.holder.slow, room.holder.lost) == (0, [])


async def test_latest_is_bounded_too() -> None:
    room = filled(Room(LATEST))
    for number in range(MAX + 1):
        room.deliver(1, tags={"key": str(number)})
    assert room.holder.slow == 1


async def test_a_join_that_has_no_room_is_a_gap_when_all_else_has_been_read(room: Room) -> None:
    filled(room).notice("other")
    assert room.subscription.phase is Phase.BEHIND
    assert room.holder.lost == []
    assert room.subscription.catch_up_with(Position(EPOCH, 0))
    assert room.holder.lost == [Gap.UNLOGGED]


@pytest.mark.parametrize("unlogged", ["join", "publication"])
async def test_so_is_one_that_comes_while_it_is_behind(room: Room, unlogged: str) -> None:
    room.begin(complete=False)
    room.notice("other") if unlogged == "join" else room.deliver(0)
    assert room.read() == []
    room.subscription.catch_up_with(Position(EPOCH, 0))
    assert room.holder.lost == [Gap.UNLOGGED]


async def test_its_own_join_is_sent_also_where_the_reply_began_a_catch_up(room: Room) -> None:
    room.begin(complete=False).notice(HERE)
    assert room.read() == ["~" + HERE]
    room.subscription.catch_up_with(Position(EPOCH, 0))
    assert room.holder.lost == []


async def test_another_epoch_while_behind_is_a_gap(room: Room) -> None:
    room.begin(complete=False).deliver(1, epoch="new")
    assert room.holder.lost == [Gap.EPOCH]


# Whatever happens


STEPS = st.lists(st.sampled_from(["publish", "publish", "lose", "repeat", "read", "page", "epoch"]), max_size=60)


@given(STEPS, st.integers(0, 3), st.integers(5, 40), st.booleans())
def test_once_in_order_or_told(steps: list[str], start: int, max_bytes: int, complete: bool) -> None:
    """A stream, some of whose publications never arrive here or arrive twice, and a client that reads now and then."""
    room = Room(max_bytes=max_bytes)
    subscription, holder = room.subscription, room.holder
    epoch, top, got = EPOCH, start, list[int]()
    for index, step in enumerate(steps):
        if index == 3:
            room.begin(start, complete=complete)
        match step:
            case "publish":
                top += 1
                room.deliver(top, epoch=epoch)
            case "lose":
                top += 1
            case "repeat":
                room.deliver(max(1, top), epoch=epoch)
            case "epoch":
                epoch, top = epoch + "'", 1
                room.deliver(top, epoch=epoch)
            case "read":
                got += map(int, room.read())
            case "page" if subscription.phase is Phase.BEHIND:
                if epoch != subscription.epoch:
                    holder.lose(subscription, Gap.EPOCH)
                    continue
                while subscription.offset < top and room.outbox.put(b"%d" % (subscription.offset + 1)):
                    subscription.offset += 1
                subscription.catch_up_with(Position(epoch, top))
    got += map(int, room.read())
    assert got == list(range(start + 1, start + 1 + len(got)))
    if subscription.phase is Phase.LIVE and not holder.lost:
        assert subscription.offset == start + len(got)
    assert len(holder.lost) <= 1
    assert holder.slow == 0


@pytest.mark.parametrize(
    ("offset", "head", "lost"),
    [
        (5, Position(EPOCH, 5), []),
        (6, Position(EPOCH, 5), []),
        (4, Position(EPOCH, 5), [Gap.TRIMMED]),
        (5, Position("another", 5), [Gap.TRIMMED]),
        (5, None, [Gap.TRIMMED]),
    ],
)
def test_1_what_its_node_has_missed_is_told_to_who_needs_it(
    offset: int, head: Position | None, lost: list[Gap]
) -> None:
    room = Room().begin(offset)
    room.subscription.miss(head, Gap.TRIMMED)
    assert room.holder.lost == lost


@pytest.mark.parametrize("traits", [TRACKED, UNTRACKED, LATEST])
def test_1_without_a_log_whoever_listens_may_have_missed_something(traits: Traits) -> None:
    room = Room(traits).begin()
    room.subscription.miss(None, Gap.DEAF)
    room.subscription.miss(None, Gap.DEAF)
    assert room.holder.lost == [Gap.DEAF]


@pytest.mark.parametrize("traits", [TRACKED, UNTRACKED])
def test_1_who_is_just_subscribing_and_is_helped_by_no_log_is_told_afterwards(traits: Traits) -> None:
    room = Room(traits)
    room.subscription.miss(None, Gap.DEAF)
    assert (room.holder.lost, room.subscription.ending) == ([], (2500, "insufficient state"))


def test_1_who_reads_the_log_anyway_finds_out_by_itself() -> None:
    for room in (Room(), Room().begin(complete=False)):
        room.subscription.miss(Position(EPOCH, 9), Gap.TRIMMED)
        assert (room.holder.lost, room.subscription.ending) == ([], None)
