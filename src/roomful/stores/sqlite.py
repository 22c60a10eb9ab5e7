"""Documents in an SQLite file: WAL, every commit on disk before it is reported, one thread that writes.

Everything that the documents of the process append while one commit is under way goes into the next: with WAL and
synchronous FULL a commit of one row costs 0.28 ms, of a hundred rows 0.48 ms. Processes of one host may share the file.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from roomful.model.errors import ConfigError, InternalError, NotAvailable, RoomfulError
from roomful.seams.store import Described, Entry, Lease, Logged, RawWindow, Rescue, Snapshot, Stored

log = logging.getLogger("roomful.stores")

BUSY_S = 5.0
"""How long another process may hold the file for writing."""

READERS = 2
"""Threads that read; a load of a large document doesn't hold up others."""

CUT_POINTS = 8
"""Snapshots that are kept inside the raw window, at which it can be shortened."""

VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    lineage INTEGER NOT NULL,
    head INTEGER NOT NULL DEFAULT 0,
    upto INTEGER NOT NULL DEFAULT 0,
    snapshot_bytes INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0,
    changed_at REAL NOT NULL,
    deleted_until REAL,
    lease_owner TEXT NOT NULL DEFAULT '',
    lease_fence INTEGER NOT NULL DEFAULT 0,
    lease_until REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS entries (
    document INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    author TEXT NOT NULL,
    at REAL NOT NULL,
    refused TEXT,
    PRIMARY KEY (document, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (
    document INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    at REAL NOT NULL,
    state_vector BLOB NOT NULL,
    deletions BLOB NOT NULL,
    parked BLOB NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (document, upto)
);
CREATE TABLE IF NOT EXISTS rescues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    bytes BLOB NOT NULL,
    author TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS rescues_by_name ON rescues (name, id);
"""

ResultT = TypeVar("ResultT")
Work = Callable[[sqlite3.Connection], Any]


class _Job:
    """Something to write, and who waits for it."""

    __slots__ = ("future", "loop", "outcome", "work")

    def __init__(self, work: Work, future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.loop = future.get_loop()
        self.outcome: Any = None


class SqliteStore:
    """A `DocumentStore` in one file, which is made at the first use. clock: seconds since 1970."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._id = ""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._opening: asyncio.Future[None] | None = None

    # Its life

    @property
    def id(self) -> str:
        return self._id

    async def start(self) -> None:
        """The file is opened at its first use: a server without documents leaves none behind."""

    async def stop(self) -> None:
        if self._opening is not None:
            await asyncio.wait((self._opening,))
        writer, readers = self._writer, self._readers
        self._opening = self._writer = self._readers = None
        if writer is not None:
            self._jobs.put(None)
            await asyncio.get_running_loop().run_in_executor(None, writer.join)
        if readers is not None:
            await asyncio.get_running_loop().run_in_executor(None, readers.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._local = threading.local()

    # Reading

    async def load(self, name: str) -> Stored | None:
        return await self._read(lambda db: self._load(db, name))

    def _load(self, db: sqlite3.Connection, name: str) -> Stored | None:
        found = self._find(db, name)
        if found is None:
            return None
        id, lineage, upto = found
        snapshot = _snapshot(db, id, "upto = ?", upto) if upto else None
        return Stored(lineage, snapshot, _entries(db, id, upto))

    async def since(self, name: str, seq: int) -> list[Logged] | None:
        def read(db: sqlite3.Connection) -> list[Logged] | None:
            found = self._find(db, name)
            if found is None or seq < found[2]:
                return None
            return _entries(db, found[0], seq)

        return await self._read(read)

    async def heads(self, names: Sequence[str]) -> dict[str, int]:
        def read(db: sqlite3.Connection) -> dict[str, int]:
            heads: dict[str, int] = {}
            for start in range(0, len(names), 500):
                part = names[start : start + 500]
                marks = ",".join("?" * len(part))
                sql = f"SELECT name, head FROM documents WHERE deleted_until IS NULL AND name IN ({marks})"
                heads.update(db.execute(sql, part).fetchall())
            return heads

        return await self._read(read)

    async def raw(self, name: str) -> tuple[Snapshot | None, list[Logged]]:
        def read(db: sqlite3.Connection) -> tuple[Snapshot | None, list[Logged]]:
            found = self._find(db, name)
            if found is None:
                return None, []
            id = found[0]
            if db.execute("SELECT 1 FROM entries WHERE document = ? AND seq = 1", (id,)).fetchone():
                return None, _entries(db, id, 0, refused=True)
            base = _snapshot(db, id, "1 ORDER BY upto LIMIT 1")
            return base, _entries(db, id, base.upto if base else 0, refused=True)

        return await self._read(read)

    async def described(self, prefix: str, after: str, limit: int) -> list[Described]:
        def read(db: sqlite3.Connection) -> list[Described]:
            sql = (
                "SELECT name, head, snapshot_bytes, log_bytes, changed_at FROM documents WHERE deleted_until IS NULL "
                "AND name > ? AND substr(name, 1, ?) = ? ORDER BY name LIMIT ?"
            )
            return [Described(*row) for row in db.execute(sql, (after, len(prefix), prefix, limit))]

        return await self._read(read)

    async def rescues(self, name: str) -> list[Rescue]:
        def read(db: sqlite3.Connection) -> list[Rescue]:
            rows = db.execute("SELECT id, bytes, author, at FROM rescues WHERE name = ? ORDER BY id", (name,))
            return [Rescue(*row) for row in rows]

        return await self._read(read)

    # Writing

    async def append(self, name: str, entries: Sequence[Entry], lineage: int) -> int:
        return await self._write(lambda db: self._append(db, name, entries, lineage))

    def _append(self, db: sqlite3.Connection, name: str, entries: Sequence[Entry], lineage: int) -> int:
        size, now = sum(len(entry.update) for entry in entries), self._clock()
        sql = (
            "UPDATE documents SET head = head + ?, log_bytes = log_bytes + ?, changed_at = ? "
            "WHERE name = ? AND deleted_until IS NULL RETURNING id, head"
        )
        row = db.execute(sql, (len(entries), size, now, name)).fetchone()
        if row is None:
            self._find(db, name)  # raises for a deleted one
            db.execute("DELETE FROM documents WHERE name = ?", (name,))
            db.execute("INSERT INTO documents (name, lineage, changed_at) VALUES (?, ?, ?)", (name, lineage, now))
            row = db.execute(sql, (len(entries), size, now, name)).fetchone()
        id, head = row
        first = int(head) - len(entries) + 1
        rows = [(id, first + at, entry.update, entry.author, entry.at) for at, entry in enumerate(entries)]
        db.executemany("INSERT INTO entries (document, seq, bytes, author, at) VALUES (?, ?, ?, ?, ?)", rows)
        return first

    async def append_next(self, name: str, entries: Sequence[Entry], lineage: int, first: int) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            found = self._find(db, name)
            head = db.execute("SELECT head FROM documents WHERE id = ?", found[:1]).fetchone()[0] if found else 0
            if first != head + 1:
                return False
            self._append(db, name, entries, lineage)
            return True

        return await self._write(write)

    async def create(self, name: str, entries: Sequence[Entry], lineage: int) -> Stored:
        def write(db: sqlite3.Connection) -> Stored:
            stored = self._load(db, name)
            if stored is not None:
                return stored
            first = self._append(db, name, entries, lineage)
            return Stored(lineage, None, [Logged(first + at, entry) for at, entry in enumerate(entries)])

        return await self._write(write)

    async def compact(self, name: str, snapshot: Snapshot, fence: int, keep: RawWindow) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            id = _owned(db, name, fence, "upto < ?", snapshot.upto)
            if id is None:
                return False
            _insert(db, id, snapshot, self._clock())
            _trim(db, id, keep)
            return True

        return await self._write(write)

    async def replace(self, name: str, snapshot: Snapshot, lineage: int, fence: int) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            id = _owned(db, name, fence, "head + 1 = ?", snapshot.upto)
            if id is None:
                return False
            db.execute("DELETE FROM entries WHERE document = ?", (id,))
            db.execute("DELETE FROM snapshots WHERE document = ?", (id,))
            db.execute("UPDATE documents SET lineage = ?, head = ? WHERE id = ?", (lineage, snapshot.upto, id))
            _insert(db, id, snapshot, self._clock())
            return True

        return await self._write(write)

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        def write(db: sqlite3.Connection) -> Lease | None:
            now = self._clock()
            sql = (
                "UPDATE documents SET lease_fence = lease_fence + (lease_owner <> ? OR lease_until <= ?), "
                "lease_owner = ?, lease_until = ? WHERE name = ? AND deleted_until IS NULL "
                "AND (lease_owner = ? OR lease_until <= ?) RETURNING lease_fence"
            )
            row = db.execute(sql, (owner, now, owner, now + ttl_s, name, owner, now)).fetchone()
            return Lease(row[0], now + ttl_s) if row else None

        return await self._write(write)

    async def delete(self, name: str, keep_out_s: float) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            found = self._find(db, name)
            if found is None:
                return False
            for table in ("entries", "snapshots"):
                db.execute(f"DELETE FROM {table} WHERE document = ?", (found[0],))
            db.execute("DELETE FROM rescues WHERE name = ?", (name,))
            db.execute("UPDATE documents SET deleted_until = ? WHERE name = ?", (self._clock() + keep_out_s, name))
            return True

        return await self._write(write)

    async def rescue(
        self, name: str, update: bytes, author: str, at: float, *, count_max: int, max_bytes: int
    ) -> int | None:
        def write(db: sqlite3.Connection) -> int | None:
            sql = "SELECT id FROM rescues WHERE name = ? AND author = ? AND bytes = ?"
            found = db.execute(sql, (name, author, update)).fetchone()
            if found is not None:
                return int(found[0])
            sql = "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM rescues WHERE name = ?"
            count, size = db.execute(sql, (name,)).fetchone()
            if count >= count_max or size + len(update) > max_bytes:
                return None
            sql = "INSERT INTO rescues (name, bytes, author, at) VALUES (?, ?, ?, ?)"
            return int(db.execute(sql, (name, update, author, at)).lastrowid or 0)

        return await self._write(write)

    async def quarantine(self, name: str, seqs: Sequence[int], error: str) -> None:
        def write(db: sqlite3.Connection) -> None:
            found = self._find(db, name)
            if found is not None:
                rows = [(error, found[0], seq) for seq in seqs]
                db.executemany("UPDATE entries SET refused = ? WHERE document = ? AND seq = ?", rows)

        await self._write(write)

    # Inside

    def _find(self, db: sqlite3.Connection, name: str) -> tuple[int, int, int] | None:
        """Id, lineage and the end of its newest snapshot. Raises NotAvailable for a deleted document."""
        sql = "SELECT id, lineage, upto, deleted_until FROM documents WHERE name = ?"
        row = db.execute(sql, (name,)).fetchone()
        if row is None:
            return None
        if row[3] is not None:
            if row[3] > self._clock():
                raise NotAvailable("the document was deleted")
            return None
        return row[0], row[1], row[2]

    async def _read(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        await self._opened()
        assert self._readers is not None
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read_in_thread, work)

    def _read_in_thread(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        with _told():
            db = getattr(self._local, "db", None)
            if db is None:
                db = self._local.db = self._connect()
            db.execute("BEGIN")  # one read sees one state
            try:
                return work(db)
            finally:
                db.execute("ROLLBACK")

    async def _write(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        await self._opened()
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, future))
        return await future

    async def _opened(self) -> None:
        if self._opening is not None and self._opening.done() and self._opening.exception() is None:
            return
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().run_in_executor(None, self._open)
        await asyncio.shield(self._opening)

    def _open(self) -> None:
        """In a thread. Raises ConfigError, or InternalError for what may be better next time: a full disk, a lock."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = self._connect()
        except sqlite3.OperationalError as failure:
            log.error("%s can't be opened: %s", self.path, failure)
            raise InternalError("the document store can't be opened") from failure
        except (OSError, sqlite3.Error) as failure:
            raise ConfigError(f"documents.store: can't open {self.path}: {failure}") from failure
        self._readers = ThreadPoolExecutor(READERS, "roomful-sqlite-read")
        self._writer = threading.Thread(target=self._run, args=(db,), name="roomful-sqlite-write", daemon=True)
        self._writer.start()

    def _use_wal(self, db: sqlite3.Connection) -> None:
        """SQLite doesn't wait its busy timeout for this one, where two processes open a new file at once."""
        give_up = time.monotonic() + BUSY_S
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as busy:
                if busy.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise
            time.sleep(0.01)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._use_wal(db)
            db.execute("PRAGMA synchronous = FULL")
            if not self._id:
                self._id = self._prepare(db)
        except BaseException:
            db.close()
            raise
        self._connections.append(db)
        return db

    def _prepare(self, db: sqlite3.Connection) -> str:
        """Makes the tables where they aren't there; the store's id."""
        db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";\n"):
            db.execute(statement)
        new = [("store_id", str(uuid.uuid4())), ("version", str(VERSION))]
        db.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", new)
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        db.execute("COMMIT")
        if meta["version"] != str(VERSION):
            raise ConfigError(f"documents.store: {self.path} was written by another version of Roomful")
        return str(meta["store_id"])

    # The writing thread

    def _run(self, db: sqlite3.Connection) -> None:
        ending = False
        while not ending:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            ending = None in jobs
            batch = [job for job in jobs if job is not None]
            if batch:
                if not self._commit(db, batch):
                    for job in batch:
                        self._commit(db, [job])
                _report(batch)

    def _commit(self, db: sqlite3.Connection, batch: list[_Job]) -> bool:
        """All in one transaction; a job that fails takes nothing but its own part back.

        False: one of several took everything back, so each is to be tried by itself. A disk that is full for a large
        document may have room for the others.
        """
        try:
            db.execute("BEGIN IMMEDIATE")
            for job in batch:
                db.execute("SAVEPOINT job")
                try:
                    job.outcome = (job.work(db), None)
                except Exception as failure:
                    if not db.in_transaction:
                        if len(batch) > 1:
                            return False
                        raise
                    db.execute("ROLLBACK TO job")
                    job.outcome = (None, self._answer(failure))
                db.execute("RELEASE job")
            db.execute("COMMIT")
        except Exception as failure:
            with suppress(sqlite3.Error):  # it was rolled back by the failure, or the next one begins with an error
                if db.in_transaction:
                    db.execute("ROLLBACK")
            answer = self._answer(failure)
            for job in batch:
                job.outcome = (None, answer)
        return True

    def _answer(self, failure: Exception) -> RoomfulError:
        """What its writer gets, in an `except` block; what isn't a refusal is for the log."""
        if isinstance(failure, RoomfulError):
            return failure
        if isinstance(failure, sqlite3.Error):
            return _told_of(failure)
        log.exception("writing documents to %s failed", self.path)
        return InternalError("the document store failed")


def _report(batch: list[_Job]) -> None:
    """Wakes each loop once, however many wait."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in batch:
        loops.setdefault(job.loop, []).append(job)
    for loop, jobs in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, jobs)
        except RuntimeError:  # the loop was closed; nobody waits any more
            log.warning("%d writes were finished after their event loop had ended", len(jobs))


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        result, error = job.outcome
        if job.future.done():
            continue
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)


@contextmanager
def _told() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as failure:
        raise _told_of(failure) from failure


def _told_of(failure: sqlite3.Error) -> InternalError:
    """Their text is for the log."""
    log.error("SQLite: %s", failure)
    return InternalError("the document store failed")


def _entries(db: sqlite3.Connection, id: int, after: int, *, refused: bool = False) -> list[Logged]:
    which = "" if refused else "AND refused IS NULL"
    sql = f"SELECT seq, bytes, author, at FROM entries WHERE document = ? AND seq > ? {which} ORDER BY seq"
    return [Logged(seq, Entry(update, author, at)) for seq, update, author, at in db.execute(sql, (id, after))]


def _snapshot(db: sqlite3.Connection, id: int, which: str, *values: int) -> Snapshot | None:
    sql = f"SELECT upto, bytes, state_vector, deletions, parked FROM snapshots WHERE document = ? AND {which}"
    row = db.execute(sql, (id, *values)).fetchone()
    return Snapshot(*row) if row else None


def _owned(db: sqlite3.Connection, name: str, fence: int, condition: str, value: int) -> int | None:
    """The document's id if the fence is still the newest and the condition holds."""
    sql = f"SELECT id FROM documents WHERE name = ? AND deleted_until IS NULL AND lease_fence = ? AND {condition}"
    row = db.execute(sql, (name, fence, value)).fetchone()
    return row[0] if row else None


def _insert(db: sqlite3.Connection, id: int, snapshot: Snapshot, now: float) -> None:
    sql = (
        "INSERT OR REPLACE INTO snapshots (document, upto, at, bytes, state_vector, deletions, parked) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    values = (snapshot.update, snapshot.state_vector, snapshot.deletions, snapshot.parked)
    db.execute(sql, (id, snapshot.upto, now, *values))
    left = "SELECT coalesce(sum(length(bytes)), 0) FROM entries WHERE document = ? AND seq > ? AND refused IS NULL"
    log_bytes = db.execute(left, (id, snapshot.upto)).fetchone()[0]
    size = len(snapshot.update) + len(snapshot.parked)
    sql = "UPDATE documents SET upto = ?, snapshot_bytes = ?, log_bytes = ? WHERE id = ?"
    db.execute(sql, (snapshot.upto, size, log_bytes, id))


def _trim(db: sqlite3.Connection, id: int, keep: RawWindow) -> None:
    """Drops what lies before the raw window, and more snapshots inside it than are needed to shorten it.

    The window begins at a snapshot (or at the empty document), else its entries would lean on nothing.
    """
    sql = "SELECT upto, at, length(bytes) FROM snapshots WHERE document = ? ORDER BY upto"
    points = db.execute(sql, (id,)).fetchall()
    if db.execute("SELECT 1 FROM entries WHERE document = ? AND seq = 1", (id,)).fetchone():
        points.insert(0, (0, 0.0, 0))
    start, held = points[-1][0], 0
    for (upto, _, size), (following, at, _) in zip(points[-2::-1], points[:0:-1], strict=True):
        sql = "SELECT coalesce(sum(length(bytes)), 0) FROM entries WHERE document = ? AND seq > ? AND seq <= ?"
        held += size + db.execute(sql, (id, upto, following)).fetchone()[0]
        if at < keep.since or held > keep.bytes:
            break
        start = upto
    db.execute("DELETE FROM snapshots WHERE document = ? AND upto < ?", (id, start))
    db.execute("DELETE FROM entries WHERE document = ? AND seq <= ?", (id, start))
    inside = [upto for upto, _, _ in points if start < upto < points[-1][0]]
    if len(inside) > CUT_POINTS:
        db.executemany("DELETE FROM snapshots WHERE document = ? AND upto = ?", [(id, upto) for upto in inside[::2]])
