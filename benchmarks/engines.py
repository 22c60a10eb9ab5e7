"""How much an engine carries: `python benchmarks/engines.py`. Starts redis-server and nats-server, and ends them.

Prints publications a second from one process through one server, without and with history, and our CPU time for each,
beside what the server itself does in the same run: redis-benchmark with the same script; for NATS a client that sends
the same bytes and does nothing but count the answers. How long a publication takes: `benchmarks/engine_latency.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import uvloop

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from roomful.engines.nats import NatsEngine  # noqa: E402
from roomful.engines.options import EngineOptions  # noqa: E402
from roomful.engines.redis import RedisEngine  # noqa: E402
from roomful.engines.redis_scripts import PUBLISH  # noqa: E402
from roomful.model.publication import Draft, Retention  # noqa: E402
from roomful.seams.engine import Engine  # noqa: E402
from roomful.testing.engine_contract import Recorder  # noqa: E402
from tests.components import find  # noqa: E402
from tests.engines.nats_server import NatsServer  # noqa: E402
from tests.engines.redis_server import RedisServer  # noqa: E402

SIZE, AT_ONCE, CHANNELS, RUNS = 200, 200, 200, 3
KEEP, NO_HISTORY = Retention(100, 300.0), Retention()

PLAIN = b"PUB limit.live 208\r\n" + b"x" * 208 + b"\r\n"
"""What a publication without history is to NATS."""
HEADERS = b"NATS/1.0\r\nRoomful: " + b"x" * 190 + b"\r\n\r\n"
STORED = b"HPUB limit.log.%d answer %d %d\r\n" + HEADERS + b"x" * 208 + b"\r\n"
"""One with history, but without the condition, which only its channel's writer can know."""


async def rate(engine: Engine, keep: Retention, number: int, channels: int = CHANNELS) -> tuple[float, float]:
    """Publications a second, and microseconds of CPU for each."""
    draft = Draft(b"x" * SIZE)

    async def publish(worker: int) -> None:
        for _ in range(number // AT_ONCE):
            await engine.broker.publish(f"room:{worker % channels}", draft, keep)

    await publish(0)
    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(publish(worker) for worker in range(AT_ONCE)))
    return number / (time.perf_counter() - begun), (time.process_time() - cpu) / number * 1e6


async def redis_limit(port: int, *command: str) -> float:
    """Requests a second that redis-benchmark gets with pipelines of 50 on four connections."""
    benchmark = ["redis-benchmark", "-p", str(port), "-n", "200000", "-P", "50", "-c", "4", "-r", "10000000", "--csv"]
    run = await asyncio.to_thread(subprocess.run, [*benchmark, *command], capture_output=True, text=True, check=True)
    return float(run.stdout.splitlines()[-1].rsplit('","', 7)[1])


async def nats_limit(port: int, number: int, *, stored: bool) -> float:
    """Messages a second that one connection gets through, 2,000 at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB answer 1\r\n')
    sizes = len(HEADERS), len(HEADERS) + 208
    batch = b"".join(STORED % (n % CHANNELS, *sizes) for n in range(1_000)) if stored else PLAIN * 1_000 + b"PING\r\n"
    counted, each = (b'"seq":', 1) if stored else (b"PONG", 1_000)
    begun, sent, done = time.perf_counter(), 0, 0
    while done < number:
        while sent < number and sent - done <= 1_000:
            writer.write(batch)
            sent += 1_000
        data = await reader.readuntil(counted)
        done += each * data.count(counted)
    writer.close()
    return number / (time.perf_counter() - begun)


async def row(
    name: str, ours: Callable[[], Awaitable[tuple[float, float]]], limit: Callable[[], Awaitable[float]]
) -> None:
    """Medians of alternating runs."""
    runs = [(*await ours(), await limit()) for _ in range(RUNS)]
    mine, cpu_us, most = (median(each) for each in zip(*runs, strict=True))
    print(f"{name:42} {mine:9,.0f}/s  {cpu_us:5.1f} us CPU   the server's own limit {most:9,.0f}/s", flush=True)


async def of_redis(server: RedisServer) -> None:
    engine = RedisEngine(EngineOptions(url=server.url))
    await engine.start(Recorder(), "bench")
    body = "x" * SIZE
    keys = ("3", "m:{a}", "l:{a}", "k:{a}:__rand_int__")
    script = ("EVALSHA", PUBLISH.sha.decode(), *keys, "PUBLISH", "c:{a}", body, "100", "300000", "900000")
    plain = lambda: redis_limit(server.port, "PUBLISH", "c:{a}", body)  # noqa: E731
    scripted = lambda: redis_limit(server.port, *script, "15000", "nonce", "life")  # noqa: E731
    await row("redis, without history", lambda: rate(engine, NO_HISTORY, 100_000), plain)
    await row("redis, with history", lambda: rate(engine, KEEP, 50_000), scripted)
    await engine.stop()


async def of_nats(server: NatsServer) -> None:
    engine = NatsEngine(EngineOptions(url=server.url))
    await engine.start(Recorder(), "bench")
    heard = {"republish": {"src": "limit.log.>", "dest": "limit.heard.>"}}
    await engine.jetstream.ensure("LIMIT", {"storage": "file", "subjects": ["limit.log.>"], **heard})
    plain = lambda: nats_limit(server.port, 100_000, stored=False)  # noqa: E731
    stored = lambda: nats_limit(server.port, 40_000, stored=True)  # noqa: E731
    await row("nats, without history", lambda: rate(engine, NO_HISTORY, 50_000), plain)
    await row(f"nats, with history, {CHANNELS} channels at once", lambda: rate(engine, KEEP, 20_000), stored)
    await row("nats, with history, one channel", lambda: rate(engine, KEEP, 4_000, channels=1), stored)
    await engine.stop()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", default=["redis", "nats"], help="redis, nats; without any: both")
    given = parser.parse_args()
    machine = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    print(f"Python {platform.python_version()}, {machine}, {time.strftime('%F')}")
    for name in given.engines:
        run = of_redis if name == "redis" else of_nats
        program = find(f"{name}-server")
        assert program is not None, f"{name}-server isn't installed"
        version = await asyncio.to_thread(
            subprocess.run, [program, "--version"], capture_output=True, text=True, check=True
        )
        print(version.stdout.strip())
        with tempfile.TemporaryDirectory() as directory:
            server = RedisServer(program, Path(directory)) if name == "redis" else NatsServer(program, Path(directory))
            await server.start()
            try:
                await run(server)  # type: ignore[operator]
            finally:
                await server.kill()


if __name__ == "__main__":
    uvloop.run(main())
