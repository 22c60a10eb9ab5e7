from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from roomful.model.errors import ConfigError, InternalError
from roomful.seams.store import DocumentStore, Entry
from roomful.stores.sqlite import SqliteStore
from roomful.testing.store_contract import EVERYTHING, DurableStoreContract, entry, leased, snapshot


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "data" / "roomful.db")
    yield store
    await store.stop()


class TestSqliteStore(DurableStoreContract):
    async def reopened(self, store: DocumentStore) -> DocumentStore:
        await store.stop()
        return store


async def test_no_file_is_made_before_it_is_needed(store: SqliteStore) -> None:
    await store.start()
    assert not store.path.exists()
    await store.load("notes")
    assert store.path.exists()


async def test_two_processes_share_the_file(store: SqliteStore) -> None:
    other = SqliteStore(store.path)
    await asyncio.gather(*(each.append("notes", [entry("x")], 1) for each in (store, other) * 20))
    stored = await other.load("notes")
    assert stored is not None
    assert [logged.seq for logged in stored.tail] == list(range(1, 41))
    assert store.id == other.id
    await other.stop()


async def test_every_commit_is_synced_to_disk(store: SqliteStore) -> None:
    await store.load("notes")
    for connection in store._connections:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_what_is_appended_meanwhile_shares_a_commit(store: SqliteStore) -> None:
    await store.append("notes", [entry("first")], 1)
    commits = []
    store._connections[0].set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    await asyncio.gather(*(store.append(f"notes-{n % 50}", [entry("x")], 1) for n in range(1000)))
    assert len(commits) < 50


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file" / "roomful.db")
    with pytest.raises(ConfigError, match="can't open"):
        await store.load("notes")
    await store.stop()


async def test_a_disk_that_fails_while_it_is_opened_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore(tmp_path / "roomful.db")
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "_prepare", failing)
        for _ in range(2):
            with pytest.raises(InternalError, match="can't be opened"):
                await store.load("notes")
    assert store._connections == []
    assert [record.msg for record in caplog.records] == ["%s can't be opened: %s"] * 2
    assert await store.append("notes", [entry("1")], 1) == 1
    await store.stop()


def failing(_store: SqliteStore, _db: sqlite3.Connection) -> str:
    raise sqlite3.OperationalError("disk I/O error")


async def test_a_file_that_is_no_database_is_never_taken_for_empty(tmp_path: Path) -> None:
    path = tmp_path / "roomful.db"
    path.write_bytes(b"this is no database" * 1000)
    store = SqliteStore(path)
    with pytest.raises(ConfigError):
        await store.load("notes")
    assert path.read_bytes().startswith(b"this is no")
    await store.stop()


async def test_a_failing_disk_fails_the_append_and_nothing_is_lost(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.append("notes", [entry("1")], 1)
    writer = store._connections[0]
    writer.execute("PRAGMA max_page_count = 1")
    with pytest.raises(InternalError):
        await store.append("notes", [entry("x" * 1_000_000)], 1)
    assert [record.msg for record in caplog.records] == ["SQLite: %s"]
    writer.execute("PRAGMA max_page_count = 1000000")
    assert await store.append("notes", [entry("2")], 1) == 2


async def test_what_sqlite_is_never_given_fails_alone(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    await store.append("notes", [entry("1")], 1)
    with pytest.raises(InternalError, match="the document store failed"):
        await store.append("notes", [Entry(b"2", "half a character: \ud800", 0.0)], 1)
    assert [record.msg for record in caplog.records] == ["writing documents to %s failed"]
    assert await store.append("notes", [entry("2")], 1) == 2


@pytest.mark.parametrize("author", ["ann", "half a character: \ud800"])
async def test_what_fails_costs_nothing_else_of_its_commit(
    store: SqliteStore, author: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite takes everything back when the disk is full, and only the statement when it can't encode a text."""
    for name in ("a", "b", "notes"):
        await store.append(name, [entry("1")], 1)
    writer = store._connections[0]
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        waiting = asyncio.gather(
            store.append("a", [entry("2")], 1),  # the writing thread waits with it, and the others for the next commit
            store.append("a", [entry("3")], 1),
            store.append("notes", [Entry(b"2" * 1_000_000, author, 1.0)], 1),
            store.append("b", [entry("2")], 1),
            return_exceptions=True,
        )
        await asyncio.sleep(0)
    *firsts, last = [each if isinstance(each, int) else str(each) for each in await waiting]
    assert (firsts, last) == ([2, 3, "the document store failed"], 2)
    assert [record.msg for record in caplog.records] == [
        "SQLite: %s" if author == "ann" else "writing documents to %s failed"
    ]


async def test_a_write_that_outlives_its_event_loop_is_kept_and_told(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.load("notes")
    lock = sqlite3.connect(store.path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")  # the writing thread waits for it

    async def begin() -> None:
        task = asyncio.get_running_loop().create_task(store.append("notes", [entry("1")], 1))
        await asyncio.sleep(0)  # now it is handed over, and the loop ends
        assert not task.done()

    await asyncio.to_thread(asyncio.run, begin())
    lock.close()
    await store.stop()
    assert [record.msg for record in caplog.records] == ["%d writes were finished after their event loop had ended"]
    stored = await store.load("notes")
    assert stored is not None
    assert [logged.entry.update for logged in stored.tail] == [b"1"]


async def test_snapshots_inside_the_window_stay_few(store: SqliteStore) -> None:
    for number in range(1, 60):
        await store.append("notes", [entry(f"{number}")], 1)
        await store.compact("notes", snapshot(number), await leased(store, "notes"), EVERYTHING)
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT count(*) FROM snapshots").fetchone()[0] <= 12
    assert len((await store.raw("notes"))[1]) == 59
