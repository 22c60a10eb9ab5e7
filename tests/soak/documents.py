"""Documents on three nodes, at full size: `python -m tests.soak.documents [redis-sqlite] [nats-postgres]`.

- partitions: typists on each node, and the link of a random one is mute for some seconds, again and again;
- a frozen owner: a node that may be compacting is stopped for longer than its lease, and continued (users-want 22);
- ghosts: a node and a process of clients are killed; how long their awareness is still seen (users-want 25).

In the end every word that was acknowledged stands in the document once, on every node. Ends with 1 otherwise. The small
sizes are in tests/e2e/yjs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.components import find
from tests.e2e.yjs.clients import Bridge, Client
from tests.e2e.yjs.nodes import KINDS, Node, nodes
from tests.e2e.yjs.writer import Typist, writer

NODES = 3
FROZEN_S = 75.0
"""Longer than a compaction may take (60 s)."""
HEARTBEATS_S = 30.0
"""A client renews its awareness every 15 s."""
GRACE_S = 10.0
"""Expired awareness is looked for every 5 s, here and by the clients every 3 s."""
LOG_MAX = 10_000
"""What is shown of a node's log when something fails."""
OPTIONS = "compact_entries = 100"


def program(name: str) -> str:
    return find(name) or sys.exit(f"{name} isn't installed")


@asynccontextmanager
async def typing(running: list[Node], name: str) -> AsyncIterator[list[Typist]]:
    """A typist on each node while the block runs."""
    ended = asyncio.Event()
    typists = [Typist(node.server.port, name, f"{index}") for index, node in enumerate(running)]
    working = [asyncio.create_task(typist.type(ended, every_s=0.005)) for typist in typists]
    try:
        yield typists
    finally:
        ended.set()
        await asyncio.gather(*working)


async def balance(running: list[Node], name: str, typists: list[Typist]) -> str:
    """What the document holds on every node against what was acknowledged. Raises AssertionError."""
    stored = set[str]().union(*(typist.stored for typist in typists))
    begun = time.monotonic()
    texts: list[str] = []
    while time.monotonic() - begun < 30:
        texts = []
        for node in running:
            async with writer(node.server.port, name) as reader:
                texts.append(reader.text)
        if len(set(texts)) == 1 and stored <= set(texts[0].split()):
            break
        await asyncio.sleep(0.2)
    words = texts[0].split()
    assert len(set(texts)) == 1, "the nodes differ"
    assert stored <= set(words), f"lost {sorted(stored - set(words))[:10]}"
    assert len(words) == len(set(words)), "doubled"
    return f"{len(stored)} acknowledged words, all there and once, equal {time.monotonic() - begun:.1f} s after"


async def partitions(running: list[Node], rounds: int, chance: random.Random) -> str:
    async with typing(running, "parted") as typists:
        for _ in range(rounds):
            node = chance.choice(running)
            node.cut_off()
            await asyncio.sleep(chance.uniform(0.5, 4.0))
            node.heal()
            await asyncio.sleep(chance.uniform(0.2, 1.0))
    return f"{rounds} partitions: {await balance(running, 'parted', typists)}"


async def frozen(running: list[Node], seconds: float) -> str:
    pid = running[0].server.pid
    async with typing(running, "frozen") as typists:
        await asyncio.sleep(2)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(2)
    return f"frozen for {seconds:.0f} s: {await balance(running, 'frozen', typists)}"


async def ghosts(running: list[Node]) -> str:
    """20 of 50 clients crash with their process, then the node of 10 others."""
    staying, crashing = Bridge(), Bridge()
    await staying.start(program("node"))
    await crashing.start(program("node"))
    try:
        watchers = [await staying.y_websocket(running[0].url, "ghosts") for _ in range(20)]
        orphans = [await staying.hocuspocus(running[1].url, "ghosts") for _ in range(10)]
        doomed = [await crashing.hocuspocus(running[n % NODES].url, "ghosts") for n in range(20)]
        for client in (*watchers, *orphans, *doomed):
            await client.tell("set", state={"here": client.id})
        everybody = {client.id for client in (*watchers, *orphans, *doomed)}
        for watcher in watchers:
            await watcher.sees(lambda seen: everybody <= seen.keys())
        os.kill(crashing.pid, signal.SIGKILL)
        left = everybody - {client.id for client in doomed}
        process = await _gone(watchers, left)
        os.kill(running[1].server.pid, signal.SIGKILL)
        node = await _gone(watchers, left - {client.id for client in orphans})
        return f"ghosts: gone {process:.1f} s after a process of clients was killed, {node:.1f} s after a node was"
    finally:
        await staying.stop()


async def _gone(watchers: list[Client], left: set[int]) -> float:
    begun = time.monotonic()
    async with asyncio.timeout(HEARTBEATS_S + GRACE_S):
        while True:
            seen = [await watcher.tell("seen") for watcher in watchers]
            if all({int(id) for id in each} == left for each in seen):
                return time.monotonic() - begun
            await asyncio.sleep(0.2)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=KINDS)
    parser.add_argument("--rounds", type=int, default=20, help="partitions")
    parser.add_argument("--frozen", type=float, default=FROZEN_S, help="seconds that a node is stopped for")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    failed = 0
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as directory:
            async with nodes(kind, NODES, Path(directory), program, OPTIONS) as running:
                for trouble in (
                    partitions(running, given.rounds, random.Random(given.seed)),
                    frozen(running, given.frozen),
                    ghosts(running),
                ):
                    try:
                        print(f"{kind}, {await trouble}", flush=True)
                    except (AssertionError, TimeoutError) as error:
                        failed = 1
                        print(f"{kind}, FAILED: {error!r}", flush=True)
                        for node in running:
                            print(f"--- roomful serve\n{node.server.log[-LOG_MAX:]}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
