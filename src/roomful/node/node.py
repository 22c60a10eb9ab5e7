"""One server process: what sessions and the application ask for, and what the engine reports.

The node holds no sockets and no broker: it knows its subscribers through the hub and its connections through the
directory, and reaches the other nodes through the engine.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from fnmatch import fnmatchcase
from time import perf_counter
from typing import NamedTuple

import msgspec

from roomful.model.client import ClientInfo
from roomful.model.disconnects import DISCONNECTS
from roomful.model.errors import LimitExceeded, NotAvailable, RoomfulError
from roomful.model.facet import facet_of, is_between_nodes
from roomful.model.order import Answer, BurialOrder, CommandsOrder, Order, PersonStatusOrder, RevokeOrder, Survey
from roomful.model.publication import Draft, HistoryFilter, Page, Position, Publication, Published, Retention
from roomful.model.push import JoinPush, LeavePush
from roomful.model.stream import check_event_name
from roomful.node import eager
from roomful.node.admission import Admission
from roomful.node.backlog import LIMIT, Backlog
from roomful.node.connection_log import about
from roomful.node.directory import Directory, Member
from roomful.node.facets import Facets
from roomful.node.flusher import Flusher
from roomful.node.hooks import Hooks
from roomful.node.hub import PLAIN, Hub, Manner, Subscriber
from roomful.node.interest import Interest
from roomful.node.log_watch import CHECK_S, LogWatch
from roomful.node.namespaces import Namespaces
from roomful.node.people import People
from roomful.node.people_options import PeopleOptions
from roomful.node.rates import Rates
from roomful.node.relay import Relay
from roomful.node.revocations import RevocationOptions, Revocations
from roomful.node.shared_reads import SharedReads
from roomful.node.stats import Stats
from roomful.node.surveys import Answers, Surveys
from roomful.node.tracing import SURVEY as TRACE
from roomful.node.tracing import Tracer
from roomful.node.typing_rooms import TypingRooms
from roomful.node.wheel import Wheel
from roomful.rooms.people import Custom, Entry, Person, Roster, merged
from roomful.seams.dialect import Dialect
from roomful.seams.engine import Engine

log = logging.getLogger("roomful.node")

NOT_KEPT = Retention()
NOBODY = ClientInfo("", "")
NOWHERE = Position("", 0)

DRAIN_PER_S = 100
"""A few clients are let go at this rate, many as fast as the drain time demands."""

FAREWELL_S = 3.0
"""How long hooks that are told of the end of connections may hold up the end of the node."""


class NodeInfo(msgspec.Struct, frozen=True):
    """One node as `info` shows it. name: for people. uptime_s: since its start. num_subs: in all channels."""

    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_channels: int
    num_subs: int
    uptime_s: float


class ChannelsInUse(msgspec.Struct, frozen=True):
    """channels: those that have subscribers, with their number. missing: nodes that didn't answer in time."""

    channels: dict[str, int]
    missing: list[str] = []

    @property
    def partial(self) -> bool:
        return bool(self.missing)


class NodesInfo(msgspec.Struct, frozen=True):
    """nodes: those that answered. missing: the ids of those that didn't in time."""

    nodes: list[NodeInfo]
    missing: list[str] = []

    @property
    def partial(self) -> bool:
        return bool(self.missing)


class Whereabouts(msgspec.Struct, frozen=True):
    """people: each user that was asked for, by room. missing: the ids of nodes that didn't answer in time."""

    people: dict[str, dict[str, Person]]
    missing: list[str] = []

    @property
    def partial(self) -> bool:
        return bool(self.missing)


class Tap(NamedTuple):
    """Who takes what is published in a channel that no client can reach. on_lapse: something may have been lost."""

    on_publication: Callable[[Publication], None]
    on_lapse: Callable[[], None]


