"""Clocks alone, and what wrong ones can't do to what is written (`test_26_…`)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt import HLC, Clock, Exhausted, FutureClock, Lamport, LWWMap, LWWRegister, LWWSet, Stamp
from roomful.crdt.clock import MAX_SEQ, after
from roomful.crdt.value import MAX_SAFE

HOUR_MS = 3_600_000
NOON_MS = 1_700_000_000_000


class Wall:
    """The true time, moved by the test, and machines that show it wrongly."""

    def __init__(self) -> None:
        self.ms = NOON_MS

    def clock(self, wrong_ms: int = 0, **options: int | None) -> HLC:
        return HLC(now=lambda: self.ms + wrong_ms, **options)  # type: ignore[arg-type]


@given(st.lists(st.one_of(st.integers(0, 50), st.tuples(st.integers(0, 50), st.integers(0, 9)), st.none())))
def test_a_hybrid_clock_only_grows(events: list[int | tuple[int, int] | None]) -> None:
    """Whatever the wall clock does and whoever is heard. Numbers set the wall clock, pairs are stamps, None ticks."""
    wall, last = Wall(), Stamp(0, 0)
    clock = wall.clock(max_ahead_ms=None)
    for event in events:
        if event is None:
            stamp = clock.tick()
            assert stamp > last
            assert stamp.ms >= wall.ms
            last = stamp
        elif isinstance(event, int):
            wall.ms = event
        else:
            clock.observe(Stamp(*event))
            last = max(last, Stamp(*event))


def test_a_hybrid_clock_is_the_wall_clock_when_nothing_forces_it() -> None:
    wall = Wall()
    clock = wall.clock()
    assert clock.tick() == (NOON_MS, 0)
    assert clock.tick() == (NOON_MS, 1)
    wall.ms += 5
    assert clock.tick() == (NOON_MS + 5, 0)
    clock.observe(Stamp(NOON_MS + 9, 3))
    assert clock.tick() == (NOON_MS + 9, 4)
    clock.observe(Stamp(NOON_MS, 0))
    assert clock.tick() == (NOON_MS + 9, 5)


def test_a_future_stamp_is_refused_and_changes_nothing() -> None:
    clock = Wall().clock(max_ahead_ms=1_000)
    clock.observe(Stamp(NOON_MS + 1_000, 0))
    with pytest.raises(FutureClock) as caught:
        clock.observe(Stamp(NOON_MS + 1_001, 0))
    assert (caught.value.ahead_ms, caught.value.limit_ms) == (1_001, 1_000)
    assert clock.tick() == (NOON_MS + 1_000, 1)


def test_a_clock_learns_its_offset() -> None:
    wall = Wall()
    fast, slow = wall.clock(HOUR_MS), wall.clock(-HOUR_MS)
    fast.tick()
    for clock, offset_ms in ((fast, -HOUR_MS), (slow, HOUR_MS)):
        clock.correct(NOON_MS)
        assert clock.offset_ms == offset_ms
        assert clock.read() == NOON_MS
        assert clock.tick() in ((NOON_MS, 0), (NOON_MS, 1))
    wall.ms += 10
    assert fast.tick() == slow.tick() == (NOON_MS + 10, 0)


def test_a_small_correction_keeps_what_was_stamped() -> None:
    wall = Wall()
    clock = wall.clock(500)
    before = clock.tick()
    clock.correct(NOON_MS)
    assert clock.tick() > before


def test_a_wall_clock_before_1970_counts_as_1970() -> None:
    assert HLC(now=lambda: -5).tick() == (0, 1)


@pytest.mark.parametrize("clock", [Lamport(), HLC(now=lambda: 0, max_ahead_ms=None)])
def test_a_full_millisecond_borrows_the_next_and_time_ends(clock: Clock) -> None:
    clock.observe(Stamp(7, MAX_SEQ))
    assert clock.tick() == (8, 0)
    clock.observe(Stamp(MAX_SAFE, MAX_SEQ))
    with pytest.raises(Exhausted):
        clock.tick()


def test_a_lamport_clock_counts() -> None:
    clock = Lamport()
    assert [clock.tick(), clock.tick()] == [(0, 1), (0, 2)]
    clock.observe(Stamp(0, 9))
    clock.observe(Stamp(0, 1))
    assert clock.tick() == (0, 10) == after(Stamp(0, 9))


@given(st.permutations([0, 1, 2, 3] * 3), st.lists(st.integers(-HOUR_MS, HOUR_MS), min_size=12, max_size=12))
def test_26_a_wrong_clock_never_undoes_what_came_later(order: list[int], jumps: list[int]) -> None:
    """Clients an hour behind, right, an hour ahead, and one that jumps; each writes after it has seen all before it.

    The server refuses what is too far ahead; the client learns its offset, writes again, and is accepted.
    """
    wall, jump = Wall(), [0]
    server = LWWMap[int]("server", clock=wall.clock())
    nows = [lambda: wall.ms - HOUR_MS, lambda: wall.ms, lambda: wall.ms + HOUR_MS, lambda: wall.ms + jump[0]]
    clocks = [HLC(now, max_ahead_ms=None) for now in nows]
    clients = [LWWMap[int](f"c{n}", clock=clock) for n, clock in enumerate(clocks)]

    def change(client: LWWMap[int], number: int) -> LWWMap[int]:
        return client.delete("k") if number % 3 == 2 else client.set("k", number)

    for number, (who, jump[0]) in enumerate(zip(order, jumps, strict=True)):
        client = clients[who]
        client.merge(server.delta_since(client.context))
        delta = change(client, number)
        try:
            server.merge(delta)
        except FutureClock:
            clocks[who].correct(wall.ms)
            delta.merge(change(client, number))
            server.merge(delta)
        assert server.value == client.value == ({} if number % 3 == 2 else {"k": number})
        wall.ms += 1
    for client in clients:
        client.merge(server)
        server.merge(client)
    assert all(client == server for client in clients)


@pytest.mark.parametrize("first", [0, HOUR_MS, -HOUR_MS])
def test_of_concurrent_writes_the_later_stamp_wins(first: int) -> None:
    wall = Wall()
    a = LWWRegister[str]("a", clock=wall.clock(first, max_ahead_ms=None))
    b = LWWRegister[str]("b", clock=wall.clock(0, max_ahead_ms=None))
    a.set("a")
    b.set("b")
    a.merge(b)
    b.merge(a)
    assert a.value == b.value == ("a" if first > 0 else "b")  # a tie goes to the greater replica id


@pytest.mark.parametrize("kind", [LWWRegister, LWWMap, LWWSet])
def test_nothing_is_merged_of_a_delta_from_the_future(kind: type[LWWMap[str]]) -> None:
    wall = Wall()
    server, client = kind("s", clock=wall.clock()), kind("c", clock=wall.clock(HOUR_MS))
    write = {"lww": ("set", "x"), "lwwmap": ("set", "k", "x"), "lwwset": ("add", "x")}[kind.kind]
    getattr(client, write[0])(*write[1:])
    before = server.context
    with pytest.raises(FutureClock):
        server.merge(client)
    assert server.context == before
    assert server == kind()
