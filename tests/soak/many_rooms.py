"""100,000 rooms spread over four nodes, one publication in each: `python -m tests.soak.many_rooms`.

Each node must be given the publications of its own rooms, and hardly any others: ends with 1 when one got more than 1.1
times its share (users-want 29), or when a publication did not come. All are published through the first node. Rooms
have a history and no presence.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import uvloop

from roomful.testing.ledger import Ledger
from tests.components import find
from tests.engines.nats_server import NatsServer
from tests.engines.redis_server import RedisServer, eventually
from tests.soak.fleet import API_KEY, Follower, fleet

EACH_CONNECTION = 100
EACH_BROADCAST = 100
CONNECTING = 8
"""Connections that subscribe at once."""
SHARE_MAX = 1.1

DECODED = "roomful_publications_total"


async def follow(url: str, channels: list[str], ledger: Ledger, gate: asyncio.Semaphore) -> Follower:
    """A connection with all these subscriptions. It stays until its task is cancelled."""
    follower = Follower([url], channels, ledger.reader(f"{url} {channels[0]}"))
    async with gate:
        follower.task = asyncio.ensure_future(follower.run())
        await eventually(lambda: len(follower.subscribed) == len(channels), 120.0)
    return follower


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("redis", "nats"), default="redis")
    parser.add_argument("--rooms", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=4)
    given = parser.parse_args()
    program = find(f"{given.engine}-server")
    if program is None:
        sys.exit(f"{given.engine}-server isn't installed")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        redis = given.engine == "redis"
        server: Any = RedisServer(program, folder / "redis") if redis else NatsServer(program, folder)
        await server.start()
        sizes = {"channels": 1, "followers": 0, "per_second": 4, "history": 10}
        try:
            async with fleet(folder, server, nodes=given.nodes, dev=False, **sizes) as running:
                for publisher in running.publishers:
                    publisher.paused = True
                return await spread(running.urls, [node.metrics for node in running.nodes], given.rooms)
        finally:
            await server.kill()


async def spread(urls: list[str], metrics: list[Any], rooms: int) -> int:
    ledger, gate, begun = Ledger(), asyncio.Semaphore(CONNECTING), time.monotonic()
    own = [[f"room:r{number}" for number in range(at, rooms, len(urls))] for at in range(len(urls))]
    parts = [
        (url, mine[start : start + EACH_CONNECTION])
        for url, mine in zip(urls, own, strict=True)
        for start in range(0, len(mine), EACH_CONNECTION)
    ]
    followers = await asyncio.gather(*(follow(url, part, ledger, gate) for url, part in parts))
    subscribed = time.monotonic()
    print(f"{rooms} rooms, {len(followers)} connections: subscribed in {subscribed - begun:.0f} s", flush=True)
    before = [(await read())[DECODED] for read in metrics]
    async with httpx.AsyncClient(timeout=60.0, headers={"X-API-Key": API_KEY}) as client:
        everything = [channel for mine in own for channel in mine]
        for channel in everything:
            ledger.write(channel)
        for start in range(0, rooms, EACH_BROADCAST):
            wanted = {"channels": everything[start : start + EACH_BROADCAST], "data": {"n": 1, "by": ""}}
            answer = (await client.post(urls[0] + "/api/broadcast", json=wanted)).json()
            assert not [each for each in answer["result"]["responses"] if "error" in each], answer
    print(f"published to each, {rooms / (time.monotonic() - subscribed):,.0f}/s", flush=True)
    await eventually(lambda: sum(follower.came for follower in followers) >= rooms, 60.0)
    ledger.check()
    worst = 0.0
    for url, read, mine, had in zip(urls, metrics, own, before, strict=True):
        decoded = (await read())[DECODED] - had
        worst = max(worst, decoded / len(mine))
        print(f"{url} decoded {decoded:.0f}, its share is {len(mine)}: {decoded / len(mine):.3f} x", flush=True)
    for follower in followers:
        follower.task.cancel()
    await asyncio.wait([follower.task for follower in followers])
    return int(worst >= SHARE_MAX)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
