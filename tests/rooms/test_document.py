from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Map, Text, merge_updates

from roomful.rooms.document import MERGE_AT_ONCE, Broken, Document, Encoded, lineage_mark, merge
from roomful.rooms.update_walker import NOTHING, Malformed, read_state_vector, walk

HI = bytes.fromhex("010101000401017402686900")


class Writer:
    """A replica that edits. updates: what it has written, one each."""

    def __init__(self, client: int) -> None:
        self.doc: Doc[Any] = Doc(client_id=client)
        self.updates: list[bytes] = []

    def edit(self, random: random.Random) -> None:
        before = self.doc.get_state()
        text = self.doc.get("t", type=Text)
        size = len(text)
        with self.doc.transaction():
            if size and random.random() < 0.4:
                at = random.randrange(size)
                del text[at : at + random.randint(1, min(3, size - at))]
            else:
                text.insert(random.randint(0, size), random.choice("abcdef") * random.randint(1, 3))
            if random.random() < 0.2:
                self.doc.get("m", type=Map)[random.choice("xy")] = float(random.randint(0, 9))
        self.updates.append(self.doc.get_update(before))

    def hear(self, other: Writer) -> None:
        self.doc.apply_update(other.doc.get_update(self.doc.get_state()))


def history(seed: int, edits: int = 30) -> tuple[list[bytes], Doc[Any]]:
    """Updates of three writers who hear each other now and then, and a replica that has seen it all."""
    chance = random.Random(seed)
    writers = [Writer(client) for client in (1, 2, 3)]
    for _ in range(edits):
        writer = chance.choice(writers)
        writer.edit(chance)
        if chance.random() < 0.5:
            writer.hear(chance.choice(writers))
    whole: Doc[Any] = Doc()
    for writer in writers:
        whole.apply_update(writer.doc.get_update())
    return [update for writer in writers for update in writer.updates], whole


def shown(doc: Doc[Any]) -> tuple[str, dict[str, Any], dict[int, int], dict[int, list[tuple[int, int]]]]:
    """Everything by which two replicas could differ."""
    deletions = walk(doc.get_update(doc.get_state())).deletions
    text, map_ = doc.get("t", type=Text), doc.get("m", type=Map)
    return str(text), map_.to_py() or {}, read_state_vector(doc.get_state()), deletions


def replica(update: bytes) -> Doc[Any]:
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    return doc


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.randoms(use_true_random=False))
def test_any_order_with_duplicates_ends_the_same(seed: int, chance: random.Random) -> None:
    updates, whole = history(seed)
    arriving = updates + chance.sample(updates, 8)
    chance.shuffle(arriving)
    document = Document()
    for update in arriving:
        document.apply(update)
    assert document.parked == b""
    assert shown(document.live()) == shown(whole)
    assert shown(replica(document.diff())) == shown(whole)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.randoms(use_true_random=False))
def test_what_is_passed_on_is_enough_for_everybody(seed: int, chance: random.Random) -> None:
    updates, whole = history(seed)
    chance.shuffle(updates)
    document, log = Document(), []
    for update in updates:
        fresh = document.apply(update)
        if fresh is not None:
            log.append(fresh)
    loaded, bad = Document.load(None, log)
    assert bad == []
    assert shown(loaded.live()) == shown(whole)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.randoms(use_true_random=False))
def test_encoding_in_between_loses_nothing_that_waits(seed: int, chance: random.Random) -> None:
    updates, whole = history(seed)
    chance.shuffle(updates)
    document = Document()
    for update in updates:
        document.apply(update)
        match chance.randrange(6):
            case 0:
                document = Document(document.encode())
            case 1:
                document.rest()
            case 2:
                document, _ = Document.load(document.encode(), [])
    assert shown(document.live()) == shown(whole)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.data())
