"""The engine of a single process: nothing to install, and nothing in it ever suspends.

Publish is append and deliver in one go, so a command that publishes ends inside the callback that brought it. All is
lost with the process: the next one has other epochs, and whoever returns to it is told of a gap.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import msgspec

from roomful.engines.options import EngineOptions
from roomful.model.client import ClientInfo
from roomful.model.errors import InternalError
from roomful.model.order import Order
from roomful.model.publication import Draft, HistoryFilter, Page, Position, Publication, Published, Retention
from roomful.rooms.idempotency import Idempotency
from roomful.rooms.presence import Presence
from roomful.rooms.stream import Stream
from roomful.seams.engine import Sink

Clock = Callable[[], float]

TICK_S = 1.0
TIDY_EACH_TICK = 1_000
"""How many things one tick may free, a few milliseconds of work. A tick with more to do is followed by the next."""
TIDY_EACH_CALL = 2
"""A call adds one thing at most, so two freed by each of them keep up with any churn."""

_HERE = ""
"""The only node's name in its own presence."""


class Usage(msgspec.Struct, frozen=True):
    """How much is remembered at the moment.

    channels: with publications. idle_channels: only epoch and offset. keys: idempotency keys. present: channels with
    members.
    """

    channels: int
    idle_channels: int
    keys: int
    present: int


class MemoryEngine:
    """Broker, presence store and control of one node. clock: seconds that never go back. tick_s: between tidyings."""

    def __init__(
        self, options: EngineOptions | None = None, clock: Clock = time.monotonic, tick_s: float = TICK_S
    ) -> None:
        options = options or EngineOptions()
        self._tick_s = tick_s
        self._timer: asyncio.TimerHandle | None = None
        self._delivery = _Delivery()
        self.broker = MemoryBroker(options, clock, self._delivery)
        self.presence = MemoryPresence()
        self.control = MemoryControl(self._delivery)

    async def start(self, sink: Sink, node: str) -> None:
        """Raises InternalError when it has a node already: two would not hear each other."""
        if self._delivery.sink is not None:
            raise InternalError(f"the memory engine serves one node, so node {node} needs an engine of its own")
        self._delivery.sink = sink
        self._tick()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._delivery.close()
        self.broker.forget_subscriptions()
        self.presence.forget_members()

    def usage(self) -> Usage:
        channels, idle = self.broker.streams.sizes()
        return Usage(channels, idle, len(self.broker.results), len(self.presence))

    def _tick(self) -> None:
        more = self.broker.tidy(TIDY_EACH_TICK)
        self._timer = asyncio.get_running_loop().call_later(0.0 if more else self._tick_s, self._tick)


class MemoryBroker:
    """The channels of this process. See `seams.engine.Broker` for what each call promises."""

    def __init__(self, options: EngineOptions, clock: Clock, delivery: _Delivery) -> None:
        self._clock = clock
        self._delivery = delivery
        self._subscribed: set[str] = set()
        self.streams = Streams(options.idle_channels_max)
        self.results: Idempotency[Published] = Idempotency(options.idempotency_keys_max)

    async def subscribe(self, channel: str) -> None:
        self._subscribed.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        self._subscribed.discard(channel)

    def forget_subscriptions(self) -> None:
        self._subscribed.clear()

    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        now = self._clock()
        if draft.key:
            first = self.results.get(channel, draft.key, now)
            if first is not None:
                return Published(first.position, repeated=True)
        if keep.keeps:
            stream = self.streams.to_write(channel, keep, now)
            publication, epoch = stream.append(draft, keep, now), stream.epoch
            published = Published(Position(epoch, publication.offset))
        else:
            publication, epoch = Publication(draft.data, 0, draft.info, draft.tags, draft.exclude), ""
            published = Published()
        if draft.key:
            self.results.put(channel, draft.key, published, draft.idempotency_ttl_s, now)
        self._tidy(TIDY_EACH_CALL, now)
        sink = self._delivery.sink
        if sink is not None and channel in self._subscribed:
            self._delivery.tell(sink.on_publication, channel, publication, epoch)
        return published

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        sink = self._delivery.sink
        if sink is not None and channel in self._subscribed:
            self._delivery.tell(sink.on_join, channel, info)

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        sink = self._delivery.sink
        if sink is not None and channel in self._subscribed:
            self._delivery.tell(sink.on_leave, channel, info)

    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        if not keep.keeps:
            return Page([], Position("", 0))
        now = self._clock()
        page = self.streams.to_read(channel, keep, now).page(wanted, keep, now)
        self._tidy(TIDY_EACH_CALL, now)
        return page

    async def remove_history(self, channel: str) -> None:
        self.streams.remove(channel)

    def tidy(self, limit: int) -> bool:
        """Frees what has expired, about `limit` things at most; whether there may be more."""
        return self._tidy(limit, self._clock())

    def _tidy(self, limit: int, now: float) -> bool:
        freed = self.results.expire(now, limit)
        return self.streams.tidy(now, limit) or freed == limit


class MemoryPresence:
    """Who is here. The one node can't outlive its own entries, so its lease has no end."""

    def __init__(self) -> None:
        self._presence = Presence()
        self._presence.renew(_HERE, math.inf)

    async def add(self, channel: str, info: ClientInfo) -> None:
        self._presence.add(channel, info, _HERE)

    async def remove(self, channel: str, client: str) -> None:
        self._presence.remove(channel, client)

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        return self._presence.members(channel)

    async def counts(self, channel: str) -> tuple[int, int]:
        return self._presence.counts(channel)

    def forget_members(self) -> None:
        self._presence.drop(_HERE)
        self._presence.renew(_HERE, math.inf)

    def __len__(self) -> int:
        return len(self._presence)


