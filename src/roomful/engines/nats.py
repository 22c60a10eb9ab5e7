"""NATS JetStream as the engine: nodes that share one NATS server or cluster are one Roomful.

    Link          one connection, made anew when it is lost       JetStream     its API
    ChannelLogs   the streams of channels                          NatsPresence  who is here, leases
    NatsControl   orders and questions between nodes

What is promised, and how, stands in docs/decisions/0008-nats.md.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from roomful.engines.envelope import Join, Leave, decode, encode, encode_draft
from roomful.engines.nats_control import NatsControl
from roomful.engines.nats_deadline import Deadline, within
from roomful.engines.nats_jetstream import EXPECTED_LAST, VERSION_MIN, JetStream, JetStreamError, StreamInfo
from roomful.engines.nats_link import Link, LinkDown, Reply
from roomful.engines.nats_log import ChannelLogs
from roomful.engines.nats_names import Names
from roomful.engines.nats_order import InOrder
from roomful.engines.nats_presence import NatsPresence
from roomful.engines.nats_record import HEADER, PUBLICATION, Record, parse
from roomful.engines.nats_url import servers
from roomful.engines.options import EngineOptions
from roomful.model.client import ClientInfo
from roomful.model.errors import InternalError, RoomfulError
from roomful.model.publication import Draft, HistoryFilter, Look, Page, Position, Publication, Published, Retention
from roomful.seams.engine import Sink

logger = logging.getLogger("roomful.engines.nats")

SECOND_NS = 1_000_000_000
ORDERS_S = 3600
ORDERS_MAX_BYTES = 32 * 1024 * 1024
"""Kept for nodes that don't hear at the moment, whichever of the two is reached first."""
TIDY_S = 1.0
STOP_S = 2.0


