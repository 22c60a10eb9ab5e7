"""What was observed is counted once, between the right bounds."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from roomful.node.histogram import BOUNDS_S, Histogram


@given(st.lists(st.floats(0, 100)))
def test_counts_up_to_each_bound(observed: list[float]) -> None:
    histogram = Histogram()
    for seconds in observed:
        histogram.observe(seconds)
    up_to = [sum(seconds <= bound for seconds in observed) for bound in BOUNDS_S]
    assert list(accumulate(histogram.counts)) == [*up_to, len(observed)]
    assert len(histogram) == len(observed)
    assert abs(histogram.total_s - sum(observed)) < 1e-6
