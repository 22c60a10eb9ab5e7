"""users-want 21: whatever becomes of a log, no text is doubled or emptied, and no edit that a client holds is lost.

`python -m tests.session.test_21_histories 500` tries as many schedules as one likes; one that fails prints its seed.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from pycrdt import Doc, Text

from roomful.model import document as d
from roomful.model.event import DocumentLoadEvent, DocumentLoadReply
from tests.node.slow_store import SlowStore
from tests.session.document_world import DocumentWorld, Peer

SCHEDULES = 40
CHAPTERS = 4
TEMPLATE = bytes.fromhex("010101000401017405736565642000")
"""Client 1 types "seed " into the text "t"."""


def words_of(doc: Doc[Any]) -> list[str]:
    return str(doc.get("t", type=Text)).split()


class Person:
    """Somebody with a replica, connected or not. peer: None while offline."""

    def __init__(self, name: str, acknowledges: bool) -> None:
        self.name = name
        self.acknowledges = acknowledges
        self.doc: Doc[Any] = Doc()
        self.peer: Peer | None = None
        self.refused = 0

    def type(self, word: str, chance: random.Random) -> None:
        """A word in front or at the end, sent if there is a connection."""
        if self.peer is not None:
            self.peer.hear()
        before = self.doc.get_state()
        text = self.doc.get("t", type=Text)
        text.insert(chance.choice((0, len(text))), f" {word} ")
        if self.peer is not None:
            self.peer.send(d.SyncUpdate(self.doc.get_update(before)))


class Story:
    """One document and what happens to it, drawn from a seed."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.chance = random.Random(seed)
        self.options = options
        self.store = SlowStore()
        self.world = DocumentWorld(store=self.store, **options)
        self.backups: list[SlowStore] = []
        self.people = [Person(name, self.chance.random() < 0.5) for name in ("ann", "bob", "cid")]
        self.seeded = self.chance.random() < 0.3
        self.words = 0

    async def tell(self) -> None:
        await self._begin()
        for person in self.people[:2]:
            await self._come(person)
        for _ in range(CHAPTERS):
            await self._chapter()
        for person in self.people:
            if person.peer is None:
                await self._come(person)
        await self._compare()
        await self.world.stop()

    async def _chapter(self) -> None:
        chance = self.chance
        for person in chance.sample(self.people, 2):
            person.type(self._word(), chance)
            await self.world.settle()
        if chance.random() < 0.5:
            self.backups.append(copy.deepcopy(self.store))
        away = chance.sample(self.people, chance.randint(1, 3))
        for person in away:
            self._go(person)
        await self.world.settle()
        for person in away:  # the offline edit that is pending when it happens
            person.type(self._word(), chance)
        for person in self.people:
            if person.peer is not None:
                person.type(self._word(), chance)
        await self.world.settle()
        for event in chance.sample((self._lose, self._evict, self._edit_outside, self._restore), chance.randint(1, 2)):
            await event()
        for person in chance.sample(self.people, 2):
            if person.peer is None:
                await self._come(person)

    # What may happen

    async def _lose(self) -> None:
        """The log is lost; the application may write anew what it had exported as text."""
        reader = await self.world.hocuspocus().open()
        exported = reader.text
        reader.cut()
        await self._restart(SlowStore())
        if self.chance.random() < 0.6:
            async with self.world.documents.edit("notes", "importer") as doc:
                text = doc.get("t", type=Text)
                present = str(text).split()
                text += " ".join(word for word in exported.split() if word not in present) + " "

    async def _restore(self) -> None:
        if self.backups:
            await self._restart(copy.deepcopy(self.chance.choice(self.backups)))

    async def _evict(self) -> None:
        for person in self.people:
            self._go(person)
        await self.world.pass_time(self.world.options.unload_s + 20)
        assert not len(self.world.documents), "it should be unloaded"

    async def _edit_outside(self) -> None:
        async with self.world.documents.edit("notes", "importer") as doc:
            text = doc.get("t", type=Text)
            text.insert(self.chance.choice((0, len(text))), f" {self._word()} ")

    async def _restart(self, store: SlowStore) -> None:
        await self.world.stop()
        for person in self.people:
            self._go(person)
        self.store = store
        self.world = DocumentWorld(store=store, **self.options)
        await self._begin()

    async def _begin(self) -> None:
        await self.world.start()
        if self.seeded:
            self.world.hooks.add(DocumentLoadEvent, None, lambda _event: DocumentLoadReply(TEMPLATE))

    # Who comes and goes

    def _go(self, person: Person) -> None:
        if person.peer is not None:
            person.peer.hear()
            if person.peer.closed is None:
                person.peer.cut()
            person.peer = None

    async def _come(self, person: Person) -> None:
        """Back with what it holds; if that is another history, once more without."""
        held = words_of(person.doc)
        peer = await self._open(person)
        refused = peer.closed is not None or any(b"foreign-history" in said for said in peer.ever)
        if refused:
            person.refused += 1
            person.doc = Doc()
            if peer.closed is None:
                peer.cut()
            peer = await self._open(person)
            assert peer.closed is None
        person.peer = peer
        await self.world.settle()
        peer.hear()
        kept = [*words_of(person.doc), *await self._rescued()]
        lost = sorted(set(held) - set(kept))
        assert not lost, f"{person.name} held {lost}, which is neither in the document nor in a rescue"
        _once(words_of(person.doc))

    async def _open(self, person: Person) -> Peer:
        peer = self.world.hocuspocus() if person.acknowledges else self.world.y_websocket()
        peer.doc = person.doc
        await peer.open()
        await self.world.settle()
        return peer

    async def _rescued(self) -> list[str]:
        words: list[str] = []
        for rescue in await self.store.rescues("notes"):
            doc: Doc[Any] = Doc()
            doc.apply_update(rescue.update)
            words += words_of(doc)
        return words

    async def _compare(self) -> None:
        await self.world.settle()
        stored = await self.store.load("notes")
        assert stored is not None
        reader = await self.world.hocuspocus().open()
        text = reader.text
        _once(text.split())
        for person in self.people:
            assert person.peer is not None
            assert person.peer.text == text, person.name

    def _word(self) -> str:
        self.words += 1
        return f"w{self.words}"


def _once(words: Iterable[str]) -> None:
    words = list(words)
    assert len(words) == len(set(words)), f"doubled: {sorted(word for word in words if words.count(word) > 1)}"


@pytest.mark.parametrize("seed", random.sample(range(1 << 32), SCHEDULES))
async def test_21_text_is_there_once_and_no_edit_is_lost(seed: int) -> None:
    await Story(seed).tell()


async def test_without_lineage_text_is_doubled() -> None:
    """Otherwise the schedules above would prove nothing."""
    doubled = 0
    for seed in range(20):
        story = Story(seed, lineage=False)
        try:
            await story.tell()
        except AssertionError as error:
            doubled += "doubled" in str(error)
    assert doubled > 5


if __name__ == "__main__":
    begin = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"first seed {begin}", flush=True)
    logging.getLogger("roomful").setLevel(logging.CRITICAL)
    refused = 0
    for seed in range(begin, begin + int(sys.argv[1])):
        story = Story(seed)
        try:
            asyncio.run(story.tell())
        except BaseException:
            print(f"seed {seed}", flush=True)
            raise
        refused += sum(person.refused for person in story.people)
    print(f"{sys.argv[1]} schedules, {refused} times another history was refused and kept")
