"""Documents in PostgreSQL, for several machines. One statement appends what many documents have at that moment, in one
commit; the row of each document numbers its entries.

Numbers come from the locked row and not from a sequence, because a sequence isn't commit order: whoever has seen entry
6 would never look for a 5 that was committed later. Source: Yjs protocols, section 12.7.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from roomful.model.errors import ConfigError, InternalError, NotAvailable, RoomfulError
from roomful.seams.store import Described, Entry, Lease, Logged, RawWindow, Rescue, Snapshot, Stored

log = logging.getLogger("roomful.stores")

POOL_MAX = 8
"""Connections; a document uses one at a time, and the server commits those that come together in one go."""

DEADLINE_S = 10.0
"""A statement that takes longer fails."""

WRITERS = 2
"""Commits of appended entries under way: while one waits for the disk, the next is filled."""

ALONE_MAX = 4
"""Documents that are made at the same time: the other connections are for those that read and for the commits."""

BATCH_MAX = 500
"""Appends that share a commit."""

CUT_POINTS = 8
"""Snapshots that are kept inside the raw window, at which it can be shortened."""

VERSION = "1"

_LOCK = 0x526F6F6D66756C  # any number that only we take, while the tables are made

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS roomful;
CREATE TABLE IF NOT EXISTS roomful.meta (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS roomful.documents (
    id bigserial PRIMARY KEY,
    name text NOT NULL UNIQUE,
    lineage bigint NOT NULL,
    head bigint NOT NULL DEFAULT 0,
    upto bigint NOT NULL DEFAULT 0,
    snapshot_bytes bigint NOT NULL DEFAULT 0,
    log_bytes bigint NOT NULL DEFAULT 0,
    changed_at double precision NOT NULL,
    deleted_until double precision,
    lease_owner text NOT NULL DEFAULT '',
    lease_fence bigint NOT NULL DEFAULT 0,
    lease_until double precision NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS roomful.entries (
    document bigint NOT NULL,
    seq bigint NOT NULL,
    bytes bytea NOT NULL,
    author text NOT NULL,
    at double precision NOT NULL,
    refused text,
    PRIMARY KEY (document, seq)
);
CREATE TABLE IF NOT EXISTS roomful.snapshots (
    document bigint NOT NULL,
    upto bigint NOT NULL,
    at double precision NOT NULL,
    state_vector bytea NOT NULL,
    deletions bytea NOT NULL,
    parked bytea NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (document, upto)
);
CREATE TABLE IF NOT EXISTS roomful.rescues (
    id bigserial PRIMARY KEY,
    name text NOT NULL,
    bytes bytea NOT NULL,
    author text NOT NULL,
    at double precision NOT NULL
);
CREATE INDEX IF NOT EXISTS rescues_by_name ON roomful.rescues (name, id);
"""

_APPEND = """
WITH numbered AS (
    UPDATE roomful.documents SET head = head + $2, log_bytes = log_bytes + $3, changed_at = $4
    WHERE name = $1 AND deleted_until IS NULL RETURNING id, head
), added AS (
    INSERT INTO roomful.entries (document, seq, bytes, author, at)
    SELECT id, head - $2 + place, update, author, at
    FROM numbered, unnest($5::bytea[], $6::text[], $7::float8[]) WITH ORDINALITY AS given (update, author, at, place)
)
SELECT head - $2 + 1 FROM numbered
"""

