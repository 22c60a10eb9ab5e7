from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from roomful.model.client import ClientInfo
from roomful.model.publication import Draft, HistoryFilter, Page, Position, Publication, Retention
from roomful.rooms.stream import Stream

KEEP = Retention(100, 10.0, 100.0)
ALL = HistoryFilter(limit=None)

keeps = st.builds(
    Retention, st.sampled_from([1, 2, 3, 7]), st.sampled_from([4.0, 9.0]), st.sampled_from([0.0, 5.0, 30.0])
)
filters = st.builds(
    HistoryFilter,
    limit=st.none() | st.integers(0, 9),
    since=st.none() | st.builds(Position, st.just(""), st.integers(0, 30)),
    reverse=st.booleans(),
    max_bytes=st.none() | st.integers(0, 12),
)


def naive_page(kept: list[Publication], head: Position, wanted: HistoryFilter) -> Page:
    """The words of `HistoryFilter`, one by one."""
    found = sorted(kept, key=lambda publication: publication.offset, reverse=wanted.reverse)
    if wanted.since is not None:
        since = wanted.since.offset
        found = [p for p in found if (p.offset < since if wanted.reverse else p.offset > since)]
    if wanted.limit is not None:
        found = found[: wanted.limit]
    if wanted.max_bytes is not None:
        while len(found) > 1 and sum(len(p.data) for p in found) > wanted.max_bytes:
            found.pop()
    return Page(found, head)


class StreamMachine(RuleBasedStateMachine):
    """A stream against a list that is cut and filtered the slow way."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = count()
        self.now = 1000.0
        self.begin()

    def begin(self) -> None:
        self.epoch = f"life-{next(self.epochs)}"
        self.stream = Stream(self.epoch)
        self.kept: list[Publication] = []
        self.top = 0
        self.expires_at = self.ends_at = 0.0

    def use(self) -> None:
        """What an owner does before each use."""
        over = self.ends_at <= self.now
        assert self.stream.is_over(self.now) == over
        if over:
            self.begin()
        if self.expires_at <= self.now:
            self.kept = []

    @rule(size=st.integers(0, 6), keep=keeps)
    def append(self, size: int, keep: Retention) -> None:
        self.use()
        self.top += 1
        wanted = Publication(b"x" * size, self.top)
        assert self.stream.append(Draft(b"x" * size), keep, self.now) == wanted
        self.kept = [*self.kept, wanted][-keep.size :]
        self.expires_at = self.now + keep.ttl_s
        self.ends_at = self.expires_at + keep.meta_ttl_s
        assert self.stream.held == len(self.kept)

    @rule(wanted=filters, keep=keeps)
    def page(self, wanted: HistoryFilter, keep: Retention) -> None:
        self.use()
        assert self.stream.page(wanted, keep, self.now) == naive_page(self.kept, Position(self.epoch, self.top), wanted)
        self.ends_at = max(self.ends_at, self.now + keep.meta_ttl_s)

    @rule()
    def remove(self) -> None:
        self.stream.remove()
        self.kept = []

    @rule()
    def expire(self) -> None:
        self.stream.expire(self.now)
        if self.expires_at <= self.now:
            self.kept = []

    @rule(seconds=st.sampled_from([1.0, 4.0, 9.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_head_is_what_was_published(self) -> None:
        assert self.stream.head == Position(self.epoch, self.top)

    @invariant()
    def nothing_is_held_without_a_deadline(self) -> None:
        assert self.stream.due == (self.expires_at if self.stream.held else self.ends_at)


TestStreamMachine = StreamMachine.TestCase
StreamMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def filled(number: int, keep: Retention = KEEP) -> Stream:
    stream = Stream("e")
    for n in range(1, number + 1):
        stream.append(Draft(b"%d" % n), keep, 0.0)
    return stream


def test_everything_of_a_draft_but_its_key_is_published() -> None:
    info = ClientInfo("ann", "client-1")
    draft = Draft(b"1", info, {"a": "b"}, frozenset({"client-1"}), "key")
    assert Stream("e").append(draft, KEEP, 0.0) == Publication(b"1", 1, info, {"a": "b"}, frozenset({"client-1"}))


def test_a_new_stream_is_over_until_it_is_used() -> None:
    assert Stream("e").is_over(0.0)
    read = Stream("e")
    assert read.page(HistoryFilter(), KEEP, 5.0) == Page([], Position("e", 0))
    assert (read.is_over(104.9), read.is_over(105.0)) == (False, True)


def test_publications_end_before_the_position() -> None:
    stream = filled(3)
    assert len(stream.page(ALL, KEEP, 9.9).publications) == 3
    assert stream.page(ALL, KEEP, 10.0) == Page([], Position("e", 3))
    assert (stream.is_over(109.9), stream.is_over(110.0)) == (False, True)


def test_what_has_expired_does_not_come_back_with_the_next_one() -> None:
    stream = filled(3)
    stream.append(Draft(b"4"), KEEP, 10.0)
    assert [p.offset for p in stream.page(ALL, KEEP, 10.0).publications] == [4]


def test_a_page_is_a_list_of_its_own() -> None:
    stream = filled(3)
    stream.page(ALL, KEEP, 0.0).publications.clear()
    assert len(stream.page(ALL, KEEP, 0.0).publications) == 3


@pytest.mark.parametrize("size", [1, 2, 5, 64])
@pytest.mark.parametrize("number", [1, 5, 63, 64, 65, 130])
def test_the_newest_are_kept(size: int, number: int) -> None:
    page = filled(number, Retention(size, 10.0)).page(ALL, KEEP, 0.0)
    assert [p.offset for p in page.publications] == list(range(max(1, number - size + 1), number + 1))


def test_a_ring_takes_no_more_room_than_it_holds() -> None:
    stream: Any = filled(1000, Retention(10, 10.0))
    assert len(stream._ring) == stream.held == 10
    stream.expire(10.0)
    assert len(stream._ring) == stream.held == 0
