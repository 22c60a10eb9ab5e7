"""A deploy and a crash don't become a storm that outlives them. The full size (5,000 clients): tests/soak/storm.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.soak.storm import storm

CLIENTS = 100
PER_S = 30


async def test_12_a_drain_and_a_crash_bring_everybody_back_at_the_rate_of_the_door(
    component: Callable[[str], str], tmp_path: Path
) -> None:
    async with storm(tmp_path, component("redis-server"), CLIENTS, PER_S, drain_s=1.0) as whole:
        figures = await whole.run(0.1, back_s=60.0)
    assert figures.sent_away > 0, "there was no storm"
    assert figures.most_per_s <= PER_S * 1.01
    assert figures.hook_calls == 0, "a valid token is all it takes"
    assert figures.published > 0