def test_a_replica_that_was_away_gets_what_it_lacks(seed: int, data: st.DataObject) -> None:
    updates, whole = history(seed)
    document = Document()
    away: Doc[Any] = Doc()
    left = data.draw(st.integers(0, len(updates)))
    for update in updates[:left]:
        document.apply(update)
    away.apply_update(document.diff())
    for update in updates[left:]:
        document.apply(update)
    away.apply_update(document.diff(away.get_state()))
    assert shown(away) == shown(whole)


def test_the_update_that_the_engine_drops_is_kept() -> None:
    u1, u2, u0 = (
        bytes.fromhex(spelled)
        for spelled in ("01010a022801016d01790177017300", "01010a03840a01016100", "01010a000401017402626300")
    )
    document = Document()
    for update in (u1, u2, u0):
        assert document.apply(update) is not None
    assert document.state_vector() == bytes.fromhex("010a04")


def test_a_deletion_of_what_has_not_come_yet_is_kept() -> None:
    writer = Writer(5)
    text = writer.doc.get("t", type=Text)
    text += "abc"
    written = writer.doc.get_update()
    before = writer.doc.get_state()
    del text[0:2]
    deletion = writer.doc.get_update(before)
    document = Document()
    assert document.apply(deletion) is not None
    document = Document(document.encode())
    document.apply(written)
    assert str(document.live().get("t", type=Text)) == "c"
    assert document.parked == b""


