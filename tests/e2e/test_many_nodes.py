"""Two served nodes on one Redis, and what may happen to them: whatever it is, the books balance.

The full size (four nodes, 200 followers, 1,000 messages a second, a minute for each fault): tests/soak/many_nodes.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.engines.redis_server import RedisServer
from tests.soak import faults
from tests.soak.fleet import Fleet, fleet


@pytest.fixture
async def small(
    component: Callable[[str], str], tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Fleet[RedisServer]]:
    options: tuple[str, ...] = getattr(request, "param", ())
    redis = RedisServer(component("redis-server"), tmp_path / "redis", *options)
    await redis.start()
    try:
        async with fleet(tmp_path, redis, nodes=2, channels=2, followers=8, per_second=100, history=1_000) as running:
            yield running
    finally:
        await redis.kill()


async def test_1_6_whatever_happens_to_broker_and_nodes_the_books_balance(small: Fleet[RedisServer]) -> None:
    for fault, seconds in (
        (faults.killed_listeners, 2.0),
        (faults.large_messages, 1.0),
        (faults.frozen_node, 1.0),
        (faults.mute_link, 3.0),
        (faults.slow_link, 2.0),
    ):
        await fault(small, seconds)
        await small.flows()
        await small.check()
    assert small.gaps == 0, "all of it was in the log"
    for fault in (faults.crash, faults.killed_node):
        await fault(small, 0.5)
        await small.flows()
        await small.check()
    assert small.gaps > 0, "what an emptied broker has lost is told"


@pytest.mark.parametrize("small", [("--appendonly", "yes", "--appendfsync", "always")], indirect=True, ids=["durable"])
async def test_1_a_durable_broker_that_crashes_is_made_up_for(small: Fleet[RedisServer]) -> None:
    for _ in range(2):
        await faults.crash(small, 0.5)
        await small.flows()
        await small.check()
    assert small.gaps == 0
