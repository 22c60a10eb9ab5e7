"""The facet `people:`: who is in a room, over all connections on all nodes.

Each node tells the others of its own people: it writes an entry into the engine's presence, under the facet's channel
and its own lease, and then publishes it to the facet's log. Each node with subscribers puts all entries together in the
log's order (its *view*) and shows what that changes. Source: design, sections 3 and 7; docs/decisions (people).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec

from roomful.model.client import ClientInfo, person_of
from roomful.model.errors import InternalError, NotAvailable, RoomfulError
from roomful.model.facet import OPTIONS
from roomful.model.order import BurialOrder
from roomful.model.publication import Draft, HistoryFilter, Position, Publication
from roomful.node import eager
from roomful.node.facets import FacetState
from roomful.node.hub import Hub
from roomful.node.lives import Lives
from roomful.node.people_options import PeopleOptions
from roomful.node.stats import Stats
from roomful.node.wheel import Wheel
from roomful.rooms.attendance import Attendance
from roomful.rooms.people import Buried, Custom, Entry, Fact, Person, Roster
from roomful.rooms.recovery import Gap, recover
from roomful.seams.engine import Engine

log = logging.getLogger("roomful.node")

RETENTION = OPTIONS["people"].retention
RETRY_S = 1.0
"""What the engine didn't take is told again after this long."""
AT_ONCE = 200
"""Entries that are written in one go."""
BATCH_BYTES = 131_072
"""Of one publication; a batch that is larger becomes several."""
LOOKS_MAX = 5
"""How often a view is read anew that the log ran away from while it was read."""
ABSENT_LOOKS = 2
"""A node is dead when it is absent in so many looks. The first one of those who look buries it, others that see it
still unburied follow one look apart, at most `RANKS`."""
RANKS = 4


_facts = msgspec.msgpack.Decoder(list[Fact])
_entry = msgspec.msgpack.Decoder(Entry)


class Shown(msgspec.Struct, frozen=True):
    """A state, or what has changed. people: those whose change is told, gone ones too; in a state, whom the room shows.
    online, away: how many there are."""

    people: list[Person]
    online: int
    away: int


