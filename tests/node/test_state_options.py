"""What the pure half is given of the `[state]` table."""

from __future__ import annotations

from roomful.node.state_options import StateOptions
from roomful.rooms.shared_state import SharedStateOptions


def test_seconds_become_milliseconds() -> None:
    given = StateOptions(objects_max=3, room_max_bytes=1_000, clock_ahead_max_s=1.5)
    assert given.shared == SharedStateOptions(max_objects=3, max_bytes=1_000, max_ahead_ms=1_500)