class NatsEngine:
    """Broker, presence store and control of one node."""

    alone = False

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._sink: Sink | None = None
        self._node = ""
        self._tasks: list[asyncio.Task[None]] = []
        names = self._names = Names(options.prefix)
        self._link = Link(servers(options.url), options.prefix, options.backlog_max_bytes, self._on_up, self._on_down)
        self.jetstream = JetStream(self._link, options.publish_deadline_s / 2, options.nats_replicas)
        self.logs = ChannelLogs(self._link, self.jetstream, names)
        timely = Deadline(self._link, options.publish_deadline_s)
        self.broker = NatsBroker(self._link, self.logs, names, timely)
        join, leave = self.broker.publish_join, self.broker.publish_leave
        self._entries = NatsPresence(self.jetstream, names, options.renew_s, join, leave)
        self.presence = _TimelyPresence(self._entries, timely)
        self.control = NatsControl(self._link, self.jetstream, names, self._entries, timely)

    @property
    def ready(self) -> bool:
        return self._sink is not None and self._link.is_open

    async def start(self, sink: Sink, node: str) -> None:
        """Raises InternalError with one sentence when it can't."""
        self._sink, self._node = sink, node
        self.broker.sink = sink
        self.control.listen(sink, node)
        try:
            await self._link.start()
        except BaseException:
            await self._close()
            raise
        self._tasks = [asyncio.create_task(self._entries.look_after()), asyncio.create_task(self._tidy())]

    async def stop(self) -> None:
        if self._sink is None:
            return
        try:
            await within(STOP_S, self._entries.end())
        except RoomfulError as error:
            logger.warning("NATS keeps this node's presence until its lease ends: %s", error)
        await self._close()

    async def _close(self) -> None:
        self._sink = self.broker.sink = None
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        self.control.end()
        self.broker.forget_subscriptions()
        await self._link.stop()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            self.logs.tidy()

    # The connection comes and goes

    async def _on_up(self) -> None:
        """What a new connection needs before anybody may use it."""
        self._check_version()
        await self._link.confirm()  # everything is subscribed
        # Before the log is asked for its end: what others publish from now on is heard while that is on its way.
        seen = self.logs.newest
        log, orders, here = await self._ensure_streams()
        self.logs.begin(await self._life(log, seen))
        await self._entries.begin(self._node, here.created)
        self.control.begin(orders)
        sink, channels = self._sink, self.broker.subscribed()
        if sink is not None and channels:
            # One turn later, because the node asks the log at once, and the link counts as open only then.
            asyncio.get_running_loop().call_soon(sink.on_lapse, channels)

    def _on_down(self) -> None:
        if self._sink is not None:  # else it is we who end it
            logger.warning("the connection to NATS is lost; trying again")

    def _check_version(self) -> None:
        parts = self._link.server.split(".")
        if tuple(int(part) for part in parts[:2] if part.isdigit()) < VERSION_MIN:
            wanted = ".".join(map(str, VERSION_MIN))
            raise InternalError(f"NATS is version {self._link.server}, and Roomful needs {wanted} or newer")

    async def _ensure_streams(self) -> tuple[StreamInfo, StreamInfo, StreamInfo]:
        """The streams, made if they aren't there. Raises InternalError."""
        options, names = self._options, self._names
        kept = {"storage": options.nats_storage}
        window = int(options.idempotency_ttl_s * SECOND_NS)
        age = int(options.nats_max_age_s * SECOND_NS)
        await self.jetstream.ensure(names.life_stream, {**kept, "subjects": [names.life], "max_msgs_per_subject": 1})
        log = await self.jetstream.ensure(names.log_stream, {**kept, **_heard_as(names, "log", age, min(window, age))})
        await self.jetstream.ensure(names.once_stream, {**kept, **_heard_as(names, "once", window, window)})
        orders = await self.jetstream.ensure(
            names.orders_stream,
            {
                "storage": "memory",
                "subjects": [names.order],
                "max_age": ORDERS_S * SECOND_NS,
                "max_bytes": ORDERS_MAX_BYTES,
                "duplicate_window": 120 * SECOND_NS,
                "republish": {"src": names.order, "dest": names.ordered},
            },
        )
        here = await self.jetstream.ensure(
            names.here_stream, {"storage": "memory", "subjects": [names.every("here")], "max_msgs_per_subject": 1}
        )
        lease = int(options.lease_s * SECOND_NS)
        await self.jetstream.ensure(
            names.leases_stream,
            {
                "storage": "memory",
                "subjects": [names.every("lease")],
                "max_msgs_per_subject": 1,
                "max_age": lease,
                "duplicate_window": min(lease, 120 * SECOND_NS),
            },
        )
        return log, orders, here

    async def _life(self, log: StreamInfo, seen: Record | None) -> str:
        """The name of the log's present life: another one whenever it was made anew, or has lost a record that this
        node had seen. All channels begin anew then, because their next offsets may have been used before, and which
        of them had been seen, and by whom, no single node knows."""
        while True:
            found = await self.jetstream.last(self._names.life_stream, self._names.life)
            life, _, created = found.data.decode().partition(" ") if found else ("", "", "")
            goes_on = bool(found) and created == log.created
            if goes_on and life == self.logs.life and seen is not None:
                goes_on = not await self.logs.has_lost(seen, log.state.last_seq)
            if goes_on:
                return life
            if found:
                logger.warning(
                    "NATS has lost publications, so all epochs begin anew: its log of %s ends at %d, and we saw %d",
                    *(log.created, log.state.last_seq, seen.sequence if seen else 0),
                )
            life = secrets.token_hex(3)
            expected = {EXPECTED_LAST: str(found.sequence if found else 0)}
            try:
                await self.jetstream.publish(self._names.life, f"{life} {log.created}".encode(), expected)
            except JetStreamError:
                continue  # another node was quicker
            return life


