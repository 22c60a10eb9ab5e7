"""Every fault of `faults.py` at full size: `python -m tests.soak.many_nodes`.

Prints for each what was published and told, the rate that the machine carried, how late the first node's loop was and
what CPU it took meanwhile, and the slowest answer to a publish. Ends with 1 when the books don't balance. Not part of
`make test`, whose small size is tests/e2e/test_many_nodes.py.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from roomful.testing.ledger import BookError
from tests.components import find
from tests.engines.nats_server import NatsServer
from tests.engines.redis_server import RedisServer
from tests.soak import faults
from tests.soak.fleet import Fleet, Node, fleet

Fault = Callable[[Fleet[Any], float], Awaitable[None]]

OF_REDIS: dict[str, Fault] = {
    "listeners killed every 2 s": faults.killed_listeners,
    "2 MB messages, 1 MB output limit": faults.large_messages,
}
OF_ALL: dict[str, Fault] = {
    "nothing": faults.nothing,
    "broker crashes": faults.crash,
    "one link mute": faults.mute_link,
    "one link 3 s late": faults.slow_link,
    "nodes come and crash every 5 s": faults.changing_nodes,
    "one node frozen": faults.frozen_node,
    "one node killed": faults.killed_node,
}

LAG = 'roomful_loop_lag_seconds_bucket{le="'


class Meter:
    """What the first node takes, from now on. Its loop looks at its own lag four times a second."""

    def __init__(self, node: Node, before: dict[str, float]) -> None:
        self._node = node
        self._before = before
        self._begun = time.monotonic()
        self._cpu = _cpu_s(node.server.pid)

    async def read(self) -> str:
        now = await self._node.metrics()
        bounds = [name for name in now if name.startswith(LAG)]
        beats = {name[len(LAG) :].rstrip('"}'): now[name] - self._before.get(name, 0) for name in bounds}
        most = next(bound for bound, count in beats.items() if count >= max(beats.values()))
        busy = (_cpu_s(self._node.server.pid) - self._cpu) / (time.monotonic() - self._begun)
        return f"loop late by at most {most} s, CPU {busy:.0%}"


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def suffer(running: Fleet[Any], name: str, fault: Fault, seconds: float) -> bool:
    """One fault, and its line; whether the books balance after it."""
    gaps, published = running.gaps, running.published
    clients = [*running.followers, *running.publishers]
    connections = sum(client.connections for client in clients)
    running.notes.clear()
    steady = list(running.followers)
    for follower in steady:
        follower.rest()
    for publisher in running.publishers:
        publisher.slowest_s = 0.0
    meter, begun = Meter(running.nodes[0], await running.nodes[0].metrics()), time.monotonic()
    await fault(running, seconds)
    meanwhile, rate = running.published - published, (running.published - published) / (time.monotonic() - begun)
    pauses = sorted(follower.pause_s for follower in steady)
    running.notes.append(f"longest pause {pauses[-1]:.2f} s, of half of the followers {pauses[len(pauses) // 2]:.2f} s")
    running.notes.append(await meter.read())
    await running.flows()
    try:
        await running.check()
        verdict = "holds"
    except BookError as error:
        verdict = f"BROKEN\n{error}"
    again = sum(client.connections for client in clients) - connections
    slowest_s = max(publisher.slowest_s for publisher in running.publishers)
    print(
        f"{name:34} published {meanwhile:6} ({rate:4.0f}/s) told gaps {running.gaps - gaps:4} reconnected {again:3} "
        f"slowest answer {slowest_s:.1f} s; {'; '.join(running.notes)}; ledger {verdict}",
        flush=True,
    )
    return verdict == "holds"


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("redis", "nats"), default="redis")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--followers", type=int, default=200)
    parser.add_argument("--per-second", type=int, default=1_000)
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each fault")
    parser.add_argument("--durable", action="store_true", help="Redis with appendfsync always")
    parser.add_argument("--only", default="", help="faults with this in their name")
    given = parser.parse_args()
    program = find(f"{given.engine}-server")
    if program is None:
        sys.exit(f"{given.engine}-server isn't installed")
    options = ("--appendonly", "yes", "--appendfsync", "always") if given.durable else ()
    wanted = OF_ALL if given.engine == "nats" else OF_REDIS | OF_ALL
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        redis = given.engine == "redis"
        server: Any = RedisServer(program, folder / "redis", *options) if redis else NatsServer(program, folder)
        await server.start()
        try:
            async with fleet(
                folder,
                server,
                nodes=given.nodes,
                channels=given.channels,
                followers=given.followers,
                per_second=given.per_second,
                history=10_000,
            ) as running:
                hold = []
                for name, fault in wanted.items():
                    seconds = min(given.seconds, 5.0) if fault is faults.crash else given.seconds
                    if given.only in name:
                        hold.append(await suffer(running, name, fault, seconds))
        finally:
            await server.kill()
    return int(not all(hold))


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
