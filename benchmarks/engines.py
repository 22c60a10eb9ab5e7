"""What an engine costs: `python benchmarks/engines.py`. Starts redis-server on a free port of loopback, and ends it.

Prints publications a second from one process through one Redis, without and with history, beside what redis-benchmark
gets out of the same server with the same script; and how long a publication takes from `publish` to the sinks of four
nodes, beside the memory engine's one.
"""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import uvloop

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from roomful.engines.memory import MemoryEngine  # noqa: E402
from roomful.engines.options import EngineOptions  # noqa: E402
from roomful.engines.redis import RedisEngine  # noqa: E402
from roomful.engines.redis_scripts import PUBLISH  # noqa: E402
from roomful.model.publication import Draft, Publication, Retention  # noqa: E402
from roomful.seams.engine import Engine  # noqa: E402
from roomful.testing.engine_contract import Recorder  # noqa: E402
from tests.components import find  # noqa: E402
from tests.engines.redis_server import RedisServer  # noqa: E402

SIZE, AT_ONCE, CHANNELS, RUNS = 200, 200, 100, 3
KEEP, NO_HISTORY = Retention(100, 300.0), Retention()


class Clock(Recorder):
    """Notes when the newest publication came."""

    def __init__(self, came: Callable[[float], None]) -> None:
        super().__init__()
        self._came = came

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        self._came(time.perf_counter())


async def rate(engine: Engine, keep: Retention, number: int) -> float:
    """Publications a second."""
    draft = Draft(b"x" * SIZE)

    async def publish(worker: int) -> None:
        for _ in range(number // AT_ONCE):
            await engine.broker.publish(f"room:{worker % CHANNELS}", draft, keep)

    begun = time.perf_counter()
    await asyncio.gather(*(publish(worker) for worker in range(AT_ONCE)))
    return number / (time.perf_counter() - begun)


def limit(port: int, *command: str) -> float:
    """Requests a second that redis-benchmark gets with pipelines of 50 on four connections."""
    benchmark = ["redis-benchmark", "-p", str(port), "-n", "200000", "-P", "50", "-c", "4", "-r", "10000000", "--csv"]
    printed = subprocess.run([*benchmark, *command], capture_output=True, text=True, check=True).stdout
    return float(printed.splitlines()[-1].rsplit('","', 7)[1])


async def latencies(engines: list[Engine], number: int = 2_000) -> list[float]:
    """Milliseconds from a publish to the last of all nodes' sinks, sorted; one at a time."""
    arrivals: list[float] = []
    all_came = asyncio.Event()

    def came(at: float) -> None:
        arrivals.append(at)
        if len(arrivals) == len(engines):
            all_came.set()

    for index, engine in enumerate(engines):
        await engine.start(Clock(came), f"node-{index}")
        await engine.broker.subscribe("room:latency")
    found = []
    for _ in range(number):
        arrivals.clear()
        all_came.clear()
        begun = time.perf_counter()
        await engines[0].broker.publish("room:latency", Draft(b"x" * SIZE), KEEP)
        await all_came.wait()
        found.append((arrivals[-1] - begun) * 1000)
    for engine in engines:
        await engine.stop()
    return sorted(found)


async def main() -> None:
    program = find("redis-server")
    assert program is not None, "redis-server isn't installed"
    with tempfile.TemporaryDirectory() as directory:
        redis = RedisServer(program, Path(directory))
        await redis.start()
        options = EngineOptions(url=redis.url)
        version = (await redis.do("INFO", "server")).split(b"redis_version:")[1].split()[0].decode()
        print(
            f"Redis {version}, Python {platform.python_version()}, {os.cpu_count()} CPUs, {time.strftime('%Y-%m-%d')}"
        )
        try:
            engine = RedisEngine(options)
            await engine.start(Recorder(), "bench")
            body = "x" * SIZE
            keys = ("3", "m:{a}", "l:{a}", "k:{a}:__rand_int__")
            script = ("EVALSHA", PUBLISH.sha.decode(), *keys, "PUBLISH", "c:{a}", body, "100", "300000", "900000")
            rows = [
                ("publish without history", NO_HISTORY, 100_000, ("PUBLISH", "c:{a}", body)),
                ("publish with history", KEEP, 50_000, (*script, "15000", "nonce", "life")),
            ]
            for name, keep, number, command in rows:
                ours = median([await rate(engine, keep, number) for _ in range(RUNS)])
                most = limit(redis.port, *command)
                print(f"{name:26} {ours:9,.0f}/s   the server's own limit {most:9,.0f}/s")
            await engine.stop()
            for label, engines in (
                ("memory, 1 node", [MemoryEngine()]),
                ("redis, 1 node", [RedisEngine(options)]),
                ("redis, 4 nodes", [RedisEngine(options) for _ in range(4)]),
            ):
                found = await latencies(engines)  # type: ignore[arg-type]
                p50, p99 = found[len(found) // 2], found[len(found) * 99 // 100]
                print(f"publish to sink, {label:16} p50 {p50:6.3f} ms   p99 {p99:6.3f} ms")
        finally:
            await redis.kill()


if __name__ == "__main__":
    uvloop.run(main())
