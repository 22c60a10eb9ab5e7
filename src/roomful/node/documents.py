"""The documents of one node: who opens one first loads it, who comes meanwhile waits for the same load, and some time
after the last has left it is unloaded.

A load that fails refuses to open: what can't be read is never taken for empty.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from roomful.model.document import AwarenessEntry
from roomful.model.errors import BadRequest, InternalError, NotAvailable, RoomfulError, VersionMismatch
from roomful.model.event import DocumentLoadEvent, DocumentLoadReply
from roomful.node import document_bus as bus
from roomful.node import eager
from roomful.node.document_bus import DocumentBus
from roomful.node.document_hooks import DocumentHooks
from roomful.node.document_options import DocumentOptions
from roomful.node.histogram import Histogram
from roomful.node.hooks import Hooks
from roomful.node.live_document import Edit, LiveDocument
from roomful.node.wheel import Wheel
from roomful.rooms.awareness import Awareness, AwarenessLimits
from roomful.rooms.document import Broken, Document, Encoded, lineage_mark
from roomful.rooms.refusals import Refusals
from roomful.rooms.update_walker import Malformed, state_vector, walk
from roomful.seams.store import DocumentStore, Entry, RawWindow, Snapshot, Stored

log = logging.getLogger("roomful.documents")

ReadT = TypeVar("ReadT")

DELETED = (4404, "the document was deleted")
REPLACED = (4500, "the document has another history now")

LOOK_S = 5.0
"""How often an open document is looked after: awareness that has expired, its log, whether anybody uses it."""

LEASE_S = 60.0
"""How long compacting one document may take before another node may begin."""

TAKEN_AT_ONCE = 100
"""Entries of other nodes that are taken before others get their turn: some 5 ms."""

REST_S = 10.0
REST_MAX_BYTES = 16_384
"""A document of at most so many bytes that nobody has edited for so long gives the engine's document back; making it
anew takes some 50 µs."""

BYTES_PER_ENTRY = 256
"""A large document may have more entries in its log: compacting writes all of it, however small the edits were."""

UNLOAD_COMPACT_ENTRIES = 16
"""A document that is unloaded with more entries than this after its snapshot is compacted first: the next load is one
read and no merge."""


class CutOut(NamedTuple):
    """entries: of the author, that are gone. dropped: stretches of others' edits that leaned on them and went along."""

    entries: int
    dropped: int


