"""The session of `GET /events`: a client that listens to the channels its request named, and can't say anything.

All that carries a connection is that of every session. What differs: a client that can't subscribe again isn't
unsubscribed when something is missing; it is told what (`gap`), and the stream goes on behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec

from roomful.model.disconnects import DISCONNECTS, UNSUBSCRIBES
from roomful.model.errors import Unencodable
from roomful.model.facet import facet_of
from roomful.model.publication import Page, Position, Publication
from roomful.model.stream import Joined, Missing
from roomful.node.connection_log import about
from roomful.node.node import Node
from roomful.rooms.recovery import Gap, behind
from roomful.seams.dialect import StreamDialect
from roomful.seams.transport import Request, Transport
from roomful.session.catch_up import give_out
from roomful.session.connect import admit_to, enter_all
from roomful.session.life import State
from roomful.session.outbox import Outbox
from roomful.session.recover import Entry
from roomful.session.session import Context, Session
from roomful.session.subscribe import begin, wanting, watch
from roomful.session.subscription import BEHIND, Subscription

log = logging.getLogger("roomful.session")

UNKNOWN = 2**63
"""As the newest offset that was heard of: the log has to be read once more, whatever a reading under way says."""


class EventStream(Session):
    """since: the channels, sorted, with the positions that the client has of them. start: sends the response's head."""

    __slots__ = ("_dialect", "_followed", "_since", "_start")

    def __init__(
        self,
        context: Context,
        transport: Transport,
        dialect: StreamDialect,
        request: Request,
        since: Mapping[str, Position | None],
        start: Callable[[], None],
    ) -> None:
        super().__init__(context, transport, dialect, request)
        self._dialect = dialect
        self._since = since
        self._start = start
        self._followed: tuple[Subscription, ...] = ()
        """As long as the stream lives, also those that have ended: their positions stay in its id."""
        if len(since) > 1:
            self.outbox = StampedOutbox(self, dialect, context.node, context.limits.outbox_max_bytes)

    @property
    def positions(self) -> list[Position | None]:
        """What the client has, or will have with what is queued; None in channels that it can't go on in."""
        return [_position(subscription) for subscription in self._followed]

    async def follow(self, token: str) -> None:
        """Lets the client in, subscribes it, and sends what it has missed.

        Raises what a connect and a subscribe raise (RoomfulError, Disconnect); then nothing has been sent.
        """
        grants = await admit_to(self, token, self._since)
        self.spend_rooms("subscribe", grants)
        wanted = {channel: wanting(position) for channel, position in self._since.items()}
        entries = await enter_all(self, wanted, grants, server_side=False)
        self.context.node.directory.add(self)
        self._open(entries)
        for entry in entries:
            await begin(self, self._given_out(entry))

    def _open(self, entries: list[Entry]) -> None:
        """The event `subscribed`. Its id is what the client came with: if it is cut right behind, it asks the same."""
        self._followed = tuple(entry.subscription for entry in entries)
        joined = {}
        for entry in entries:
            subscription, result = entry.subscription, entry.result
            begins_at = entry.position
            if entry.gap is not None:
                begins_at = self._since[subscription.channel] or begins_at
            elif result.recovered:
                begins_at = Position(result.epoch, result.offset)
            subscription.epoch, subscription.offset = begins_at.epoch, begins_at.offset
            told = begins_at if result.positioned else None
            joined[subscription.channel] = Joined(told, result.recovered, result.data)
        self._start()
        try:
            self.outbox.force(self._dialect.subscribed(joined, self.positions))
        except Unencodable:
            self.end_inappropriate()
            return
        self.connected()
        watch(self, self)

    def _given_out(self, entry: Entry) -> Entry:
        """Queues what the log had, as far as there is room; how the subscription is to begin then."""
        subscription, publications = entry.subscription, entry.missed
        reached, complete = entry.position, entry.complete
        if entry.gap is not None and entry.page is not None:
            publications = self._tell_missing(subscription, entry.gap, entry.page)
            reached = Position(subscription.epoch, publications[-1].offset if publications else subscription.offset)
            complete = reached.offset >= entry.page.head.offset
        elif not publications:
            return entry
        if not give_out(self, subscription, publications):
            reached, complete = subscription.position, False
        return msgspec.structs.replace(entry, position=reached, complete=complete)

    # Its holes

    def lose(self, subscription: Subscription, gap: Gap, page: Page | None = None) -> None:
        """Goes on from the log where there is one, and tells what even that doesn't have."""
        if gap is Gap.UNREADABLE or facet_of(subscription.channel) is not None:
            # It comes back: its positions hold, and of a facet it gets the whole state anew.
            self.end(*DISCONNECTS["insufficient_state"])
        elif page is not None:
            self._tell_missing(subscription, gap, page)  # what the page has is read again, with what came meanwhile
        elif gap is Gap.UNLOGGED or not subscription.traits.tracked:
            place = _position(subscription)
            self._tell(Missing(subscription.channel, place, place, Gap.DEAF))
        elif subscription.phase is BEHIND:
            subscription.seen = UNKNOWN
        else:
            subscription.fall_behind()

    def _tell_missing(self, subscription: Subscription, gap: Gap, page: Page) -> list[Publication]:
        """The event `gap`, and the position moves behind it; what the log has from there on."""
        since = subscription.position
        to, rest = behind(gap, page)
        if gap is Gap.EPOCH:
            subscription.seen = 0  # that was another life of the log
        subscription.epoch, subscription.offset = to.epoch, to.offset
        self._tell(Missing(subscription.channel, since, to, gap))
        return rest

    def _tell(self, missing: Missing) -> None:
        self.context.node.stats.count_gap(missing.reason)
        about(log, self).info("an event stream misses something of %r: %s", missing.channel, missing.reason)
        place = missing.since.offset if missing.since else None
        self.happens("gap", channel=missing.channel, offset=place, reason=missing.reason)
        self.outbox.force(self._dialect.missing(missing, self.positions))

    # Its end

    def drop(self, subscription: Subscription, code: int, reason: str) -> None:
        if code == UNSUBSCRIBES["insufficient_state"][0]:  # of a client that could, it would mean: subscribe again
            self.lose(subscription, Gap.DEAF)
            return
        super().drop(subscription, code, reason)
        if not self.subscriptions:
            self.end(code, reason)

    def end(self, code: int, reason: str) -> None:
        if self.closed:
            return
        if self.state is State.OPENED:
            self._start()  # an EventSource takes every other answer but 200 for the last word
        super().end(code, reason)


class StampedOutbox(Outbox):
    """Frames of several channels: each gets the id of the whole stream at the moment at which it is queued.

    What has no place in the order (frames of `latest` channels) goes without: an event without id leaves the last one.
    """

    __slots__ = ("_stream", "_stream_dialect")

    def __init__(self, stream: EventStream, dialect: StreamDialect, node: Node, max_bytes: int) -> None:
        super().__init__(stream.transport, dialect, node.flusher, node.stats, max_bytes, node.backlog)
        self._stream = stream
        self._stream_dialect = dialect

    def put(self, frame: bytes) -> bool:
        return super().put(self._stream_dialect.stamped(frame, self._stream.positions))


def _position(subscription: Subscription) -> Position | None:
    return subscription.position if subscription.traits.recoverable else None
