"""Two served nodes on one nats-server that is killed, or that others come to and crash: the books balance.

The full sizes: tests/soak/nats_crashes.py, tests/soak/many_nodes.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.nats_server import NatsServer
from tests.soak import faults
from tests.soak.fleet import fleet


@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_9_a_killed_nats_server_costs_nothing_silently(
    component: Callable[[str], str], tmp_path: Path, storage: str
) -> None:
    server = NatsServer(component("nats-server"), tmp_path)
    await server.start()
    sizes = {"nodes": 2, "channels": 2, "followers": 8, "per_second": 40, "history": 1_000}
    try:
        async with fleet(tmp_path, server, **sizes, engine=f'nats_storage = "{storage}"') as running:
            for _ in range(3):
                await faults.crash(running, 0.2)
                await running.flows(5)
            await running.check()
            assert (running.gaps == 0) is (storage == "file"), "what is lost is told, and nothing else"
            assert not any("Traceback" in node.server.log for node in running.nodes)
    finally:
        await server.kill()


async def test_9_nodes_that_come_and_crash_cost_the_others_nothing(
    component: Callable[[str], str], tmp_path: Path
) -> None:
    server = NatsServer(component("nats-server"), tmp_path)
    await server.start()
    try:
        async with fleet(tmp_path, server, nodes=2, channels=2, followers=8, per_second=40, history=1_000) as running:
            steady = [(follower, follower.connections) for follower in running.followers]
            await faults.changing_nodes(running, seconds=2.0, every_s=1.0)
            await running.flows(5)
            await running.check()
            assert [(follower, follower.connections) for follower, _ in steady] == steady
            assert running.gaps == 0
    finally:
        await server.kill()
