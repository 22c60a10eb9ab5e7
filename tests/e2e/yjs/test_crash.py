"""A server that is killed at random moments: every edit that was acknowledged as stored is there, once.

`python -m tests.e2e.yjs.test_crash 300` does it as often as one likes, and prints its seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from tests.e2e.yjs.writer import Writer, writer
from tests.served import serve

ROUNDS = 2
WRITERS = 4
UNDER_WAY = 20
"""Words that a writer sends before it waits for an answer."""
CONFIG = """
[documents]
compact_entries = 40
unload_s = 0.3
"""


async def crash(directory: Path, rounds: int, seed: int) -> int:
    """How many words were acknowledged in all rounds. Raises AssertionError for one that is missing or doubled."""
    chance = random.Random(seed)
    stored: set[str] = set()
    for round in range(rounds):
        server = await serve(directory, config=CONFIG)
        try:
            await _write_until_killed(server.port, server.pid, chance, round, stored)
        finally:
            await server.stop()
        assert "Traceback" not in server.log, server.log
    server = await serve(directory, config=CONFIG)
    try:
        for name in ("a", "b"):
            async with writer(server.port, name) as reader:
                words = reader.text.split()
                mine = {word for word in stored if word.startswith(name)}
                assert mine <= set(words), f"seed {seed}: lost {sorted(mine - set(words))[:10]}"
                assert len(words) == len(set(words)), f"seed {seed}: doubled"
    finally:
        await server.stop()
    return len(stored)


async def _write_until_killed(port: int, pid: int, chance: random.Random, round: int, stored: set[str]) -> None:
    left = chance.randrange(1, 1000)
    enough = asyncio.Event()
    writers: list[Writer] = []

    async def write(number: int) -> None:
        nonlocal left
        name = "ab"[number % 2]
        try:
            async with writer(port, name) as client:
                writers.append(client)
                for word in range(100_000):
                    await client.write(f"{name}.{round}.{number}.{word}")
                    await client.answered(but=UNDER_WAY)
                    left -= 1
                    if left <= 0:
                        enough.set()
        except (ConnectionClosed, OSError):
            return

    writing = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    await asyncio.wait_for(enough.wait(), 20)
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait(writing)
    for client in writers:
        stored |= {word for word in client.stored if word}


async def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    assert await crash(tmp_path, ROUNDS, random.randrange(1 << 32)) > 0


if __name__ == "__main__":
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        total = asyncio.run(crash(Path(folder), int(sys.argv[1]), seed))
    print(f"{total} acknowledged words, all there")
