"""One connected client: its identity, its state, its commands in order, and what it is sent.

The session knows neither bytes (its dialect does) nor sockets (its transport does). What the verbs do stands in one
file each; they are handed in as a table, so that they can import this file and not the other way round.

    OPENED ──connect──▶ CONNECTED ──▶ CLOSED        a connect that was answered with an error: REFUSED ──▶ CLOSED
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from roomful.model import command as c
from roomful.model.client import ClientInfo
from roomful.model.disconnects import DISCONNECTS, UNSUBSCRIBES, Disconnect, disconnect
from roomful.model.errors import InternalError, RoomfulError, TooManyRequests, Unencodable, WireError
from roomful.model.event import Via
from roomful.model.facet import facet_of, is_between_nodes
from roomful.model.order import ConnectionOrder, UnsubscribeOrder
from roomful.model.publication import Page, Publication
from roomful.model.push import DisconnectPush, Push
from roomful.model.reply import Failure, Result
from roomful.model.trace_context import HEADER, trace_id
from roomful.node import eager
from roomful.node.connection_log import about
from roomful.node.node import Node
from roomful.node.rates import Allowance
from roomful.node.wheel import Wheel
from roomful.rooms.recovery import Gap
from roomful.rooms.revoked import Revoked
from roomful.rooms.tags_filter import FilterLimits
from roomful.seams.authenticator import Authenticator
from roomful.seams.dialect import Dialect
from roomful.seams.transport import Request, Transport
from roomful.session.leaving import drop, farewell, forget, tell_end
from roomful.session.life import ALLOWED, State
from roomful.session.options import ConnectionOptions, LimitOptions
from roomful.session.outbox import Outbox, SingleMessages
from roomful.session.subscription import BEHIND, PENDING, Arrival, Subscription
from roomful.session.watched import Watched

log = logging.getLogger("roomful.session")

RATED: Mapping[type, str] = {
    c.Subscribe: "subscribe",
    c.Unsubscribe: "unsubscribe",
    c.Publish: "publish",
    c.Presence: "presence",
    c.PresenceStats: "presence",
    c.History: "history",
    c.Send: "send",
    c.Rpc: "rpc",
    c.Refresh: "refresh",
    c.SubRefresh: "refresh",
}
"""Whose rate a command counts for; a connect counts where its user becomes known (`connect.py`)."""

REFUSED_PAUSE_S, REFUSED_PAUSE_MAX_S = 0.1, 1.0
"""How long the next command of a connection waits after one that came too soon; twice as long each time while it goes
on. So 200 connections that send 100 each a second get 200 refusals a second instead of 20,000, and 20 in one turn of
the wheel, which is about a millisecond."""

REFUSED_CLOSE_S = 5.0
"""A client whose connect was refused closes by itself; else we do after this long."""

COMMANDS_A_TURN = 64
"""After so many of one message the others have a turn: a message of 64 KiB may carry 1,500 publications, and each of
them may go to thousands (2,000 members: 1 ms)."""

UNFLUSHED = frozenset(DISCONNECTS[name][0] for name in ("closed", "slow", "write_error"))
"""Closing with these doesn't write the queue first: nobody reads it."""

UNEVENTFUL = frozenset({1000, 1001, 1005, 1006, DISCONNECTS["closed"][0], DISCONNECTS["shutdown"][0]})
"""Ends that need no line in the log: clients come and go, and so do servers."""

UNANSWERED = {103: "permission_denied", 109: "expired", 110: "expired", 111: "too_many_requests"}
"""Error → the disconnect that tells of it where there are no replies; all others are "internal".
Source: Centrifuge protocol, section 17.5."""

FILTER_LIMITS = FilterLimits()
NEVER = math.inf
NOTHING: dict[str, Any] = {}
NO_REQUEST = Request(path="")


Handler = Callable[["Session", Any], Awaitable[Result | None]]
"""Does what a command asks. The result is sent as its reply; None: nothing is to be sent, or it was sent already."""

OrderHandler = Callable[["Session", Any], Awaitable[None]]


