"""A document that is open on this node: who has it open, and the one way by which edits reach them.

    applied in memory ─▶ appended to the store's log ─▶ acknowledged, sent to all who have it, to the other nodes

Nothing is shown to anybody before it is durable: neither as an update nor in the answer to a sync step, or somebody
could build on what a crash erases. The price is one commit of latency; all edits of a turn share it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Protocol

from roomful.model.document import AwarenessEntry, AwarenessUpdate, Stateless, SyncUpdate
from roomful.model.errors import RoomfulError
from roomful.node import eager
from roomful.node.histogram import Histogram
from roomful.rooms.awareness import Awareness
from roomful.rooms.document import Broken, Document
from roomful.rooms.update_walker import Walked, walk
from roomful.seams.document_dialect import DocumentDialect
from roomful.seams.store import DocumentStore, Entry

log = logging.getLogger("roomful.documents")

Done = Callable[[bool], None]
"""Called once: whether the edit is stored."""


class Attached(Protocol):
    """One client that has the document open. None of these raises or awaits."""

    dialect: DocumentDialect
    key: str

    def __hash__(self) -> int: ...

    def send(self, frame: bytes) -> None: ...

    def send_awareness(self, frame: bytes) -> None:
        """One that may be left out while the client doesn't read: it is told the whole state later."""
        ...

    def lose(self, code: int, reason: str) -> None:
        """The document can't be served any more: the connection ends."""
        ...


class Edit:
    """An update on its way. entry: to be appended; None: the log has it already. source: who isn't sent it.

    update: to be sent to the others; b"" for nothing.
    """

    __slots__ = ("done", "entry", "source", "update")

    def __init__(self, update: bytes, entry: Entry | None, source: Attached | None, done: Done | None) -> None:
        self.update = update
        self.entry = entry
        self.source = source
        self.done = done