class MemoryControl:
    def __init__(self, delivery: _Delivery) -> None:
        self._delivery = delivery

    async def send(self, order: Order) -> None:
        sink = self._delivery.sink
        if sink is not None:
            self._delivery.tell(sink.on_order, order)


class _Delivery:
    """The one way to the sink: one call at a time, in order.

    What is told while the sink is being called (by a listener that publishes in reaction) waits for that call's end.
    Told at once it would reach those who come late in the hub's loop before the publication that caused it.
    """

    __slots__ = ("_busy", "_waiting", "sink")

    def __init__(self) -> None:
        self.sink: Sink | None = None
        self._busy = False
        self._waiting: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()

    def tell(self, call: Callable[..., None], *arguments: object) -> None:
        """call: a method of the sink."""
        if self._busy:
            self._waiting.append((call, arguments))
            return
        self._busy = True
        try:
            call(*arguments)
            while self._waiting:
                call, arguments = self._waiting.popleft()
                call(*arguments)
        finally:
            self._busy = False

    def close(self) -> None:
        self.sink = None
        self._waiting.clear()


class _Agenda:
    """Streams by channel, and which of them has to be looked at first.

    A heap of deadlines. An entry that was replaced or taken out stays in it until it comes up, or until such entries
    are the greater part.
    """

    __slots__ = ("_heap", "_streams")

    def __init__(self) -> None:
        self._streams: dict[str, tuple[float, Stream]] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, channel: str) -> Stream | None:
        entry = self._streams.get(channel)
        return None if entry is None else entry[1]

    def put(self, channel: str, stream: Stream, at: float) -> None:
        """Keeps the stream, or keeps it until another time."""
        self._streams[channel] = (at, stream)
        heappush(self._heap, (at, channel))
        if len(self._heap) > 2 * len(self._streams) + 64:
            self._heap = [(at, channel) for channel, (at, _) in self._streams.items()]
            heapify(self._heap)

    def take(self, channel: str) -> Stream | None:
        entry = self._streams.pop(channel, None)
        return None if entry is None else entry[1]

    def take_due(self, now: float) -> tuple[str, Stream] | None:
        """The next one whose time has come, None if there is none."""
        while self._heap and self._heap[0][0] <= now:
            at, channel = heappop(self._heap)
            entry = self._streams.get(channel)
            if entry is not None and entry[0] == at:
                del self._streams[channel]
                return channel, entry[1]
        return None


class Streams:
    """All streams of the process: the *full* ones with publications, the *idle* ones with only an epoch and an offset.

    A full one that comes up before its publications expire, because it was published to again, is put back: so a
    publish leaves the agenda alone. Idle ones are forgotten when their time is up, or when they are too many.
    """

    __slots__ = ("_epoch", "_full", "_idle", "_idle_max")

    def __init__(self, idle_max: int) -> None:
        self._full = _Agenda()
        self._idle = _Agenda()
        self._idle_max = idle_max
        # Shared by all streams that begin now: 60 bytes and a random number less for each. It is drawn anew whenever
        # a stream that had publications is forgotten, so no channel ever gets the same epoch for two lives.
        self._epoch = secrets.token_hex(6)

    def to_write(self, channel: str, keep: Retention, now: float) -> Stream:
        """The channel's stream, begun if there is none; it has to be appended to."""
        stream = self._full.get(channel)
        if stream is None or stream.is_over(now):
            stream = self._living(self._idle.take(channel) if stream is None else stream, now)
            self._full.put(channel, stream, now + keep.ttl_s)
        return stream

    def to_read(self, channel: str, keep: Retention, now: float) -> Stream:
        """The channel's stream, begun if there is none; it has to be read from."""
        stream = self._full.get(channel)
        if stream is None or stream.is_over(now):
            stream = self._living(self._idle.get(channel) if stream is None else self._full.take(channel), now)
            self._rest(channel, stream, max(stream.due, now + keep.meta_ttl_s))
        return stream

    def remove(self, channel: str) -> None:
        """Drops the channel's publications."""
        stream = self._full.get(channel)
        if stream is not None:
            stream.remove()

    def tidy(self, now: float, limit: int) -> bool:
        """Frees what has expired, at most `limit` streams of each kind; whether there may be more."""
        more = False
        for agenda in (self._full, self._idle):
            for _ in range(limit):
                due = agenda.take_due(now)
                if due is None:
                    break
                self._settle(*due, now)
            else:
                more = True
        return more

    def sizes(self) -> tuple[int, int]:
        """How many are full, and how many idle."""
        return len(self._full), len(self._idle)

    def _living(self, stream: Stream | None, now: float) -> Stream:
        """The stream, or a new one in its place if it is over."""
        if stream is not None:
            if not stream.is_over(now):
                return stream
            self._mourn(stream)
        return Stream(self._epoch)

    def _mourn(self, stream: Stream) -> None:
        """Whoever knows a position in a forgotten stream must not take a later one for it. Without a publication yet,
        there is nothing that one could miss or mistake."""
        if stream.top:
            self._epoch = secrets.token_hex(6)

    def _settle(self, channel: str, stream: Stream, now: float) -> None:
        """Puts a stream where it belongs now that something about it may have expired."""
        stream.expire(now)
        if stream.held:
            self._full.put(channel, stream, stream.due)
        elif stream.is_over(now):
            self._mourn(stream)
        else:
            self._rest(channel, stream, stream.due)

    def _rest(self, channel: str, stream: Stream, until: float) -> None:
        """Idle until then, unless there are too many: the one nearest to its end is forgotten."""
        self._idle.put(channel, stream, until)
        if len(self._idle) > self._idle_max and (first := self._idle.take_due(math.inf)):
            self._mourn(first[1])
