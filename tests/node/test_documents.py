from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pycrdt import Doc, Text

from roomful.engines.memory import MemoryEngine
from roomful.model.errors import BadRequest, InternalError, NotAvailable
from roomful.model.event import DocumentLoadEvent, DocumentLoadReply, DocumentStoreEvent
from roomful.node.document_bus import DocumentBus
from roomful.node.document_options import DocumentOptions
from roomful.node.documents import Documents
from roomful.node.hooks import Hooks
from roomful.node.live_document import LiveDocument
from roomful.node.namespaces import Namespaces
from roomful.node.node import Node
from roomful.node.stats import Stats
from roomful.node.wheel import Wheel
from roomful.rooms.document import Document, Encoded
from roomful.seams.store import Entry
from roomful.testing.clock import VirtualClock
from tests.node.slow_store import SlowStore


class World:
    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock(1000.0)
        self.wheel = Wheel(self.clock)
        self.store = SlowStore()
        self.hooks = Hooks(Stats())
        self.node = Node(
            id="node-1",
            version="test",
            engine=MemoryEngine(),
            namespaces=Namespaces({}, 255),
            hooks=self.hooks,
            stats=Stats(),
            wheel=self.wheel,
        )
        ids = itertools.count(9_000_001)
        self.documents = Documents(
            self.store,
            DocumentOptions(**options),
            self.wheel,
            self.hooks,
            DocumentBus(self.node, alone=True),
            new_client_id=lambda: next(ids),
        )

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.wheel.advance()
            for _ in range(10):
                await asyncio.sleep(0)

    def close(self, live: LiveDocument) -> None:
        live.release(self.clock())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.store.failing = False
    world.store.release()
    await world.documents.stop()


class Typist:
    """Types into a live document, and deletes what was typed."""

    def __init__(self, live: LiveDocument) -> None:
        self.doc: Doc[Any] = Doc()
        self.doc.apply_update(live.room.diff())
        self.live = live
        self.text = self.doc.get("t", type=Text)

    async def type(self, text: str) -> None:
        before = self.doc.get_state()
        self.text += text
        await self.send(before)

    async def clear(self) -> None:
        before = self.doc.get_state()
        del self.text[0 : len(self.text)]
        await self.send(before)

    async def send(self, before: bytes) -> None:
        self.live.edit(self.doc.get_update(before), None, "ann", None, lambda _: None)
        await self.live.settled()