def test_what_waits_costs_no_edit_that_does_not_free_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write may let a megabyte of updates wait; each edit merged all of it once."""
    document, honest, other = Document(), Writer(5), Writer(6)
    for _ in range(3):
        honest.edit(random.Random(0))
        other.edit(random.Random(1))
    document.apply(other.updates[1])
    document.apply(other.updates[2])
    with monkeypatch.context() as patch:
        patch.delattr("roomful.rooms.document.merge")
        patch.delattr("roomful.rooms.document.lacking")
        for update in honest.updates:
            document.apply(update)
    assert document.parked
    document.apply(other.updates[0])
    assert document.parked == b""
    honest.hear(other)
    assert shown(document.live()) == shown(honest.doc)


def test_nothing_new_is_nothing() -> None:
    document = Document()
    assert document.apply(HI) == HI
    assert document.apply(HI) is None
    assert document.apply(NOTHING) is None
    assert document.contains(walk(HI))


def test_known_deletions_are_not_passed_on() -> None:
    writer = Writer(5)
    text = writer.doc.get("t", type=Text)
    for _ in range(40):
        text += "ab"
        del text[len(text) - 1 : len(text)]
    document = Document()
    document.apply(writer.doc.get_update())
    before = writer.doc.get_state()
    text += "new"
    answer = writer.doc.get_update(before)
    assert len(answer) > 80
    fresh = document.apply(answer)
    assert fresh is not None
    assert len(fresh) < 30
    assert shown(document.live()) == shown(writer.doc)


def test_deletions_alone_are_something_new() -> None:
    document = Document()
    document.apply(HI)
    deletion = bytes.fromhex("000101010001")
    assert not document.contains(walk(deletion))
    assert document.apply(deletion) == deletion
    assert document.contains(walk(deletion))


def test_what_a_later_value_replaced_counts_as_deleted() -> None:
    a, b = Writer(1), Writer(2)
    a.doc.get("m", type=Map)["x"] = "a"
    b.doc.get("m", type=Map)["x"] = "b"
    document = Document()
    document.apply(a.doc.get_update())
    document.apply(b.doc.get_update())
    merged = replica(document.diff())
    assert document.contains(walk(merged.get_update(merged.get_state())))


def test_bytes_that_are_no_update_change_nothing() -> None:
    document = Document()
    document.apply(HI)
    with pytest.raises(Malformed):
        document.apply(b"\x01\x02\x03")
    assert str(document.live().get("t", type=Text)) == "hi"


def test_an_engine_that_fails_is_told_from_bad_bytes() -> None:
    document = Document()
    document.apply(HI)
    # a child of a struct that is no type
    with pytest.raises(Broken):
        document.apply(bytes.fromhex("01010200040001000161 00".replace(" ", "")))


def test_a_snapshot_answers_without_an_engine_document(monkeypatch: pytest.MonkeyPatch) -> None:
    document = Document()
    document.apply(HI)
    monkeypatch.delattr("roomful.rooms.document.Doc")
    resting = Document(document.encode())
    assert walk(resting.diff()).structs == {1: [(0, 2)]}
    assert resting.state_vector() == bytes.fromhex("010102")
    assert resting.contains(walk(HI))
    assert resting.apply(HI) is None


def test_whoever_comes_before_the_next_change_gets_the_same_bytes() -> None:
    document = Document()
    document.apply(HI)
    assert document.diff() is document.diff()
    doc, end = document.watch(lambda update: None)
    text = doc.get("t", type=Text)
    for change in (
        lambda: document.apply(bytes.fromhex("01010200040101740362796500")),
        lambda: text.insert(0, "!"),
        lambda: text.clear(),
    ):
        before = document.diff()
        change()
        assert document.diff() != before
        assert shown(replica(document.diff())) == shown(document.live())
    end()
    document.rest()
    assert document.diff() is document.diff()


def test_one_bad_entry_does_not_take_the_others_with_it() -> None:
    broken = bytes.fromhex("0101020004000100016100")
    later = bytes.fromhex("010103000401017501 6100".replace(" ", ""))
    document, bad = Document.load(None, [HI, broken, b"rubbish", later])
    assert bad == [1, 2]
    assert str(document.live().get("t", type=Text)) == "hi"
    assert str(document.live().get("u", type=Text)) == "a"


def test_the_mark_of_a_document() -> None:
    for client in (1, 300, 2**32 - 1, 2**53 - 1):
        mark = lineage_mark(client)
        assert walk(mark).structs == {client: [(0, 1)]}
        doc = replica(mark)
        assert read_state_vector(doc.get_state()) == {client: 1}
        assert doc.get("t", type=Text).to_py() == ""


def test_many_updates_are_merged_as_a_tree() -> None:
    updates, whole = history(1, edits=3 * MERGE_AT_ONCE)
    assert shown(replica(merge(updates))) == shown(whole)
    assert merge([]) == NOTHING
    assert merge([HI]) == HI


def test_edits_in_python_are_told_as_an_update() -> None:
    document = Document()
    document.apply(HI)
    updates: list[bytes] = []
    doc, end = document.watch(updates.append)
    text = doc.get("t", type=Text)
    with doc.transaction():
        text += "!"
        text += "?"
    del text[0:1]
    document.apply(bytes.fromhex("01010200040101740362796500"))
    assert len(updates) == 2, "what others do isn't ours"
    assert all(document.contains(walk(update)) for update in updates)
    others = bytes.fromhex("01010200040101740362796500")
    assert shown(replica(merge_updates(HI, *updates, others))) == shown(document.live())
    document.rest()
    assert document.live() is doc, "somebody edits in it"
    end()
    text += "unwatched"
    assert len(updates) == 2


def test_what_is_unknown_of_a_whole_document() -> None:
    updates, whole = history(2)
    document = Document()
    for update in updates[:10]:
        document.apply(update)
    unknown = document.unknown_of(whole.get_update())
    assert len(unknown) < len(whole.get_update())
    document.apply(unknown)
    assert shown(document.live()) == shown(whole)


def test_who_edits_in_python_counts_as_a_client() -> None:
    document = Document()
    document.apply(HI)
    doc, end = document.watch(lambda _: None)
    doc.get("t", type=Text).insert(0, "!")
    end()
    assert document.clients == 2
    assert document.knows(doc.client_id)


def test_an_encoded_document_is_a_value() -> None:
    assert Document().encode() == Encoded()
