from __future__ import annotations

from itertools import count, pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from roomful.model.publication import DeltaPublication, Draft, HistoryFilter, Page, Position, Publication, Retention
from roomful.rooms.recovery import Gap, Latest, Merged, Verdict, behind, merge, recover, recover_latest, with_bases
from roomful.rooms.stream import Stream


def publications(*offsets: int) -> list[Publication]:
    return [Publication(b"%d" % offset, offset) for offset in offsets]


def page(head: int, *offsets: int) -> Page:
    return Page(publications(*offsets), Position("e", head))


@pytest.mark.parametrize(
    ("asked", "log", "gap"),
    [
        (Position("e", 0), page(0), None),
        (Position("", 0), page(0), None),
        (Position("e", 5), page(5), None),
        (Position("e", 3), page(5, 4, 5), None),
        (Position("", 0), page(2, 1, 2), None),
        (Position("e", 3), page(9, 4, 5), None),  # more than one page
        (Position("e", 3), page(9, 5, 6), Gap.TRIMMED),
        (Position("", 0), page(9, 9), Gap.TRIMMED),
        (Position("e", 3), page(6, 4, 6), Gap.TRIMMED),  # a log with a hole
        (Position("e", 3), page(5), Gap.EXPIRED),
        (Position("e", 6), page(5), Gap.EPOCH),
        (Position("", 6), page(5), Gap.EPOCH),
        (Position("old", 5), page(5), Gap.EPOCH),
        (Position("old", 3), page(5, 4, 5), Gap.EPOCH),
        (Position("old", 0), page(0), Gap.EPOCH),
    ],
)
def test_verdicts(asked: Position, log: Page, gap: Gap | None) -> None:
    verdict = recover(asked, log)
    assert verdict == Verdict(Position("e", asked.offset) if gap is None else log.head, gap)
    assert verdict.recovered is (gap is None)


@pytest.mark.parametrize(
    ("asked", "log", "since", "offset"),
    [
        (Position("", 0), page(0), None, None),
        (Position("e", 0), page(0), None, None),
        (Position("", 0), page(5, 5), 4, 5),
        (Position("e", 3), page(5, 5), 4, 5),
        (Position("e", 5), page(5, 5), 5, None),
        (Position("e", 9), page(5, 5), 4, 5),
        (Position("old", 5), page(5, 5), 4, 5),
        (Position("", 5), page(5, 5), 4, 5),  # of no known epoch: it may be another one
        (Position("e", 5), page(5), 5, None),  # the log is empty, but the client has the newest
        (Position("e", 4), page(5), None, None),
        (Position("old", 5), page(5), None, None),
        (Position("e", 2), page(5, 5, 4, 3), 2, 3),  # even ones aren't wanted below, nor is 5
        (Position("e", 3), page(5, 5, 4, 3), 5, None),
        (Position("e", 4), page(5, 4), None, None),
    ],
)
def test_the_newest(asked: Position, log: Page, since: int | None, offset: int | None) -> None:
    unwanted = {4, 5} if len(log.publications) == 3 or log.publications == publications(4) else set()
    found = recover_latest(asked, log, lambda publication: publication.offset not in unwanted)
    if since is None:
        assert found is None
    else:
        assert found == Latest(Position("e", since), [] if offset is None else publications(offset))


def test_each_is_the_base_of_the_next() -> None:
    one, two, three = publications(1, 2, 3)
    assert with_bases([]) == []
    assert with_bases([one, two, three]) == [
        DeltaPublication(one, None),
        DeltaPublication(two, b"1"),
        DeltaPublication(three, b"2"),
    ]


