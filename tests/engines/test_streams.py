from __future__ import annotations

from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from roomful.engines.streams import Streams
from roomful.model.publication import Draft, HistoryFilter, Position, Retention

TOP = HistoryFilter(limit=0)


def publish(streams: Streams, channel: str, keep: Retention, now: float) -> Position:
    stream = streams.to_write(channel, keep, now)
    stream.append(Draft(b"1"), keep, now)
    return stream.head


def look(streams: Streams, channel: str, keep: Retention, now: float) -> Position:
    return streams.to_read(channel, keep, now).page(TOP, keep, now).head


def test_a_publish_to_a_known_channel_adds_no_deadline() -> None:
    streams = Streams(10)
    for now in range(1000):
        publish(streams, "a", Retention(10, 5.0, 20.0), now / 10)
        streams.tidy(now / 10, 2)
    assert streams.sizes() == (1, 0)
    assert len(streams._full._heap) == 1


@pytest.mark.parametrize("reads", [1, 10, 1000])
def test_reading_an_idle_channel_leaves_little_behind(reads: int) -> None:
    streams, keep = Streams(10), Retention(10, 5.0, 20.0)
    for now in range(reads):
        look(streams, "a", keep, float(now))
    assert streams.sizes() == (0, 1)
    assert len(streams._idle._heap) < 100
    assert not streams.tidy(reads + 20.0, 100)
    assert streams.sizes() == (0, 0)
    assert streams._idle._heap == []


def test_a_short_lived_position_does_not_wait_behind_a_long_lived_one() -> None:
    streams = Streams(10)
    look(streams, "long", Retention(10, 5.0, 1000.0), 0.0)
    look(streams, "short", Retention(10, 5.0, 20.0), 0.0)
    publish(streams, "shorter", Retention(10, 5.0, 0.0), 0.0)
    assert not streams.tidy(20.0, 10)
    assert streams.sizes() == (0, 1)


def test_when_too_many_rest_the_one_nearest_to_its_end_goes() -> None:
    streams = Streams(2)
    for channel, meta_ttl_s in (("long", 1000.0), ("short", 20.0), ("middle", 300.0)):
        publish(streams, channel, Retention(10, 5.0, meta_ttl_s), 0.0)
    heads = {channel: look(streams, channel, Retention(10, 5.0, 20.0), 1.0) for channel in ("long", "middle", "short")}
    streams.tidy(5.0, 10)
    assert streams.sizes() == (0, 2)
    for channel in ("long", "middle"):
        assert look(streams, channel, Retention(10, 5.0, 1000.0), 6.0) == heads[channel]
    assert look(streams, "short", Retention(10, 5.0, 1000.0), 6.0).epoch != heads["short"].epoch


def test_tidying_says_when_there_is_more() -> None:
    streams = Streams(10)
    for channel in "abc":
        publish(streams, channel, Retention(10, 5.0, 20.0), 0.0)
    assert not streams.tidy(4.9, 2)
    assert streams.tidy(5.0, 2)
    assert streams.sizes() == (1, 2)
    assert not streams.tidy(5.0, 2)
    assert streams.sizes() == (0, 3)


class StreamsMachine(RuleBasedStateMachine):
    """Whatever is forgotten, and when: a position never means two different publications."""

    IDLE_MAX = 2
    channels = st.sampled_from(["a", "b", "c", "d"])
    keeps = st.builds(Retention, st.just(2), st.sampled_from([2.0, 8.0]), st.sampled_from([0.0, 4.0, 16.0]))

    def __init__(self) -> None:
        super().__init__()
        self.streams = Streams(self.IDLE_MAX)
        self.now = 1.0
        self.payloads = count()
        self.log: dict[tuple[str, str, int], bytes] = {}
        self.last: dict[str, tuple[Position, float]] = {}
        """By channel: the last head, and until when it must be remembered if others don't push it out."""

    @rule(channel=channels, keep=keeps)
    def publish(self, channel: str, keep: Retention) -> None:
        data = b"%d" % next(self.payloads)
        stream = self.streams.to_write(channel, keep, self.now)
        publication = stream.append(Draft(data), keep, self.now)
        place = (channel, stream.epoch, publication.offset)
        assert place not in self.log
        self.log[place] = data
        self.last[channel] = (stream.head, self.now + keep.ttl_s)

    @rule(channel=channels, keep=keeps)
    def read(self, channel: str, keep: Retention) -> None:
        page = self.streams.to_read(channel, keep, self.now).page(HistoryFilter(None), keep, self.now)
        for publication in page.publications:
            assert self.log[channel, page.head.epoch, publication.offset] == publication.data
        known, until = self.last.get(channel, (page.head, 0.0))
        if self.now < until:
            assert page.head == known

    @rule(channel=channels)
    def remove(self, channel: str) -> None:
        self.streams.remove(channel)
        known, _ = self.last.get(channel, (Position("", 0), 0.0))
        self.last[channel] = (known, 0.0)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 5.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(limit=st.integers(1, 3))
    def tidy(self, limit: int) -> None:
        if not self.streams.tidy(self.now, limit):
            for agenda in (self.streams._full, self.streams._idle):
                assert all(self.now < stream.looked_at for stream in agenda._streams.values())

    @invariant()
    def each_stream_will_be_looked_at(self) -> None:
        for agenda in (self.streams._full, self.streams._idle):
            looks = {(stream.looked_at, channel) for channel, stream in agenda._streams.items()}
            assert looks <= set(agenda._heap)

    @invariant()
    def idle_ones_are_few_and_empty(self) -> None:
        idle = self.streams._idle._streams
        assert len(idle) <= self.IDLE_MAX
        assert not any(stream.held or stream.looked_at > stream.due for stream in idle.values())
        assert not idle.keys() & self.streams._full._streams.keys()


TestStreamsMachine = StreamsMachine.TestCase
StreamsMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
