"""users-want 22: a server that is killed at random moments, whose store is now slow, now failing. Every edit that was
acknowledged as stored is there, once.

`python -m tests.e2e.yjs.test_crash 300` does it as often as one likes, and prints its seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path

from tests.e2e.yjs.writer import Typist, pause, writer
from tests.served import Server, serve

ROUNDS = 3
AT_ONCE = 20
"""Kills before the script looks whether everything is there."""
TYPISTS = 4
WORDS = 1_000
"""At most so many are acknowledged before the server is killed."""
HELD_S = 0.4
FAILING_S = 0.3
PAUSE_S = 0.05
CONFIG = """
[documents]
compact_entries = 40
unload_s = 0.3
"""
DATABASE = Path("roomful-data", "roomful.db")
UNLIMITED = resource.RLIM_INFINITY


async def crash(directory: Path, rounds: int, seed: int) -> tuple[int, int]:
    """How many words were acknowledged in all rounds, and how often the store failed.

    Raises AssertionError for a word that is missing or doubled.
    """
    chance = random.Random(seed)
    stored: set[str] = set()
    failures = 0
    for number in range(rounds):
        server = await serve(directory, config=CONFIG)
        try:
            stored |= await Round(server, directory, chance, number).run()
        finally:
            await server.stop()
        assert "Traceback" not in server.log, server.log
        failures += server.log.count("can't be stored")
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
    return len(stored), failures


class Round:
    """From one start of the server to its death."""

    def __init__(self, server: Server, directory: Path, chance: random.Random, number: int) -> None:
        self._server = server
        self._database = directory / DATABASE
        self._chance = chance
        self._number = number
        self._left = chance.randrange(1, WORDS)
        self._enough = asyncio.Event()
        self._typists = [Typist(server.port, "ab"[n % 2], f"{'ab'[n % 2]}.{number}.{n}") for n in range(TYPISTS)]

    async def run(self) -> set[str]:
        """The words that were acknowledged."""
        harm = (None, self._hold, self._fail)[self._number % 3]
        working = [asyncio.create_task(typist.type(self._enough, self._word)) for typist in self._typists]
        if harm is not None:
            working.append(asyncio.create_task(self._harm(harm)))
        try:
            await asyncio.wait_for(self._enough.wait(), 60)
        finally:
            os.kill(self._server.pid, signal.SIGKILL)
            self._enough.set()
            await asyncio.gather(*working)
        return set[str]().union(*(typist.stored for typist in self._typists))

    def _word(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._enough.set()

    async def _harm(self, harm: Callable[[], Awaitable[None]]) -> None:
        while not self._enough.is_set():
            await pause(self._enough, self._chance.random() * 2 * PAUSE_S)
            await harm()

    async def _hold(self) -> None:
        """Another process writes into the same file: every commit waits."""
        taken = sqlite3.connect(self._database, isolation_level=None, timeout=0.1)
        with closing(taken) as db, suppress(sqlite3.OperationalError):  # it didn't get its turn in time
            db.execute("BEGIN IMMEDIATE")
            await pause(self._enough, self._chance.random() * HELD_S)

    async def _fail(self) -> None:
        """No file may grow: the disk is full, from the first byte or somewhere in a commit."""
        size = self._database.with_name("roomful.db-wal")
        limit = size.stat().st_size + self._chance.randrange(20_000) if size.exists() else 0
        try:
            resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (limit, UNLIMITED))
            await pause(self._enough, self._chance.random() * FAILING_S)
            resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (UNLIMITED, UNLIMITED))
        except ProcessLookupError:
            return  # it was killed meanwhile


async def test_22_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    acknowledged, _ = await crash(tmp_path, ROUNDS, random.randrange(1 << 32))
    assert acknowledged > 0


if __name__ == "__main__":
    kills = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    for done in range(0, kills, AT_ONCE):
        with tempfile.TemporaryDirectory() as folder:
            total, failed = asyncio.run(crash(Path(folder), min(AT_ONCE, kills - done), seed + done))
        print(
            f"seed {seed + done}: {total} acknowledged words, all there and once; the store failed {failed} times",
            flush=True,
        )
