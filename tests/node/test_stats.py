"""Counters start at zero, and counts by key grow one by one."""

from __future__ import annotations

from roomful.node.stats import Stats


def test_everything_starts_at_zero_or_empty() -> None:
    stats = Stats()
    assert all(getattr(stats, name) in (0, {}) for name in Stats.__slots__)


def test_by_code_and_by_reason() -> None:
    stats = Stats()
    for code in (3001, 3001, 3008):
        stats.count_disconnect(code)
    stats.count_gap("trimmed")
    assert stats.disconnects == {3001: 2, 3008: 1}
    assert stats.gaps == {"trimmed": 1}