async def test_all_who_come_together_share_one_load(world: World) -> None:
    world.store.hold()
    opening = [asyncio.ensure_future(world.documents.open("notes")) for _ in range(200)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.store.loads == 1
    world.store.release()
    opened = await asyncio.gather(*opening)
    assert len(set(map(id, opened))) == 1
    assert opened[0].users == 200
    assert world.store.loads == 1


async def test_a_load_that_fails_opens_nothing_and_the_next_may_succeed(world: World) -> None:
    world.store.failing = True
    results = await asyncio.gather(*(world.documents.open("notes") for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, InternalError) for result in results)
    assert len(world.documents) == 0
    world.store.failing = False
    assert (await world.documents.open("notes")).users == 1


async def test_a_load_that_hangs_fails(world: World) -> None:
    world = World(load_s=0.01)
    world.store.hold()
    with pytest.raises(InternalError, match="took longer"):
        await world.documents.open("notes")
    assert len(world.documents) == 0


async def test_a_deleted_document_is_refused(world: World) -> None:
    await world.store.append("notes", [Entry(b"\x00\x00")], 1)
    await world.store.delete("notes", 60.0)
    with pytest.raises(NotAvailable):
        await world.documents.open("notes")


async def test_it_is_unloaded_some_time_after_the_last_has_left(world: World) -> None:
    first, second = await world.documents.open("notes"), await world.documents.open("notes")
    await Typist(first).type("hello")
    world.close(first)
    await world.pass_time(60)
    assert world.documents.get("notes") is first
    world.close(second)
    await world.pass_time(10)
    again = await world.documents.open("notes")
    assert again is first, "who comes back soon finds it as it was"
    world.close(again)
    await world.pass_time(30)
    assert world.documents.get("notes") is None
    reopened = await world.documents.open("notes")
    assert Typist(reopened).doc.get("t", type=Text).to_py() == "hello"
    assert reopened.lineage == first.lineage


async def test_a_small_document_that_nobody_edits_is_only_bytes(world: World) -> None:
    live = await world.documents.open("notes")
    typist = Typist(live)
    await typist.type("hello")
    engine = live.room.live()
    await world.pass_time(5)
    assert live.room.live() is engine
    await world.pass_time(20)
    assert live.room.encode() is live.room.encode(), "what is kept, not made anew"
    await typist.type(" again")
    assert live.room.live() is not engine
    assert Typist(live).text.to_py() == "hello again"
    await typist.type("x" * 20_000)
    engine = live.room.live()
    await world.pass_time(20)
    assert live.room.live() is engine, "it would take too long to make it anew"
    world.close(live)


async def test_nothing_is_unloaded_before_it_is_stored(world: World) -> None:
    live = await world.documents.open("notes")
    typist = Typist(live)
    world.store.hold()
    typing = asyncio.ensure_future(typist.type("hello"))
    await asyncio.sleep(0)
    world.close(live)
    await world.pass_time(60)
    assert world.documents.get("notes") is live
    world.store.release()
    await typing
    await world.pass_time(10)
    assert world.documents.get("notes") is None


async def test_who_comes_while_it_is_being_unloaded_gets_the_same(world: World) -> None:
    live = await world.documents.open("notes")
    typist = Typist(live)
    for number in range(30):
        await typist.type(f"{number} ")
    world.close(live)
    await world.pass_time(19)
    world.store.hold()
    await world.pass_time(10)
    again = await world.documents.open("notes")
    assert again is live
    world.store.release()
    await world.pass_time(10)
    assert world.documents.get("notes") is live


async def test_opening_alone_stores_nothing(world: World) -> None:
    world.close(await world.documents.open("notes"))
    await world.pass_time(60)
    assert await world.store.load("notes") is None


async def test_the_log_of_much_typing_and_deleting_stays_short(world: World) -> None:
    """users-want 23, small: sessions with no net change."""
    for number in range(60):
        live = await world.documents.open("notes")
        typist = Typist(live)
        for _ in range(10):
            await typist.type(f"session {number} types something")
            await typist.clear()
        world.close(live)
        await world.pass_time(26)
        stored = await world.store.load("notes")
        assert stored is not None
        log_bytes = sum(len(one.entry.update) for one in stored.tail)
        snapshot_bytes = len(stored.snapshot.update) if stored.snapshot else 0
        assert log_bytes <= max(65_536, 4 * snapshot_bytes)
        assert len(stored.tail) <= 500


async def test_compaction_while_people_edit_loses_nothing(world: World) -> None:
    world = World(compact_entries=10)
    live = await world.documents.open("notes")
    typist = Typist(live)
    for number in range(100):
        await typist.type(f"{number} ")
    await world.pass_time(1)
    stored = await world.store.load("notes")
    assert stored is not None
    assert stored.snapshot is not None
    assert len(stored.tail) <= 11
    assert live.log_entries == len(stored.tail)
    snapshot = stored.snapshot
    encoded = Encoded(snapshot.update, snapshot.state_vector, snapshot.deletions, snapshot.parked)
    room, _ = Document.load(encoded, [one.entry.update for one in stored.tail])
    assert str(room.live().get("t", type=Text)) == str(typist.text)


async def test_a_compaction_that_fails_harms_nothing(world: World) -> None:
    world = World(compact_entries=10)
    live = await world.documents.open("notes")
    typist = Typist(live)
    for number in range(11):
        await typist.type(f"{number} ")
    world.store.failing = True
    await world.pass_time(1)
    world.store.failing = False
    await typist.type("on")
    await world.pass_time(1)
    stored = await world.store.load("notes")
    assert stored is not None
    assert stored.snapshot is not None


async def test_only_the_owner_compacts(world: World) -> None:
    world = World(compact_entries=10)
    live = await world.documents.open("notes")
    typist = Typist(live)
    await typist.type("x")
    assert await world.store.lease("notes", "another node", 1e9) is not None
    for number in range(20):
        await typist.type(f"{number} ")
    await world.pass_time(1)
    stored = await world.store.load("notes")
    assert stored is not None
    assert stored.snapshot is None


async def test_what_others_have_appended_is_read(world: World) -> None:
    live = await world.documents.open("notes")
    typist = Typist(live)
    await typist.type("here")
    stranger: Doc[Any] = Doc()
    stranger.apply_update(typist.doc.get_update())
    before = stranger.get_state()
    text = stranger.get("t", type=Text)
    text += " there"
    await world.store.append("notes", [Entry(stranger.get_update(before))], 1)
    await typist.type("!")
    await world.pass_time(1)
    assert sorted(str(live.room.live().get("t", type=Text))) == sorted("here there!")
    assert live.seq == (await world.store.heads(["notes"]))["notes"]


async def test_whoever_notices_a_gap_the_log_is_read_once_for_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was stopped for a minute got a message for each of thousands of edits, and read the log for each."""
    live = await world.documents.open("notes")
    await Typist(live).type("hello")
    other: Doc[Any] = Doc()
    text = other.get("t", type=Text)
    for _ in range(250):
        before = other.get_state()
        text += "x"
        await world.store.append("notes", [Entry(other.get_update(before))], live.lineage)
    reads = 0
    since = world.store.since

    async def counted(name: str, seq: int) -> Any:
        nonlocal reads
        reads += 1
        return await since(name, seq)

    monkeypatch.setattr(world.store, "since", counted)
    for _ in range(100):
        live.on_gap(live)
    await world.pass_time(3)
    assert live.seq == 252
    assert reads <= 2
    assert "x" * 250 in Typist(live).text.to_py()
    world.close(live)


async def test_entries_that_the_engine_refuses_are_set_aside(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.store.append("notes", [Entry(bytes.fromhex("010101000401017402686900")), Entry(b"rubbish")], 1)
    live = await world.documents.open("notes")
    assert str(live.room.live().get("t", type=Text)) == "hi"
    assert [one.entry.update for one in world.store.quarantined["notes"]] == [b"rubbish"]
    assert "document %r: the engine refuses entries %s of its log; they are set aside" in {
        record.msg for record in caplog.records
    }


async def test_a_log_that_cannot_be_caught_up_with_ends_the_document(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    live = await world.documents.open("notes")
    typist = Typist(live)
    await typist.type("hello")
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "since", unavailable)
        live.on_gap(live)
        await world.pass_time(1)
    assert [record.msg for record in caplog.records] == ["document %r could not catch up with its log: %s"]
    assert live.failed
    assert Typist(await world.documents.open("notes")).text.to_py() == "hello"


async def unavailable(*_: object) -> Any:
    raise InternalError("the store is gone")


async def test_a_document_that_cannot_be_loaded_anew_is_ended(world: World, caplog: pytest.LogCaptureFixture) -> None:
    live = await world.documents.open("notes")
    await Typist(live).type("hello")
    world.store.failing = True
    world.documents.reload(live)
    await world.pass_time(1)
    assert [record.msg for record in caplog.records] == ["document %r could not be loaded anew: %s"]
    assert live.failed
    world.store.failing = False
    assert Typist(await world.documents.open("notes")).text.to_py() == "hello"


async def test_what_is_cut_out_is_logged_with_its_author(world: World, caplog: pytest.LogCaptureFixture) -> None:
    live = await world.documents.open("notes")
    typist = Typist(live)
    for text in ("hello", " again"):
        await typist.type(text)
    cut = await world.documents.cut_out("notes", "ann")
    assert (cut.entries, live.failed) == (2, True)
    assert [(record.msg, record.args) for record in caplog.records] == [
        ("document %r: %d edits of %r were cut out", ("notes", 2, "ann"))
    ]
    assert Typist(await world.documents.open("notes")).text.to_py() == ""


@pytest.mark.parametrize("name", ["a", "a/b c", "é", "😀", "x" * 512])
def test_names(name: str) -> None:
    World().documents.check_name(name)


@pytest.mark.parametrize("name", ["", " \t", "a\0b", "a\x7f", "é" * 257])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(BadRequest):
        World().documents.check_name(name)


async def test_edits_in_python_reach_the_log_before_the_block_ends(world: World) -> None:
    async with world.documents.edit("notes", "a program") as doc:
        text = doc.get("t", type=Text)
        text += "hello"
        with doc.transaction():
            text += " "
            text += "world"
    stored = await world.store.load("notes")
    assert stored is not None
    assert [one.entry.author for one in stored.tail] == ["", "a program", "a program"]
    live = await world.documents.open("notes")
    assert Typist(live).doc.get("t", type=Text).to_py() == "hello world"


async def test_edits_in_python_and_of_clients_at_once(world: World) -> None:
    live = await world.documents.open("notes")
    typist = Typist(live)
    async with world.documents.edit("notes", "") as doc:
        text = doc.get("t", type=Text)
        text += "a"
        await typist.type("b")
        text += "c"
    stored = await world.store.load("notes")
    assert stored is not None
    room, _ = Document.load(None, [one.entry.update for one in stored.tail])
    assert sorted(str(room.live().get("t", type=Text))) == ["a", "b", "c"]
    assert live.users == 1


async def test_an_edit_in_python_that_cannot_be_stored_is_told(world: World) -> None:
    async def edit() -> None:
        async with world.documents.edit("notes", "") as doc:
            world.store.failing = True
            text = doc.get("t", type=Text)
            text += "lost"

    with pytest.raises(InternalError):
        await edit()
    world.store.failing = False
    assert (await world.documents.open("notes")).room.clients == 1


async def test_the_application_begins_a_document_once(world: World) -> None:
    asked: list[str] = []
    seed: Doc[Any] = Doc()
    template = seed.get("t", type=Text)
    template += "template"

    async def load(event: DocumentLoadEvent) -> DocumentLoadReply:
        asked.append(event.document)
        return DocumentLoadReply(seed.get_update())

    world.hooks.add(DocumentLoadEvent, None, load)
    live = await world.documents.open("notes")
    assert Typist(live).doc.get("t", type=Text).to_py() == "template"
    stored = await world.store.load("notes")
    assert stored is not None, "before anybody saw it"
    world.close(live)
    await world.pass_time(60)
    world.close(await world.documents.open("notes"))
    assert asked == ["notes"]


async def test_a_hook_that_begins_it_with_nonsense_opens_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.hooks.add(DocumentLoadEvent, None, lambda event: DocumentLoadReply(b"nonsense"))
    with pytest.raises(InternalError):
        await world.documents.open("notes")
    assert await world.store.load("notes") is None
    assert "the hook that loads document %r answered no update: %s" in {record.msg for record in caplog.records}


async def test_what_the_application_could_not_be_handed_it_gets_after_the_next_edit(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[DocumentStoreEvent] = []

    async def hear(event: DocumentStoreEvent) -> None:
        told.append(event)

    world.hooks.add(DocumentStoreEvent, None, hear)
    typist = Typist(await world.documents.open("notes"))
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "lease", unavailable)
        await typist.type("hello")
        await world.pass_time(5)
    assert [record.msg for record in caplog.records] == ["document %r could not be handed to the application: %s"]
    assert told == []
    await typist.type(" again")
    await world.pass_time(5)
    (event,) = told
    handed: Doc[Any] = Doc()
    handed.apply_update(event.update)
    assert handed.get("t", type=Text).to_py() == "hello again"