class LiveDocument:
    """One open document.

    room: what it holds. seq: of the newest entry of the log that is in it. lineage: the client id that marks it.
    users: how many hold it open, clients and `app.document` alike. idle_since: when the last of them left.
    log_entries, log_bytes, snapshot_bytes: how long its log is, and what it follows on.
    """

    __slots__ = (
        "_announcing",
        "_audience",
        "_author",
        "_changed",
        "_has_authors",
        "_queue",
        "_settling",
        "_waiting",
        "_writers",
        "_writing",
        "awareness",
        "failed",
        "idle_since",
        "lineage",
        "log_bytes",
        "log_entries",
        "mark",
        "members",
        "name",
        "on_awareness",
        "on_edits",
        "on_failure",
        "on_gap",
        "ready",
        "room",
        "saves",
        "seq",
        "snapshot_bytes",
        "store",
        "users",
        "waiting_max_bytes",
        "wall_clock",
        "warned",
    )

    def __init__(
        self,
        name: str,
        room: Document,
        awareness: Awareness,
        store: DocumentStore,
        *,
        lineage: int,
        mark: bytes,
        seq: int,
        waiting_max_bytes: int,
        wall_clock: Callable[[], float],
        saves: Histogram,
        on_edits: Callable[[LiveDocument, int, list[Edit]], None],
        on_gap: Callable[[LiveDocument], None],
        on_failure: Callable[[LiveDocument], None],
        on_awareness: Callable[[LiveDocument, list[AwarenessEntry], list[AwarenessEntry]], None],
    ) -> None:
        """mark: what its log is to begin with when there is none yet. saves: how long appending takes.
        waiting_max_bytes: of edits that lean on others which haven't come. on_edits: told of what was stored
        (number of the last entry, edits). on_gap: the log holds entries that aren't in the room. on_failure:
        it can't go on. on_awareness: what was announced, and the part of it that has changed on this node.
        """
        self.name = name
        self.room = room
        self.awareness = awareness
        self.store = store
        self.lineage = lineage
        self.mark = mark
        self.seq = seq
        self.waiting_max_bytes = waiting_max_bytes
        self.wall_clock = wall_clock
        self.saves = saves
        self.on_edits = on_edits
        self.on_gap = on_gap
        self.on_awareness = on_awareness
        self.on_failure = on_failure
        self.members: set[Attached] = set()
        self.users = 0
        self.idle_since = 0.0
        self.log_entries = self.log_bytes = self.snapshot_bytes = 0
        self.ready = True
        """False while it is loaded anew; whoever has something for it waits (`when_ready`)."""
        self.failed = False
        self.warned = False
        """It was warned of its size."""
        self._author: str | None = None
        self._has_authors = False
        self._writers: dict[int, str | None] = {}
        self._audience: dict[tuple[DocumentDialect, str], dict[Attached, None]] = {}
        self._queue: list[Edit | Callable[[], None]] = []
        self._writing = False
        self._changed: dict[int, tuple[frozenset[object], bool]] = {}
        self._announcing = False
        self._waiting: list[Callable[[], None]] = []
        self._settling: list[asyncio.Future[None]] = []

    # Who has it open

    def enter(self, member: Attached) -> None:
        """A member that holds it hears of the awareness now, and of edits from `listen` on; `leave` gives it back."""
        self.members.add(member)

    def listen(self, member: Attached) -> None:
        """From now on the member is sent every edit. Idempotent."""
        self._audience.setdefault((member.dialect, member.key), {})[member] = None

    def leave(self, member: Attached, now: float) -> None:
        """Undoes `enter` and `listen`; its awareness goes at once."""
        if member not in self.members:
            return
        self.members.discard(member)
        speakers = self._audience.get((member.dialect, member.key))
        if speakers is not None:
            speakers.pop(member, None)
            if not speakers:
                del self._audience[(member.dialect, member.key)]
        self.announce(self.awareness.leave(member, now))
        self.release(now)

    def hold(self) -> None:
        """Keeps it open without a client."""
        self.users += 1

    def release(self, now: float) -> None:
        self.users -= 1
        self.idle_since = now

    # Edits

    def edit(
        self,
        update: bytes,
        walked: Walked | None,
        author: str,
        source: Attached | None,
        done: Done,
        *,
        answers: bool = False,
    ) -> None:
        """Takes an update; `done` is called when it is durable, also if nothing of it was new.

        answers: it answers a sync step, and mostly repeats what is known. Raises Malformed (nothing happened) and
        Broken (call `reload`).
        """
        walked = walked or walk(update)
        waited = self.room.waiting_bytes
        fresh = self.room.apply(update, walked)
        if self.room.waiting_bytes > max(waited, self.waiting_max_bytes):
            raise Broken(f"more than {self.waiting_max_bytes} bytes would wait for edits that haven't come")
        contested = self._is_contested(walked, author, answers)
        if fresh is None and not contested:
            self.after_pending(lambda: done(True))
            return
        logged = update if contested or fresh is None else fresh
        self._put(Edit(fresh or b"", Entry(logged, author, self.wall_clock()), source, done))

    def edited_here(self, update: bytes, author: str) -> None:
        """What was edited in the room itself; `settled` waits until it is durable."""
        self._put(Edit(update, Entry(update, author, self.wall_clock()), None, None))

    def take_stored(self, updates: Iterable[bytes]) -> None:
        """Updates that other nodes have put into the log. Raises Malformed, Broken."""
        for update in updates:
            fresh = self.room.apply(update)
            if fresh is not None:
                self._put(Edit(fresh, None, None, None))

    def after_pending(self, then: Callable[[], None]) -> None:
        """Calls it when all edits until now are durable and were sent; at once if they are. Never when that fails."""
        if self._queue or self._writing:
            self._queue.append(then)
        else:
            then()

    @property
    def pending(self) -> bool:
        """Whether something isn't durable yet."""
        return bool(self._queue) or self._writing

    def measure(self) -> int:
        """The document's size in bytes, measured by encoding it whole. Raises Broken."""
        return len(self.room.diff())

    def broadcast_stateless(self, payload: str) -> None:
        """To all whose wire knows such messages."""
        for (dialect, key), members in tuple(self._audience.items()):
            if dialect.acknowledges:
                frame = dialect.encode(key, Stateless(payload))
                for member in tuple(members):
                    member.send(frame)

    # Awareness

    def announce(self, ids: Iterable[int], spared: frozenset[object] = frozenset(), *, here: bool = True) -> None:
        """These ids have changed; all but the spared hear of it at the end of the turn, the latest of each id.

        here: on this node, so that the other nodes have to hear of it, too.
        """
        for id in ids:
            self._changed[id] = (spared, here or self._changed.get(id, (spared, False))[1])
        if self._changed and not self._announcing:
            self._announcing = True
            asyncio.get_running_loop().call_soon(self._announce)

    def _announce(self) -> None:
        changed, self._changed, self._announcing = self._changed, {}, False
        by_spared: dict[frozenset[object], list[AwarenessEntry]] = {}
        for id, (spared, _) in changed.items():
            by_spared.setdefault(spared, []).append(self.awareness.entry(id))
        for spared, entries in by_spared.items():
            self._send_awareness(AwarenessUpdate(tuple(entries)), spared)
        everything = [entry for entries in by_spared.values() for entry in entries]
        self.on_awareness(self, everything, [entry for entry in everything if changed[entry.client][1]])

    def _send_awareness(self, message: AwarenessUpdate, spared: frozenset[object]) -> None:
        frames: dict[tuple[DocumentDialect, str], bytes] = {}
        for member in tuple(self.members):
            if member in spared:
                continue
            address = (member.dialect, member.key)
            frame = frames.get(address)
            if frame is None:
                frame = frames[address] = member.dialect.encode(member.key, message)
            member.send_awareness(frame)

    # Its end and its second life

    async def settled(self) -> None:
        """Waits until all that was edited is durable, or the document has failed."""
        while self.pending and not self.failed:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settling.append(done)
            await asyncio.wait((done,))

    def when_ready(self, then: Callable[[], None]) -> None:
        """Calls it once the document can be used again; at once if it can."""
        if self.ready:
            then()
        else:
            self._waiting.append(then)

    def renewed(self, room: Document) -> None:
        """It was loaded anew: everybody may go on."""
        self.room = room
        self.ready = True
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()

    def fail(self, code: int, reason: str) -> None:
        """It can't go on: memory is ahead of the log. Everybody is sent away; they offer their edits again."""
        if self.failed:
            return
        self.failed = True
        self._queue.clear()
        self._waiting.clear()
        self.on_failure(self)
        for member in tuple(self.members):
            member.lose(code, reason)

    def _is_contested(self, walked: Walked, author: str, answers: bool) -> bool:
        """Whether an update may repeat what somebody else has written or deleted.

        Of two updates under the same numbers only the first shows, so a forger can block the genuine one. The log keeps
        both whole: when the forger is cut out, the genuine one shows.
        """
        if self._author is None:
            self._author = author
        self._has_authors = self._has_authors or author != self._author
        contested = bool(walked.deletions) and not answers and self._has_authors
        for client in walked.structs:
            if self._writers.setdefault(client, author) != author:
                self._writers[client] = None
                contested = True
        return contested

    def _put(self, edit: Edit) -> None:
        self._queue.append(edit)
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        eager.start(self._write())

    async def _write(self) -> None:
        """Writes batch after batch until nothing waits."""
        try:
            while self._queue and not self.failed:
                batch, self._queue = self._queue, []
                last = await self._append([item for item in batch if isinstance(item, Edit)])
                self._tell(batch, last)
        except RoomfulError as error:
            log.error("document %r can't be stored, its clients are sent away: %s", self.name, error)
            self.fail(1013, "the document can't be stored")
        except Exception:
            log.exception("document %r failed", self.name)
            self.fail(1011, "internal server error")
        finally:
            self._writing = False
            settling, self._settling = self._settling, []
            for done in settling:
                done.set_result(None)

    async def _append(self, edits: Sequence[Edit]) -> int:
        """The number of the last of those that were to be appended; 0 for none."""
        entries = [edit.entry for edit in edits if edit.entry is not None]
        if not entries:
            return 0
        if self.mark:
            entries.insert(0, Entry(self.mark, "", entries[0].at))
        begun = perf_counter()
        first = await self.store.append(self.name, entries, self.lineage)
        self.saves.observe(perf_counter() - begun)
        self.mark = b""
        self.log_entries += len(entries)
        self.log_bytes += sum(len(entry.update) for entry in entries)
        last = first + len(entries) - 1
        if first == self.seq + 1:
            self.seq = last
        else:
            self.on_gap(self)
        return last

    def _tell(self, batch: list[Edit | Callable[[], None]], last: int) -> None:
        stored: list[Edit] = []
        shown: list[Edit] = []
        for item in batch:
            if isinstance(item, Edit):
                if item.done is not None:
                    item.done(True)
                if item.update:
                    shown.append(item)
                if item.entry is not None:
                    stored.append(item)
            else:
                self._show(shown)  # what was before it has to come before
                shown = []
                item()
        self._show(shown)
        if stored:
            self.on_edits(self, last, stored)

    def _show(self, edits: list[Edit]) -> None:
        """Sends edits to all who listen, in order, and where the wire allows it as one piece that all of them share.

        Not to the source of an edit if its wire has SyncStatus. One piece takes a tenth less CPU (`benchmarks/`).
        """
        if not edits:
            return
        sources = {edit.source for edit in edits}
        for (dialect, key), members in tuple(self._audience.items()):
            frames = [dialect.encode(key, SyncUpdate(edit.update)) for edit in edits]
            pieces = [dialect.join(frames)] if dialect.joins and len(frames) > 1 else frames
            for member in tuple(members):
                if dialect.acknowledges and member in sources:
                    for edit, frame in zip(edits, frames, strict=True):
                        if edit.source is not member:
                            member.send(frame)
                else:
                    for piece in pieces:
                        member.send(piece)
