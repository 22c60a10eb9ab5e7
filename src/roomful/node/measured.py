"""An engine whose calls are timed and whose failures are counted, by operation. See `seams.engine`."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from time import perf_counter
from typing import TypeVar

from roomful.model.client import ClientInfo
from roomful.model.order import Answer, Order, Survey
from roomful.model.publication import Draft, HistoryFilter, Look, Page, Position, Published, Retention
from roomful.node.stats import Stats
from roomful.seams.engine import Broker, Control, Engine, PresenceStore, Sink

T = TypeVar("T")

OPERATIONS = (
    *("subscribe", "unsubscribe", "publish", "publish_join", "publish_leave", "history", "heads", "remove_history"),
    *("presence_add", "presence_remove", "presence_members", "presence_counts"),
    *("order", "survey", "answer", "nodes"),
)


class MeasuredEngine:
    """Does what the engine does."""

    def __init__(self, engine: Engine, stats: Stats) -> None:
        self.inner = engine
        self.broker: Broker = MeasuredBroker(engine.broker, stats)
        self.presence: PresenceStore = MeasuredPresence(engine.presence, stats)
        self.control: Control = MeasuredControl(engine.control, stats)

    @property
    def ready(self) -> bool:
        return self.inner.ready

    @property
    def alone(self) -> bool:
        return self.inner.alone

    async def start(self, sink: Sink, node: str) -> None:
        await self.inner.start(sink, node)

    async def stop(self) -> None:
        await self.inner.stop()


async def _timed(stats: Stats, operation: str, call: Awaitable[T]) -> T:
    begun = perf_counter()
    try:
        return await call
    except Exception:
        stats.count_engine_error(operation)
        raise
    finally:
        stats.count_engine(operation, perf_counter() - begun)


class MeasuredBroker:
    def __init__(self, inner: Broker, stats: Stats) -> None:
        self._inner = inner
        self._stats = stats

    async def subscribe(self, channel: str) -> None:
        await _timed(self._stats, "subscribe", self._inner.subscribe(channel))

    async def unsubscribe(self, channel: str) -> None:
        await _timed(self._stats, "unsubscribe", self._inner.unsubscribe(channel))

    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        return await _timed(self._stats, "publish", self._inner.publish(channel, draft, keep))

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        await _timed(self._stats, "publish_join", self._inner.publish_join(channel, info))

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        await _timed(self._stats, "publish_leave", self._inner.publish_leave(channel, info))

    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        return await _timed(self._stats, "history", self._inner.history(channel, wanted, keep))

    async def heads(self, looks: Sequence[Look]) -> list[Position]:
        return await _timed(self._stats, "heads", self._inner.heads(looks))

    async def remove_history(self, channel: str) -> None:
        await _timed(self._stats, "remove_history", self._inner.remove_history(channel))


class MeasuredPresence:
    def __init__(self, inner: PresenceStore, stats: Stats) -> None:
        self._inner = inner
        self._stats = stats

    async def add(self, channel: str, info: ClientInfo) -> None:
        await _timed(self._stats, "presence_add", self._inner.add(channel, info))

    async def remove(self, channel: str, client: str) -> None:
        await _timed(self._stats, "presence_remove", self._inner.remove(channel, client))

    async def members(self, channel: str) -> Mapping[str, ClientInfo]:
        return await _timed(self._stats, "presence_members", self._inner.members(channel))

    async def counts(self, channel: str) -> tuple[int, int]:
        return await _timed(self._stats, "presence_counts", self._inner.counts(channel))


class MeasuredControl:
    def __init__(self, inner: Control, stats: Stats) -> None:
        self._inner = inner
        self._stats = stats

    async def send(self, order: Order) -> None:
        await _timed(self._stats, "order", self._inner.send(order))

    async def ask(self, survey: Survey) -> None:
        await _timed(self._stats, "survey", self._inner.ask(survey))

    async def answer(self, node: str, answer: Answer) -> None:
        await _timed(self._stats, "answer", self._inner.answer(node, answer))

    async def nodes(self) -> Collection[str]:
        return await _timed(self._stats, "nodes", self._inner.nodes())