class NatsBroker:
    """The channels as nodes hear them. See `seams.engine.Broker`. timely: bounds each call."""

    def __init__(self, link: Link, logs: ChannelLogs, names: Names, timely: Deadline) -> None:
        self._link = link
        self._names = names
        self._logs = logs
        self._timely = timely
        self._listening: dict[str, int] = {}
        self._in_order = InOrder(self._deliver)
        self.sink: Sink | None = None

    def subscribed(self) -> Collection[str]:
        return list(self._listening)

    def forget_subscriptions(self) -> None:
        for channel, number in self._listening.items():
            self._link.silence(number)
            self._in_order.forget(channel)
        self._listening.clear()

    async def subscribe(self, channel: str) -> None:
        if channel not in self._listening:
            self._listening[channel] = self._link.listen(
                self._names.live(channel), lambda reply: self._on_live(channel, reply)
            )
        try:
            await self._timely(self._confirmed())
        except BaseException:
            await self.unsubscribe(channel)
            raise

    async def _confirmed(self) -> None:
        while True:
            try:
                await self._link.confirm()
                return
            except LinkDown:
                await self._link.opened()

    async def unsubscribe(self, channel: str) -> None:
        number = self._listening.pop(channel, None)
        if number is not None:
            self._link.silence(number)
            self._in_order.forget(channel)

    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        if keep.keeps:
            return await self._timely(self._logs.append(channel, draft, keep))
        if draft.key:
            return await self._timely(self._logs.send_once(channel, draft))
        await self._timely(self._send(channel, encode_draft(draft)))
        return Published()

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        await self._timely(self._send(channel, encode(Join(info))))

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        await self._timely(self._send(channel, encode(Leave(info))))

    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        if not keep.keeps:
            return Page([], Position("", 0))
        return await self._timely(self._logs.page(channel, wanted, keep))

    async def heads(self, looks: Sequence[Look]) -> list[Position]:
        return await self._timely(self._logs.heads(looks))

    async def remove_history(self, channel: str) -> None:
        await self._timely(self._logs.remove(channel))

    async def _send(self, channel: str, body: bytes) -> None:
        """Past the log. It isn't tried again, because nothing would tell the second from the first."""
        self._link.tell(self._names.live(channel), body)
        await self._link.confirm()

    def _on_live(self, channel: str, reply: Reply) -> None:
        """What the server has stored (then it has a header of ours), or what was sent past the log."""
        sink = self.sink
        if sink is None:
            return
        header = reply.header(HEADER)
        if header is not None:
            record = parse(header, int(reply.header("Nats-Sequence") or 0))
            self._logs.heard(channel, record)
            if record.kind != PUBLICATION:
                return
            message, epoch = decode(reply.data, record.offset), record.epoch
        else:
            message, epoch = decode(reply.data), ""
        match message:
            case Publication() if message.offset:
                self._in_order.take(channel, message, epoch)
            case Publication():
                sink.on_publication(channel, message, epoch)
            case Join(info):
                sink.on_join(channel, info)
            case Leave(info):
                sink.on_leave(channel, info)

    def _deliver(self, channel: str, publication: Publication, epoch: str) -> None:
        if self.sink is not None:
            self.sink.on_publication(channel, publication, epoch)


class _TimelyPresence:
    """Presence with a deadline for each call."""

    def __init__(self, entries: NatsPresence, timely: Deadline) -> None:
        self._entries = entries
        self._timely = timely

    async def add(self, channel: str, info: ClientInfo) -> None:
        await self._timely(self._entries.add(channel, info))

    async def remove(self, channel: str, client: str) -> None:
        await self._timely(self._entries.remove(channel, client))

    async def members(self, channel: str) -> Mapping[str, ClientInfo]:
        return await self._timely(self._entries.members(channel))

    async def counts(self, channel: str) -> tuple[int, int]:
        return await self._timely(self._entries.counts(channel))


def _heard_as(names: Names, kind: str, max_age: int, window: int) -> dict[str, Any]:
    """A stream whose messages are told to the nodes that listen, once they are stored."""
    return {
        "subjects": [names.every(kind)],
        "max_age": max_age,
        "duplicate_window": window,
        "republish": {"src": names.every(kind), "dest": names.every("live")},
    }
