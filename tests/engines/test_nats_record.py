from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.engines.nats_record import TRAIL_MAX, Record, cut, opened, parse, published, touched
from roomful.model.errors import WireError
from roomful.model.publication import Position, Retention

KEEP = Retention(5, 60.0, 600.0)


@dataclass
class Stream:
    """Records as a server would keep them, with gaps between the sequences."""

    newest: Record
    sequences: dict[int, int] = field(default_factory=dict)
    next_sequence: int = 1

    def store(self, record: Record, step: int) -> None:
        self.next_sequence += step
        self.newest = msgspec.structs.replace(record, sequence=self.next_sequence)
        if record.kind == "p":
            self.sequences[record.offset] = self.next_sequence


steps = st.lists(st.tuples(st.sampled_from("pptc"), st.integers(1, 10_000)), max_size=100)


@given(steps)
def test_a_record_knows_the_places_of_the_publications_before_it(steps: list[tuple[str, int]]) -> None:
    stream = Stream(msgspec.structs.replace(opened("life1", KEEP, 1000, "me"), sequence=1))
    for now, (kind, step) in enumerate(steps):
        before = stream.newest
        if kind == "p":
            record: Record | None = published(before, KEEP, now, "me")
        elif kind == "t":
            record = touched(before, Retention(5, 60.0, 1e7), now, "me")
        else:
            record = cut(before, "me")
        if record is None:
            continue
        assert parse(record.header(), 0) == record
        stream.store(record, step)
        places = stream.newest.places()
        newest = stream.newest.offset
        reach = min(newest, TRAIL_MAX + (record.kind == "p"))
        assert places == {offset: stream.sequences[offset] for offset in range(newest - reach + 1, newest + 1)}


def test_offsets_follow_each_other_and_the_oldest_go() -> None:
    record = opened("e", KEEP, 0, "a")
    for number in range(1, 9):
        record = published(record, KEEP, 0, "a")
        assert record.position == Position("e", number)
        assert record.oldest(0) == max(1, number - 4)
    assert published(record, Retention(2, 60.0), 0, "a").oldest(0) == 8
    # What was dropped for a smaller size doesn't come back with a larger one.
    small = published(record, Retention(2, 60.0), 0, "a")
    assert published(small, Retention(100, 60.0), 0, "a").oldest(0) == 8


def test_time_takes_publications_first_and_then_the_epoch() -> None:
    record = published(opened("life", KEEP, 0, "a"), KEEP, 0, "a")
    assert record.oldest(59_999) == 1
    assert record.oldest(60_000) == 2
    assert not record.is_over(659_999, "life")
    assert record.is_over(660_000, "life")
    assert record.is_over(0, "another life")
    # The next one after the expiry doesn't bring the old ones back.
    assert published(record, KEEP, 60_000, "a").oldest(60_000) == 2


def test_a_reader_prolongs_a_life_only_when_half_of_it_is_over() -> None:
    record = opened("e", Retention(5, 60.0, 100.0), 0, "a")
    assert touched(record, Retention(5, 60.0, 100.0), 49_999, "b") is None
    later = touched(record, Retention(5, 60.0, 100.0), 50_000, "b")
    assert later is not None
    assert (later.kind, later.by, later.ends_ms, later.position) == ("t", "b", 150_000, record.position)


def test_a_cut_leaves_the_position() -> None:
    record = published(opened("e", KEEP, 0, "a"), KEEP, 0, "a")
    after = cut(record, "b")
    assert (after.position, after.oldest(0)) == (record.position, 2)


@pytest.mark.parametrize("header", ["", "p e 1", "p e x 0 0 0 me -", "p e 1 0 0 0 me 1,,2", "p e 1 0 0 0 me zz"])
def test_another_header_is_told(header: str) -> None:
    with pytest.raises(WireError):
        parse(header, 1)


@given(st.text())
def test_any_header_is_a_record_or_an_error(header: str) -> None:
    with suppress(WireError):
        assert isinstance(parse(header, 1), Record)
