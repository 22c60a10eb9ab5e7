from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import asyncpg
import pytest

from roomful.model.errors import ConfigError, InternalError
from roomful.node import eager
from roomful.seams.store import DocumentStore, Entry
from roomful.stores.postgres import PostgresStore
from roomful.testing.store_contract import EVERYTHING, DurableStoreContract, entry, leased, snapshot
from tests.stores.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def server(component: Callable[[str], str]) -> Iterator[PostgresServer]:
    server = PostgresServer(component("postgres"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def store(server: PostgresServer) -> AsyncIterator[PostgresStore]:
    """On an empty database."""
    db = await asyncpg.connect(server.url)
    await db.execute("DROP SCHEMA IF EXISTS roomful CASCADE")
    await db.close()
    store = PostgresStore(server.url)
    await store.start()
    yield store
    await store.stop()


class TestPostgresStore(DurableStoreContract):
    async def reopened(self, store: DocumentStore) -> DocumentStore:
        await store.stop()
        await store.start()
        return store


async def test_nodes_that_start_at_once_make_one_database(server: PostgresServer, store: PostgresStore) -> None:
    db = await asyncpg.connect(server.url)
    await db.execute("DROP SCHEMA roomful CASCADE")
    await db.close()
    others = [PostgresStore(server.url) for _ in range(5)]
    await asyncio.gather(*(other.start() for other in others))
    assert len({other.id for other in others}) == 1
    await asyncio.gather(*(other.stop() for other in others))


async def test_what_is_appended_meanwhile_shares_a_commit(store: PostgresStore) -> None:
    """More than a commit for each would take; with one each, 100 documents had 490 edits/s, now 4,500."""
    names = [f"notes-{number}" for number in range(50)]
    await asyncio.gather(*(store.append(name, [entry("first")], 1) for name in names))
    await asyncio.gather(*(store.append(name, [entry("x"), entry("y")], 1) for name in names * 20))
    db = await asyncpg.connect(store._url)
    try:
        commits = await db.fetchval("SELECT count(DISTINCT xmin::text) FROM roomful.entries WHERE seq > 1")
        assert commits < 20
    finally:
        await db.close()
    for name in names:
        stored = await store.load(name)
        assert stored is not None
        assert [logged.seq for logged in stored.tail] == list(range(1, 42))


async def test_what_one_document_fails_with_costs_the_others_nothing(store: PostgresStore) -> None:
    for name in ("a", "b"):
        await store.append(name, [entry("1")], 1)
    bad = Entry(b"2", "an author\0 that PostgreSQL can't store", 0.0)
    good, refused, other = await asyncio.gather(
        store.append("a", [entry("2")], 1),
        store.append("b", [bad], 1),
        store.append("a", [entry("3")], 1),
        return_exceptions=True,
    )
    assert {good, other} == {2, 3}
    assert isinstance(refused, InternalError)


async def test_nodes_that_append_to_the_same_documents_do_not_wait_for_each_other(
    server: PostgresServer, store: PostgresStore
) -> None:
    other = PostgresStore(server.url)
    await other.start()
    names = [f"notes-{number}" for number in range(30)]
    orders = [(store, names), (other, names[::-1])] * 10
    await asyncio.gather(*(each.append(name, [entry("x")], 1) for each, order in orders for name in order))
    assert set((await store.heads(names)).values()) == {20}
    await other.stop()


async def test_many_nodes_append_without_a_gap(server: PostgresServer, store: PostgresStore) -> None:
    other = PostgresStore(server.url)
    await other.start()
    await asyncio.gather(*(each.append("notes", [entry("x")], 1) for each in (store, other) * 50))
    stored = await store.load("notes")
    assert stored is not None
    assert [logged.seq for logged in stored.tail] == list(range(1, 101))
    await other.stop()


async def test_what_was_appended_outlives_a_crash_and_the_pool_comes_back(
    server: PostgresServer, store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.append("notes", [entry("1")], 1)
    server.kill()
    with pytest.raises(InternalError):
        await store.append("notes", [entry("2")], 1)
    with pytest.raises(InternalError):
        await store.load("notes")
    assert "PostgreSQL: %s %s" in {record.msg for record in caplog.records}
    server.start()
    async with asyncio.timeout(20):
        while True:
            try:
                stored = await store.load("notes")
                break
            except InternalError:
                await asyncio.sleep(0.05)
    assert stored is not None
    assert [logged.entry.update for logged in stored.tail] == [b"1"]
    assert await store.append("notes", [entry("2")], 1) == 2


@pytest.mark.parametrize("together", [1, 2])
async def test_what_goes_wrong_before_postgresql_is_asked_fails_and_is_told(
    server: PostgresServer, together: int, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> float:
        raise OverflowError("no such time")

    store = PostgresStore(server.url, clock=broken)
    await store.start()
    appends = (store.append("notes", [entry("1")], 1) for _ in range(together))
    refused = await asyncio.gather(*appends, return_exceptions=True)
    await store.stop()
    assert [str(each) for each in refused] == ["the document store failed"] * together
    assert "writing documents failed" in {record.msg for record in caplog.records}


async def test_a_caller_without_a_task_of_its_own_is_served(store: PostgresStore) -> None:
    firsts: list[int] = []

    async def append() -> None:
        firsts.append(await store.append("notes", [entry("1")], 1))

    task = eager.start(append())
    assert task is not None
    await task
    assert firsts == [1]


async def test_a_server_that_is_not_there_is_told_at_the_start() -> None:
    with pytest.raises(ConfigError, match="can't use the database"):
        await PostgresStore("postgresql://nobody@127.0.0.1:1/nothing").start()


async def test_snapshots_inside_the_window_stay_few(server: PostgresServer, store: PostgresStore) -> None:
    for number in range(1, 40):
        await store.append("notes", [entry(f"{number}")], 1)
        await store.compact("notes", snapshot(number), await leased(store, "notes"), EVERYTHING)
    db = await asyncpg.connect(server.url)
    assert await db.fetchval("SELECT count(*) FROM roomful.snapshots") <= 12
    await db.close()
    assert len((await store.raw("notes"))[1]) == 39
