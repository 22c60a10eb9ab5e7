from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from roomful.rooms.idempotency import Idempotency

MAX_KEYS = 4

keys = st.tuples(st.sampled_from("ab"), st.sampled_from(["k1", "k2", "k3", "k4"]))


class IdempotencyMachine(RuleBasedStateMachine):
    """Keys against a plain table. A result is an object without an order, as a publish's answer is."""

    def __init__(self) -> None:
        super().__init__()
        self.results: Idempotency[object] = Idempotency(MAX_KEYS)
        self.now = 0.0
        self.table: dict[tuple[str, str], tuple[float, object]] = {}

    @rule(key=keys, ttl_s=st.sampled_from([0.0, 1.0, 5.0, 5.0, 9.0]))
    def use(self, key: tuple[str, str], ttl_s: float) -> None:
        """What a publish does. Several keys may have one deadline, so which is nearest to its end may be open."""
        found = self.results.get(*key, self.now)
        self.table = {known: entry for known, entry in self.table.items() if self.now < entry[0]}
        assert found is (self.table[key][1] if key in self.table else None)
        if found is not None:
            return
        result = object()
        self.results.put(*key, result, ttl_s, self.now)
        if ttl_s:
            self.table[key] = (self.now + ttl_s, result)
        for forgotten in [known for known in self.table if self.results.get(*known, self.now) is None]:
            assert len(self.table) > MAX_KEYS
            deadline = self.table.pop(forgotten)[0]
            assert all(deadline <= other for other, _ in self.table.values())

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(limit=st.integers(0, 3))
    def expire(self, limit: int) -> None:
        freed = self.results.expire(self.now, limit)
        assert freed <= limit
        if freed < limit:
            self.table = {key: entry for key, entry in self.table.items() if self.now < entry[0]}
            assert len(self.results) == len(self.table)

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self.results) <= MAX_KEYS

    @invariant()
    def what_is_valid_is_found(self) -> None:
        for key, (ends_at, result) in self.table.items():
            assert self.results.get(*key, self.now) is (result if self.now < ends_at else None)


TestIdempotencyMachine = IdempotencyMachine.TestCase
IdempotencyMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_when_full_the_one_nearest_to_its_end_goes() -> None:
    results: Idempotency[str] = Idempotency(2)
    results.put("a", "long", "1", 60.0, 0.0)
    results.put("a", "short", "2", 10.0, 0.0)
    results.put("a", "middle", "3", 30.0, 0.0)
    assert [results.get("a", key, 0.0) for key in ("long", "short", "middle")] == ["1", None, "3"]


def test_none_at_all_means_none() -> None:
    results: Idempotency[str] = Idempotency(0)
    results.put("a", "k", "1", 60.0, 0.0)
    assert results.get("a", "k", 0.0) is None
