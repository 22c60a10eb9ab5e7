from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pycrdt import Doc, Text

from roomful.model.document import AwarenessEntry, SyncUpdate
from roomful.node.histogram import Histogram
from roomful.node.live_document import Edit, LiveDocument
from roomful.rooms.awareness import Awareness
from roomful.rooms.document import Broken, Document
from roomful.rooms.update_walker import walk
from roomful.seams.store import Entry
from roomful.wire import hocuspocus, y_websocket
from tests.node.slow_store import SlowStore

HI = bytes.fromhex("010101000401017402686900")
BYE = bytes.fromhex("01010200040101740362796500")


class Member:
    def __init__(
        self, dialect: y_websocket.YWebsocket | hocuspocus.Hocuspocus = y_websocket.BARE, key: str = ""
    ) -> None:
        self.dialect = dialect
        self.key = key
        self.got: list[bytes] = []
        self.lost: tuple[int, str] | None = None

    def send(self, frame: bytes) -> None:
        self.got.append(frame)

    def send_awareness(self, frame: bytes) -> None:
        self.got.append(frame)

    def lose(self, code: int, reason: str) -> None:
        self.lost = (code, reason)


class Log:
    """What a document reported."""

    def __init__(self) -> None:
        self.edits: list[tuple[int, list[bytes]]] = []
        self.awareness: list[AwarenessEntry] = []
        self.gaps = self.failures = 0

    def on_edits(self, _live: LiveDocument, last: int, edits: list[Edit]) -> None:
        self.edits.append((last, [edit.update for edit in edits]))

    def on_awareness(self, _live: LiveDocument, entries: list[AwarenessEntry], here: list[AwarenessEntry]) -> None:
        assert here == entries
        self.awareness += entries

    def on_gap(self, _live: LiveDocument) -> None:
        self.gaps += 1

    def on_failure(self, _live: LiveDocument) -> None:
        self.failures += 1


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def live(store: SlowStore, log: Log) -> AsyncIterator[LiveDocument]:
    live = LiveDocument(
        "notes",
        Document(),
        Awareness(),
        store,
        lineage=9,
        mark=b"",
        seq=0,
        waiting_max_bytes=1_000_000,
        wall_clock=lambda: 5.0,
        saves=Histogram(),
        on_edits=log.on_edits,
        on_gap=log.on_gap,
        on_failure=log.on_failure,
        on_awareness=log.on_awareness,
    )
    yield live
    store.failing = False
    store.release()
    await live.settled()


def joined(live: LiveDocument, member: Member) -> Member:
    live.hold()
    live.enter(member)
    live.listen(member)
    live.awareness.join(member, "", 1.0)
    return member


async def test_an_edit_is_stored_then_acknowledged_then_shown(live: LiveDocument, store: SlowStore, log: Log) -> None:
    ann, bob = joined(live, Member(hocuspocus.BARE, "notes")), joined(live, Member())
    store.hold()
    done: list[bool] = []
    live.edit(HI, walk(HI), "ann", ann, done.append)
    await asyncio.sleep(0)
    assert (done, bob.got, live.pending) == ([], [], True)
    store.release()
    await live.settled()
    assert done == [True]
    assert bob.got == [y_websocket.BARE.encode("", SyncUpdate(HI))]
    assert ann.got == [], "its wire acknowledges"
    stored = await store.load("notes")
    assert stored is not None
    assert [(one.entry.update, one.entry.author, one.entry.at) for one in stored.tail] == [(HI, "ann", 5.0)]
    assert log.edits == [(1, [HI])]


async def test_edits_of_one_turn_are_one_append(live: LiveDocument, store: SlowStore) -> None:
    done: list[bool] = []
    for update in (HI, BYE):
        live.edit(update, None, "ann", None, done.append)
    await live.settled()
    assert store.appends == [2]
    assert live.seq == 2


async def test_what_is_known_waits_for_what_is_not_stored_yet(live: LiveDocument, store: SlowStore) -> None:
    store.hold()
    done: list[str] = []
    live.edit(HI, None, "ann", None, lambda _: done.append("first"))
    live.edit(HI, None, "ann", None, lambda _: done.append("again"))
    await asyncio.sleep(0)
    assert done == []
    store.release()
    await live.settled()
    assert done == ["first", "again"]
    live.edit(HI, None, "ann", None, lambda _: done.append("at once"))
    assert done[-1] == "at once"


async def test_what_two_authors_claim_to_have_written_is_logged_twice_and_shown_once(
    live: LiveDocument, store: SlowStore
) -> None:
    bob = joined(live, Member())
    for author in ("eve", "ann"):
        live.edit(HI, None, author, None, lambda _: None)
        await live.settled()
    stored = await store.load("notes")
    assert stored is not None
    assert [one.entry.author for one in stored.tail] == ["eve", "ann"]
    assert len(bob.got) == 1