@pytest.mark.parametrize(
    ("since", "log", "live", "offsets", "complete"),
    [
        # No recovery asked, or in vain: from the head on.
        (5, page(5), (), [], True),
        (5, page(5), (4, 5), [], True),
        (5, page(5), (5, 6, 7), [6, 7], True),
        (5, page(5, 4, 5), (6,), [6], True),
        # Recovered: the page, then what came meanwhile.
        (3, page(5, 4, 5), (), [4, 5], True),
        (3, page(5, 4, 5), (3, 4, 5), [4, 5], True),
        (3, page(5, 4, 5), (5, 6), [4, 5, 6], True),
        (3, page(5, 3, 4, 5), (6, 6), [4, 5, 6], True),
        # More than a page: what lies beyond its end stays in the log.
        (3, page(9, 4, 5), (), [4, 5], False),
        (3, page(9, 4, 5), (9, 10), [4, 5], False),
        (3, page(9, 4, 5), (5, 6), [4, 5, 6], False),
        (3, page(7, 4, 5), (5, 6, 7, 8), [4, 5, 6, 7, 8], True),
        # Published past the history: given out, moves nothing.
        (5, page(5), (0, 6, 0), [0, 6, 0], True),
        (3, page(5, 4, 5), (5, 0), [4, 5, 0], True),
        (3, page(9, 4, 5), (0, 10), [4, 5, 0], False),
    ],
)
def test_merging(since: int, log: Page, live: tuple[int, ...], offsets: list[int], complete: bool) -> None:
    merged = merge(Position("e", since), log, [(p, "e" if p.offset else "") for p in publications(*live)])
    assert isinstance(merged, Merged)
    assert [p.offset for p in merged.publications] == offsets
    assert merged.position == Position("e", max([since, *offsets]))
    assert merged.complete is complete


@pytest.mark.parametrize(
    ("since", "log", "live", "gap"),
    [
        (Position("e", 5), page(5), [(7, "e")], Gap.DEAF),
        (Position("e", 3), page(5, 4, 5), [(6, "e"), (8, "e")], Gap.DEAF),
        (Position("e", 5), page(5), [(6, "other")], Gap.EPOCH),
        (Position("e", 5), page(5), [(3, "other")], Gap.EPOCH),
        (Position("e", 3), page(9, 4, 5), [(1, "other")], Gap.EPOCH),
        (Position("old", 5), page(5), [], Gap.EPOCH),
        (Position("e", 3), page(6, 5, 6), [], Gap.TRIMMED),
    ],
)
def test_what_can_not_be_merged(since: Position, log: Page, live: list[tuple[int, str]], gap: Gap) -> None:
    assert merge(since, log, [(Publication(b"", offset), epoch) for offset, epoch in live]) is gap


@pytest.mark.parametrize(
    ("gap", "log", "to", "rest"),
    [
        (Gap.TRIMMED, page(9, 7, 8, 9), 6, [7, 8, 9]),
        (Gap.TRIMMED, page(9, 5), 4, [5]),  # the first of many pages
        (Gap.TRIMMED, page(9, 4, 6, 7), 5, [6, 7]),  # a log with a hole: the newest ones that hang together
        (Gap.TRIMMED, page(9, 4, 6, 8), 7, [8]),
        (Gap.EXPIRED, page(9), 9, []),
        (Gap.EPOCH, page(3, 1, 2, 3), 3, []),
    ],
)
def test_where_to_go_on_behind_a_gap(gap: Gap, log: Page, to: int, rest: list[int]) -> None:
    position, publications = behind(gap, log)
    assert position == Position("e", to)
    assert [publication.offset for publication in publications] == rest


KEEP = Retention(5, 10.0, 1e9)
PAGE = 3


