"""Plain counters. The hot path adds integers; whoever shows them reads them when asked."""

from __future__ import annotations

from roomful.node.histogram import Histogram


class Stats:
    """What one node has counted since it started; only ever grows.

    gaps: subscriptions that were told about a hole, by reason. disconnects: by code. fell_behind, caught_up:
    subscriptions that began and ended a catch-up from the log, because their client read too slowly or its recovery
    took more than a page.
    lapses: how often the engine's listener was lost and back. repaired: publications that this node had missed and then
    read from the log.
    replaced: frames of `latest` channels that a newer one took the place of. unsent: frames that waited for a client
    whose connection ended.
    errors: commands answered with an error, by code. limited: what was refused because it was too much, by limit.
    rate_limited: commands that came too often, by whom and which.
    people_changes: what this node has told the others of its people, in so many people_batches.
    hooks, hook_errors: calls of hooks and their failures (not refusals), by event. engine, engine_errors: calls of the
    engine, by operation.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "caught_up",
        "commands",
        "connections",
        "disconnects",
        "engine",
        "engine_errors",
        "errors",
        "fell_behind",
        "gaps",
        "hook_errors",
        "hooks",
        "lapses",
        "limited",
        "messages_in",
        "not_recovered",
        "people_batches",
        "people_changes",
        "publications",
        "rate_limited",
        "recovered",
        "repaired",
        "replaced",
        "unsent",
        "writes",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.messages_in = 0
        self.commands = 0
        self.publications = 0
        self.writes = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.recovered = 0
        self.not_recovered = 0
        self.gaps: dict[str, int] = {}
        self.fell_behind = 0
        self.caught_up = 0
        self.replaced = 0
        self.unsent = 0
        self.lapses = 0
        self.repaired = 0
        self.people_batches = 0
        self.people_changes = 0
        self.errors: dict[int, int] = {}
        self.limited: dict[str, int] = {}
        self.rate_limited: dict[tuple[str, str], int] = {}
        self.hooks: dict[str, Histogram] = {}
        self.hook_errors: dict[str, int] = {}
        self.engine: dict[str, Histogram] = {}
        self.engine_errors: dict[str, int] = {}
        self.disconnects: dict[int, int] = {}

    def count_disconnect(self, code: int) -> None:
        self.disconnects[code] = self.disconnects.get(code, 0) + 1

    def count_gap(self, reason: str) -> None:
        self.gaps[reason] = self.gaps.get(reason, 0) + 1

    def count_error(self, code: int) -> None:
        self.errors[code] = self.errors.get(code, 0) + 1

    def count_limited(self, limit: str) -> None:
        """limit: the name of an option, never anything that a client sends."""
        self.limited[limit] = self.limited.get(limit, 0) + 1

    def count_rate_limited(self, by: str, command: str) -> None:
        """by, command: names of options, as for a limit."""
        self.rate_limited[by, command] = self.rate_limited.get((by, command), 0) + 1

    def count_hook(self, event: str, seconds: float) -> None:
        _of(self.hooks, event).observe(seconds)

    def count_hook_error(self, event: str) -> None:
        self.hook_errors[event] = self.hook_errors.get(event, 0) + 1

    def count_engine(self, operation: str, seconds: float) -> None:
        _of(self.engine, operation).observe(seconds)

    def count_engine_error(self, operation: str) -> None:
        self.engine_errors[operation] = self.engine_errors.get(operation, 0) + 1


def _of(known: dict[str, Histogram], name: str) -> Histogram:
    histogram = known.get(name)
    if histogram is None:
        histogram = known[name] = Histogram()
    return histogram
