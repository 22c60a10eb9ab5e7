from __future__ import annotations

import pytest

from roomful.node.admission import RETRY_MAX_S, Admission, SentAway, neighbourhood
from roomful.node.stats import Stats
from roomful.testing.clock import VirtualClock


def test_handshakes_beyond_the_rate_are_sent_away_and_spread() -> None:
    stats, clock = Stats(), VirtualClock()
    admission = Admission(stats, clock, handshakes_per_s=10)
    assert [admission.ask("192.0.2.1") for _ in range(10)] == [None] * 10
    away = [admission.ask("192.0.2.1") for _ in range(1000)]
    assert all(one is not None and not one.crowded for one in away)
    waits = [one.retry_after_s for one in away if one is not None]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1, RETRY_MAX_S)
    assert waits.count(5) == 10
    assert stats.limited == {"handshakes_per_s": 1000}
    clock.advance(0.1)
    assert admission.ask("192.0.2.1") is None


def test_an_address_has_so_many_places_until_its_connections_are_settled() -> None:
    stats = Stats()
    admission = Admission(stats, VirtualClock(), per_address_max=2)
    for _ in range(2):
        assert admission.ask("192.0.2.1") is None
        admission.arrived("192.0.2.1")
    assert admission.ask("192.0.2.1") == SentAway(crowded=True, retry_after_s=1)
    assert admission.ask("192.0.2.2") is None
    assert admission.ask("") is None  # a Unix socket: everybody is there
    admission.settled("192.0.2.1")
    assert admission.ask("192.0.2.1") is None
    assert stats.limited == {"unauthenticated_per_address_max": 1}


def test_without_limits_everybody_comes_in() -> None:
    admission = Admission(Stats(), VirtualClock())
    for _ in range(10_000):
        assert admission.ask("192.0.2.1") is None
        admission.arrived("192.0.2.1")


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
    ],
)
def test_a_network_of_ipv6_is_one_address(address: str, counted_as: str) -> None:
    assert neighbourhood(address) == counted_as
