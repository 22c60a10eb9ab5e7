"""The facet `state:`: what a room shares, merged, kept in the store, and told to everybody.

The room's log in the store is the truth, and pub/sub the wake-up: a change is durable before anybody is told of it, and
what a node wasn't told it reads from the log, before each snapshot and every few seconds. Changes that come while
others are being written wait, and are written together. Source: design, section 3 and decision 6.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec

from roomful.model.client import ClientInfo, person_of
from roomful.model.errors import BadRequest, InternalError, NotAvailable, RoomfulError
from roomful.model.facet import OPTIONS
from roomful.model.publication import Draft, Publication
from roomful.node import eager
from roomful.node.facets import FacetState
from roomful.node.hub import Hub
from roomful.node.state_options import StateOptions
from roomful.node.wheel import Wheel
from roomful.rooms.recovery import Gap
from roomful.rooms.shared_state import SharedState, Unreadable, told
from roomful.seams.engine import Broker
from roomful.seams.store import DocumentStore, Entry, RawWindow, Snapshot, Stored

log = logging.getLogger("roomful.node")

STORE_PREFIX = "\x01state:"
"""Of a room's name in the store. No document has it: their names have no control characters."""

STORE_TAG = "store"
"""Of what is published: the id of the store that has it. Nodes with different stores would keep different states."""

LOOK_S = 5.0
"""How often rooms are compared with their logs, and those that nobody uses are unloaded."""

TRIES = 16
"""How often changes that must be the next in the log are made anew because another node was faster."""

LEASE_S = 60.0
"""How long compacting or deleting one room may take before another node may begin."""

LEASE_WAIT_S = 0.05
"""Until the lease is asked for again, `TRIES` times."""

News: TypeAlias = dict[str, Any]
"""What is kept of a change; `told` is what all are told."""

Make: TypeAlias = Callable[[SharedState], News | None]
"""Changes the state; what is to be kept of it. Raises RoomfulError, and has changed nothing then."""