class Documents:
    """All documents that are open here. Names are checked by `check_name`."""

    def __init__(
        self,
        store: DocumentStore,
        options: DocumentOptions,
        wheel: Wheel,
        hooks: Hooks,
        bus: DocumentBus,
        *,
        new_client_id: Callable[[], int],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """new_client_id: draws a Yjs client id for a document's lineage."""
        self.store = store
        self.options = options
        self.hooks = hooks
        self._wheel = wheel
        self._new_client_id = new_client_id
        self.wall_clock = wall_clock
        self.bus = bus
        self.node = bus.node
        self.refusals = Refusals(options.refusal_max_s)
        self.saves = Histogram()
        """How long edits take until they are durable."""
        self._checking: asyncio.Task[None] | None = None
        self._other_store = ""
        self._open: dict[str, LiveDocument] = {}
        self._loading: dict[str, asyncio.Future[LiveDocument]] = {}
        self._loads = asyncio.Semaphore(options.loads_max)
        self._caretakers: dict[str, Caretaker] = {}
        self._catching_up: dict[LiveDocument, bool] = {}
        """Documents whose log is being read, and whether it has to be read once more."""

    @property
    def trouble(self) -> str:
        """Why no document is available on this node; "" while they are."""
        return "this node has another document store than the others" if self._other_store else ""

    async def start(self) -> None:
        await self.store.start()
        if not self.bus.alone:
            self._checking = asyncio.get_running_loop().create_task(self._compare())

    async def stop(self) -> None:
        """Waits for what isn't durable yet, then closes the store."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait((self._checking,))
            self._checking = None
        for live in tuple(self._open.values()):
            await live.settled()
        self._open.clear()
        await self.store.stop()

    def check_name(self, name: str) -> None:
        """Raises BadRequest for a name that no document can have."""
        if not name.strip():
            raise BadRequest("a document needs a name")
        if len(name.encode()) > self.options.name_max_bytes:
            raise BadRequest(f"a document's name has at most {self.options.name_max_bytes} bytes")
        if any(character < " " or character == "\x7f" for character in name):
            raise BadRequest("a document's name has no control characters")

    async def open(self, name: str) -> LiveDocument:
        """The document, held (`LiveDocument.release` gives it back). All who come meanwhile share one load.

        Raises NotAvailable for a deleted document, InternalError where it can't be loaded.
        """
        while True:
            if self.trouble:
                raise NotAvailable(self.trouble)
            live = self._open.get(name)
            if live is not None:
                live.hold()
                return live
            loading = self._loading.get(name)
            if loading is None:
                loading = self._loading[name] = asyncio.get_running_loop().create_future()
                eager.start(self._load_for_all(name, loading))
            await asyncio.wait((loading,))
            error = loading.exception()
            if error is not None:
                raise error

    @asynccontextmanager
    async def edit(self, name: str, author: str) -> AsyncIterator[Any]:
        """The live document of the engine: what is done in the block is stored and reaches the clients transaction by
        transaction, and the end of the block waits until all of it is stored. author: whose edits these are.

        Raises what `open` raises; InternalError at the end if something could not be stored.
        """
        self.check_name(name)
        live = await self.open(name)
        room = live.room
        try:
            doc, end = room.watch(lambda update: live.edited_here(update, author))
            try:
                yield doc
            except BaseException as error:
                if type(error).__module__.startswith("pyo3"):  # a panic: nobody knows what it left behind
                    self.reload(live)
                raise
            finally:
                end()
                await live.settled()
            if live.failed or live.room is not room:
                raise InternalError("not everything could be stored")
        finally:
            live.release(self.now())

    async def read(self, name: str, look: Callable[[LiveDocument], ReadT]) -> tuple[ReadT, int]:
        """What `look` finds in the document, and the number of the newest entry that is in it; all of it is durable.

        Raises NotAvailable where there is no such document.
        """
        self.check_name(name)
        live = await self.open(name)
        try:
            while live.pending and not live.failed:
                await live.settled()
            if live.mark or (not live.seq and not live.room.clients):
                raise NotAvailable("there is no such document")
            if live.failed or not live.ready:
                raise InternalError("the document can't be read now")
            return look(live), live.seq
        except (Broken, Malformed) as error:
            self.reload(live)
            raise InternalError("the document can't be read now") from error
        finally:
            live.release(self.now())

    async def change(self, name: str, author: str, if_version: int | None, make: Callable[[LiveDocument], None]) -> int:
        """Has `make` edit the document; the number of its newest entry, when all of it is stored.

        if_version: nothing is done unless this is its newest entry (0: there is none). Looked at in the log; on one
        node nothing comes between the look and the edit. Raises VersionMismatch.
        """
        self.check_name(name)
        live = await self.open(name)
        try:
            while live.pending and not live.failed:
                await live.settled()
            if if_version is not None:
                head = (await self.store.heads([name])).get(name, 0)
                if live.pending or max(head, live.seq) != if_version:
                    raise VersionMismatch(f"the document is at version {max(head, live.seq)}")
            if live.failed or not live.ready:
                raise InternalError("the document can't be edited now")
            make(live)
            await live.settled()
            if live.failed:
                raise InternalError("the edit could not be stored")
            return live.seq
        except Broken as error:
            self.reload(live)
            raise InternalError("the edit broke the document, which is loaded anew") from error
        finally:
            live.release(self.now())

    async def cut_out(self, name: str, author: str) -> CutOut:
        """Takes everything that an author has written within the raw window out of a document, as if it had never been.

        What others wrote is replayed without it; what leans on it goes with it. The document begins another history, so
        everybody is sent away, and a client that holds the old one is refused and its copy kept as a rescue. Raises
        NotAvailable where there is no such document; InternalError while another node compacts it.
        """
        self.check_name(name)
        live = await self.open(name)
        try:
            while live.pending and not live.failed:
                await live.settled()
            lease = await self.store.lease(name, self.node, LEASE_S)
            if lease is None:
                raise NotAvailable("there is no such document") if live.mark else InternalError("another node is at it")
            base, logged = await self.store.raw(name)
            kept = [one for one in logged if one.entry.author != author]
            room, _ = Document.load(_encoded(base), [one.entry.update for one in kept])
            dropped = sum(map(len, walk(room.parked).structs.values())) if room.parked else 0
            lineage = self._new_client_id()
            room.apply(lineage_mark(lineage))
            encoded = room.encode()
            upto = (logged[-1].seq if logged else base.upto if base else 0) + 1
            snapshot = Snapshot(upto, encoded.update, encoded.state_vector, encoded.deletions)
            if not await self.store.replace(name, snapshot, lineage, lease.fence):
                raise InternalError("the document was edited meanwhile; try again")
            log.warning("document %r: %d edits of %r were cut out", name, len(logged) - len(kept), author)
            live.fail(*REPLACED)
            self.bus.send(name, bus.Ended(self.node, self.store.id, *REPLACED))
            return CutOut(len(logged) - len(kept), dropped)
        except (Broken, Malformed) as error:
            raise InternalError(f"the log could not be replayed: {error}") from error
        finally:
            live.release(self.now())

    async def delete(self, name: str) -> bool:
        """Deletes it everywhere: its clients are told, and nobody can make it anew for a while.

        False: there is none.
        """
        self.check_name(name)
        deleted = await self.store.delete(name, self.options.deleted_s)
        if deleted:
            live = self._open.get(name)
            if live is not None:
                live.fail(*DELETED)
            self.bus.send(name, bus.Ended(self.node, self.store.id, *DELETED))
        return deleted

    def now(self) -> float:
        """The node's monotonic time."""
        return self._wheel.now()

    async def rescue(self, name: str, update: bytes, author: str) -> int | None:
        """Keeps what a client with another history holds; its number, or None where no more are kept."""
        most, most_bytes = self.options.rescues_max, self.options.rescues_max_bytes
        now = self.wall_clock()
        return await self.store.rescue(name, update, author, now, count_max=most, max_bytes=most_bytes)

    def wake(self, caretaker: Caretaker, at: float) -> None:
        """Has it called at that time, or earlier."""
        if at < math.inf:
            self._wheel.schedule(caretaker, at)

    def get(self, name: str) -> LiveDocument | None:
        """The document if it is open here."""
        return self._open.get(name)

    def __iter__(self) -> Iterator[LiveDocument]:
        return iter(tuple(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def reload(self, live: LiveDocument) -> None:
        """The engine has failed half-way in this document: it is read anew, and its clients wait meanwhile."""
        if live.ready and not live.failed:
            live.ready = False
            eager.later(self._reload(live))

    # Inside

    async def _load_for_all(self, name: str, loading: asyncio.Future[LiveDocument]) -> None:
        heard: list[bus.Message] = []
        take: list[Callable[[bus.Message], None]] = [heard.append]  # what comes meanwhile says that there is more
        lapse: list[Callable[[], None]] = [lambda: None]
        leave: Callable[[], Coroutine[Any, Any, None]] | None = None
        try:
            async with self._loads:
                leave = await self.bus.join(name, lambda message: take[0](message), lambda: lapse[0]())
                live = await self._load(name)
        except RoomfulError as error:
            if leave is not None:
                await leave()
            loading.set_exception(error)
        except asyncio.CancelledError:
            loading.set_exception(InternalError("the server is stopping"))
            raise
        except Exception as error:
            if leave is not None:
                await leave()
            log.exception("document %r could not be loaded", name)
            loading.set_exception(InternalError(f"the document could not be loaded: {type(error).__name__}"))
        else:
            self._open[name] = live
            live.idle_since = self._wheel.now()
            caretaker = self._caretakers[name] = Caretaker(self, live, leave)
            self._wheel.schedule(caretaker, self._wheel.now() + LOOK_S)
            take[0] = lambda message: self._on_message(live, message)
            lapse[0] = lambda: self._on_gap(live)
            for message in heard:
                self._on_message(live, message)
            self.bus.send(name, bus.Asked(self.node, self.store.id))
            loading.set_result(live)
        finally:
            del self._loading[name]
            loading.exception()  # nobody may be left who asks

    async def _load(self, name: str) -> LiveDocument:
        stored = await self._read(name)
        options = self.options
        room, lineage, mark = Document(), 0, b""
        if stored is None and options.lineage:
            lineage = self._new_client_id()
            mark = lineage_mark(lineage)
            room = Document(Encoded(mark, state_vector({lineage: 1})))
        if stored is None and self.hooks.has(DocumentLoadEvent):
            stored = await self._seeded(name, mark, lineage)
        if stored is not None:
            room, lineage, mark = await self._room_of(name, stored), stored.lineage, b""
        limits = AwarenessLimits(
            expiry_s=options.awareness_expiry_s,
            entry_max_bytes=options.awareness_max_bytes,
            ids_max=options.awareness_ids_max,
        )
        live = LiveDocument(
            name,
            room,
            Awareness(limits),
            self.store,
            lineage=lineage,
            mark=mark,
            seq=stored.head if stored is not None else 0,
            waiting_max_bytes=options.waiting_max_bytes,
            wall_clock=self.wall_clock,
            saves=self.saves,
            on_edits=self._on_edits,
            on_gap=self._on_gap,
            on_failure=self.forget,
            on_awareness=self._on_awareness,
        )
        if stored is not None:
            live.log_entries = len(stored.tail)
            live.log_bytes = sum(len(logged.entry.update) for logged in stored.tail)
            live.snapshot_bytes = len(stored.snapshot.update) if stored.snapshot else 0
        return live

    async def _seeded(self, name: str, mark: bytes, lineage: int) -> Stored | None:
        """What the application begins the document with, stored before anybody sees it; another node may be first."""
        reply: DocumentLoadReply | None = await self.hooks.call(DocumentLoadEvent(name), name)
        if reply is None:
            return None
        try:
            walk(reply.update)
            Document().apply(reply.update)
        except (Malformed, Broken) as error:
            log.error("the hook that loads document %r answered no update: %s", name, error)
            raise InternalError("the document could not be loaded") from error
        now = self.wall_clock()
        entries = [Entry(update, "", now) for update in (mark, reply.update) if update]
        return await self.store.create(name, entries, lineage)

    async def _read(self, name: str) -> Stored | None:
        reading = asyncio.ensure_future(self.store.load(name))
        done, _ = await asyncio.wait((reading,), timeout=self.options.load_s)
        if not done:
            reading.cancel()
            raise InternalError(f"the store took longer than {self.options.load_s:g} s")
        return reading.result()

    async def _room_of(self, name: str, stored: Stored) -> Document:
        room, bad = Document.load(_encoded(stored.snapshot), [logged.entry.update for logged in stored.tail])
        if bad:
            seqs = [stored.tail[index].seq for index in bad]
            log.error("document %r: the engine refuses entries %s of its log; they are set aside", name, seqs)
            await self.store.quarantine(name, seqs, "refused by the engine")
        return room

    async def _reload(self, live: LiveDocument) -> None:
        """What is on its way to the log is waited for, so nothing is lost."""
        await live.settled()
        if live.failed:
            return
        try:
            stored = await self._read(live.name)
            room = await self._room_of(live.name, stored) if stored is not None else Document()
        except (RoomfulError, Malformed, Broken) as error:
            log.error("document %r could not be loaded anew: %s", live.name, error)
            live.fail(1013, "the document can't be loaded")
            return
        live.renewed(room)

    def _on_edits(self, live: LiveDocument, last: int, edits: list[Edit]) -> None:
        if not self.bus.alone:
            updates = [edit.entry.update for edit in edits if edit.entry is not None]  # also contested ones: they count
            small = sum(map(len, updates)) <= bus.POINTER_BYTES
            first = last - len(updates) + 1
            message = bus.Stored(self.node, self.store.id, first, last, updates if small else None)
            self.bus.send(live.name, message)
        caretaker = self._caretakers.get(live.name)
        if caretaker is not None:
            caretaker.edited(edits)

    def _on_awareness(self, live: LiveDocument, entries: list[AwarenessEntry], here: list[AwarenessEntry]) -> None:
        self._show(live, here, answer=False)
        caretaker = self._caretakers.get(live.name)
        if caretaker is not None:
            caretaker.hooks.aware(entries)

    def _show(self, live: LiveDocument, entries: list[AwarenessEntry], *, answer: bool) -> None:
        """Tells the other nodes, a message for each user: only the same one may speak for an id from elsewhere."""
        if self.bus.alone:
            return
        by_user: dict[str, list[AwarenessEntry]] = {"": []} if answer else {}
        for entry in entries:
            by_user.setdefault(live.awareness.user_of(entry.client), []).append(entry)
        for user, shown in by_user.items():
            self.bus.send(live.name, bus.Shown(self.node, self.store.id, user, shown, answer))

    def _on_message(self, live: LiveDocument, message: bus.Message) -> None:
        if live.failed or self._open.get(live.name) is not live:
            return
        if message.store != self.store.id and not isinstance(message, bus.Asked):
            self._on_other_store(message)
            return
        match message:
            case bus.Stored(first=first, last=last, updates=updates):
                if first == live.seq + 1 and updates is not None and live.ready:
                    self._take(live, last, updates)
                elif last > live.seq:
                    self._on_gap(live)
            case bus.Shown(node=node, user=user, entries=entries):
                holder = (node, user)
                if not live.awareness.knows_holder(holder):
                    live.awareness.join(holder, user, self.now(), ids_max=math.inf)
                live.announce(live.awareness.receive(holder, entries, self.now()), here=False)
            case bus.Asked():
                mine = [id for member in live.members for id in live.awareness.ids_of(member)]
                self._show(live, [live.awareness.entry(id) for id in dict.fromkeys(mine)], answer=True)
            case bus.Said(payload=payload):
                live.broadcast_stateless(payload)
            case bus.Ended(code=code, reason=reason):
                live.fail(code, reason)

    def _on_other_store(self, message: bus.Message) -> None:
        """Two nodes that don't share their log must not share documents. Who comes later gives way."""
        if isinstance(message, bus.Shown) and message.answer and not self._other_store:
            self._other_store = message.store
            log.error("node %s has another document store; documents are not available on this node", message.node)
            for live in self:
                live.fail(1013, "this node has another document store")

    def _take(self, live: LiveDocument, last: int, updates: list[bytes]) -> None:
        try:
            live.take_stored(updates)
            live.seq = last
        except Broken:
            self.reload(live)
        except Malformed as error:
            log.error("document %r: another node has stored what can't be read: %s", live.name, error)

    async def _compare(self) -> None:
        """Compares every open document with the head of its log: messages between nodes may be lost."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                heads = await self.store.heads(list(self._open))
            except RoomfulError as error:
                log.warning("the heads of the documents could not be read: %s", error)
                continue
            for name, head in heads.items():
                live = self._open.get(name)
                if live is not None and head > live.seq and not live.pending:
                    self._on_gap(live)

    def say(self, live: LiveDocument, payload: str) -> None:
        """A stateless message to all clients of the document, on all nodes."""
        live.broadcast_stateless(payload)
        self.bus.send(live.name, bus.Said(self.node, self.store.id, payload))

    def _on_gap(self, live: LiveDocument) -> None:
        """One reads the log for all who notice at the same time: a node that was stopped gets thousands of messages."""
        under_way = live in self._catching_up
        self._catching_up[live] = True
        if not under_way:
            eager.later(self._catch_up(live))

    async def _catch_up(self, live: LiveDocument) -> None:
        try:
            while self._catching_up[live] and not live.failed:
                self._catching_up[live] = False
                await self._take_missed(live)
        finally:
            del self._catching_up[live]

    async def _take_missed(self, live: LiveDocument) -> None:
        """Reads what others have appended. A hole in what is left of the log is filled by the snapshot that made it."""
        try:
            missed = await self.store.since(live.name, live.seq)
            if live.failed or not live.ready:
                return  # it is loaded anew anyway
            if missed is None:
                stored = await self._read(live.name)
                if stored is None:
                    raise InternalError("the document isn't in the store any more")
                missed = stored.tail
                if stored.snapshot is not None:
                    whole = live.room.unknown_of(stored.snapshot.update)
                    live.take_stored([whole, *filter(None, (stored.snapshot.parked,))])
            for start in range(0, len(missed), TAKEN_AT_ONCE):
                taken = missed[start : start + TAKEN_AT_ONCE]
                live.take_stored(logged.entry.update for logged in taken)
                live.seq = max(live.seq, taken[-1].seq)
                await asyncio.sleep(0)
                if live.failed or not live.ready:
                    return
        except Broken:
            self.reload(live)
        except (RoomfulError, Malformed) as error:
            log.error("document %r could not catch up with its log: %s", live.name, error)
            live.fail(1013, "the document can't be read")

    def forget(self, live: LiveDocument) -> None:
        """It isn't open any more."""
        if self._open.get(live.name) is live:
            del self._open[live.name]
            eager.later(self._caretakers.pop(live.name).leave_bus())


def _encoded(snapshot: Snapshot | None) -> Encoded | None:
    if snapshot is None:
        return None
    return Encoded(snapshot.update, snapshot.state_vector, snapshot.deletions, snapshot.parked)


class Caretaker:
    """Looks after one open document: expired awareness, the length of its log, hooks, and whether anybody needs it."""

    __slots__ = ("_compacting", "_documents", "_edited_at", "_live", "_unloading", "hooks", "leave_bus", "wheel_slot")

    def __init__(
        self, documents: Documents, live: LiveDocument, leave_bus: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self.leave_bus = leave_bus
        self.hooks = DocumentHooks(documents.hooks, live.name)
        self._unloading = False
        self._documents = documents
        self._live = live
        self._compacting = False
        self._edited_at = documents.now()
        self.wheel_slot = 0

    def on_due(self, now: float) -> float | None:
        live = self._live
        if self._documents.get(live.name) is not live:
            return None
        for id, holders in live.awareness.expire(now).items():
            live.announce([id], holders)
        if self.hooks.is_due(now):
            eager.later(self.hooks.store(self._encoded))
        elif not live.users and now - live.idle_since >= self._documents.options.unload_s and not self._unloading:
            self._unloading = True
            eager.later(self._unload())
        elif now - self._edited_at >= REST_S and live.snapshot_bytes + live.log_bytes <= REST_MAX_BYTES:
            self._rest()
        return min(now + LOOK_S, self.hooks.store_due)

    def edited(self, edits: list[Edit]) -> None:
        """Compacts a log that has grown too long, one compaction at a time."""
        self._edited_at = self._documents.now()
        self.hooks.edited(edits, self._documents.now())
        self._documents.wake(self, self.hooks.store_due)
        if not self._compacting and self._is_long():
            self._compacting = True
            eager.later(self._compact())

    def _rest(self) -> None:
        live = self._live
        if live.ready and not live.pending:
            try:
                live.room.rest()
            except (Broken, Malformed):
                self._documents.reload(live)

    def _is_long(self) -> bool:
        options, live = self._documents.options, self._live
        size = live.snapshot_bytes
        allowed = min(options.compact_ratio * size, max(options.compact_bytes, size))
        return (
            live.log_bytes > max(options.compact_floor_bytes, allowed)
            or live.log_entries > options.compact_entries + size // BYTES_PER_ENTRY
        )

    async def _unload(self) -> None:
        live, documents = self._live, self._documents
        try:
            if live.log_entries > UNLOAD_COMPACT_ENTRIES and not self._compacting:
                self._compacting = True
                await self._compact()
            if not live.users and not live.pending and documents.get(live.name) is live:
                documents.forget(live)
                await self.hooks.unloaded()
        finally:
            self._unloading = False

    async def _encoded(self) -> bytes | None:
        """The whole document, if this node is the one to tell the application."""
        live, documents = self._live, self._documents
        await live.settled()
        try:
            if live.failed or await documents.store.lease(live.name, documents.node, LEASE_S) is None:
                return None
            return live.room.diff()
        except (RoomfulError, Malformed, Broken) as error:
            log.error("document %r could not be handed to the application: %s", live.name, error)
            return None

    async def _compact(self) -> None:
        """Puts a snapshot in place of the log, if no other node is about to; a failure is told and harms nothing."""
        live, documents = self._live, self._documents
        try:
            if live.failed or not live.ready:
                return
            lease = await documents.store.lease(live.name, documents.node, LEASE_S)
            if lease is None or live.failed or not live.ready:
                return
            upto, entries, size = live.seq, live.log_entries, live.log_bytes
            encoded = live.room.encode()
            snapshot = Snapshot(upto, encoded.update, encoded.state_vector, encoded.deletions, encoded.parked)
            options = documents.options
            keep = RawWindow(documents.wall_clock() - options.raw_keep_s, options.raw_keep_max_bytes)
            if await documents.store.compact(live.name, snapshot, lease.fence, keep):
                live.log_entries -= entries
                live.log_bytes -= size
                live.snapshot_bytes = len(snapshot.update)
        except (RoomfulError, Malformed, Broken) as error:
            log.error("document %r could not be compacted: %s", live.name, error)
        finally:
            self._compacting = False