class People:
    """The people of this node's rooms (`node.facets.FacetKind`). lease_s, renew_s: of the engine's leases.

    wall_clock: seconds since 1970; read once, for the wheel's clock neither stands still nor jumps.
    """

    def __init__(
        self,
        node: str,
        engine: Engine,
        hub: Hub,
        wheel: Wheel,
        stats: Stats,
        options: PeopleOptions,
        *,
        wall_clock: Callable[[], float],
        lease_s: float,
        renew_s: float,
    ) -> None:
        self._node = node
        self._engine = engine
        self._hub = hub
        self._wheel = wheel
        self._stats = stats
        self._options = options
        self._wall_clock = wall_clock
        self._ahead_s: float | None = None
        self._lease_s = lease_s
        self._rooms: dict[str, _Room] = {}
        self._firsts: dict[str, _First] = {}
        self._whereabouts: dict[str, dict[str, None]] = {}
        self._heard_of: set[str] = set()
        """Nodes that may say something of anybody."""
        self._absent: dict[str, int] = {}
        self._mourned: dict[str, int] = {}
        """The last life in which a node was buried by this one, as all nodes were told."""
        self.lives = Lives(node, engine.control, wheel, self, max(lease_s - renew_s, lease_s / 2))

    @property
    def options(self) -> PeopleOptions:
        return self._options

    def __len__(self) -> int:
        """People with connections here, or in their grace, counted once in each room."""
        return sum(len(room.attendance) for room in self._rooms.values()) + len(self._firsts)

    # What connections bring

    def join(self, base: str, info: ClientInfo) -> None:
        """A connection came into the room."""
        self.lives.notice(self._wheel.now())
        user = person_of(info)
        self._whereabouts.setdefault(user, {})[base] = None
        if self._engine.alone and base not in self._rooms and base not in self._firsts:
            self._firsts[base] = _First(info, self._now())
            self.lives.wake()
            return
        room = self._room(base)
        self._due(room, room.attendance.join(info, _json(info.conn_info), self._now()))
        if room.view is not None:
            self._inherit(room, room.view, (user,))

    def leave(self, base: str, info: ClientInfo, clean: bool) -> None:
        """A connection has left. clean: it won't come back by itself."""
        self.lives.notice(self._wheel.now())
        first = self._firsts.get(base)
        if first is not None and first.info.client == info.client:
            if clean or not info.user:
                del self._firsts[base]
                self._forget(base, (first.user,))
                return
            self._room(base)
        room = self._rooms.get(base)
        if room is not None:
            frozen_at, now = self.lives.frozen_at, self._now()
            seen = now if frozen_at is None else now - (self._wheel.now() - frozen_at)
            self._due(room, room.attendance.leave(info, clean, seen, now))

    def customize(self, base: str, user: str, custom: Custom) -> None:
        """What a person says of itself, in a room in which it may be on this node."""
        first = self._firsts.get(base)
        room = self._room(base) if first is not None and first.user == user else self._rooms.get(base)
        if room is not None:
            self._due(room, room.attendance.customize(user, custom, self._now()))

    # What is asked

    async def look(self, base: str) -> Roster:
        """Everybody in the room."""
        await self._tell_first(base)
        if _channel(base) in self._hub:
            view = await self._view(base)
            if view is not None:
                return view.roster
        return (await self._read(base))[0]

    def where(self, users: Iterable[str]) -> dict[str, dict[str, Entry]]:
        """What this node says of each of these users, by room."""
        found = {}
        for user in users:
            entries = {
                base: entry
                for base in self._whereabouts.get(user, ())
                if (entry := self._entry(base, user)) is not None
            }
            if entries:
                found[user] = entries
        return found

    def _entry(self, base: str, user: str) -> Entry | None:
        """What this node says of somebody whose whereabouts are that room."""
        first = self._firsts.get(base)
        if first is not None:
            info = _json(first.info.conn_info)
            return Entry(self._node, self.lives.number, user, "online", first.at, info=info)
        return self._rooms[base].attendance.entry(user, self.lives.number, self._now())

    # node.facets.FacetKind

    async def snapshot(self, base: str) -> FacetState:
        """`{"people": […], "online", "away"}`: everybody, or `shown_max` of them."""
        await self._tell_first(base)
        if _channel(base) in self._hub:
            view = await self._view(base)
            if view is not None:
                return FacetState(view.snapshot(), view.position)
        roster, position = await self._read(base)
        return FacetState(_told(roster.people(), roster), position)

    async def publish(self, base: str, sender: ClientInfo, data: bytes) -> None:
        raise NotAvailable("who is in a room isn't published, it is seen")

    def hear(self, base: str, publication: Publication, epoch: str) -> bool:
        room = self._rooms.get(base)
        view = None if room is None else room.view
        if room is None or view is None:
            return True  # nobody has been given a state yet that this could change
        if view.waiting is not None:
            view.waiting.append((publication, epoch))
        else:
            self._hear(room, view, publication, epoch)
        return True

    def miss(self, base: str) -> None:
        self.deserted(base)

    def left(self, base: str, client: str) -> None:
        """Only `leave` knows whether it was a clean one."""

    def deserted(self, base: str) -> None:
        """The view is dropped; the next subscriber gets a new one."""
        room = self._rooms.get(base)
        if room is not None:
            room.view = None
            self._settle(room)

    # Its life, and that of nodes (node.lives.Listener)

    async def stop(self) -> None:
        """Tells the others, if the engine takes it, how it is: who was on this node is away there."""
        for room in list(self._rooms.values()):
            room.attendance.hurry(self._now())
            self._work_on(room)
        while working := [room.worker for room in self._rooms.values() if room.worker is not None]:
            await asyncio.wait(working)
        self._rooms.clear()
        self._firsts.clear()
        self._whereabouts.clear()

    @property
    def idle(self) -> bool:
        return not self._rooms and not self._firsts

    def on_frozen(self) -> None:
        for base, room in self._rooms.items():
            room.unsent = [fact for fact in room.unsent if _is_end(fact)]
            for entry in room.attendance.told():
                # From here on the engine can't enter it anew, as it does when it finds the lease lost.
                eager.start(self._withdraw(base, entry))

    def on_new_life(self) -> None:
        """Everybody is told anew, and that nothing else that was said of this node's people holds."""
        for room in list(self._rooms.values()):
            room.unsent = [fact for fact in room.unsent if _is_end(fact)]
            room.attendance.again(self._now())
            room.graves[self._node] = Buried(self._node, self.lives.number - 1)
            self._work_on(room)

    def on_living(self, nodes: Collection[str]) -> None:
        absent = self._heard_of - {*nodes, self._node}
        if not absent:
            self._absent = {}
            return
        rooms = [(room, room.view) for room in self._rooms.values()]
        watched = [(room, view) for room, view in rooms if view is not None and view.waiting is None]
        absent &= {node for _, view in watched for node in view.roster.nodes}
        self._heard_of = {*nodes, *absent}
        self._absent = {node: self._absent.get(node, 0) + 1 for node in absent}
        for room, view in watched:
            others = sorted({*view.roster.nodes, self._node} - absent)
            rank = min(others.index(self._node), RANKS)
            for node in absent.intersection(view.roster.nodes):
                if self._absent[node] >= ABSENT_LOOKS + rank:
                    self._bury(room, view.roster.of(node))

    def _bury(self, room: _Room, lost: list[Entry]) -> None:
        """Who was there is away, and on this node from now on."""
        now = self._now()
        seen = now - self._lease_s
        for entry in lost:
            away = entry.status == "away"
            until = entry.until if away else seen + self._options.grace_s
            if room.attendance.adopt(entry, entry.seen if away else seen, until, now) is not None:
                self._whereabouts.setdefault(entry.user, {})[room.base] = None
        grave = Buried(lost[0].node, max(entry.life for entry in lost))
        log.info("node %s is dead: %d people of it were in %r", grave.node, len(lost), room.base)
        eager.later(self._dig(room, grave))

    async def _dig(self, room: _Room, grave: Buried) -> None:
        """The node is told first, if it should live all the same: else nobody would ever hear it again."""
        told = self._mourned.get(grave.node, 0)
        if told < grave.life:
            self._mourned[grave.node] = grave.life
            try:
                await self._engine.control.send(BurialOrder(grave.node, grave.life))
            except RoomfulError as error:
                self._mourned[grave.node] = told
                log.warning("node %s can't be buried yet: %s", grave.node, error)
                return
        room.graves[grave.node] = grave
        self._work_on(room)

    # Time

    def on_due(self, room: _Room, now: float) -> float | None:
        self.lives.notice(now)
        if room.worker is None and not self.lives.in_doubt:
            # Not in the middle of the wheel's turn: with the memory engine all subscribers would hear of it there.
            room.worker = eager.later(self._work(room))
        return None

    def _now(self) -> float:
        """Seconds since 1970."""
        if self._ahead_s is None:
            self._ahead_s = self._wall_clock() - self._wheel.now()
        return self._wheel.now() + self._ahead_s

    def _due(self, room: _Room, at: float | None) -> None:
        if at is not None:
            self._wheel.schedule(room, self._wheel.now() + max(0.0, at - self._now()))

    # Telling the others

    def _room(self, base: str) -> _Room:
        room = self._rooms.get(base)
        if room is None:
            room = self._rooms[base] = _Room(base, self, Attendance(self._node, self._options.grace_s))
            self.lives.wake()
            first = self._firsts.pop(base, None)
            if first is not None:
                self._due(room, room.attendance.join(first.info, _json(first.info.conn_info), first.at))
                # Taken for told from here on, so that a loss that comes next has its second before it is told.
                room.unsent = [*room.attendance.take(self.lives.number, self._now()).entries]
        return room

    async def _tell_first(self, base: str) -> None:
        """Somebody looks: who alone was there, and wasn't told for that, is now."""
        if base in self._firsts:
            room = self._room(base)
            self._work_on(room)
            if room.worker is not None:
                await asyncio.wait((room.worker,))

    def _settle(self, room: _Room) -> None:
        """Something has ended: the room goes with the last thing in it."""
        if room.empty and self._rooms.get(room.base) is room:
            del self._rooms[room.base]

    def _work_on(self, room: _Room) -> None:
        if room.worker is None and not self.lives.in_doubt:
            room.worker = eager.later(self._work(room))

    async def _work(self, room: _Room) -> None:
        """Tells everything that is due, one batch after the other: the log has each node's entries in their order."""
        due: float | None = None
        try:
            while not self.lives.in_doubt:
                if not room.unsent:
                    entries, left = room.attendance.take(self.lives.number, self._now())
                    room.unsent = [*entries, *room.graves.values()]
                    room.graves = {}
                    self._forget(room.base, left)
                if not room.unsent:
                    break
                await self._send(room)
            due = room.attendance.next_at()
        except RoomfulError as error:
            if not room.failing:
                log.warning("who is in %r was not told yet: %s", room.base, error)
            room.failing = True
            due = self._now() + RETRY_S
        except Exception:
            log.exception("who is in %r could not be told; going on", room.base)
            due = self._now() + RETRY_S
        finally:
            room.worker = None
            self._due(room, due)
            self._settle(room)

    def _forget(self, base: str, users: Iterable[str]) -> None:
        for user in users:
            rooms = self._whereabouts[user]
            del rooms[base]
            if not rooms:
                del self._whereabouts[user]

    async def _send(self, room: _Room) -> None:
        """Writes first, then tells: whoever reads what is written has it at least as new as the log."""
        sending = room.unsent
        entries = [fact for fact in sending if isinstance(fact, Entry)]
        for begin in range(0, len(entries), AT_ONCE):
            if self.lives.in_doubt or room.unsent is not sending:
                return  # the node may have been buried meanwhile, or has begun another life
            await asyncio.gather(*(self._write(room.base, entry) for entry in entries[begin : begin + AT_ONCE]))
        for batch in _batches(sending):
            if self.lives.in_doubt or room.unsent is not sending:
                return
            await self._engine.broker.publish(_channel(room.base), Draft(batch), RETENTION)
            self._stats.people_batches += 1
        self._stats.people_changes += len(entries)
        room.failing = False
        if room.unsent is sending:
            room.unsent = []

    def _write(self, base: str, entry: Entry) -> Awaitable[None]:
        channel, key = _channel(base), _key(entry)
        if entry.status == "gone":
            return self._engine.presence.remove(channel, key)
        return self._engine.presence.add(channel, ClientInfo(entry.user, key, msgspec.msgpack.encode(entry)))

    async def _withdraw(self, base: str, entry: Entry) -> None:
        try:
            await self._engine.presence.remove(_channel(base), _key(entry))
        except RoomfulError as error:
            log.warning("a person of %r stays entered until it is told anew: %s", base, error)

    # Hearing the others

    async def _view(self, base: str) -> _View | None:
        """What all nodes say, as far as the log has told this one; None: nobody listens here any more."""
        while _channel(base) in self._hub:
            room = self._room(base)
            view = room.view
            if view is None:
                view = room.view = _View()
                eager.start(self._load(room, view))
            if not view.ready.done():
                await asyncio.wait((view.ready,))
            error = view.ready.result()
            if error is not None:
                raise error
            if room.view is view:
                return view
        return None

    async def _load(self, room: _Room, view: _View) -> None:
        error: RoomfulError | None = None
        try:
            view.roster, view.position = await self._read(room.base)
        except RoomfulError as failed:
            error = failed
        except Exception:
            log.exception("who is in %r could not be read", room.base)
            error = InternalError()
        if room.view is view:
            if error is not None:
                room.view = None
                self._settle(room)
            waiting, view.waiting = view.waiting or [], None
            self._heard_of.update(view.roster.nodes)
            for publication, epoch in waiting:
                if room.view is view:
                    self._hear(room, view, publication, epoch)
            self._inherit(room, view, tuple(room.attendance.users()))
        view.ready.set_result(error)

    async def _read(self, base: str) -> tuple[Roster, Position]:
        """Everybody who is entered, and exactly where in the log that stands.

        What is entered may be newer than the log was before; what the log has got since then is put on top, so that
        nothing that was told before is told again. Raises RoomfulError.
        """
        channel = _channel(base)
        for _ in range(LOOKS_MAX):
            head = (await self._engine.broker.history(channel, HistoryFilter(), RETENTION)).head
            members = await self._engine.presence.members(channel)
            wanted = HistoryFilter(limit=RETENTION.size, since=head)
            page = await self._engine.broker.history(channel, wanted, RETENTION)
            if recover(head, page).gap is not None:
                continue
            roster = Roster(_entries(base, members.values()), self._options.shown_max)
            for publication in page.publications:
                roster.apply(_decoded(base, publication))
            return roster, page.head
        raise InternalError("who is in the room changes faster than it can be read")

    def _hear(self, room: _Room, view: _View, publication: Publication, epoch: str) -> None:
        position = view.position
        if epoch == position.epoch and publication.offset <= position.offset:
            return
        channel, heard = _channel(room.base), Position(epoch, publication.offset)
        if heard != Position(position.epoch, position.offset + 1):
            room.view = None
            self._hub.miss(channel, heard, Gap.DEAF)
            return
        roster, facts = view.roster, _decoded(room.base, publication)
        before = roster.online, roster.away
        changes = roster.apply(facts)
        view.position = heard
        if changes or before != (roster.online, roster.away):
            view.encoded = b""
            self._hub.broadcast(channel, Publication(_told(changes, roster), publication.offset), epoch)
        else:
            self._hub.skip(channel, Publication(b"", publication.offset), epoch)
        entries = [fact for fact in facts if isinstance(fact, Entry)]
        self._heard_of.update(entry.node for entry in entries)
        self._inherit(room, view, tuple(entry.user for entry in entries))

    def _inherit(self, room: _Room, view: _View, users: Collection[str]) -> None:
        """What a person has said of itself on another node is kept here, too: it may stay here when it leaves there."""
        if view.waiting is not None:
            return
        for user in users:
            if user in room.attendance:
                custom = view.roster.custom(user)
                if custom is not None:
                    self._due(room, room.attendance.customize(user, custom, self._now()))