class StateRooms:
    """The shared state of this node's rooms (`node.facets.FacetKind`).

    owner: this node's id. new_replica: an id that nobody has had, beginning with `/`: under it this node makes its own
    changes. wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        store: DocumentStore,
        broker: Broker,
        hub: Hub,
        wheel: Wheel,
        options: StateOptions,
        *,
        owner: str,
        new_replica: Callable[[], str],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.wheel_slot = 0
        self._store = store
        self._broker = broker
        self._hub = hub
        self._wheel = wheel
        self._options = options
        self._owner = owner
        self._other_store = False
        self._new_replica = new_replica
        self._replica = new_replica()
        self._wall_clock = wall_clock
        self._rooms: dict[str, _Room] = {}
        self._comparing = False

    def __len__(self) -> int:
        """Rooms in memory."""
        return len(self._rooms)

    # What sessions, the application and the engine bring

    async def snapshot(self, base: str) -> FacetState:
        """`{"now", "life", "objects": [[name, state]]}`, all that was kept until the call."""
        state: bytes = await self.read(base, lambda state: msgspec.json.encode(state.snapshot()))
        return FacetState(state)

    async def read(self, base: str, look: Callable[[SharedState], Any]) -> Any:
        """What `look` finds in the room's state, in which is all that was kept until the call."""
        self._check_store()
        room = self._room(base)
        asked = room.reads
        room.users += 1
        try:
            async with room.lock:
                if room.reads == asked:  # else somebody who waited too has read the log since
                    await self._refresh(room)
                return look(room.state)
        finally:
            room.users -= 1

    async def publish(self, base: str, sender: ClientInfo, data: bytes) -> None:
        try:
            change = msgspec.json.decode(data)
        except (msgspec.MsgspecError, RecursionError):
            raise BadRequest("a change is an object") from None
        person = person_of(sender)
        await self.change(base, lambda state: state.publish(change, person), sender)

    async def change(self, base: str, make: Make, sender: ClientInfo | None = None) -> bool:
        """Changes the room's state, for all and for good; whether it changed anything. sender None: the application.

        Raises what `make` raises, and what the store raises; then nobody has been told of anything.
        """
        self._check_store()
        room = self._room(base)
        change = _Change(make, sender, asyncio.get_running_loop().create_future())
        room.waiting.append(change)
        if room.worker is None:
            # A task of its own: a caller who gives up must not tear up what is being written for others.
            room.worker = eager.later(self._work(room))
        await asyncio.wait((change.outcome,))
        outcome = change.outcome.result()
        if isinstance(outcome, RoomfulError):
            raise outcome
        return outcome

    async def delete(self, base: str) -> bool:
        """Deletes all that a room shares, in the store too; whether there was anything.

        Subscribers are sent away (2500), and come back to an empty room: those of this node at once, those of others
        when their node looks into the log. What others change at the same moment may outlive it.
        """
        self._check_store()
        room = self._room(base)
        room.users += 1
        try:
            async with room.lock:
                return await self._delete(room)
        finally:
            room.users -= 1

    def hear(self, base: str, publication: Publication, epoch: str) -> bool:
        store = (publication.tags or {}).get(STORE_TAG)
        if store != self._store.id and not self._other_store:
            self._other_store = True
            log.error(
                "another node keeps state in the store %s, this one in %s: no state is served", store, self._store.id
            )
        room = self._rooms.get(base)
        if room is not None and room.loaded:
            try:
                room.state.merge(msgspec.json.decode(publication.data))
            except (Unreadable, msgspec.MsgspecError) as error:
                log.warning("another node says of the state of %r what this version doesn't know: %s", base, error)
        return False

    def miss(self, base: str) -> None:
        """The store has it."""

    def left(self, base: str, client: str) -> None:
        """What somebody shared stays."""

    def deserted(self, base: str) -> None:
        """The next look unloads it."""

    async def stop(self) -> None:
        """Waits for what is being written."""
        while working := [room.worker for room in self._rooms.values() if room.worker is not None]:
            await asyncio.wait(working)
        self._rooms.clear()

    # Time

    def on_due(self, now: float) -> float | None:
        """Unloads rooms that nobody has used since the last look, and looks what the others have missed."""
        for base, room in list(self._rooms.items()):
            if not (room.users or room.worker or room.touched or _channel(base) in self._hub):
                del self._rooms[base]
            room.touched = False
        if self._rooms and not self._comparing:
            self._comparing = True
            eager.later(self._compare())
        return now + LOOK_S if self._rooms else None

    async def _compare(self) -> None:
        """Messages between nodes may be lost, the log may not."""
        try:
            rooms = {STORE_PREFIX + base: room for base, room in self._rooms.items() if _channel(base) in self._hub}
            for name, head in (await self._store.heads(list(rooms))).items():
                if head > rooms[name].seq:
                    async with rooms[name].lock:
                        await self._refresh(rooms[name])
        except RoomfulError as error:
            log.warning("the state of rooms could not be compared with the store: %s", error)
        finally:
            self._comparing = False

    # One room

    def _room(self, base: str) -> _Room:
        room = self._rooms.get(base)
        if room is None:
            room = self._rooms[base] = _Room(base, self._empty())
            self._wheel.schedule(self, self._wheel.now() + LOOK_S)
        room.touched = True
        return room

    def _check_store(self) -> None:
        if self._other_store:
            raise NotAvailable("this node has another store than the others")

    def _empty(self, life: int = 0) -> SharedState:
        return SharedState(self._replica, lambda: round(self._wall_clock() * 1000), self._options.shared, life)

    async def _refresh(self, room: _Room) -> None:
        """Reads what is new in the log; what nobody here was told is told now. Needs the lock."""
        room.reads += 1
        news = await self._store.since(room.name, room.seq) if room.loaded else None
        if news is None:
            known, room.known = room.known, True
            same_life = await self._load(room)
            if known:
                self._show_all(room, same_life)  # nobody knows what subscribers that had another state lack
            return
        for logged in news:
            change = _decoded(room, logged.entry.update)
            if _merged(room, room.state, change):
                self._show(room.base, change)
            room.seq = logged.seq

    async def _load(self, room: _Room) -> bool:
        """Everything anew, as the store has it. False: since the last time everything was deleted."""
        stored = await self._store.load(room.name) or Stored(0, None, [])
        state = self._empty(stored.lineage)
        if stored.snapshot is not None:
            for change in _decoded(room, stored.snapshot.update):
                _merged(room, state, change)
        for logged in stored.tail:
            _merged(room, state, _decoded(room, logged.entry.update))
        same_life = room.state.life == state.life
        room.state, room.seq, room.tail, room.loaded = state, stored.head, len(stored.tail), True
        return same_life

    async def _start_over(self, room: _Room) -> None:
        """Takes back what was made and isn't kept. What others have kept meanwhile is told."""
        before = room.seq
        same_life = await self._load(room)
        news = await self._store.since(room.name, before)
        if news is None:
            self._show_all(room, same_life)
        for logged in news or ():
            self._show(room.base, _decoded(room, logged.entry.update))

    def _show_all(self, room: _Room, same_life: bool) -> None:
        """What was deleted can't be told as a change: who has a former life comes back to a new snapshot."""
        if not same_life:
            self._hub.miss(_channel(room.base), None, Gap.EPOCH)
            return
        for name, plain in room.state.snapshot()["objects"]:
            self._show(room.base, {"object": name, "delta": plain})

    def _show(self, base: str, news: News) -> None:
        """To this node's subscribers; it has no place in the facet's own log, and needs none to be merged."""
        self._hub.broadcast(_channel(base), Publication(msgspec.json.encode(told(news))), "")

    async def _work(self, room: _Room) -> None:
        try:
            while room.waiting:
                async with room.lock:
                    batch, room.waiting = room.waiting, []
                    try:
                        await self._commit(room, batch)
                    except RoomfulError as error:
                        self._give_up(room, batch, error)
                    except Exception:
                        log.exception("the state of %r could not be changed", room.base)
                        self._give_up(room, batch, InternalError())
        finally:
            room.worker = None

    def _give_up(self, room: _Room, batch: list[_Change], error: RoomfulError) -> None:
        """What was made is thrown away with the state it was made in. Nobody knows whether the store has it: if so, all
        are told of it at the next read, and this node mustn't use the numbers of those changes again."""
        room.loaded = False
        self._replica = self._new_replica()
        for change in batch:
            change.answer(error)

    async def _commit(self, room: _Room, batch: list[_Change]) -> None:
        """Makes, keeps and tells the changes. Raises RoomfulError where reading or writing fails."""
        await self._refresh(room)
        for _ in range(TRIES):
            made = [(change, _made(change, room.state)) for change in batch]
            if await self._keep(room, made):
                break
            await self._start_over(room)
        else:
            raise InternalError
        for change, outcome in made:
            if isinstance(outcome, dict):
                # Nobody waits for it: it is stored, and a dead engine mustn't hold up the room.
                eager.start(self._tell(room.base, change.sender, outcome))
            change.answer(outcome if isinstance(outcome, RoomfulError) else outcome is not None)
        if room.tail > self._options.compact_entries:
            await self._compact(room)

    async def _keep(self, room: _Room, made: list[tuple[_Change, _Outcome]]) -> bool:
        """False: they must be made anew. Another node was faster, and may have done the same wish of the same key."""
        at = self._wall_clock()
        kept = [(change, news) for change, news in made if isinstance(news, dict)]
        entries = [Entry(msgspec.msgpack.encode(news), change.author, at) for change, news in kept]
        if any("done" in news for _, news in kept):
            if not await self._store.append_next(room.name, entries, 0, room.seq + 1):
                return False
            room.seq += len(entries)
        elif entries:
            first = await self._store.append(room.name, entries, 0)
            if first == room.seq + 1:  # else the next read finds what another node has written before
                room.seq += len(entries)
        room.tail += len(entries)
        return True

    async def _tell(self, base: str, sender: ClientInfo | None, news: News) -> None:
        """Tells all nodes. Where that fails, this node's subscribers are told, and the others read it in the log."""
        draft = Draft(msgspec.json.encode(told(news)), sender, {STORE_TAG: self._store.id})
        try:
            await self._broker.publish(_channel(base), draft, OPTIONS["state"].retention)
        except RoomfulError as error:
            log.warning("a change of the state of %r is stored, but was told only here: %s", base, error)
            self._show(base, news)

    async def _delete(self, room: _Room) -> bool:
        """Needs the lock."""
        await self._refresh(room)
        if not room.seq or not room.state.kept():
            return False
        for _ in range(TRIES):
            lease = await self._store.lease(room.name, self._owner, LEASE_S)
            if lease is None:  # another node compacts it
                await asyncio.sleep(LEASE_WAIT_S)
                continue
            nothing = Snapshot(room.seq + 1, msgspec.msgpack.encode([]), b"", b"")
            if await self._store.replace(room.name, nothing, room.state.life + 1, lease.fence):
                self._show_all(room, await self._load(room))
                await self._give_back(room)
                return True
            await self._refresh(room)  # another node was faster
        raise InternalError

    async def _compact(self, room: _Room) -> None:
        """The state in place of its log. What fails costs nothing but length."""
        try:
            lease = await self._store.lease(room.name, self._owner, LEASE_S)
            if lease is None:
                return
            snapshot = Snapshot(room.seq, msgspec.msgpack.encode(room.state.kept()), b"", b"")
            if await self._store.compact(room.name, snapshot, lease.fence, RawWindow(self._wall_clock(), 0)):
                room.tail = 0
            await self._give_back(room)
        except RoomfulError as error:
            log.warning("the log of the state of %r was not compacted: %s", room.base, error)

    async def _give_back(self, room: _Room) -> None:
        """The lease ends at once: another node may want it before its time is over. What it was for is done."""
        try:
            await self._store.lease(room.name, self._owner, 0.0)
        except RoomfulError as error:
            log.warning("the lease of the state of %r ends by itself only: %s", room.base, error)