class Node:
    """A process's rooms. Every method that takes a channel raises UnknownChannel and BadRequest for a bad name."""

    def __init__(
        self,
        *,
        id: str,
        name: str = "",
        version: str,
        engine: Engine,
        namespaces: Namespaces,
        hooks: Hooks,
        stats: Stats,
        wheel: Wheel,
        wall_clock: Callable[[], float] = time.time,
        check_s: float = CHECK_S,
        admission: Admission | None = None,
        rates: Rates | None = None,
        outboxes_max_bytes: int = 0,
        revocations: RevocationOptions | None = None,
        people: PeopleOptions | None = None,
        lease_s: float = 45.0,
        renew_s: float = 15.0,
    ) -> None:
        """admission, rates: None for one without limits. outboxes_max_bytes: of all connections together, 0: none.

        revocations, people: None for the defaults. lease_s, renew_s: of the engine's leases."""
        self.id = id
        self.name = name or id
        self.version = version
        self.engine = engine
        self.namespaces = namespaces
        self.hooks = hooks
        self.stats = stats
        self.wheel = wheel
        self.admission = admission or Admission(stats, wheel.now)
        self.rates = rates or Rates(stats, wheel.now)
        self.backlog = Backlog(stats, outboxes_max_bytes, self._relieve)
        self.wall_clock = wall_clock
        self.hub = Hub()
        self.flusher = Flusher()
        self.directory = Directory()
        self.connections: set[Member] = set()
        """Every open connection, also those that haven't said `connect` yet."""
        self.tracer = Tracer(id, self.hub, self.directory, wheel, wall_clock)
        self.people = People(
            id,
            engine,
            self.hub,
            wheel,
            stats,
            people or PeopleOptions(),
            wall_clock=wall_clock,
            lease_s=lease_s,
            renew_s=renew_s,
        )
        self.facets = Facets(self.hub, {"typing": TypingRooms(engine.broker, self.hub, wheel), "people": self.people})
        self._taps: dict[str, Tap] = {}
        self._interest = Interest(engine.broker, lambda channel: channel in self.hub or channel in self._taps)
        self._reads = SharedReads()
        self._surveys = Surveys(engine.control, id)
        self.relay = Relay(engine.control, id)
        self.revocations = Revocations(engine, wheel, wall_clock, self.connections, revocations or RevocationOptions())
        self._watch = LogWatch(
            engine.broker, self.hub, stats, lambda channel: namespaces.of(channel).retention, check_s, self.facets
        )
        self._started_at = 0.0

    async def start(self) -> None:
        """Connects to the engine. Raises RoomfulError when it can't."""
        await self.engine.start(self, self.id)
        await self.revocations.start()
        self._watch.start()
        self._started_at = self.wheel.now()

    async def drain(self, drain_s: float) -> None:
        """Tells every client to come back, in random order, spread over the first half of `drain_s` but not slower
        than `DRAIN_PER_S`; then waits, at most for the rest of the time, until their hooks have run."""
        begun = self.wheel.now()
        members = list(self.connections)
        random.shuffle(members)
        gap_s = min(drain_s / 2 / max(1, len(members)), 1 / DRAIN_PER_S)
        for number, member in enumerate(members):
            if not self.connections:
                break
            wait_s = begun + number * gap_s - self.wheel.now()
            if wait_s > 0.01:
                await asyncio.sleep(wait_s)
            member.end(*DISCONNECTS["shutdown"])
        self._end_all()  # who came meanwhile
        await eager.finished(begun + drain_s - self.wheel.now())

    async def stop(self) -> None:
        """Ends the connections that are left and gives their hooks a moment; then leaves the engine and forgets all
        deadlines."""
        self._end_all()
        await eager.finished(FAREWELL_S)
        self._watch.stop()
        await self.people.stop()
        await self.engine.stop()
        self.wheel.stop()

    def _end_all(self) -> None:
        for member in tuple(self.connections):
            member.end(*DISCONNECTS["shutdown"])

    def _relieve(self) -> None:
        """Too much waits for clients that don't read: ends those for whom most does, until the rest fits."""
        for member in sorted(self.connections, key=lambda member: -member.owed_bytes):
            if not (self.backlog.over and member.owed_bytes):
                return
            waiting = self.backlog.bytes
            about(log, member).warning("it is ended: %d bytes wait for clients that don't read", waiting)
            self.stats.count_limited(LIMIT)
            member.end(*DISCONNECTS["slow"])

    # What sessions and the application ask for

    async def publish(self, channel: str, draft: Draft, *, skip_history: bool = False) -> Published:
        """Publishes to everybody in the channel, on all nodes. When it answers, the engine has it.

        skip_history: it goes past the channel's stream, as in a channel without history. Raises TypeError for tags
        that aren't text: what can't be encoded mustn't get as far as the hub; BadRequest for a tag `event` that
        `/events` keeps for itself; NotAvailable for a facet.
        """
        options = self.namespaces.of(channel)
        if facet_of(channel) is not None:
            raise NotAvailable("the server alone publishes to a facet")
        for name, value in (draft.tags or {}).items():
            if not (isinstance(name, str) and isinstance(value, str)):
                raise TypeError(f"tags are text by text, got {name!r}: {value!r}")
        check_event_name(draft.tags)
        keep = NOT_KEPT if skip_history else options.retention
        published = await self.engine.broker.publish(channel, draft, keep)
        if self.tracer.on:
            self._note_published(channel, draft, published)
        return published

    async def history(self, channel: str, wanted: HistoryFilter, *, some: bool = False) -> Page:
        """Part of a channel's stream, from a read that all who ask at once share. Raises NotAvailable for a channel
        without history.

        some: fewer publications will do, as long as the next one is among them: for who goes on until it is at the
        head.
        """
        keep = self._retention(channel)

        def fetch(part: HistoryFilter) -> Awaitable[Page]:
            return self.engine.broker.history(channel, part, keep)

        page = await self._reads.read(channel, wanted, fetch, some=some)
        self._watch.note(channel, page.head)
        return page

    async def position(self, channel: str) -> Position:
        """The head of a channel's stream. Raises NotAvailable for a channel without history."""
        return (await self.history(channel, HistoryFilter())).head

    async def remove_history(self, channel: str) -> None:
        """Drops a channel's publications; epoch and offset go on. Raises NotAvailable without history."""
        self._retention(channel)
        await self.engine.broker.remove_history(channel)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is in the channel, by client id. Raises NotAvailable where presence isn't kept."""
        self._require_presence(channel)
        return dict(await self.engine.presence.members(channel))

    async def presence_counts(self, channel: str) -> tuple[int, int]:
        """Connections and distinct users in the channel. Raises NotAvailable where presence isn't kept."""
        self._require_presence(channel)
        return await self.engine.presence.counts(channel)

    async def room_people(self, channel: str) -> Roster:
        """The people of a room. Raises NotAvailable where presence isn't kept."""
        self._require_presence(channel)
        return await self.people.look(channel)

    async def where(self, users: Collection[str]) -> Whereabouts:
        """In which rooms these users are, on any node."""
        answers = await self._surveys.ask("people", msgspec.msgpack.encode(list(users)))
        found: dict[str, dict[str, list[Entry]]] = {user: {} for user in users}
        for body in answers.bodies.values():
            for user, rooms in msgspec.msgpack.decode(body, type=dict[str, dict[str, Entry]]).items():
                for room, entry in rooms.items():
                    found[user].setdefault(room, []).append(entry)
        people = {
            user: {room: person for room, entries in rooms.items() if (person := merged(entries)) is not None}
            for user, rooms in found.items()
        }
        return Whereabouts(people, answers.missing)

    async def set_status(self, channel: str, user: str, value: bytes) -> None:
        """What a person says of itself in a room, on all nodes; nothing happens where it isn't there.

        value: JSON, `null` for nothing. Raises NotAvailable where presence isn't kept, LimitExceeded for a long one.
        """
        self._require_presence(channel)
        if len(value) > self.people.options.status_max_bytes:
            raise LimitExceeded(f"a status has at most {self.people.options.status_max_bytes} bytes")
        await self.order(PersonStatusOrder(channel, user, value, self.wall_clock()))

    async def order(self, order: Order) -> None:
        """Has it done on every node."""
        await self.engine.control.send(order)

    async def all_channels(self, pattern: str = "*") -> ChannelsInUse:
        """Channels that have subscribers on any node; `*` and `?` in the pattern are wild."""
        answers = await self._surveys.ask("channels", pattern.encode())
        channels: Counter[str] = Counter()
        for body in answers.bodies.values():
            channels.update(msgspec.msgpack.decode(body, type=dict[str, int]))
        return ChannelsInUse(dict(channels), answers.missing)

    async def ask_all(self, question: str, argument: bytes) -> Answers:
        """What all nodes, this one too, answer to a question that `on_survey` knows."""
        return await self._surveys.ask(question, argument)

    async def all_info(self) -> NodesInfo:
        """The nodes in figures."""
        answers = await self._surveys.ask("info")
        nodes = [msgspec.msgpack.decode(body, type=NodeInfo) for body in answers.bodies.values()]
        return NodesInfo(sorted(nodes, key=lambda node: node.uid), answers.missing)

    def channels(self, pattern: str = "*") -> dict[str, int]:
        """Channels that have subscribers here, with their number."""
        return {name: count for name, count in self.hub.channels() if fnmatchcase(name, pattern)}

    def info(self) -> NodeInfo:
        """This node in figures."""
        return NodeInfo(
            uid=self.id,
            name=self.name,
            version=self.version,
            num_clients=len(self.directory),
            num_users=self.directory.users,
            num_channels=len(self.hub),
            num_subs=sum(count for _, count in self.hub.channels()),
            uptime_s=self.wheel.now() - self._started_at,
        )

    # What subscriptions need

    async def listen(self, channel: str, dialect: Dialect, subscriber: Subscriber, manner: Manner = PLAIN) -> int:
        """From now on the subscriber gets what is published. If it raises (the broker did), nothing is left.

        Returns the number that stands for the channel in a compact manner."""
        number = self.hub.add(channel, dialect, subscriber, manner)
        try:
            await self._interest.acquire(channel)
        except BaseException:
            self.hub.remove(channel, dialect, subscriber, manner)
            raise
        return number

    async def unlisten(self, channel: str, dialect: Dialect, subscriber: Subscriber, manner: Manner = PLAIN) -> None:
        """Undoes `listen`. Call it once for each."""
        self.hub.remove(channel, dialect, subscriber, manner)
        if channel not in self.hub:
            self._watch.forget(channel)
            self.facets.deserted(channel)
        await self._interest.release(channel)

    async def appear(self, channel: str, info: ClientInfo) -> None:
        """Enters the client into the channel's presence, and the person among its people."""
        self.people.join(channel, info)
        await self.engine.presence.add(channel, info)

    async def disappear(self, channel: str, info: ClientInfo, *, clean: bool) -> None:
        """Takes the client out of the channel's presence. clean: it won't come back by itself."""
        self.people.leave(channel, info, clean)
        await self.engine.presence.remove(channel, info.client)

    async def announce_join(self, channel: str, info: ClientInfo) -> None:
        """Tells the channel; best effort: an engine error is logged and goes no further."""
        try:
            await self.engine.broker.publish_join(channel, info)
        except RoomfulError as error:
            log.warning("the join of a client in %r was not announced: %s", channel, error)

    async def announce_leave(self, channel: str, info: ClientInfo) -> None:
        """Tells the channel; best effort: an engine error is logged and goes no further."""
        try:
            await self.engine.broker.publish_leave(channel, info)
        except RoomfulError as error:
            log.warning("the leave of a client from %r was not announced: %s", channel, error)

    # What nodes say to each other in channels that no client can reach

    async def tap(self, channel: str, tap: Tap) -> None:
        """From now on what is published in the channel goes there. If it raises (the broker did), nothing is left."""
        self._taps[channel] = tap
        try:
            await self._interest.acquire(channel)
        except BaseException:
            self._taps.pop(channel, None)
            raise

    async def untap(self, channel: str, tap: Tap) -> None:
        """Undoes `tap`; whoever has tapped the channel since then keeps it."""
        if self._taps.get(channel) is tap:
            del self._taps[channel]
        await self._interest.release(channel)

    async def publish_internal(self, channel: str, draft: Draft) -> None:
        """Publishes to all nodes that tap the channel, this one too; it isn't kept."""
        await self.engine.broker.publish(channel, draft, NOT_KEPT)

    # What the engine reports (seams.engine.Sink)

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        tap = self._taps.get(channel)
        if tap is not None:
            tap.on_publication(publication)
            return
        self.stats.publications += 1
        admitted = not publication.offset or self._watch.admit(channel, publication.offset, epoch)
        if self.tracer.on:
            self._note_arrived("arrived" if admitted else "held", channel, publication, epoch)
        if admitted:
            heard_at = perf_counter()
            self.facets.broadcast(channel, publication, epoch)
            self.flusher.carries(heard_at)

    def on_lapse(self, channels: Collection[str]) -> None:
        self._watch.on_lapse([channel for channel in channels if channel not in self._taps])
        for channel in channels:
            if channel in self._taps:
                self._taps[channel].on_lapse()

    def on_join(self, channel: str, info: ClientInfo) -> None:
        if not is_between_nodes(channel):  # what nodes enter there are no clients
            self.hub.notify(channel, JoinPush(channel, info))

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        if not is_between_nodes(channel):
            self.hub.notify(channel, LeavePush(channel, info))

    def on_order(self, order: Order) -> None:
        if isinstance(order, CommandsOrder):
            answer = self.relay.take(order)
            if answer is not None:
                eager.start(self._answer(order.asker, answer))
            return
        if isinstance(order, RevokeOrder):
            self.revocations.on_order(order)
            return
        if isinstance(order, BurialOrder):
            self.people.lives.on_burial(order)
            return
        if isinstance(order, PersonStatusOrder):
            self.people.customize(order.channel, order.user, Custom(order.value, order.at))
            return
        for member in self.directory.addressed(order):
            member.obey(order)

    def on_survey(self, survey: Survey) -> None:
        match survey.question:
            case "channels":
                body = msgspec.msgpack.encode(self.channels(survey.argument.decode()))
            case "info":
                body = msgspec.msgpack.encode(self.info())
            case question if question == TRACE:
                body = self.tracer.answer(survey.argument)
            case "people":
                users = msgspec.msgpack.decode(survey.argument, type=list[str])
                body = msgspec.msgpack.encode(self.people.where(users))
            case _:
                log.warning("node %s asks for %r, which this version doesn't know", survey.asker, survey.question)
                return  # and is told that this node is missing
        eager.start(self._answer(survey.asker, Answer(survey.id, self.id, body)))

    def on_answer(self, answer: Answer) -> None:
        if not self.relay.on_answer(answer):
            self._surveys.on_answer(answer)

    async def _answer(self, asker: str, answer: Answer) -> None:
        try:
            await self.engine.control.answer(asker, answer)
        except RoomfulError as error:
            log.warning("node %s was not answered: %s", asker, error)

    # What it tells those who trace (node.tracing)

    def _note_published(self, channel: str, draft: Draft, published: Published) -> None:
        by = draft.info or NOBODY
        place = published.position or NOWHERE
        reason = "the same idempotency key was published before" if published.repeated else ""
        self.tracer.note(
            "published",
            client=by.client,
            user=by.user,
            channel=channel,
            offset=place.offset,
            epoch=place.epoch,
            reason=reason,
        )

    def _note_arrived(self, event: str, channel: str, publication: Publication, epoch: str) -> None:
        by = publication.info or NOBODY
        self.tracer.note(
            event,
            client=by.client,
            user=by.user,
            channel=channel,
            offset=publication.offset,
            epoch=epoch,
            count=self.hub.subscribers(channel),
        )

    # Checks

    def _retention(self, channel: str) -> Retention:
        options = self.namespaces.of(channel)
        if not options.has_history:
            raise NotAvailable("the channel has no history")
        return options.retention

    def _require_presence(self, channel: str) -> None:
        if not self.namespaces.of(channel).presence:
            raise NotAvailable("the channel keeps no presence")
