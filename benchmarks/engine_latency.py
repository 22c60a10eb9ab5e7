"""How long a publication takes to the sinks of four node processes: `python benchmarks/engine_latency.py`.

Starts redis-server and nats-server on free ports of loopback, and ends them. One publication every few milliseconds, by
the first node; a publication has come when the last of the four has it. The memory engine, which is one process, is the
base. All processes read one clock (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import struct
import sys
import tempfile
import time
from pathlib import Path

import uvloop

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from roomful.engines.memory import MemoryEngine  # noqa: E402
from roomful.engines.nats import NatsEngine  # noqa: E402
from roomful.engines.options import EngineOptions  # noqa: E402
from roomful.engines.redis import RedisEngine  # noqa: E402
from roomful.model.publication import Draft, Publication, Retention  # noqa: E402
from roomful.seams.engine import Engine  # noqa: E402
from roomful.testing.engine_contract import Recorder  # noqa: E402
from tests.components import find  # noqa: E402
from tests.engines.nats_server import NatsServer  # noqa: E402
from tests.engines.redis_server import RedisServer  # noqa: E402

CHANNEL, NODES, NUMBER, EVERY_S = "room:latency", 4, 2_000, 0.005
KEEP = Retention(100, 300.0)
STAMP = struct.Struct("<IQ184x")
"""Number and time of a publication of 200 bytes (with what a broker adds)."""


class Watch(Recorder):
    """Notes how long each publication took to this process. all_came: when it has the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.took_ns = [0] * NUMBER
        self.all_came = asyncio.Event()

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        number, sent_ns = STAMP.unpack(publication.data)
        self.took_ns[number] = time.monotonic_ns() - sent_ns
        if number == NUMBER - 1:
            self.all_came.set()


def engine_at(url: str) -> Engine:
    return (RedisEngine if url.startswith("redis") else NatsEngine)(EngineOptions(url=url))


async def publish_all(engine: Engine) -> None:
    begun = time.monotonic()
    for number in range(NUMBER):
        await engine.broker.publish(CHANNEL, Draft(STAMP.pack(number, time.monotonic_ns())), KEEP)
        await asyncio.sleep(max(0.0, begun + (number + 1) * EVERY_S - time.monotonic()))


async def node(url: str, publishes: bool) -> None:
    """One process: says when it hears, waits for a line, prints what it measured."""
    engine, watch = engine_at(url), Watch()
    await engine.start(watch, f"node-{os.getpid()}")
    await engine.broker.subscribe(CHANNEL)
    print("hears", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    if publishes:
        await publish_all(engine)
    await watch.all_came.wait()
    print(*watch.took_ns, flush=True)
    await engine.stop()


async def over_processes(url: str) -> list[int]:
    """Nanoseconds until the last node had it, for each publication."""
    command = [sys.executable, __file__, "--node", url]
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "limit": 1 << 20}
    nodes = [
        await asyncio.create_subprocess_exec(*command, *(["--publishes"] if first else []), **pipes)  # type: ignore[arg-type]
        for first in (True, *[False] * (NODES - 1))
    ]
    for each in nodes:
        assert each.stdout is not None
        await each.stdout.readline()
    outputs = [each.communicate(b"go\n") for each in nodes]
    found = [[int(ns) for ns in output.split()] for output, _ in await asyncio.gather(*outputs)]
    return [max(times) for times in zip(*found, strict=True)]


async def in_memory() -> list[int]:
    engine, watch = MemoryEngine(), Watch()
    await engine.start(watch, "node")
    await engine.broker.subscribe(CHANNEL)
    await publish_all(engine)
    await engine.stop()
    return watch.took_ns


async def main() -> None:
    machine = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    print(f"Python {platform.python_version()}, {machine}, {time.strftime('%F')}")
    base = sorted(await in_memory())
    half, most = NUMBER // 2, NUMBER * 99 // 100
    print(f"memory, 1 process            p50 {base[half] / 1e6:7.3f} ms   p99 {base[most] / 1e6:7.3f} ms")
    with tempfile.TemporaryDirectory() as directory:
        for name in ("redis", "nats"):
            program = find(f"{name}-server")
            assert program is not None, f"{name}-server isn't installed"
            folder = Path(directory) / name
            folder.mkdir()
            server = RedisServer(program, folder) if name == "redis" else NatsServer(program, folder)
            await server.start()
            try:
                found = sorted(await over_processes(server.url))
            finally:
                await server.kill()
            p50, p99 = found[half] / 1e6, found[most] / 1e6
            print(
                f"{name + f', {NODES} processes':28} p50 {p50:7.3f} ms   p99 {p99:7.3f} ms   "
                f"added {p50 - base[half] / 1e6:.3f} and {p99 - base[most] / 1e6:.3f} ms",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", metavar="URL", help="be one of the processes")
    parser.add_argument("--publishes", action="store_true")
    given = parser.parse_args()
    uvloop.run(node(given.node, given.publishes) if given.node else main())
