"""Traces at a node: bounded, forgotten in time, and never silent about what they leave out."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.tracing import TraceAnswer, TraceQuestion, Wanted
from roomful.node.directory import Directory
from roomful.node.hub import Hub
from roomful.node.tracing import ANSWER_MAX, KEPT_MAX, LEASE_S, TEXT_MAX, TRACES_MAX, WATCHED_MAX, Tracer
from roomful.node.wheel import Wheel
from roomful.testing.clock import VirtualClock
from roomful.wire.dialect import JSON_BARE

ANN = Wanted(user="ann")


class Traced:
    """A tracer, its clock, and its room."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1_000.0)
        self.wheel = Wheel(self.clock)
        self.hub = Hub()
        self.tracer = Tracer("node-1", self.hub, Directory(), self.wheel, self.clock)

    def ask(self, id: str = "trace", wanted: Wanted = ANN) -> TraceAnswer:
        question = msgspec.msgpack.encode(TraceQuestion(id, wanted))
        return msgspec.msgpack.decode(self.tracer.answer(question), type=TraceAnswer)

    def note(self, count: int = 1) -> None:
        for _ in range(count):
            self.tracer.note("connected", user="ann", client="client-1")

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wheel.advance()


@pytest.fixture
def traced() -> Traced:
    return Traced()


def test_a_trace_shows_what_comes_after_its_beginning(traced: Traced) -> None:
    traced.note()
    (begun,) = traced.ask().happenings
    assert (begun.event, begun.node, begun.user, begun.count) == ("tracing", "node-1", "ann", 0)
    traced.note()
    answer = traced.ask()
    assert [(each.event, each.client, each.at_ms) for each in answer.happenings] == [
        ("connected", "client-1", 1_000_000)
    ]
    assert (answer.first, answer.missed, answer.more) == (1, 0, False)
    assert traced.ask().happenings == []


def test_who_does_not_ask_any_more_is_forgotten(traced: Traced) -> None:
    traced.ask()
    for _ in range(3):
        traced.wait(LEASE_S - 1)
        traced.ask()
    assert traced.tracer.on
    traced.wait(LEASE_S + 1)
    assert not traced.tracer.on
    assert len(traced.wheel) == 0
    answer = traced.ask()
    assert (answer.first, answer.happenings[0].event) == (0, "tracing")


def test_more_than_so_many_traces_are_refused(traced: Traced) -> None:
    for number in range(TRACES_MAX):
        assert not traced.ask(f"trace-{number}").refused
    assert traced.ask("one more").refused
    assert traced.ask("trace-0").refused is False


def test_a_question_of_another_version_is_refused(traced: Traced) -> None:
    answer = msgspec.msgpack.decode(traced.tracer.answer(b"\xc1"), type=TraceAnswer)
    assert answer.refused
    assert not traced.tracer.on


@given(st.lists(st.integers(0, 900) | st.none(), max_size=15))
def test_whatever_comes_in_between_each_happening_is_shown_or_counted(steps: list[int | None]) -> None:
    """steps: so many happenings, or None: the trace is asked for."""
    traced = Traced()
    traced.ask()
    happened = shown = missed = 0
    expected = 1
    for step in [*steps, *[None] * 6]:
        if step is not None:
            traced.note(step)
            happened += step
            continue
        answer = traced.ask()
        assert answer.first == expected
        assert len(answer.happenings) <= ANSWER_MAX
        assert not (answer.more and answer.missed)
        expected += len(answer.happenings) + answer.missed
        shown += len(answer.happenings)
        missed += answer.missed
    assert shown + missed == happened
    assert happened > KEPT_MAX or not missed


def test_nobody_can_make_a_happening_large(traced: Traced) -> None:
    traced.ask("trace", Wanted(user="a" * 9_999))
    traced.tracer.note("refused", user="a" * 9_999, channel="c" * 9_999, code=107, reason="r" * 9_999)
    found = traced.ask("trace").happenings[-1]
    assert {len(found.user), len(found.channel), len(found.reason)} == {TEXT_MAX}


class Subscriber:
    """Notes whether it is watched."""

    def __init__(self) -> None:
        self.watched = 0

    def watch(self) -> None:
        self.watched += 1


def test_in_a_large_room_so_many_are_looked_at(traced: Traced) -> None:
    crowd = [Subscriber() for _ in range(WATCHED_MAX + 5)]
    for subscriber in crowd:
        traced.hub.add("chat:1", JSON_BARE, subscriber)  # type: ignore[arg-type]  # nothing else is asked of it
    (begun,) = traced.ask(wanted=Wanted(channel="chat:1")).happenings
    assert begun.count == sum(subscriber.watched for subscriber in crowd) == WATCHED_MAX
    assert not traced.tracer.has_room("ann", "chat:1")
    for subscriber in crowd[:5]:
        traced.hub.remove("chat:1", JSON_BARE, subscriber)  # type: ignore[arg-type]  # as above
    assert traced.tracer.has_room("ann", "chat:1")
    assert not traced.tracer.has_room("ann", "chat:2")
