from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.rooms.rate import SWEEP_MIN, Buckets, Rate


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
)
def test_never_more_than_burst_and_rate_allow(per_s: float, burst: int, pauses: list[float]) -> None:
    buckets, now, taken = Buckets(Rate(per_s, burst)), 1000.0, 0
    for pause in pauses:
        now += pause
        if not buckets.wait_s("key", now):
            buckets.spend("key", now)
            taken += 1
        assert taken <= burst + (now - 1000.0) * per_s + 1e-6


@given(st.floats(0.1, 1000), st.integers(1, 50), st.integers(0, 100))
def test_who_waits_as_long_as_was_said_gets_one(per_s: float, burst: int, spent: int) -> None:
    buckets, now = Buckets(Rate(per_s, burst)), 5.0
    for _ in range(spent):
        now += buckets.wait_s("key", now)
        assert buckets.wait_s("key", now) < 1e-6
        buckets.spend("key", now)


def test_keys_know_nothing_of_each_other() -> None:
    buckets = Buckets(Rate(1.0, 2.0))
    for _ in range(2):
        buckets.spend("ann", 10.0)
    assert buckets.wait_s("ann", 10.0) == 1.0
    assert buckets.wait_s("bob", 10.0) == 0.0
    assert buckets.wait_s("ann", 11.0) == 0.0


def test_full_buckets_are_forgotten() -> None:
    buckets = Buckets(Rate(10.0, 5.0))
    for number in range(50 * SWEEP_MIN):
        buckets.spend(number, number * 0.01)
    assert len(buckets) <= SWEEP_MIN


@pytest.mark.parametrize("per_s", [0.0, -1.0])
def test_a_rate_that_lets_nothing_through_is_a_mistake(per_s: float) -> None:
    with pytest.raises(ValueError, match="more than nothing"):
        Buckets(Rate(per_s, 1.0))
