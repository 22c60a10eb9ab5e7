from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.rooms.rate import KEYS_MAX, PRECISION_S, SWEEP_MIN, Buckets, Rate


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
        assert taken <= burst + (now - 1000.0 + PRECISION_S) * per_s + 1e-6


@given(st.floats(0.1, 1000), st.integers(1, 50), st.integers(0, 100))
def test_who_waits_as_long_as_was_said_gets_one(per_s: float, burst: int, spent: int) -> None:
    buckets, now = Buckets(Rate(per_s, burst)), 5.0
    for _ in range(spent):
        now += buckets.wait_s("key", now)
        assert buckets.wait_s("key", now) < 1e-6
        buckets.spend("key", now)


@given(st.floats(0.1, 1000), st.integers(1, 500), st.floats(0, 1e8))
def test_a_full_bucket_holds_its_burst(per_s: float, burst: int, now: float) -> None:
    buckets = Buckets(Rate(per_s, burst))
    for _ in range(burst):
        assert buckets.wait_s("key", now) == 0.0
        buckets.spend("key", now)
    assert buckets.wait_s("key", now) > 0.0


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


def test_beyond_the_most_that_is_remembered_those_that_spent_the_least_go() -> None:
    buckets = Buckets(Rate(1.0, 1001.0))
    for _ in range(1000):
        buckets.spend("spends", 0.0)
    for number in range(2 * KEYS_MAX):
        buckets.spend(number, 0.0)
        assert len(buckets) <= KEYS_MAX
    buckets.spend("spends", 0.0)
    assert buckets.wait_s("spends", 0.0) == 1.0


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/s burst 40", Rate(20.0, 40.0)),
        ("20/s", Rate(20.0, 20.0)),
        ("6/min", Rate(0.1, 6.0)),
        ("6/min burst 1", Rate(0.1, 1.0)),
        ("7200/h", Rate(2.0, 7200.0)),
        ("0.5/s", Rate(0.5, 1.0)),
    ],
)
def test_a_rate_is_spelled(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        *("", "20", "20/", "/s", "20/d", "20 / s", "-1/s", "1e3/s", "nan/s", "inf/s", "20/s burst", "20/s  burst 4"),
        *("20/s ", "1٣/s", "20/s\n", "20/s burst 4.5", "20/s burst -1", "9999999999/s", "20/sburst 4", "20/S"),
    ],
)
def test_a_rate_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        Rate.parse(text)


@pytest.mark.parametrize("text", ["0/s", "0.0/min", "5/s burst 0", "0.000000/s", "1/s burst 000"])
def test_a_rate_that_would_let_nothing_through(text: str) -> None:
    with pytest.raises(ValueError, match="nothing through"):
        Rate.parse(text)


@pytest.mark.parametrize("per_s", [0.0, -1.0])
def test_a_rate_that_lets_nothing_through_is_a_mistake(per_s: float) -> None:
    with pytest.raises(ValueError, match="more than nothing"):
        Buckets(Rate(per_s, 1.0))