class _First(NamedTuple):
    """The one connection that has ever been in a room, since `at`. As long as nobody looks and no other node can, this
    is all there is of that room: its join is made up for when anything else happens. A room that is told of takes
    3 KB, and most rooms of most applications have one member and nobody who looks."""

    info: ClientInfo
    at: float

    @property
    def user(self) -> str:
        return person_of(self.info)


class _View:
    """waiting: what was heard while it was read; None: it has been read. ready: done then, with the error if any."""

    __slots__ = ("encoded", "position", "ready", "roster", "waiting")

    def __init__(self) -> None:
        self.roster = Roster()
        self.position = Position("", 0)
        self.waiting: list[tuple[Publication, str]] | None = []
        self.ready: asyncio.Future[RoomfulError | None] = asyncio.get_running_loop().create_future()
        self.encoded = b""

    def snapshot(self) -> bytes:
        """Encoded once for all who come before the next change."""
        if not self.encoded:
            self.encoded = _told(self.roster.people(), self.roster)
        return self.encoded


class _Room:
    """One room (`node.wheel.Timed`). unsent: what is being told, until the engine has it. graves: to be told next.
    failing: it doesn't take it at the moment."""

    __slots__ = ("_people", "attendance", "base", "failing", "graves", "unsent", "view", "wheel_slot", "worker")

    def __init__(self, base: str, people: People, attendance: Attendance) -> None:
        self.base = base
        self.attendance = attendance
        self.view: _View | None = None
        self.unsent: list[Fact] = []
        self.failing = False
        self.graves: dict[str, Buried] = {}
        self.worker: asyncio.Task[None] | None = None
        self.wheel_slot = 0
        self._people = people

    @property
    def empty(self) -> bool:
        return not (len(self.attendance) or self.view or self.unsent or self.graves or self.worker)

    def on_due(self, now: float) -> float | None:
        return self._people.on_due(self, now)


