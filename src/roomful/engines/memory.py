"""The engine of a single process: nothing to install, and nothing in it ever suspends.

Publish is append and deliver in one go, so a command that publishes ends inside the callback that brought it. All is
lost with the process: the next one has other epochs, and whoever returns to it is told of a gap.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence

import msgspec

from roomful.engines.options import EngineOptions
from roomful.engines.streams import Streams
from roomful.model.client import ClientInfo
from roomful.model.errors import InternalError
from roomful.model.order import Answer, Order, Survey
from roomful.model.publication import Draft, HistoryFilter, Look, Page, Position, Publication, Published, Retention
from roomful.rooms.idempotency import Idempotency
from roomful.rooms.presence import Presence
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

    alone = True

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
        self._delivery.sink, self.control.node = sink, node
        self._tick()

    @property
    def ready(self) -> bool:
        return self._delivery.sink is not None

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

    async def heads(self, looks: Sequence[Look]) -> list[Position]:
        now = self._clock()
        heads = [self._head(look, now) for look in looks]
        self._tidy(TIDY_EACH_CALL * len(looks), now)
        return heads

    def _head(self, look: Look, now: float) -> Position:
        if not look.keep.keeps:
            return Position("", 0)
        stream = self.streams.to_read(look.channel, look.keep, now)
        if stream.epoch == look.known.epoch and stream.top < look.known.offset:
            stream = self.streams.renew(look.channel, look.keep, now)
        return stream.head

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
        self.node = ""

    async def send(self, order: Order) -> None:
        sink = self._delivery.sink
        if sink is not None:
            self._delivery.tell(sink.on_order, order)

    async def ask(self, survey: Survey) -> None:
        sink = self._delivery.sink
        if sink is not None:
            self._delivery.tell(sink.on_survey, survey)

    async def answer(self, node: str, answer: Answer) -> None:
        sink = self._delivery.sink
        if sink is not None and node == self.node:
            self._delivery.tell(sink.on_answer, answer)

    async def nodes(self) -> Collection[str]:
        return (self.node,)


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
