"""`GET /metrics`: what the node has counted, for Prometheus, read at the moment of the question.

Nothing here runs unless somebody asks. No label ever holds a name that a client or a user has chosen.

    Stats, Node, Documents … ──read──▶ Reading ──render──▶ text        (Readings of other workers are asked for)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import accumulate
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from roomful.model.disconnects import DISCONNECTS
from roomful.model.errors import MethodNotFound, RoomfulError, Unauthorized
from roomful.node.histogram import BOUNDS_S, Histogram
from roomful.server.wiring import Live
from roomful.server.worker_peers import Peers

TOPIC = "metrics"
OTHER = "other"

CLOSE_CODES = {code for code, _ in DISCONNECTS.values()} | {
    *(1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1011, 1012, 1013),
    *(4205, 4400, 4401, 4403, 4404, 4408, 4409, 4413, 4500, 4501),
}
"""A client may close with thousands of other ones, which are counted together."""

ERROR_CODES = {100, *(kind.code for kind in RoomfulError.__subclasses__())}


class Measure(NamedTuple):
    """One metric. kind: as Prometheus names it. label: what tells its series apart, "" for a single one; several are
    parted by commas, as their values are."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    label: str
    help: str


MEASURES = (
    Measure("connections", "gauge", "transport", "Open connections, also those that haven't said connect yet."),
    Measure("connections_opened", "counter", "", "Connections since the start."),
    Measure("sessions", "gauge", "", "Connections of rooms that said connect and were let in."),
    Measure("users", "gauge", "", "Distinct user ids among them; all anonymous ones count as one."),
    Measure("channels", "gauge", "", "Channels with subscribers here."),
    Measure("subscriptions", "gauge", "", "Subscriptions in all channels."),
    Measure("messages_received", "counter", "", "Messages from clients."),
    Measure("received_bytes", "counter", "", "Bytes of these messages."),
    Measure("commands", "counter", "", "Commands in these messages."),
    Measure("command_errors", "counter", "code", "Commands answered with an error."),
    Measure("writes", "counter", "", "Writes to clients; one may carry many messages."),
    Measure("sent_bytes", "counter", "", "Bytes of these writes."),
    Measure("publications", "counter", "", "Publications that reached this node."),
    Measure(
        "delivery_seconds",
        "histogram",
        "",
        "From the moment a publication reaches this node until its subscribers here are written to; the first one of "
        "each turn of the event loop.",
    ),
    Measure("queued_bytes", "gauge", "", "What waits for clients to read."),
    Measure("replaced", "counter", "", 'Frames of slow = "latest" channels in whose place a newer one was sent.'),
    Measure("unsent", "counter", "", "Frames that waited for a client whose connection ended."),
    Measure("gaps", "counter", "reason", "Subscriptions that were told that something is missing."),
    Measure("recovered", "counter", "", "Returning clients that got everything they had missed."),
    Measure("not_recovered", "counter", "", "Returning clients that were told that it can't be proved."),
    Measure("catch_ups_begun", "counter", "", "Subscriptions that fell behind and read on from the log."),
    Measure("catch_ups_ended", "counter", "", "Of these, those that caught up."),
    Measure("closes", "counter", "code", "Connections that ended, by close code."),
    Measure("limited", "counter", "limit", "What was refused because it was too much, by the option that says so."),
    Measure("rate_limited", "counter", "by,command", "Commands that came too often: by whom, and which."),
    Measure("hook_seconds", "histogram", "event", "Calls of hooks and webhooks."),
    Measure("hook_errors", "counter", "event", "Of these, those that failed; a refusal is no failure."),
    Measure("engine_seconds", "histogram", "operation", "Calls of the engine."),
    Measure("engine_errors", "counter", "operation", "Of these, those that failed."),
    Measure("engine_ready", "gauge", "", "1 while the engine hears and can publish, 0 while this node is deaf."),
    Measure("lapses", "counter", "", "How often the engine's listener was lost and back."),
    Measure("repaired", "counter", "", "Publications that the listener missed and that were read from the log."),
    Measure("people", "gauge", "", "People with connections here, or away from here; once for each room."),
    Measure("people_changes", "counter", "", "What was told of these people to other nodes and to those who look."),
    Measure("people_batches", "counter", "", "In how many publications it was told."),
    Measure("documents", "gauge", "", "Documents that are open here."),
    Measure("document_users", "gauge", "", "Who holds them open, clients and the application alike."),
    Measure("document_log_bytes", "gauge", "", "Their logs, since the last snapshot of each."),
    Measure("document_snapshot_bytes", "gauge", "", "Their last snapshots."),
    Measure("documents_pending", "gauge", "", "Documents with edits that aren't durable yet."),
    Measure("document_save_seconds", "histogram", "", "Until edits of a document were durable."),
    Measure("loop_lag_seconds", "histogram", "", "How late the event loop was, looked at four times a second."),
    Measure(
        "loop_stalls", "counter", "", "How often something held it up for half a second or more; the log names it."
    ),
    Measure("process_cpu_seconds", "counter", "", "CPU time of the process."),
    Measure("process_resident_memory_bytes", "gauge", "", "Its memory in use."),
    Measure("process_virtual_memory_bytes", "gauge", "", "Its memory reserved."),
    Measure("process_open_fds", "gauge", "", "Its open files and sockets."),
    Measure("process_max_fds", "gauge", "", "How many it may open."),
    Measure("process_start_time_seconds", "gauge", "", "When it began, seconds since 1970."),
    Measure("worker_up", "gauge", "", "With --workers: 1 if the worker answered the one that was asked within 300 ms."),
)
"""All of them, without `roomful_` before and, for counters, `_total` behind their names."""