def _channel(base: str) -> str:
    return f"people:{base}"


def _key(entry: Entry) -> str:
    """In the engine's presence: one entry for a person on a node."""
    return f"{entry.node}/{entry.user}"


def _is_end(fact: Fact) -> bool:
    return isinstance(fact, Entry) and fact.status == "gone"


def _json(info: bytes) -> bytes:
    """A connection's info if it is JSON, as all that is shown of people has to be; else nothing."""
    try:
        info.decode()  # msgspec doesn't look into the strings that it skips
        msgspec.json.decode(info, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""
    return info


def _told(people: list[Person], roster: Roster) -> bytes:
    return msgspec.json.encode(Shown(people, roster.online, roster.away))


def _batches(facts: list[Fact]) -> Iterator[bytes]:
    """As few messages as can be, each about as large as one may be."""
    begin, size = 0, 0
    sizes = [len(msgspec.msgpack.encode(fact)) for fact in facts]
    for end, each in enumerate(sizes):
        if size + each > BATCH_BYTES and end > begin:
            yield msgspec.msgpack.encode(facts[begin:end])
            begin, size = end, 0
        size += each
    yield msgspec.msgpack.encode(facts[begin:])


def _decoded(base: str, publication: Publication) -> list[Fact]:
    try:
        return _facts.decode(publication.data)
    except msgspec.MsgspecError as error:
        log.warning("another node says of the people in %r what this version doesn't know: %s", base, error)
        return []


def _entries(base: str, members: Iterable[ClientInfo]) -> Iterator[Entry]:
    for member in members:
        try:
            yield _entry.decode(member.conn_info)
        except msgspec.MsgspecError as error:
            log.warning("an entry of somebody in %r can't be read: %s", base, error)
