"""Frozen clients at full size: `python -m tests.soak.frozen_clients`.

Twice the same load, first with everybody reading, then with some stopped (SIGSTOP). Two rooms get a quarter of all
publications, so that those who are stopped, and follow them, soon have all that the kernel and their outboxes take.
Prints the server's memory and what the others waited in each; ends with 1 when the books don't balance once all of them
read again. No pings, so that nobody gets rid of the frozen ones in any other way. The small size is
tests/e2e/test_10_frozen_clients.py.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
from websockets.asyncio.client import connect

from roomful.testing.client_process import ClientProcess
from roomful.testing.ledger import BookError, Ledger
from tests.engines.redis_server import eventually
from tests.served import Server, serve

CONFIG = """
[tokens]
anonymous = true
[api]
keys = ["{key}"]
[connection]
ping_s = 0
[limits]
unauthenticated_per_address_max = 0
[namespaces.room]
subscribe = "client"
history_size = 200000
history_ttl_s = 1200
recover = true
"""
KEY = "k" * 32
BATCH = 20
HOT = 2


@dataclass
class Load:
    clients: int
    frozen: int
    per_second: int
    size: int
    rooms: int
    seconds: float


@dataclass
class Run:
    """rss: of the server, MiB, once a second. waited: of the probes, seconds."""

    rss: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    published: int = 0
    queued: float = 0.0
    verdict: str = ""

    def told(self) -> str:
        waits = sorted(self.waited)
        p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
        last = self.rss[-len(self.rss) // 4 :]
        return (
            f"published {self.published} RSS MiB at the end {sum(last) / len(last):.0f} at most {max(self.rss):.0f} "
            f"queued at most {self.queued / 1e6:.1f} MB wait p50 {p50 * 1e3:.1f} ms p99 {p99 * 1e3:.1f} ms "
            f"ledger {self.verdict}"
        )


def rss_mib(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def watch(server: Server, http: httpx.AsyncClient, run: Run) -> None:
    while True:
        run.rss.append(rss_mib(server.pid))
        text = (await http.get("/metrics")).text
        (queued,) = [line.split()[1] for line in text.splitlines() if line.startswith("roomful_queued_bytes ")]
        run.queued = max(run.queued, float(queued))
        await asyncio.sleep(1.0)


async def probe(server: Server, channel: str, run: Run) -> None:
    """A reader in this process, which notes how long each publication took from its publisher."""
    decode = msgspec.json.Decoder().decode
    async with connect(f"ws://127.0.0.1:{server.port}/connection/websocket", max_size=None) as link:
        await link.send('{"id":1,"connect":{}}\n' + json.dumps({"id": 2, "subscribe": {"channel": channel}}))
        async for message in link:
            now = time.monotonic()
            for line in str(message).splitlines():
                publication = decode(line).get("push", {}).get("pub")
                if publication is not None:
                    run.waited.append(now - publication["data"]["at"])


def in_turn(channels: list[str]) -> Iterator[str]:
    hot, others = itertools.cycle(channels[:HOT]), itertools.cycle(channels[HOT:])
    while True:
        yield next(hot)
        yield from itertools.islice(others, 3)


async def publish(http: httpx.AsyncClient, ledger: Ledger, channels: list[str], load: Load, run: Run) -> None:
    loop, begun, turns = asyncio.get_running_loop(), asyncio.get_running_loop().time(), in_turn(channels)
    pad = "x" * (load.size - 60)
    while (now := loop.time() - begun) < load.seconds:
        while run.published < now * load.per_second:
            batch = [(channel, ledger.write(channel)) for channel in itertools.islice(turns, BATCH)]
            at = time.monotonic()
            commands = [
                {"publish": {"channel": channel, "data": {"n": number, "at": at, "pad": pad}}}
                for channel, number in batch
            ]
            answer = await http.post("/api/batch", json={"commands": commands})
            assert all("publish" in reply for reply in answer.json()["replies"]), answer.text[:300]
            run.published += BATCH
        await asyncio.sleep(0.002)


async def one(load: Load, freeze: bool) -> Run:
    run, ledger = Run(), Ledger()
    channels = [f"room:{number}" for number in range(load.rooms)]
    with tempfile.TemporaryDirectory() as directory:
        server = await serve(Path(directory), config=CONFIG.format(key=KEY), dev=False)
        url = f"ws://127.0.0.1:{server.port}/connection/websocket"
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.stop)
            http = await stack.enter_async_context(
                httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": KEY}, timeout=30)
            )
            follows = [channels[n % (HOT if n < load.frozen else load.rooms)] for n in range(load.clients)]
            names = [(f"client {number}", channel) for number, channel in enumerate(follows)]
            processes = [
                ClientProcess(
                    url, {ledger.reader(name): [channel] for name, channel in names[first : first + load.frozen]}
                )
                for first in range(0, load.clients, load.frozen)
            ]
            for process in processes:
                await stack.enter_async_context(process)
            frozen = processes[:1] if freeze else []
            tasks = [asyncio.create_task(watch(server, http, run))]
            tasks += [asyncio.create_task(probe(server, channel, run)) for channel in channels[:: load.rooms // 10]]
            for process in frozen:
                process.freeze()
            await publish(http, ledger, channels, load, run)
            for process in frozen:
                process.thaw()

            try:
                wanted = sum(ledger.written(channel) for channel in follows)
                await eventually(lambda: sum(c.reads for p in processes for c in p.clients) >= wanted, 180.0)
                ledger.check()
                run.verdict = "holds"
            except (TimeoutError, BookError) as error:
                run.verdict = f"BROKEN {error!r}"
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return run


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--frozen", type=int, default=50)
    parser.add_argument("--per-second", type=int, default=2_000)
    parser.add_argument("--bytes", type=int, default=1_024)
    parser.add_argument("--rooms", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600.0)
    given = parser.parse_args()
    load = Load(given.clients, given.frozen, given.per_second, given.bytes, given.rooms, given.seconds)
    print(load, flush=True)
    broken = 0
    for name, freeze in (("all read", False), (f"{load.frozen} frozen", True)):
        run = await one(load, freeze)
        print(f"{name}: {run.told()}", flush=True)
        broken += run.verdict != "holds"
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
