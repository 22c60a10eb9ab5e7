"""What every document store must do. Subclass it in a test module, with a fixture `store`:

    class TestMine(StoreContract):
        @pytest.fixture
        async def store(self) -> AsyncIterator[DocumentStore]: …

`DurableStoreContract` is for stores that outlive their process. Needs pytest and pytest-asyncio in its auto mode.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from roomful.model.errors import InternalError, NotAvailable
from roomful.seams.store import DocumentStore, Entry, RawWindow, Snapshot

EVERYTHING = RawWindow(0.0, 1 << 40)
NOTHING_RAW = RawWindow(float("inf"), 0)


def entry(text: str, author: str = "ann") -> Entry:
    return Entry(text.encode(), author, time.time())


def snapshot(upto: int, text: str = "all") -> Snapshot:
    return Snapshot(upto, text.encode(), b"vector", b"deletions", b"parked")


async def leased(store: DocumentStore, name: str, owner: str = "node-1") -> int:
    lease = await store.lease(name, owner, 60.0)
    assert lease is not None
    return lease.fence


class StoreContract:
    """What all stores do."""

    async def test_what_was_never_stored_is_not_there(self, store: DocumentStore) -> None:
        assert await store.load("notes") is None
        assert await store.heads(["notes"]) == {}
        assert await store.described("", "", 10) == []

    async def test_entries_come_back_as_they_were(self, store: DocumentStore) -> None:
        kept = [Entry(bytes(range(256)), "", 1.5), Entry(b"", "ann é", 2.5)]
        assert await store.append("notes", kept, 77) == 1
        stored = await store.load("notes")
        assert stored is not None
        assert stored.lineage == 77
        assert [logged.entry for logged in stored.tail] == kept
        assert [logged.seq for logged in stored.tail] == [1, 2]
        assert stored.head == 2

    async def test_each_document_has_numbers_of_its_own(self, store: DocumentStore) -> None:
        assert await store.append("a", [entry("1"), entry("2")], 1) == 1
        assert await store.append("b", [entry("1")], 2) == 1
        assert await store.append("a", [entry("3")], 3) == 3
        stored = await store.load("a")
        assert stored is not None
        assert stored.lineage == 1, "the lineage is that of the first append"
        assert await store.heads(["a", "b", "c"]) == {"a": 3, "b": 1}

    async def test_many_who_append_at_once_leave_no_gap(self, store: DocumentStore) -> None:
        firsts = await asyncio.gather(*(store.append("notes", [entry(f"{n}"), entry(f"{n}")], 1) for n in range(50)))
        assert sorted(firsts) == list(range(1, 101, 2))
        stored = await store.load("notes")
        assert stored is not None
        assert [logged.seq for logged in stored.tail] == list(range(1, 101))
        for first, second in zip(stored.tail[::2], stored.tail[1::2], strict=True):
            assert first.entry.update == second.entry.update, "an append stays together"

    async def test_only_one_is_next(self, store: DocumentStore) -> None:
        assert not await store.append_next("notes", [entry("early")], 1, 2)
        assert await store.load("notes") is None
        taken = await asyncio.gather(*(store.append_next("notes", [entry(f"{n}")] * 2, 1, 1) for n in range(10)))
        assert taken.count(True) == 1
        assert await store.append_next("notes", [entry("x")], 1, 3)
        assert not await store.append_next("notes", [entry("late")], 1, 3)
        await store.lease("notes", "node-1", 60.0)
        assert await store.compact("notes", snapshot(3), 1, NOTHING_RAW)
        assert await store.append_next("notes", [entry("y")], 1, 4)
        stored = await store.load("notes")
        assert stored is not None
        assert (stored.head, [logged.entry.update for logged in stored.tail]) == (4, [b"y"])
        await store.delete("notes", 60.0)
        for first in (1, 5):
            with pytest.raises(NotAvailable):
                await store.append_next("notes", [entry("z")], 1, first)

    async def test_names_are_any_text(self, store: DocumentStore) -> None:
        names = ["a/b", "a%2Fb", "A", "a", "é", "日本 😀", "it's", "%", "_"]
        for name in names:
            await store.append(name, [entry(name)], 1)
        for name in names:
            stored = await store.load(name)
            assert stored is not None
            assert stored.tail[0].entry.update == name.encode()

    async def test_a_document_begins_once(self, store: DocumentStore) -> None:
        made = await asyncio.gather(*(store.create("notes", [entry(f"{n}"), entry("seed")], n) for n in range(10)))
        assert len({one.lineage for one in made}) == 1
        assert all(one == made[0] for one in made)
        assert await store.load("notes") == made[0]
        await store.append("notes", [entry("x")], 1)
        assert (await store.create("notes", [entry("late")], 99)).head == 3

    async def test_since_gives_what_came_after(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1"), entry("2"), entry("3")], 1)
        later = await store.since("notes", 1)
        assert later is not None
        assert [logged.seq for logged in later] == [2, 3]
        assert await store.since("notes", 3) == []
        assert await store.since("nothing", 0) is None

    async def test_a_snapshot_takes_the_place_of_the_log(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1"), entry("2"), entry("3")], 1)
        assert await store.compact("notes", snapshot(2), await leased(store, "notes"), EVERYTHING)
        stored = await store.load("notes")
        assert stored is not None
        assert stored.snapshot == snapshot(2)
        assert [logged.seq for logged in stored.tail] == [3]
        assert stored.head == 3
        assert await store.since("notes", 1) is None
        assert await store.since("notes", 2) == stored.tail
        described = await store.described("", "", 10)
        assert [(d.name, d.head, d.snapshot_bytes > 0, d.log_bytes) for d in described] == [("notes", 3, True, 1)]

    async def test_numbers_go_on_after_a_snapshot_of_everything(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1")], 1)
        await store.compact("notes", snapshot(1), await leased(store, "notes"), NOTHING_RAW)
        stored = await store.load("notes")
        assert stored is not None
        assert (stored.tail, stored.head) == ([], 1)
        assert await store.append("notes", [entry("2")], 1) == 2

    async def test_an_older_snapshot_never_replaces_a_newer(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1"), entry("2")], 1)
        fence = await leased(store, "notes")
        assert await store.compact("notes", snapshot(2), fence, EVERYTHING)
        assert not await store.compact("notes", snapshot(1, "stale"), fence, EVERYTHING)
        assert not await store.compact("notes", snapshot(2, "stale"), fence, EVERYTHING)
        stored = await store.load("notes")
        assert stored is not None
        assert stored.snapshot == snapshot(2)

    async def test_an_owner_whose_lease_is_over_is_fenced_off(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1")], 1)
        old = await store.lease("notes", "node-1", -1.0)  # it was stopped, and its lease is over
        assert old is not None
        new = await store.lease("notes", "node-2", 60.0)
        assert new is not None
        assert new.fence > old.fence
        assert not await store.compact("notes", snapshot(1), old.fence, EVERYTHING)
        assert await store.compact("notes", snapshot(1), new.fence, EVERYTHING)

    async def test_one_owner_at_a_time(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1")], 1)
        first = await store.lease("notes", "node-1", 60.0)
        assert await store.lease("notes", "node-2", 60.0) is None
        again = await store.lease("notes", "node-1", 60.0)
        assert first is not None
        assert again is not None
        assert again.fence == first.fence, "renewing fences nobody off"
        assert await store.lease("nothing", "node-1", 60.0) is None

    async def test_the_raw_log_outlives_snapshots_inside_its_window(self, store: DocumentStore) -> None:
        fence = 0
        for number in range(1, 5):
            await store.append("notes", [entry(f"{number}")], 1)
            fence = await leased(store, "notes")
            assert await store.compact("notes", snapshot(number), fence, EVERYTHING)
        base, logged = await store.raw("notes")
        assert base is None
        assert [one.entry.update for one in logged] == [b"1", b"2", b"3", b"4"]
        assert [one.entry.author for one in logged] == ["ann"] * 4

    async def test_the_raw_log_ends_with_its_window(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1")], 1)
        await store.compact("notes", snapshot(1), await leased(store, "notes"), EVERYTHING)
        await store.append("notes", [entry("2")], 1)
        await store.compact("notes", snapshot(2), await leased(store, "notes"), NOTHING_RAW)
        base, logged = await store.raw("notes")
        assert base == snapshot(2)
        assert logged == []

    async def test_the_raw_log_is_bounded_in_bytes(self, store: DocumentStore) -> None:
        for number in range(1, 21):
            await store.append("notes", [entry("x" * 100)], 1)
            window = RawWindow(0.0, 1000)
            await store.compact("notes", snapshot(number, "s" * 10), await leased(store, "notes"), window)
        _, logged = await store.raw("notes")
        assert 1 <= len(logged) <= 10
        assert logged[-1].seq == 20

    async def test_another_history_takes_the_place_of_everything(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1"), entry("2")], 1)
        fence = await leased(store, "notes")
        assert not await store.replace("notes", snapshot(2, "new"), 2, fence), "a number is used once"
        assert not await store.replace("notes", snapshot(3, "new"), 2, fence - 1)
        assert await store.replace("notes", snapshot(3, "new"), 2, fence)
        stored = await store.load("notes")
        assert stored is not None
        assert (stored.lineage, stored.snapshot, stored.tail) == (2, snapshot(3, "new"), [])
        assert await store.append("notes", [entry("4")], 1) == 4

    async def test_a_deleted_document_is_gone_and_stays_away(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1")], 1)
        await store.rescue("notes", b"old", "ann", 1.0, count_max=9, max_bytes=99)
        assert await store.delete("notes", 60.0)
        with pytest.raises(NotAvailable):
            await store.load("notes")
        with pytest.raises(NotAvailable):
            await store.append("notes", [entry("2")], 1)
        assert await store.described("", "", 10) == []
        assert await store.rescues("notes") == []

    async def test_a_name_comes_back_after_its_time(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1")], 1)
        assert await store.delete("notes", -1.0)
        assert await store.load("notes") is None
        assert not await store.delete("notes", 60.0)
        assert await store.append("notes", [entry("new")], 2) == 1
        stored = await store.load("notes")
        assert stored is not None
        assert (stored.lineage, [one.entry.update for one in stored.tail]) == (2, [b"new"])

    async def test_one_refusal_costs_nothing_else_of_its_commit(self, store: DocumentStore) -> None:
        await store.append("gone", [entry("1")], 1)
        await store.delete("gone", 60.0)
        good, bad, other = await asyncio.gather(
            store.append("a", [entry("1")], 1),
            store.append("gone", [entry("2")], 1),
            store.append("b", [entry("1")], 1),
            return_exceptions=True,
        )
        assert (good, other) == (1, 1)
        assert isinstance(bad, NotAvailable)

    async def test_documents_are_listed_by_name_in_pages(self, store: DocumentStore) -> None:
        for name in ("b", "a", "c/1", "c/2", "c_1"):
            await store.append(name, [entry(name)], 1)
        assert [d.name for d in await store.described("", "", 2)] == ["a", "b"]
        assert [d.name for d in await store.described("", "b", 2)] == ["c/1", "c/2"]
        assert [d.name for d in await store.described("c/", "", 10)] == ["c/1", "c/2"]

    async def test_rescues_are_kept_in_order(self, store: DocumentStore) -> None:
        first = await store.rescue("notes", b"one", "ann", 1.0, count_max=9, max_bytes=99)
        second = await store.rescue("notes", b"two", "", 2.0, count_max=9, max_bytes=99)
        await store.rescue("other", b"three", "", 3.0, count_max=9, max_bytes=99)
        kept = await store.rescues("notes")
        assert [(r.id, r.update, r.author, r.at) for r in kept] == [
            (first, b"one", "ann", 1.0),
            (second, b"two", "", 2.0),
        ]

    async def test_rescues_are_bounded_for_each_document(self, store: DocumentStore) -> None:
        first = await store.rescue("notes", b"one", "ann", 1.0, count_max=2, max_bytes=7)
        assert await store.rescue("notes", b"eight888", "ann", 2.0, count_max=2, max_bytes=7) is None
        assert await store.rescue("notes", b"five5", "ann", 2.0, count_max=2, max_bytes=7) is None
        assert await store.rescue("notes", b"four", "ann", 2.0, count_max=2, max_bytes=7) is not None
        assert await store.rescue("notes", b"", "ann", 3.0, count_max=2, max_bytes=7) is None
        assert await store.rescue("notes", b"one", "ann", 4.0, count_max=2, max_bytes=7) == first
        assert await store.rescue("other", b"one", "ann", 4.0, count_max=2, max_bytes=7) is not None
        assert [one.update for one in await store.rescues("notes")] == [b"one", b"four"]

    async def test_what_the_engine_refuses_is_loaded_no_more(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1"), entry("bad"), entry("3")], 1)
        await store.quarantine("notes", [2], "it is bad")
        stored = await store.load("notes")
        assert stored is not None
        assert [one.seq for one in stored.tail] == [1, 3]
        _, raw = await store.raw("notes")
        assert [one.seq for one in raw] == [1, 2, 3], "it may be good once another one is cut out"
        assert await store.append("notes", [entry("4")], 1) == 4


class DurableStoreContract(StoreContract):
    """For stores that outlive their process."""

    async def reopened(self, store: DocumentStore) -> DocumentStore:
        """A store on the same data, as another process would open it; `store` is used no more."""
        raise NotImplementedError

    async def test_everything_is_there_when_it_is_opened_again(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1"), entry("2")], 9)
        await store.compact("notes", snapshot(1), await leased(store, "notes"), EVERYTHING)
        id = store.id
        again = await self.reopened(store)
        stored = await again.load("notes")
        assert stored is not None
        assert (stored.lineage, stored.snapshot, stored.head) == (9, snapshot(1), 2)
        assert again.id == id

    async def test_what_cannot_be_stored_costs_only_its_own_writer(self, store: DocumentStore) -> None:
        await store.append("notes", [entry("1")], 1)
        unstorable = Entry(b"2", "half a character: \ud800", 1.0)
        names = [f"notes-{number}" for number in range(20)]
        refused, *firsts = await asyncio.gather(
            store.append("notes", [unstorable], 1),
            *(store.append(name, [entry("1")], 1) for name in names),
            *(store.append(name, [entry("2")], 1) for name in names),
            return_exceptions=True,
        )
        assert isinstance(refused, InternalError)
        assert Counter(firsts) == {1: 20, 2: 20}
        assert await store.append("notes", [entry("2")], 1) == 2
