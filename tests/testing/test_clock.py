from __future__ import annotations

import pytest

from roomful.testing.clock import VirtualClock


def test_time_passes_when_the_test_says_so() -> None:
    clock = VirtualClock(100.0)
    assert clock() == clock() == 100.0
    clock.advance(2.5)
    clock.advance(0.0)
    assert clock() == 102.5


def test_time_does_not_go_back() -> None:
    clock = VirtualClock()
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1.0)
    assert clock() == 0.0
