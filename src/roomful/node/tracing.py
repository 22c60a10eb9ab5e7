"""Traces: what happens to a user's connections and in a channel, while somebody looks.

Nobody looks, nothing is done: those who could tell something read one attribute. Somebody does: this node keeps what it
sees, so much at most, until it is asked for it; who isn't asked any more for `LEASE_S` forgets the trace. So neither a
slow reader nor one that has died costs anything that grows.

    Survey "trace" ──▶ every node: begins, or goes on ──answer──▶ what it has seen since the last question
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

import msgspec

from roomful.model.tracing import Happening, TraceAnswer, TraceQuestion, Wanted
from roomful.node.directory import Directory
from roomful.node.hub import Hub
from roomful.node.wheel import Wheel

SURVEY = "trace"

LEASE_S = 5.0
"""A trace that isn't asked for ends after so long."""

KEPT_MAX = 2_000
"""Happenings that wait for the next question."""

ANSWER_MAX = 500
"""Happenings in one answer: 350 KB of the longest ones, where a message of NATS may have 1 MiB."""

TRACES_MAX = 8
WATCHED_MAX = 1_000
"""Subscriptions whose deliveries are looked at. Each costs some 3 µs a publication."""

TEXT_MAX = 255

_question = msgspec.msgpack.Decoder(TraceQuestion)
_answer = msgspec.msgpack.Encoder()


class Trace:
    """One trace at this node (`node.wheel.Timed`)."""

    __slots__ = ("_end", "due", "first", "kept", "missed", "wanted", "wheel_slot")

    def __init__(self, wanted: Wanted, end: Callable[[], None]) -> None:
        self.wanted = wanted
        self._end = end
        self.kept: list[Happening] = []
        self.first = 0
        self.missed = 0
        self.due = 0.0
        self.wheel_slot = 0

    def keep(self, happening: Happening) -> None:
        """Once something could not be kept nothing is until the next question: what is missing lies in one place."""
        if self.missed or len(self.kept) >= KEPT_MAX:
            self.missed += 1
        else:
            self.kept.append(happening)

    def take(self) -> TraceAnswer:
        taken, self.kept = self.kept[:ANSWER_MAX], self.kept[ANSWER_MAX:]
        missed = 0 if self.kept else self.missed
        answer = TraceAnswer(self.first, taken, missed, more=bool(self.kept))
        self.first += len(taken) + missed
        self.missed -= missed
        return answer

    def on_due(self, now: float) -> float | None:
        if now < self.due:
            return self.due
        self._end()
        return None


class Tracer:
    """The traces of one node. on: whether there is any; ask that before anything else."""

    __slots__ = ("_directory", "_hub", "_node", "_traces", "_wall_clock", "_wheel", "on")

    def __init__(
        self, node: str, hub: Hub, directory: Directory, wheel: Wheel, wall_clock: Callable[[], float]
    ) -> None:
        self._node = node
        self._hub = hub
        self._directory = directory
        self._wheel = wheel
        self._wall_clock = wall_clock
        self._traces: dict[str, Trace] = {}
        self.on = False

    def answer(self, question: bytes) -> bytes:
        """A node asks, for the first time or again; a TraceAnswer."""
        try:
            asked = _question.decode(question)
        except msgspec.DecodeError:  # of another version
            return _answer.encode(TraceAnswer(refused=True))
        trace = self._traces.get(asked.id)
        if trace is None:
            if len(self._traces) >= TRACES_MAX:
                return _answer.encode(TraceAnswer(refused=True))
            trace = self._begin(asked)
        trace.due = self._wheel.now() + LEASE_S
        self._wheel.schedule(trace, trace.due)
        return _answer.encode(trace.take())

    def note(self, event: str, *, client: str = "", user: str = "", channel: str = "", **more: Any) -> None:
        """Something has happened. more: as in Happening."""
        happening: Happening | None = None
        for trace in self._traces.values():
            if trace.wanted.includes(event, user, channel):
                if happening is None:
                    happening = self._happening(event, client, user, channel, more)
                trace.keep(happening)

    def concerns(self, user: str, channel: str) -> bool:
        """Whether somebody wants to know of deliveries to the user in the channel."""
        return any(trace.wanted.concerns(user, channel) for trace in self._traces.values())

    def has_room(self, user: str, channel: str) -> bool:
        """Whether deliveries to a new subscription are to be looked at: it concerns somebody who has not too many."""
        return any(
            trace.wanted.concerns(user, channel)
            and (bool(trace.wanted.user) or self._hub.subscribers(channel) <= WATCHED_MAX)
            for trace in self._traces.values()
        )

    def _begin(self, asked: TraceQuestion) -> Trace:
        trace = self._traces[asked.id] = Trace(asked.wanted, lambda: self._end(asked.id))
        self.on = True
        watched = self._watch(asked.wanted)
        told = {"user": asked.wanted.user, "channel": asked.wanted.channel}
        trace.keep(self._happening("tracing", "", told["user"], told["channel"], {"count": watched}))
        return trace

    def _watch(self, wanted: Wanted) -> int:
        """Has those who are here look at their deliveries; how many."""
        if wanted.user:
            members = self._directory.of_user(wanted.user)
            return sum(member.watch_in(wanted.channel) for member in islice(members, WATCHED_MAX))
        watched: Collection[Any] = self._hub.listening(wanted.channel)[:WATCHED_MAX]
        for subscriber in watched:
            subscriber.watch()
        return len(watched)

    def _end(self, id: str) -> None:
        """Who is watched notices at its next delivery."""
        del self._traces[id]
        self.on = bool(self._traces)

    def _happening(self, event: str, client: str, user: str, channel: str, more: dict[str, Any]) -> Happening:
        at_ms = int(self._wall_clock() * 1000)
        if "reason" in more:
            more["reason"] = str(more["reason"])[:TEXT_MAX]
        return Happening(at_ms, event, self._node, client, user[:TEXT_MAX], channel[:TEXT_MAX], **more)
