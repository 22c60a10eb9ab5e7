"""users-want 24: somebody sends updates with flipped bytes; when they are cut out, the honest document is left.

`python -m tests.session.test_hostile 1000000` sends as many as one likes, and prints its seed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time

from pycrdt import Doc, Text

from roomful.model import document as d
from tests.session.document_world import DocumentWorld, Peer

MUTANTS = 10_000
AT_ONCE = 50_000
"""Mutants that the script sends to one document."""
HONEST_EVERY = 50
"""So many mutants come between two honest edits."""

WORDS = ["hello", " world", "\n", "x" * 40]


def mutated(update: bytes, chance: random.Random) -> bytes:
    data = bytearray(update)
    for _ in range(chance.randint(1, 3)):
        match chance.randrange(6):
            case 0 if len(data) > 1:
                del data[chance.randrange(len(data))]
            case 1:
                data.insert(chance.randrange(len(data) + 1), chance.randrange(256))
            case 2:
                data = data[: chance.randrange(1, len(data) + 1)]
            case _:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


async def comes_back(world: DocumentWorld, alone: Doc[str]) -> Peer:
    """A client that offers all that it has, and takes nothing over of what the attacker has made of the document."""
    peer = world.hocuspocus()
    peer.send(d.Authenticate(world.token("ann"), "4.8.0"))
    peer.send(d.SyncStep1(alone.get_state()))
    await world.settle()
    peer.send(d.SyncStep2(alone.get_update(b"\x00")))
    await world.settle()
    return peer


async def attack(mutants: int, seed: int) -> tuple[str, str, int]:
    """The honest text, what the document holds without the attacker, and how many edits of the attacker were taken."""
    world = DocumentWorld(access="user", document_max_bytes=1 << 40, clients_max=1 << 40, refusal_max_s=0)
    await world.start()
    chance = random.Random(seed)
    try:
        alone: Doc[str] = Doc()  # what Ann would have if she were alone
        text = alone.get("t", type=Text)
        honest = await world.hocuspocus().open(world.token("ann"))
        alone.apply_update(honest.doc.get_update())
        honest.doc = alone
        genuine: list[bytes] = []
        eve: Peer | None = None
        for number in range(mutants):
            if number % HONEST_EVERY == 0:
                if honest.closed is not None:
                    honest = await comes_back(world, alone)
                before = alone.get_state()
                if len(text) > 200 and chance.random() < 0.3:
                    del text[0:1]
                else:
                    text += chance.choice(WORDS)
                genuine.append(alone.get_update(before))
                honest.send(d.SyncUpdate(genuine[-1]))
                honest.said.clear()
            if eve is None or eve.closed is not None:
                eve = world.hocuspocus()
                eve.send(d.Authenticate(world.token("eve"), "4.8.0"))
                await world.settle(8)
            eve.said.clear()
            eve.ever.clear()
            eve.send(d.SyncUpdate(mutated(chance.choice(genuine[-20:]), chance)))
            if number % 10 == 9:
                await world.settle(4)
                honest.ever.clear()
        await world.settle(100)
        cut = await world.documents.cut_out("notes", "eve")
        await world.settle(50)
        stored = await world.store.load("notes")
        assert stored is not None
        reader = await world.hocuspocus().open(world.token("bob"))
        return str(text), reader.text, cut.entries
    finally:
        await world.stop()


async def test_without_the_attacker_the_honest_document_is_left() -> None:
    seed = random.randrange(1 << 32)
    honest, left, taken = await attack(MUTANTS, seed)
    assert left == honest, f"seed {seed}"
    assert taken > 100, "otherwise nothing was tested"


if __name__ == "__main__":
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    logging.getLogger("roomful").setLevel(logging.CRITICAL)  # a line for each mutant
    for sent in range(0, int(sys.argv[1]), AT_ONCE):
        begun = time.monotonic()
        honest, left, taken = asyncio.run(attack(min(AT_ONCE, int(sys.argv[1]) - sent), seed + sent))
        took = time.monotonic() - begun
        print(
            f"seed {seed + sent}: {taken} mutants were taken, {sent + AT_ONCE} sent until now, {took:.0f} s", flush=True
        )
        if honest != left:
            sys.exit("the document differs")