_Outcome: TypeAlias = News | RoomfulError | None
"""What making a change came to: None if it had nothing to change."""


class _Change(NamedTuple):
    """outcome: whether it changed anything, or the error."""

    make: Make
    sender: ClientInfo | None
    outcome: asyncio.Future[bool | RoomfulError]

    @property
    def author(self) -> str:
        return self.sender.user if self.sender is not None else ""

    def answer(self, outcome: bool | RoomfulError) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class _Room:
    """One room. seq: how far its log is in `state`. tail: changes in the log after the newest snapshot, at least.

    loaded: `state` is what the store has. known: subscribers may have been given an earlier state. reads: how often the
    log was read. users: who holds or awaits the lock. touched: since the last look. waiting: for the worker.
    """

    __slots__ = (
        "base", "known", "loaded", "lock", "reads", "seq", "state", "tail", "touched", "users", "waiting", "worker",
    )  # fmt: skip

    def __init__(self, base: str, state: SharedState) -> None:
        self.base = base
        self.state = state
        self.loaded = self.known = False
        self.seq = self.tail = self.reads = self.users = 0
        self.touched = True
        self.lock = asyncio.Lock()
        self.waiting: list[_Change] = []
        self.worker: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return STORE_PREFIX + self.base


def _channel(base: str) -> str:
    return f"state:{base}"


def _made(change: _Change, state: SharedState) -> _Outcome:
    try:
        return change.make(state)
    except RoomfulError as error:
        return error


def _decoded(room: _Room, update: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(update)
    except msgspec.MsgspecError as error:
        raise _unreadable(room, error) from None


def _merged(room: _Room, state: SharedState, change: Any) -> bool:
    """Raises InternalError: what can't be read is never taken for empty."""
    try:
        return state.merge(change)
    except Unreadable as error:
        raise _unreadable(room, error) from None


def _unreadable(room: _Room, error: Exception) -> InternalError:
    log.error("the store has for the state of %r what this version can't read: %s", room.base, error)
    return InternalError()
