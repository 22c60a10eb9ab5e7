"""Traces as they are recorded, typed by real providers. `tests/soak/traces.py` does the same with published ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text

from tests.e2e.yjs.clients import PATIENCE_S
from tests.e2e.yjs.replay import replay
from tests.served import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

Transaction = dict[str, Any]


class Author:
    """Somebody who types at random. newest: the transactions that his document follows on.

    He deletes only what he has just typed: where two type at once, what stands at a place depends on client ids.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.doc: Doc[Any] = Doc()
        self.text = self.doc.get("t", type=Text)
        self.newest: list[int] = []
        self._typed: tuple[int, int] | None = None

    def type(self, chance: random.Random, number: int) -> Transaction:
        if self._typed is not None and chance.random() < 0.4:
            at, size = self._typed
            deleted, inserted = chance.randint(1, size), chance.choice(("", "z"))
        else:
            at, deleted, inserted = chance.randint(0, len(self.text)), 0, chance.choice(("a", "bc", " ", "def"))
        with self.doc.transaction():
            if deleted:
                del self.text[at : at + deleted]
            if inserted:
                self.text.insert(at, inserted)
        self._typed = (at, len(inserted)) if inserted else None
        parents, self.newest = self.newest, [number]
        return {"agent": self.number, "parents": parents, "patches": [[at, deleted, inserted]]}

    def merge(self, other: Author) -> None:
        self.doc.apply_update(other.doc.get_update(self.doc.get_state()))
        self._typed = None
        self.newest = list(dict.fromkeys([*self.newest, *other.newest]))


def recorded(seed: int, authors: int, transactions: int) -> dict[str, Any]:
    """A trace of authors who see each other's work now and then."""
    chance = random.Random(seed)
    people = [Author(number) for number in range(authors)]
    txns = []
    for number in range(transactions):
        author = chance.choice(people)
        if authors > 1 and chance.random() < 0.1:
            author.merge(chance.choice(people))
        txns.append(author.type(chance, number))
    for author in people:
        people[0].merge(author)
    return {"startContent": "", "endContent": str(people[0].text), "txns": txns}


async def test_one_author_gives_the_recorded_text(server: Server, node: str, tmp_path: Path, name: str) -> None:
    seed = random.randrange(1 << 32)
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps(recorded(seed, 1, 2_000)))
    done = await replay(node, server, name, trace, within_s=PATIENCE_S)
    assert done.recorded, f"seed {seed}"


async def test_two_who_type_at_once_converge(server: Server, node: str, tmp_path: Path, name: str) -> None:
    seed = random.randrange(1 << 32)
    written = recorded(seed, 2, 2_000)
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps(written))
    done = await replay(node, server, name, trace, within_s=PATIENCE_S)
    assert sorted(done.text) == sorted(written["endContent"]), f"seed {seed}"  # in some order