class SubscriberMachine(RuleBasedStateMachine):
    """One subscriber of a channel whose log is trimmed, expires and begins anew, and whose node may go deaf.

    Every step that waits for the network in reality is a rule of its own, so anything may happen in between: the
    buffer is opened, the page is read, both are merged. The ledger holds what the client got, and a None for each
    notice that something may be missing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.epochs = count()
        self.stream = Stream(f"life-{next(self.epochs)}")
        self.page: Page | None = None
        self.buffer: list[tuple[Publication, str]] | None = None
        self.asked: Position | None = None
        """The client's position; None: it never had one, or lost it."""
        self.live = False
        self.deaf = False
        self.heard_all = False
        self.ledger: list[Position | None] = []

    @rule(times=st.integers(1, 8))
    def publish(self, times: int) -> None:
        for _ in range(times):
            publication = self.stream.append(Draft(b"1"), KEEP, self.now)
            if self.deaf:
                self.heard_all = False
            else:
                self.arrive(publication, self.stream.epoch)

    @rule()
    def publish_past_the_history(self) -> None:
        if not self.deaf:
            self.arrive(Publication(b"1"), "")

    @rule()
    def trim(self) -> None:
        self.stream.remove()

    @rule(seconds=st.sampled_from([1.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def begin_anew(self) -> None:
        self.stream = Stream(f"life-{next(self.epochs)}")

    @rule(deaf=st.booleans())
    def change_hearing(self, deaf: bool) -> None:
        self.deaf = deaf

    @rule()
    def disconnect(self) -> None:
        self.live = False
        self.buffer = self.page = None

    @precondition(lambda self: not self.live and self.buffer is None)
    @rule()
    def open_the_buffer(self) -> None:
        self.buffer = []
        self.heard_all = True

    @precondition(lambda self: self.buffer is not None and self.page is None)
    @rule()
    def read(self) -> None:
        self.page = self.stream.page(HistoryFilter(PAGE if self.asked else 0, self.asked), KEEP, self.now)
        self.may_be_missing = self.lost(self.asked)

    @precondition(lambda self: self.page is not None)
    @rule()
    def merge(self) -> None:
        page, live = self.page, self.buffer
        assert page is not None
        assert live is not None
        self.page = self.buffer = None
        since = page.head
        if self.asked is not None:
            verdict = recover(self.asked, page)
            assert verdict.recovered is not self.may_be_missing
            since = verdict.since
        if self.asked is None or since.offset != self.asked.offset or since.epoch != self.asked.epoch:
            self.ledger.append(None)
            self.asked = since
        merged = merge(since, page, live)
        if isinstance(merged, Gap):
            self.disconnect()
            return
        for publication in merged.publications:
            self.receive(publication, merged.position.epoch)
        assert self.asked == merged.position
        assert [p for p in merged.publications if not p.offset] == [p for p, _ in live if not p.offset]
        # If it isn't complete, there is a next page to read: the buffer may be opened again.
        self.live = merged.complete

    def lost(self, asked: Position | None) -> bool:
        """Whether the log can't give everything after that position; counted, not concluded."""
        kept = {p.offset for p in self.stream.page(HistoryFilter(None), KEEP, self.now).publications}
        return asked is not None and (
            asked.epoch != self.stream.epoch or any(n not in kept for n in range(asked.offset + 1, self.stream.top + 1))
        )

    def arrive(self, publication: Publication, epoch: str) -> None:
        """Live: the check of section 10.5. Until then: the buffer."""
        if self.buffer is not None:
            self.buffer.append((publication, epoch))
        elif self.live and self.asked is not None and publication.offset:
            if epoch != self.asked.epoch or publication.offset > self.asked.offset + 1:
                self.disconnect()
            elif publication.offset == self.asked.offset + 1:
                self.receive(publication, epoch)

    def receive(self, publication: Publication, epoch: str) -> None:
        if publication.offset:
            self.asked = Position(epoch, publication.offset)
            self.ledger.append(self.asked)

    @invariant()
    def nothing_is_missing_or_twice_without_a_notice(self) -> None:
        for before, after in pairwise(self.ledger[-20:]):
            if before is not None and after is not None:
                assert after == Position(before.epoch, before.offset + 1)

    @invariant()
    def who_is_live_has_everything_that_arrived(self) -> None:
        if self.live and self.heard_all and self.asked and self.asked.epoch == self.stream.epoch:
            assert self.asked == self.stream.head


TestSubscriberMachine = SubscriberMachine.TestCase
SubscriberMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