class Spread(msgspec.Struct, frozen=True):
    """A histogram at one moment; see `Histogram`."""

    counts: list[int]
    total_s: float


Value: TypeAlias = float | Spread
Reading: TypeAlias = dict[str, dict[str, Value]]
"""Measure → value of its label ("" without one) → value."""

_process = ProcessCollector(namespace="roomful", registry=CollectorRegistry(auto_describe=False))


def full_name(measure: Measure) -> str:
    """As Prometheus stores it; a histogram's with `_bucket`, `_sum` and `_count` behind it."""
    return f"roomful_{measure.name}{'_total' if measure.kind == 'counter' else ''}"


def read(live: Live) -> Reading:
    """Everything as it is now. Takes about a millisecond for each thousand connections and channels."""
    return {**_of_connections(live), **_of_traffic(live), **_of_others(live), **_of_documents(live), **_of_process()}


def render(readings: Mapping[str, Reading]) -> bytes:
    """The text of one or more workers' readings, by the value of their label `worker`; "" for a server without."""

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(readings))
    return generate_latest(registry)


def answers(peers: Peers, live: Callable[[], Live]) -> None:
    """Has this worker tell the others what it reads."""
    peers.answer(TOPIC, lambda: msgspec.msgpack.encode(read(live())))


def routes(server: Server) -> list[BaseRoute]:
    """The endpoint. Without `open` it takes a key, as the API does."""

    async def metrics(request: Request) -> Response:
        live = server.live
        if not (live.config.metrics.open or live.context.insecure):
            if not live.metrics_keys:
                return _error(404, MethodNotFound.code, "the metrics are closed: [metrics] has no key and isn't open")
            if not live.metrics_keys.allow(request.headers):
                return _error(401, Unauthorized.code, Unauthorized.text)
        return Response(render(await _readings(server)), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [Route("/metrics", metrics)]


class Server(Protocol):
    """What the endpoint needs of the application."""

    @property
    def live(self) -> Live: ...

    @property
    def peers(self) -> Peers | None: ...


async def _readings(server: Server) -> dict[str, Reading]:
    """By worker. One that doesn't answer in time is missing, as `roomful_worker_up` tells."""
    if server.peers is None:
        return {"": read(server.live)}
    said = await server.peers.ask(TOPIC)
    return {
        str(number): {"worker_up": {"": 0.0}} if answer is None else _decoded(answer) for number, answer in said.items()
    }


def _decoded(answer: bytes) -> Reading:
    return {**msgspec.msgpack.decode(answer, type=Reading), "worker_up": {"": 1.0}}


def _error(status: int, code: int, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


class _Once(Collector):
    def __init__(self, readings: Mapping[str, Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Family]:
        for measure in MEASURES:
            family = Family(f"roomful_{measure.name}", measure.help, measure.kind)
            for worker, reading in self._readings.items():
                for label, value in sorted(reading.get(measure.name, {}).items()):
                    labels = {"worker": worker} if worker else {}
                    if "," in measure.label:
                        labels |= zip(measure.label.split(","), label.split(","), strict=True)
                    elif measure.label:
                        labels[measure.label] = label
                    _add(family, measure, labels, value)
            yield family


def _add(family: Family, measure: Measure, labels: dict[str, str], value: Value) -> None:
    if not isinstance(value, Spread):
        family.add_sample(full_name(measure), labels, value)
        return
    name = full_name(measure)
    for bound, count in zip((*BOUNDS_S, math.inf), accumulate(value.counts), strict=True):
        family.add_sample(f"{name}_bucket", {**labels, "le": "+Inf" if bound == math.inf else repr(bound)}, count)
    family.add_sample(f"{name}_sum", labels, value.total_s)
    family.add_sample(f"{name}_count", labels, sum(value.counts))


# What is read


def _of_connections(live: Live) -> Reading:
    node = live.node
    by_transport: Counter[str] = Counter()
    queued = 0
    for member in tuple(node.connections):
        by_transport[member.kind] += 1
        queued += member.queued_bytes
    return {
        "connections": {kind: float(count) for kind, count in by_transport.items()},
        "queued_bytes": _one(queued),
        "sessions": _one(len(node.directory)),
        "users": _one(node.directory.users),
        "channels": _one(len(node.hub)),
        "subscriptions": _one(sum(count for _, count in node.hub.channels())),
    }


def _of_traffic(live: Live) -> Reading:
    stats = live.node.stats
    return {
        "connections_opened": _one(stats.connections),
        "messages_received": _one(stats.messages_in),
        "received_bytes": _one(stats.bytes_in),
        "commands": _one(stats.commands),
        "command_errors": _bounded(stats.errors, ERROR_CODES),
        "writes": _one(stats.writes),
        "sent_bytes": _one(stats.bytes_out),
        "publications": _one(stats.publications),
        "delivery_seconds": {"": _spread(live.node.flusher.deliveries)},
        "replaced": _one(stats.replaced),
        "unsent": _one(stats.unsent),
        "gaps": _each(stats.gaps),
        "recovered": _one(stats.recovered),
        "not_recovered": _one(stats.not_recovered),
        "catch_ups_begun": _one(stats.fell_behind),
        "catch_ups_ended": _one(stats.caught_up),
        "closes": _bounded(stats.disconnects, CLOSE_CODES),
        "limited": _each(stats.limited),
        "rate_limited": _each({",".join(of): count for of, count in stats.rate_limited.items()}),
    }


def _of_others(live: Live) -> Reading:
    stats, lag = live.node.stats, live.lag
    return {
        "hook_seconds": {event: _spread(each) for event, each in stats.hooks.items()},
        "hook_errors": _each(stats.hook_errors),
        "engine_seconds": {operation: _spread(each) for operation, each in stats.engine.items()},
        "engine_errors": _each(stats.engine_errors),
        "engine_ready": _one(live.node.engine.ready),
        "lapses": _one(stats.lapses),
        "repaired": _one(stats.repaired),
        "people": _one(len(live.node.people)),
        "people_changes": _one(stats.people_changes),
        "people_batches": _one(stats.people_batches),
        "loop_lag_seconds": {"": _spread(lag.lag)},
        "loop_stalls": _one(lag.stalls),
    }


def _of_documents(live: Live) -> Reading:
    open_here = list(live.documents)
    return {
        "documents": _one(len(open_here)),
        "document_users": _one(sum(each.users for each in open_here)),
        "document_log_bytes": _one(sum(each.log_bytes for each in open_here)),
        "document_snapshot_bytes": _one(sum(each.snapshot_bytes for each in open_here)),
        "documents_pending": _one(sum(each.pending for each in open_here)),
        "document_save_seconds": {"": _spread(live.documents.saves)},
    }


def _of_process() -> Reading:
    return {
        family.name.removeprefix("roomful_"): {"": sample.value}
        for family in _process.collect()
        for sample in family.samples
    }


def _one(value: float) -> dict[str, Value]:
    return {"": float(value)}


def _each(counts: Mapping[str, int]) -> dict[str, Value]:
    return {str(name): float(count) for name, count in counts.items()}


def _bounded(counts: Mapping[int, int], known: Collection[int]) -> dict[str, Value]:
    """By code; those that we don't know, together."""
    found: Counter[str] = Counter()
    for code, count in counts.items():
        found[str(code) if code in known else OTHER] += count
    return {label: float(count) for label, count in found.items()}


def _spread(histogram: Histogram) -> Spread:
    return Spread(list(histogram.counts), histogram.total_s)