class InForce:
    """What a reload of the settings replaces, for all sessions at once. See `Context`."""

    __slots__ = ("anonymous", "limits")

    def __init__(self, limits: LimitOptions, *, anonymous: bool) -> None:
        self.limits = limits
        self.anonymous = anonymous


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What all sessions of a node share.

    handlers, orders: what each command and each order does. on_expiry: credentials or a subscription have expired.
    read_page: a subscription that is behind can go on. anonymous: a client may come without token and without a hook.
    insecure: `--dev`, every right to everybody. random: spreads first pings, 0 ≤ random() < 1. filters: how large a
    tags filter may be. kept_headers: of the HTTP request, in lower case, those that hooks are told of for as long as
    the connection lasts.
    """

    node: Node
    authenticator: Authenticator
    options: ConnectionOptions
    in_force: InForce
    handlers: Mapping[type, Handler]
    orders: Mapping[type, OrderHandler]
    on_expiry: Callable[[Session], None]
    read_page: Callable[[Session, Subscription], Coroutine[Any, Any, None]]
    insecure: bool
    new_id: Callable[[], str]
    random: Callable[[], float]
    filters: FilterLimits = FILTER_LIMITS
    kept_headers: frozenset[str] = frozenset()

    @property
    def limits(self) -> LimitOptions:
        return self.in_force.limits

    @property
    def anonymous(self) -> bool:
        return self.in_force.anonymous


class Session:
    """One connection, from its opening to its end. Made by an endpoint, called by a transport (`seams.transport`)."""

    entered_as = "connect"
    """Whose rate it counts for that the client comes."""

    __slots__ = (
        "_expiry_due",
        "_inbox",
        "_inbox_bytes",
        "_info",
        "_introduced",
        "_native_pings",
        "_pause",
        "_pause_s",
        "_ping_due",
        "_pong_due",
        "_unread",
        "allowance",
        "arrivals",
        "behind",
        "client",
        "conn_info",
        "context",
        "dialect",
        "ended",
        "expires_at",
        "issued_at",
        "leaving",
        "meta",
        "outbox",
        "parent_trace",
        "renewing",
        "request",
        "revalidate_at",
        "secret",
        "server_refresh",
        "state",
        "subscriptions",
        "token",
        "token_subs",
        "transport",
        "user",
        "validated_at",
        "wheel_slot",
    )

    def __init__(self, context: Context, transport: Transport, dialect: Dialect, request: Request) -> None:
        node = context.node
        self.context = context
        self.transport = transport
        self.dialect = dialect
        self.request = request
        self.state = State.OPENED
        self.client = context.new_id()
        self.allowance = node.rates.allowance(self.client, request.address)
        self.user = ""
        self.parent_trace = trace_id(request.headers.get(HEADER, ""))
        """The trace that its client, or a proxy before us, says it belongs to; "" for none."""
        self.secret = ""
        """By it a client sends commands another way than over the transport; the API addresses it so, too."""
        self.conn_info = b""
        self.meta: dict[str, Any] = NOTHING
        self.expires_at: float | None = None
        """Seconds since 1970."""
        self.token = ""
        """The id of its connection token."""
        self.issued_at = node.wall_clock()
        """When what it was let in with was issued: its token's word, or, by hook or as nobody, now."""
        self.validated_at = node.wheel.now()
        self.revalidate_at: float | None = None
        """When a hook is to be asked next whether it may stay; seconds since 1970."""
        self.token_subs: frozenset[str] = frozenset()
        """Channels that its token named; a refresh with others needs a new connection."""
        self.server_refresh = False
        """A hook renews the connection, not the client."""
        self.renewing = False
        """That hook is just being asked."""
        self.subscriptions: dict[str, Subscription] = {}
        self.arrivals: tuple[Arrival, ...] = ()
        kind = Outbox if dialect.joins else SingleMessages
        self.outbox = kind(transport, dialect, node.flusher, node.stats, context.limits.outbox_max_bytes, node.backlog)
        self._info: ClientInfo | None = None
        """What others see of it in most channels: one for all, where nothing was said of it in a single one."""
        self._introduced = False
        self.ended = (0, "")
        self.behind: set[Subscription] | None = None
        self.leaving: dict[str, asyncio.Task[None]] | None = None
        self._inbox: list[c.Command] | None = None
        self._inbox_bytes = 0
        self._pause: asyncio.Future[None] | None = None
        self._pause_s = REFUSED_PAUSE_S
        self._unread: deque[bytes] | None = None
        """Not None: a command came too soon, and until all that has arrived has had its turn nothing more is read."""
        if self._hears_by_push:
            self.secret = context.new_id()
        self._native_pings = request.query.get("cf_ws_frame_ping_pong") == "true"
        self._pong_due = NEVER
        self._expiry_due = NEVER
        self.wheel_slot = 0
        node.stats.connections += 1
        node.connections.add(self)
        node.admission.arrived(request.address)
        self._ping_due = node.wheel.now() + context.options.stale_s  # until it is connected, when it is closed
        node.wheel.schedule(self, self._ping_due)

    # What the transport calls

    def receive(self, data: bytes) -> bool:
        """Takes a message that came another way than over the transport; False if too much waits already."""
        if self._stopped_reading:
            return False
        self.on_message(data, self.dialect.binary)
        return True

    def on_message(self, data: bytes, binary: bool) -> None:
        if self.state is State.CLOSED:
            return
        stats = self.context.node.stats
        stats.messages_in += 1
        stats.bytes_in += len(data)
        if self._unread is not None:
            self._unread.append(data)  # decoding a flood that has come in one piece would hold everybody up
            return
        commands = self._decoded(data)
        if not commands:
            return
        if self._inbox is None:
            eager.start(self._work(commands))
        elif self.state is State.CONNECTED and len(commands) == 1 and type(commands[0]) is c.Pong:
            self._take_pong()  # clients send it alone; what is under way may take longer than a pong
        else:
            self._inbox.extend(commands)
            self._inbox_bytes += len(data)
            if self._stopped_reading:
                self.transport.pause_reading()

    def on_pong(self) -> None:
        if self._native_pings or self.dialect.unidirectional:
            self._pong_due = NEVER

    def on_writable(self) -> None:
        self.outbox.flush()

    def on_close(self, code: int, reason: str) -> None:
        self._depart(code, reason)

    # What handlers call

    @property
    def trace(self) -> str:
        """By what its log lines are found together."""
        return self.parent_trace or self.client.replace("-", "")

    @property
    def closed(self) -> bool:
        return self.state is State.CLOSED

    @property
    def pings_natively(self) -> bool:
        return self._native_pings

    @property
    def kind(self) -> str:
        return self.transport.kind

    @property
    def queued_bytes(self) -> int:
        return self.outbox.queued_bytes

    @property
    def owed_bytes(self) -> int:
        return self.outbox.owed

    @property
    def via(self) -> Via:
        """How the client is connected, as events tell it."""
        return Via(self.transport.kind, "json" if self.dialect.json else "protobuf", self._headers_kept())

    def info_in(self, channel: str) -> ClientInfo:
        """What others see of it in a channel."""
        subscription = self.subscriptions.get(channel)
        if subscription and subscription.info:
            return ClientInfo(self.user, self.client, self.conn_info, subscription.info)
        info = self._info
        if info is None or info.conn_info is not self.conn_info or info.user is not self.user:
            info = self._info = ClientInfo(self.user, self.client, self.conn_info)
        return info

    def reply(self, id: int, result: Result | Failure) -> None:
        """Queues the reply to a command; a client that has no room for it is ended with 3008."""
        if self.state is State.CLOSED:
            return
        try:
            frame = self.dialect.reply(id, result)
        except Unencodable:
            self.end_inappropriate()
            return
        if not self.outbox.put(frame):
            self.end_slow()

    def push(self, push: Push) -> None:
        """Queues a push outside any subscription, beyond the budget if need be: it tells the client what has happened.

        A client that doesn't read and has as much again of these waiting is ended with 3008.
        """
        if self.state is State.CLOSED:
            return
        try:
            self.outbox.force(self.dialect.push(push))
        except Unencodable:
            self.end_inappropriate()
        if self.transport.paused and self.outbox.bytes > 2 * self.outbox.max_bytes:
            self.end_slow()

    def introduce(self) -> None:
        """The connect hook has had its say, whatever it was: the application is told of this connection's end, once,
        and never before that."""
        self._introduced = True
        if self.state is State.CLOSED:
            eager.later(tell_end(self))

    def happens(self, event: str, **more: Any) -> None:
        """Tells those who trace this connection (`model.tracing`)."""
        tracer = self.context.node.tracer
        if tracer.on:
            tracer.note(event, **{"client": self.client, "user": self.user, **more})

    def refused(self, command: str, error: RoomfulError, channel: str = "") -> None:
        """Tells those who trace this connection that it got this error."""
        user = self.user or getattr(error, "user", "")
        self.happens("refused", user=user, channel=channel, code=error.code, reason=f"{command}: {error.message}")

    def connected(self) -> None:
        """The connect reply is queued: pings begin, the first one after half to one interval."""
        self.state = State.CONNECTED
        self.happens("connected", transport=self.transport.kind, trace=self.trace)
        self.context.node.admission.settled(self.request.address)
        if self.secret and not self.dialect.unidirectional:
            self.context.node.relay.open(self.secret, self.receive)
        kept = self._headers_kept()  # not all of them: half a kilobyte that nobody needs any more
        self.request = Request(path="", headers=kept) if kept else NO_REQUEST
        options = self.context.options
        if options.revalidate_s > 0 and not self.context.insecure:
            spread = options.revalidate_s * (0.5 + self.context.random() / 2)
            self.revalidate_at = self.context.node.wall_clock() + spread
            self.watch_expiry(self.revalidate_at)
        ping_s = options.ping_s
        self._ping_due = NEVER
        if ping_s > 0:
            self._ping_due = self._wheel.now() + ping_s * (0.5 + self.context.random() / 2)
            self._wheel.schedule(self, self._ping_due)

    def spend_rooms(self, command: str, rooms: Iterable[str]) -> None:
        """The client may do that in these rooms; whether they have had too much of it, raises TooManyRequests."""
        if self.allowance is not None:
            self.allowance.spend_rooms(command, rooms)

    def watch_expiry(self, at: float) -> None:
        """`context.on_expiry` is to run at `at`, seconds since 1970; the earliest of all such times counts."""
        due = self._wheel.now() + max(0.0, at - self.context.node.wall_clock())
        if due < self._expiry_due:
            self._expiry_due = due
            self._wheel.schedule(self, due)

    @contextmanager
    def arriving(self, channel: str) -> Iterator[Arrival]:
        """Until the end of the block a subscription to the channel is about to exist."""
        arrival = Arrival(channel)
        self.arrivals += (arrival,)
        try:
            yield arrival
        finally:
            self.arrivals = tuple(other for other in self.arrivals if other is not arrival)

    def drop(self, subscription: Subscription, code: int, reason: str) -> None:
        """Ends a subscription that has begun from the server's side; its client is told, too."""
        drop(self, subscription, code, reason)

    # What a subscription calls (session.subscription.Holder)

    def lose(self, subscription: Subscription, gap: Gap, page: Page | None = None) -> None:
        """page: what the log has after the subscription's position, if that is where the gap was found."""
        self.context.node.stats.count_gap(gap)
        about(log, self).info("the position in %r is lost: %s", subscription.channel, gap)
        self.happens("gap", channel=subscription.channel, offset=subscription.offset, reason=gap)
        if subscription.traits.server_side:
            self.end(*DISCONNECTS["insufficient_state"])
        else:
            self.drop(subscription, *UNSUBSCRIBES["insufficient_state"])

    def fall_behind(self, subscription: Subscription) -> None:
        if is_between_nodes(subscription.channel):  # the log isn't for it; it comes back to a new state
            self.lose(subscription, Gap.UNLOGGED)
            return
        self.context.node.stats.fell_behind += 1
        self.happens("fell_behind", channel=subscription.channel, offset=subscription.offset)
        if self.behind is None:
            self.behind = set()
        self.behind.add(subscription)
        self.outbox.on_room = self.read_on
        if not self.outbox.bytes:  # then no flush is coming that would see that there is room
            self.context.node.flusher.mark(self.outbox)

    def read_on(self) -> None:
        """Reads the next page for each subscription that is behind, as far as there is room."""
        behind = self.behind or set()
        for subscription in tuple(behind):
            if not self.outbox.has_room:
                return
            if subscription.phase is not BEHIND:
                behind.discard(subscription)
            elif not subscription.reading:
                eager.start(self.context.read_page(self, subscription))
        if not behind:
            self.outbox.on_room = None

    def watch(self, subscription: Subscription) -> None:
        subscription.__class__ = Watched

    # What a watched subscription calls (session.watched.Witness)

    @property
    def reads_slowly(self) -> bool:
        return self.transport.paused

    @property
    def replaced(self) -> int:
        return self.context.node.stats.replaced

    def saw(self, subscription: Subscription, fate: str, publication: Publication, epoch: str) -> None:
        tracer, channel = self.context.node.tracer, subscription.channel
        if not (tracer.on and tracer.concerns(self.user, channel)):
            subscription.__class__ = Subscription
        elif fate:
            self.happens(fate, channel=channel, offset=publication.offset, epoch=epoch)

    # What handlers and a subscription call, when a client can't go on

    def end_slow(self) -> None:
        self.end(*DISCONNECTS["slow"])

    def end_inappropriate(self) -> None:
        self.end(*DISCONNECTS["inappropriate_protocol"])

    # What the node calls (node.directory.Member, node.wheel.Timed)

    def watch_in(self, channel: str) -> int:
        watched = [s for s in self.subscriptions.values() if channel in ("", s.channel)]
        for subscription in watched:
            self.watch(subscription)
        return len(watched)

    def obey(self, order: ConnectionOrder) -> None:
        eager.start(self._carry_out(order))

    @property
    def tokens(self) -> tuple[str, ...]:
        return (self.token,) if self.token else ()

    def review(self, revoked: Revoked, rooms: Collection[str]) -> None:
        if self.context.insecure:
            return
        if revoked.ends(self.user, self.token, self.issued_at):
            self.end(*DISCONNECTS["revoked"])
            return
        for channel in self.channels if rooms else ():
            facet = facet_of(channel)
            if channel in rooms or (facet is not None and facet.base in rooms):
                self.obey(UnsubscribeOrder(self.user, channel, self.client, "", *UNSUBSCRIBES["revoked"]))
        for subscription in tuple(self.subscriptions.values()):
            if subscription.token and revoked.names("token", subscription.token):
                self.obey(UnsubscribeOrder(self.user, subscription.channel, self.client, "", *UNSUBSCRIBES["revoked"]))

    @property
    def channels(self) -> tuple[str, ...]:
        """Those that it is in, or just about to be."""
        return (*self.subscriptions, *(arrival.channel for arrival in self.arrivals))

    def end(self, code: int, reason: str) -> None:
        """Closes the connection; what is queued goes out first, unless the client doesn't read."""
        if self.state is State.CLOSED:
            return
        self.outbox.on_room = None  # else it would read on, and find a reason to end, and flush, and read on …
        if code not in UNFLUSHED:
            self.outbox.flush()
        self._depart(code, reason)
        if self._hears_by_push and (code, reason) != DISCONNECTS["closed"]:
            self.transport.write(
                self.dialect.push(DisconnectPush(code, reason.encode("utf-8", "replace").decode())), self.dialect.binary
            )
        self.transport.close(code, reason)

    def on_due(self, now: float) -> float | None:
        match self.state:
            case State.CLOSED:
                return None
            case State.OPENED | State.REFUSED:
                if now < self._ping_due:
                    return self._ping_due
                self.end(*DISCONNECTS["stale" if self.state is State.OPENED else "closed"])
                return None
        if now >= self._pong_due:
            if not self._stopped_reading:
                self.end(*DISCONNECTS["no_pong"])
                return None
            self._pong_due = now + self.context.options.pong_s  # it may lie in the socket that we don't read
        if now >= self._ping_due:
            self._ping(now)
        if now >= self._expiry_due:
            self._expiry_due = NEVER
            self.context.on_expiry(self)
        due = min(self._ping_due, self._pong_due, self._expiry_due)
        return due if due < NEVER else None

    # Inside

    def _headers_kept(self) -> dict[str, str]:
        kept, headers = self.context.kept_headers, self.request.headers
        return {name: headers[name] for name in kept if name in headers} if kept else NOTHING

    @property
    def _hears_by_push(self) -> bool:
        """Its client hears of the end by a push. Source: Centrifuge protocol, section 17.4."""
        return self.dialect.unidirectional or not self.transport.has_close_frame

    @property
    def _wheel(self) -> Wheel:
        return self.context.node.wheel

    @property
    def _stopped_reading(self) -> bool:
        """Too much waits for what is under way already."""
        return self._unread is not None or self._inbox_bytes > self.context.limits.inbox_max_bytes

    async def _work(self, commands: list[c.Command]) -> None:
        """Commands one after the other, and whatever arrives meanwhile."""
        self._inbox = []
        done = 0
        try:
            while commands:
                for command in commands:
                    done += 1
                    if done % COMMANDS_A_TURN == 0:
                        await asyncio.sleep(0)
                    if self.state is State.CLOSED:
                        return
                    await self._handle(command)
                    if self.state is State.REFUSED:
                        return  # what was sent before the client could know is ignored, and no violation
                commands, self._inbox = self._inbox, []
                if not commands and self._unread:
                    commands = self._decoded(self._unread.popleft())
                elif self._stopped_reading and (self._unread is None or not commands):
                    self._unread, self._pause, self._pause_s = None, None, REFUSED_PAUSE_S
                    self.transport.resume_reading()
                self._inbox_bytes = 0
        finally:
            self._inbox = None

    def _decoded(self, data: bytes) -> list[c.Command]:
        """The commands of a message; none, and the end of the connection, for one that is none."""
        try:
            return self.dialect.decode(data)
        except WireError as error:
            about(log, self).info("no commands were sent: %s", error)
            self.end(*DISCONNECTS["bad_request"])
            return []

    async def _handle(self, command: c.Command) -> None:
        kind = type(command)
        if kind not in ALLOWED[self.state]:
            self.end(*DISCONNECTS["bad_request"])
            return
        self.context.node.stats.commands += 1
        try:
            if kind is c.Pong:
                self._take_pong()
                return
            if self.allowance is not None and kind in RATED and not await self._afford(self.allowance, command):
                return
            result = await self.context.handlers[kind](self, command)
            if result is not None:
                self.reply(command.id, result)  # type: ignore[union-attr]  # only Send and Pong have no id
        except RoomfulError as error:
            self._refuse(command, error)
        except Disconnect as ending:
            self.end(ending.code, ending.reason)
        except Exception:
            about(log, self).exception("a %s command failed", kind.__name__)
            self._refuse(command, InternalError())

    async def _afford(self, allowance: Allowance, command: c.Command) -> bool:
        """Whether it comes in time. If not, its sender is told, and waits: what follows isn't looked at for a while,
        and isn't even read from the socket, so that a flood costs its sender's time and not ours."""
        try:
            allowance.spend(RATED[type(command)])
            return True
        except TooManyRequests as error:
            if type(command) is c.Send:  # nothing answers it, and it mustn't be lost without a word
                raise disconnect("too_many_requests") from None
            self._refuse(command, error)
        if self.state is not State.CLOSED:
            if self._unread is None:
                self._unread = deque()
                self.transport.pause_reading()
            self._pause = self._wheel.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, REFUSED_PAUSE_MAX_S)
            await self._pause
        return False

    def _refuse(self, command: c.Command, error: RoomfulError) -> None:
        self.context.node.stats.count_error(error.code)
        self.refused(type(command).__name__.lower(), error, getattr(command, "channel", ""))
        if self.dialect.unidirectional:
            self.end(*DISCONNECTS[UNANSWERED.get(error.code, "internal")])
            return
        id = getattr(command, "id", 0)
        if id or isinstance(command, c.Connect):
            self.reply(id, Failure(error.code, error.message, error.temporary))
        if isinstance(command, c.Connect) and self.state is State.OPENED:
            self.state = State.REFUSED
            self._ping_due = self._wheel.now() + REFUSED_CLOSE_S
            self._wheel.schedule(self, self._ping_due)

    def _take_pong(self) -> None:
        if self._pong_due == NEVER and self._unread is None:
            self.end(*DISCONNECTS["bad_request"])  # one pong for each ping
        self._pong_due = NEVER

    def _ping(self, now: float) -> None:
        options = self.context.options
        self._ping_due = now + options.ping_s
        answered = not self.dialect.unidirectional
        if self._native_pings or self.dialect.unidirectional:
            answered = self.transport.ping()
        if not self._native_pings:
            self.outbox.force(self.dialect.ping())
        if answered:
            self._pong_due = min(self._pong_due, now + options.pong_s)

    async def _carry_out(self, order: ConnectionOrder) -> None:
        try:
            await self.context.orders[type(order)](self, order)
        except Disconnect as ending:
            self.end(ending.code, ending.reason)
        except Exception:
            about(log, self).exception("a %s could not be carried out", type(order).__name__)

    def _depart(self, code: int, reason: str) -> None:
        """The connection is over, whoever ended it: out of hub and directory at once, the rest a moment later."""
        if self.state is State.CLOSED:
            return
        if self.state is not State.CONNECTED:
            self.context.node.admission.settled(self.request.address)
        self.state = State.CLOSED
        self.ended = (code, reason)
        if code not in UNEVENTFUL:
            about(log, self).info("it ends with %d: %s", code, reason)
        self.context.node.stats.count_disconnect(code)
        self.context.node.connections.discard(self)
        self.context.node.directory.remove(self)
        self._wheel.forget(self)
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)
        if self.secret:
            self.context.node.relay.close(self.secret)
        unsent = self.context.node.stats.unsent
        self.outbox.clear()
        unsent = self.context.node.stats.unsent - unsent
        established = [s for s in self.subscriptions.values() if s.phase is not PENDING]
        for subscription in established:
            forget(self, subscription)
            self.happens("unsubscribed", channel=subscription.channel, code=code, reason=reason)
        self.happens("closed", code=code, reason=reason, count=unsent, transport=self.transport.kind)
        eager.soon(farewell(self, established, introduced=self._introduced))