_APPEND_ALL = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS given (name, number, size)
), locked AS (
    SELECT id FROM roomful.documents WHERE name = ANY($1::text[]) AND deleted_until IS NULL ORDER BY id FOR UPDATE
), numbered AS (
    UPDATE roomful.documents d SET head = head + number, log_bytes = log_bytes + size, changed_at = $4
    FROM given, locked WHERE d.id = locked.id AND d.name = given.name RETURNING d.id, d.name, d.head - number AS before
), added AS (
    INSERT INTO roomful.entries (document, seq, bytes, author, at)
    SELECT id, before + place, update, author, at
    FROM unnest($5::text[], $6::bigint[], $7::bytea[], $8::text[], $9::float8[]) AS g (name, place, update, author, at)
    JOIN numbered USING (name)
)
SELECT name, before + 1 FROM numbered
"""  # the rows are locked in one order, or two nodes that append to the same documents could wait for each other

_OF_ONE = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.TransactionRollbackError)
"""Errors that one document of a commit may have brought about: they are tried again each by itself."""

_Connection = Any  # what a pool hands out; asyncpg's stubs know it under several names


class PostgresStore:
    """A `DocumentStore` in a PostgreSQL database. url: `postgresql://…`. clock: seconds since 1970."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._clock = clock
        self._id = ""
        self._pool: Any = None
        self._waiting: list[_Append] = []
        self._writers = 0
        self._alone = asyncio.Semaphore(ALONE_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def id(self) -> str:
        return self._id

    async def start(self) -> None:
        if self._pool is not None:
            return
        try:
            self._pool = await asyncpg.create_pool(
                self._url, min_size=1, max_size=POOL_MAX, command_timeout=DEADLINE_S, timeout=DEADLINE_S
            )
            async with self._pool.acquire() as db, db.transaction():
                await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)  # two nodes may start at once
                await db.execute(SCHEMA)
                new = [("store_id", str(uuid.uuid4())), ("version", VERSION)]
                await db.executemany("INSERT INTO roomful.meta VALUES ($1, $2) ON CONFLICT DO NOTHING", new)
                meta = {row["key"]: row["value"] for row in await db.fetch("SELECT key, value FROM roomful.meta")}
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError, TimeoutError) as failure:
            await self.stop()
            raise ConfigError(f"documents.store: can't use the database: {failure}") from failure
        if meta["version"] != VERSION:
            await self.stop()
            raise ConfigError("documents.store: the database was written by another version of Roomful")
        self._id = meta["store_id"]

    async def stop(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), DEADLINE_S)
        except TimeoutError:
            pool.terminate()

    # Reading

    async def load(self, name: str) -> Stored | None:
        async with self._reading() as db:
            return await self._load(db, name)

    async def since(self, name: str, seq: int) -> list[Logged] | None:
        async with self._reading() as db:
            found = await self._find(db, name)
            if found is None or seq < found["upto"]:
                return None
            return await _entries(db, found["id"], seq)

    async def heads(self, names: Sequence[str]) -> dict[str, int]:
        sql = "SELECT name, head FROM roomful.documents WHERE deleted_until IS NULL AND name = ANY($1::text[])"
        async with self._reading() as db:
            return {row["name"]: row["head"] for row in await db.fetch(sql, list(names))}

    async def raw(self, name: str) -> tuple[Snapshot | None, list[Logged]]:
        async with self._reading() as db:
            found = await self._find(db, name)
            if found is None:
                return None, []
            id = found["id"]
            if await db.fetchval("SELECT 1 FROM roomful.entries WHERE document = $1 AND seq = 1", id):
                return None, await _entries(db, id, 0, refused=True)
            base = await _snapshot(db, "document = $1 ORDER BY upto LIMIT 1", id)
            return base, await _entries(db, id, base.upto if base else 0, refused=True)

    async def described(self, prefix: str, after: str, limit: int) -> list[Described]:
        sql = (
            "SELECT name, head, snapshot_bytes, log_bytes, changed_at FROM roomful.documents "
            'WHERE deleted_until IS NULL AND name COLLATE "C" > $1 AND left(name, $2) = $3 '
            'ORDER BY name COLLATE "C" LIMIT $4'
        )
        async with self._reading() as db:
            return [Described(*row) for row in await db.fetch(sql, after, len(prefix), prefix, limit)]

    async def rescues(self, name: str) -> list[Rescue]:
        sql = "SELECT id, bytes, author, at FROM roomful.rescues WHERE name = $1 ORDER BY id"
        async with self._reading() as db:
            return [Rescue(*row) for row in await db.fetch(sql, name)]

    # Writing

    async def append(self, name: str, entries: Sequence[Entry], lineage: int) -> int:
        append = _Append(name, entries, lineage, asyncio.get_running_loop().create_future())
        self._waiting.append(append)
        if self._writers < WRITERS:
            self._writers += 1
            self._start(self._write())
        return await append.first

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self) -> None:
        """Commit after commit, until nothing waits."""
        try:
            await self._write_on()
        finally:
            self._writers -= 1

    async def _write_on(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            try:
                await self._append_all(batch)
            except Exception as failure:
                if not isinstance(failure, InternalError):
                    log.exception("writing documents failed")
                    failure = InternalError("the document store failed")
                for append in batch:
                    append.failed(failure)

    async def _append_all(self, batch: list[_Append]) -> None:
        """Each of the batch gets its number or its own error. Raises InternalError."""
        by_name: dict[str, list[_Append]] = {}
        for append in batch:
            by_name.setdefault(append.name, []).append(append)
        firsts: dict[str, int] = {}
        if len(batch) > 1:
            try:
                firsts = await self._append_known(by_name)
            except InternalError as failure:
                if not isinstance(failure.__cause__, _OF_ONE):
                    raise
        for name, appends in by_name.items():
            if name in firsts:
                first = firsts[name]
                for append in appends:
                    append.done(first)
                    first += len(append.entries)
        for append in batch:
            if append.name not in firsts:
                self._start(self._append_alone(append))  # the next commit doesn't wait for documents that are made

    async def _append_known(self, by_name: dict[str, list[_Append]]) -> dict[str, int]:
        """Document → the number of its first entry, of those that there are."""
        entries = {name: [entry for append in appends for entry in append.entries] for name, appends in by_name.items()}
        sizes = [sum(len(entry.update) for entry in each) for each in entries.values()]
        rows = [
            (name, place, *entry) for name, each in entries.items() for place, entry in enumerate(map(_row, each), 1)
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        async with self._database() as db:
            numbers = [len(each) for each in entries.values()]
            return dict(await db.fetch(_APPEND_ALL, list(entries), numbers, sizes, self._clock(), *columns))

    async def _append_alone(self, append: _Append) -> None:
        try:
            async with self._alone:
                append.done(await self._append_one(append.name, append.entries, append.lineage))
        except RoomfulError as error:
            append.failed(error)
        except Exception:
            log.exception("writing documents failed")
            append.failed(InternalError("the document store failed"))

    async def _append_one(self, name: str, entries: Sequence[Entry], lineage: int) -> int:
        async with self._database() as db:
            first = await self._append(db, name, entries)
            if first is not None:
                return first
            async with db.transaction():
                await self._make(db, name, lineage)
                first = await self._append(db, name, entries)
            if first is None:
                raise InternalError("the document vanished while it was made")
            return first

    async def append_next(self, name: str, entries: Sequence[Entry], lineage: int, first: int) -> bool:
        async with self._database() as db, db.transaction():
            if first == 1:
                await self._make(db, name, lineage)
            found = await self._find(db, name, lock=True)  # nobody adds anything between the look and the entries
            sql = "SELECT head FROM roomful.documents WHERE id = $1"
            if found is None or first != await db.fetchval(sql, found["id"]) + 1:
                return False
            await self._append(db, name, entries)
            return True

    async def create(self, name: str, entries: Sequence[Entry], lineage: int) -> Stored:
        async with self._database() as db, db.transaction():
            await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCK & 0x7FFFFFFF, name)
            stored = await self._load(db, name)
            if stored is None:
                await self._make(db, name, lineage)
                await self._append(db, name, entries)
                stored = await self._load(db, name)
            assert stored is not None
            return stored

    async def compact(self, name: str, snapshot: Snapshot, fence: int, keep: RawWindow) -> bool:
        async with self._database() as db, db.transaction():
            id = await _owned(db, name, fence, "upto < $3", snapshot.upto)
            if id is None:
                return False
            await _insert(db, id, snapshot, self._clock())
            await _trim(db, id, keep)
            return True

    async def replace(self, name: str, snapshot: Snapshot, lineage: int, fence: int) -> bool:
        async with self._database() as db, db.transaction():
            id = await _owned(db, name, fence, "head + 1 = $3", snapshot.upto)
            if id is None:
                return False
            await db.execute("DELETE FROM roomful.entries WHERE document = $1", id)
            await db.execute("DELETE FROM roomful.snapshots WHERE document = $1", id)
            sql = "UPDATE roomful.documents SET lineage = $2, head = $3 WHERE id = $1"
            await db.execute(sql, id, lineage, snapshot.upto)
            await _insert(db, id, snapshot, self._clock())
            return True

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        now = self._clock()
        sql = (
            "UPDATE roomful.documents SET lease_fence = lease_fence "
            "+ (CASE WHEN lease_owner <> $2 OR lease_until <= $3 THEN 1 ELSE 0 END), "
            "lease_owner = $2, lease_until = $4 WHERE name = $1 AND deleted_until IS NULL "
            "AND (lease_owner = $2 OR lease_until <= $3) RETURNING lease_fence"
        )
        async with self._database() as db:
            fence = await db.fetchval(sql, name, owner, now, now + ttl_s)
        return None if fence is None else Lease(fence, now + ttl_s)

    async def delete(self, name: str, keep_out_s: float) -> bool:
        async with self._database() as db, db.transaction():
            found = await self._find(db, name, lock=True)
            if found is None:
                return False
            await db.execute("DELETE FROM roomful.entries WHERE document = $1", found["id"])
            await db.execute("DELETE FROM roomful.snapshots WHERE document = $1", found["id"])
            await db.execute("DELETE FROM roomful.rescues WHERE name = $1", name)
            until = self._clock() + keep_out_s
            await db.execute("UPDATE roomful.documents SET deleted_until = $2 WHERE id = $1", found["id"], until)
            return True

    async def rescue(
        self, name: str, update: bytes, author: str, at: float, *, count_max: int, max_bytes: int
    ) -> int | None:
        async with self._database() as db, db.transaction():
            await self._find(db, name, lock=True)  # who comes meanwhile counts this one, too
            sql = "SELECT id FROM roomful.rescues WHERE name = $1 AND author = $2 AND bytes = $3"
            found = await db.fetchval(sql, name, author, update)
            if found is not None:
                return int(found)
            sql = "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM roomful.rescues WHERE name = $1"
            count, size = await db.fetchrow(sql, name)
            if count >= count_max or size + len(update) > max_bytes:
                return None
            sql = "INSERT INTO roomful.rescues (name, bytes, author, at) VALUES ($1, $2, $3, $4) RETURNING id"
            return int(await db.fetchval(sql, name, update, author, at))

    async def quarantine(self, name: str, seqs: Sequence[int], error: str) -> None:
        sql = "UPDATE roomful.entries SET refused = $3 WHERE document = $1 AND seq = ANY($2::bigint[])"
        async with self._database() as db:
            found = await self._find(db, name)
            if found is not None:
                await db.execute(sql, found["id"], list(seqs), error)

    # Inside

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[_Connection]:
        """A connection; its errors as ours, their text for the log only."""
        if self._pool is None:
            raise InternalError("the document store is closed")
        if asyncio.current_task() is None:
            await asyncio.sleep(
                0
            )  # asyncpg's timeouts need a task, and a coroutine of ours may be stepped before it has one
        try:
            async with self._pool.acquire(timeout=DEADLINE_S) as db:
                yield db
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as failure:
            log.error("PostgreSQL: %s %s", type(failure).__name__, failure)
            raise InternalError("the document store failed") from failure

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[_Connection]:
        """A connection that sees one state of the database."""
        async with self._database() as db, db.transaction(isolation="repeatable_read", readonly=True):
            yield db

    async def _find(self, db: _Connection, name: str, *, lock: bool = False) -> Any:
        """Id, lineage and the end of its newest snapshot. Raises NotAvailable for a deleted document."""
        sql = "SELECT id, lineage, upto, deleted_until FROM roomful.documents WHERE name = $1"
        row = await db.fetchrow(sql + (" FOR UPDATE" if lock else ""), name)
        if row is None or row["deleted_until"] is None:
            return row
        if row["deleted_until"] > self._clock():
            raise NotAvailable("the document was deleted")
        return None

    async def _load(self, db: _Connection, name: str) -> Stored | None:
        found = await self._find(db, name)
        if found is None:
            return None
        upto = found["upto"]
        snapshot = await _snapshot(db, "document = $1 AND upto = $2", found["id"], upto) if upto else None
        return Stored(found["lineage"], snapshot, await _entries(db, found["id"], upto))

    async def _append(self, db: _Connection, name: str, entries: Sequence[Entry]) -> int | None:
        """The number of the first; None where there is no such document."""
        size = sum(len(entry.update) for entry in entries)
        columns = ([e.update for e in entries], [e.author for e in entries], [e.at for e in entries])
        first: int | None = await db.fetchval(_APPEND, name, len(entries), size, self._clock(), *columns)
        return first

    async def _make(self, db: _Connection, name: str, lineage: int) -> None:
        """A document without entries, unless another node has just made it. Raises NotAvailable for a deleted one."""
        if await self._find(db, name, lock=True) is None:
            await db.execute("DELETE FROM roomful.documents WHERE name = $1 AND deleted_until IS NOT NULL", name)
            sql = "INSERT INTO roomful.documents (name, lineage, changed_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
            await db.execute(sql, name, lineage, self._clock())


class _Append:
    """Entries of one document, and who waits for the number of the first."""

    __slots__ = ("entries", "first", "lineage", "name")

    def __init__(self, name: str, entries: Sequence[Entry], lineage: int, first: asyncio.Future[int]) -> None:
        self.name = name
        self.entries = entries
        self.lineage = lineage
        self.first = first

    def done(self, number: int) -> None:
        if not self.first.done():
            self.first.set_result(number)

    def failed(self, error: Exception) -> None:
        if not self.first.done():
            self.first.set_exception(error)


def _row(entry: Entry) -> tuple[bytes, str, float]:
    return entry.update, entry.author, entry.at


async def _entries(db: _Connection, id: int, after: int, *, refused: bool = False) -> list[Logged]:
    which = "" if refused else "AND refused IS NULL"
    sql = f"SELECT seq, bytes, author, at FROM roomful.entries WHERE document = $1 AND seq > $2 {which} ORDER BY seq"
    return [Logged(seq, Entry(update, author, at)) for seq, update, author, at in await db.fetch(sql, id, after)]


async def _snapshot(db: _Connection, which: str, *values: int) -> Snapshot | None:
    sql = f"SELECT upto, bytes, state_vector, deletions, parked FROM roomful.snapshots WHERE {which}"
    row = await db.fetchrow(sql, *values)
    return None if row is None else Snapshot(*row)


async def _owned(db: _Connection, name: str, fence: int, condition: str, value: int) -> int | None:
    """The document's id, locked, if the fence is still the newest and the condition holds."""
    sql = "SELECT id FROM roomful.documents WHERE name = $1 AND deleted_until IS NULL AND lease_fence = $2 AND "
    id: int | None = await db.fetchval(f"{sql}{condition} FOR UPDATE", name, fence, value)
    return id


async def _insert(db: _Connection, id: int, snapshot: Snapshot, now: float) -> None:
    sql = (
        "INSERT INTO roomful.snapshots (document, upto, at, bytes, state_vector, deletions, parked) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)"
    )
    parts = (snapshot.update, snapshot.state_vector, snapshot.deletions, snapshot.parked)
    await db.execute(sql, id, snapshot.upto, now, *parts)
    sql = (
        "UPDATE roomful.documents SET upto = $2, snapshot_bytes = $3, log_bytes = (SELECT coalesce(sum(length(bytes)), "
        "0) FROM roomful.entries WHERE document = $1 AND seq > $2 AND refused IS NULL) WHERE id = $1"
    )
    await db.execute(sql, id, snapshot.upto, len(snapshot.update) + len(snapshot.parked))


async def _trim(db: _Connection, id: int, keep: RawWindow) -> None:
    """Drops what lies before the raw window, and more snapshots inside it than are needed to shorten it.

    The window begins at a snapshot (or at the empty document), else its entries would lean on nothing.
    """
    sql = "SELECT upto, at, length(bytes) FROM roomful.snapshots WHERE document = $1 ORDER BY upto"
    points = [tuple(row) for row in await db.fetch(sql, id)]
    if await db.fetchval("SELECT 1 FROM roomful.entries WHERE document = $1 AND seq = 1", id):
        points.insert(0, (0, 0.0, 0))
    start, held = points[-1][0], 0
    for (upto, _, size), (following, at, _) in zip(points[-2::-1], points[:0:-1], strict=True):
        sql = (
            "SELECT coalesce(sum(length(bytes)), 0)::bigint FROM roomful.entries "
            "WHERE document = $1 AND seq > $2 AND seq <= $3"
        )
        held += size + await db.fetchval(sql, id, upto, following)
        if at < keep.since or held > keep.bytes:
            break
        start = upto
    await db.execute("DELETE FROM roomful.snapshots WHERE document = $1 AND upto < $2", id, start)
    await db.execute("DELETE FROM roomful.entries WHERE document = $1 AND seq <= $2", id, start)
    inside = [upto for upto, _, _ in points if start < upto < points[-1][0]]
    if len(inside) > CUT_POINTS:
        sql = "DELETE FROM roomful.snapshots WHERE document = $1 AND upto = ANY($2::bigint[])"
        await db.execute(sql, id, inside[::2])