async def test_a_failing_store_ends_it_without_an_acknowledgement(
    live: LiveDocument, store: SlowStore, log: Log
) -> None:
    ann = joined(live, Member())
    store.failing = True
    done: list[bool] = []
    live.edit(HI, None, "ann", ann, done.append)
    await live.settled()
    assert (done, ann.got, log.failures) == ([], [], 1)
    assert ann.lost is not None
    assert ann.lost[0] == 1013


async def test_a_document_begins_with_its_mark(store: SlowStore, log: Log) -> None:
    live = LiveDocument(
        "new",
        Document(),
        Awareness(),
        store,
        lineage=9,
        mark=BYE,
        seq=0,
        waiting_max_bytes=1_000_000,
        wall_clock=lambda: 5.0,
        saves=Histogram(),
        on_edits=log.on_edits,
        on_gap=log.on_gap,
        on_failure=log.on_failure,
        on_awareness=log.on_awareness,
    )
    assert await store.load("new") is None, "opening it stores nothing"
    for update in (HI, BYE):
        live.edit(update, None, "ann", None, lambda _: None)
        await live.settled()
    stored = await store.load("new")
    assert stored is not None
    assert [one.entry.update for one in stored.tail] == [BYE, HI, BYE]
    assert (stored.lineage, live.seq, log.gaps) == (9, 3, 0)


async def test_entries_of_other_nodes_in_between_are_noticed(live: LiveDocument, store: SlowStore, log: Log) -> None:
    await store.append("notes", [Entry(BYE)], 9)
    live.edit(HI, None, "ann", None, lambda _: None)
    await live.settled()
    assert log.gaps == 1
    assert live.seq == 0, "what isn't in the room isn't counted"


async def test_each_wire_is_spelled_once_for_all(live: LiveDocument) -> None:
    members = [joined(live, Member(hocuspocus.BARE, "notes")) for _ in range(3)]
    live.broadcast_stateless("x")
    assert len({id(member.got[0]) for member in members}) == 1


async def test_edits_of_one_turn_go_out_as_one_piece_that_all_share(live: LiveDocument) -> None:
    framed = hocuspocus.FRAMED
    ann, bob, cid = (joined(live, Member(framed, "notes")) for _ in range(3))
    dan = joined(live, Member(hocuspocus.BARE, "notes"))
    live.edit(HI, None, "ann", ann, lambda _: None)
    live.edit(BYE, None, "bob", bob, lambda _: None)
    await live.settled()
    first, second = (framed.encode("notes", SyncUpdate(update)) for update in (HI, BYE))
    assert ann.got == [second], "not its own"
    assert bob.got == [first]
    assert cid.got == [first + second]
    assert dan.got == [hocuspocus.BARE.encode("notes", SyncUpdate(update)) for update in (HI, BYE)]


async def test_who_begins_to_listen_between_two_edits_hears_the_second(live: LiveDocument) -> None:
    ann = Member(hocuspocus.FRAMED, "notes")
    live.edit(HI, None, "bob", None, lambda _: None)
    live.after_pending(lambda: live.listen(ann))
    live.edit(BYE, None, "bob", None, lambda _: None)
    await live.settled()
    assert ann.got == [hocuspocus.FRAMED.encode("notes", SyncUpdate(BYE))]


async def test_who_left_hears_nothing(live: LiveDocument, log: Log) -> None:
    ann, bob = joined(live, Member()), joined(live, Member())
    live.awareness.receive(ann, [AwarenessEntry(1, 1, b"{}")], 1.0)
    live.leave(ann, 2.0)
    live.leave(ann, 2.0)
    live.edit(HI, None, "bob", bob, lambda _: None)
    await live.settled()
    await asyncio.sleep(0)
    assert ann.got == []
    assert len(bob.got) == 2, "the edit, and that ann is gone"
    assert live.users == 1
    assert log.awareness == [AwarenessEntry(1, 1, None)]


async def test_what_waits_for_other_edits_is_bounded(live: LiveDocument) -> None:
    ann = joined(live, Member(hocuspocus.BARE, "notes"))
    live.waiting_max_bytes = 200
    doc: Doc[Any] = Doc()
    text = doc.get("t", type=Text)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    for number in range(3):
        text += str(number) * 90
    doc.unobserve(subscription)
    done: list[bool] = []
    live.edit(updates[2], None, "ann", ann, done.append)
    with pytest.raises(Broken, match="more than 200 bytes would wait"):
        live.edit(updates[1], None, "ann", ann, done.append)
