"""Two served nodes on one nats-server that is killed: the books balance. The full size: tests/soak/nats_crashes.py."""

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
