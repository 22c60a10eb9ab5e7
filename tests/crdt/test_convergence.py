"""Replicas on a bad network: partitions, losses, duplicates, crashes, collections; when it heals they are one state."""

from __future__ import annotations

from contextlib import suppress
from functools import reduce
from operator import and_
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from roomful.crdt import KINDS, RemovedForever, Replicated, from_msgpack, to_msgpack
from tests.crdt.histories import CALLS, Play, do, examples, histories, replicas_of

PLACES = st.integers(0, 2)


class Network(RuleBasedStateMachine):
    """Three replicas, each with a disk, and mail between them. A replica saves its own changes before it sends them."""

    kind: str

    @initialize()
    def start(self) -> None:
        self.made = 0
        self.here: list[Replicated] = [self.born() for _ in range(3)]
        self.disk = [to_msgpack(replica) for replica in self.here]
        self.mail: list[bytes] = []
        self.cut: set[frozenset[int]] = set()

    def born(self) -> Replicated:
        self.made += 1
        return KINDS[self.kind](f"r{self.made}")

    def load(self, data: bytes, replica: str = "") -> Any:
        return from_msgpack(data, KINDS[self.kind], replica=replica)

    @rule(at=PLACES, data=st.data())
    def change(self, at: int, data: st.DataObject) -> None:
        with suppress(RemovedForever):
            delta = do(self.here[at], *data.draw(CALLS[self.kind]))
            self.save(at)
            self.mail.append(to_msgpack(delta))

    @rule(at=PLACES)
    def save(self, at: int) -> None:
        self.disk[at] = to_msgpack(self.here[at])

    @rule(at=PLACES, data=st.data())
    def deliver(self, at: int, data: st.DataObject) -> None:
        """Any letter, also again."""
        if self.mail:
            self.here[at].merge(self.load(data.draw(st.sampled_from(self.mail))))

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        if self.mail:
            self.mail.remove(data.draw(st.sampled_from(self.mail)))

    @rule(one=PLACES, other=PLACES)
    def exchange(self, one: int, other: int) -> None:
        if frozenset({one, other}) not in self.cut:
            delta = self.here[one].delta_since(self.here[other].context)
            self.here[other].merge(self.load(to_msgpack(delta)))

    @rule(one=PLACES, other=PLACES)
    def cut_or_heal(self, one: int, other: int) -> None:
        self.cut ^= {frozenset({one, other})}

    @rule(at=PLACES)
    def crash(self, at: int) -> None:
        self.here[at] = self.load(self.disk[at], self.here[at].replica)

    @rule(at=PLACES)
    def lose_the_disk(self, at: int) -> None:
        self.here[at] = self.born()
        self.save(at)

    @rule(at=PLACES)
    def collect(self, at: int) -> None:
        if not self.cut:
            for other in range(3):
                self.save(other)
                self.here[at].merge(self.load(self.disk[other]))
            self.here[at].collect(reduce(and_, [replica.context for replica in self.here]))

    def teardown(self) -> None:
        if not hasattr(self, "here"):
            return
        for letter in self.mail:
            self.here[0].merge(self.load(letter))
        for other in (1, 2, 1):
            self.here[0].merge(self.here[other])
            self.here[other].merge(self.here[0])
        assert len({to_msgpack(replica) for replica in self.here}) == 1
        assert self.here[0].value == self.here[1].value == self.here[2].value
        assert not any(replica.merge(self.load(letter)) for letter in self.mail for replica in self.here)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_replicas_converge(kind: str) -> None:
    machine = type("Network", (Network,), {"kind": kind})
    run_state_machine_as_test(machine, settings=examples(20, stateful_step_count=30))


@pytest.mark.parametrize("kind", ["fugue", "lwwmap", "lwwset", "ormap"])
@given(data=st.data())
@examples(50)
def test_nobody_notices_a_collection(kind: str, data: st.DataObject) -> None:
    """The same history with and without collections, each after all replicas had reported: one value."""
    script = data.draw(histories(kind, most=20))
    collections = data.draw(st.sets(st.integers(3, len(script))))
    plain, swept = Play(), Play()
    for at, step in enumerate(script):
        if at in collections:
            collector = str(at % 3)
            for play in (plain, swept):
                for other in "012":
                    play.step("merge", collector, other)
            swept.step("collect", collector, ["0", "1", "2"])
        plain.step(*step)
        swept.step(*step)
        assert [state.value for state in replicas_of(plain)] == [state.value for state in replicas_of(swept)]
