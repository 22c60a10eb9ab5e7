"""Plain counters. The hot path adds integers; whoever shows them reads them when asked."""

from __future__ import annotations


class Stats:
    """What one node has counted since it started; only ever grows.

    gaps: subscriptions that were told about a hole, by reason. disconnects: by code. fell_behind, caught_up:
    subscriptions that began and ended a catch-up from the log, because their client read too slowly or its recovery
    took more than a page.
    lapses: how often the engine's listener was lost and back. repaired: publications that this node had missed and then
    read from the log.
    replaced: frames of `latest` channels that a newer one took the place of.
    """

    __slots__ = (
        "bytes_out",
        "caught_up",
        "commands",
        "connections",
        "disconnects",
        "fell_behind",
        "gaps",
        "hook_errors",
        "lapses",
        "messages_in",
        "not_recovered",
        "publications",
        "recovered",
        "repaired",
        "replaced",
        "writes",
    )

    def __init__(self) -> None:
        self.connections = 0
        self.messages_in = 0
        self.commands = 0
        self.publications = 0
        self.writes = 0
        self.bytes_out = 0
        self.recovered = 0
        self.not_recovered = 0
        self.gaps: dict[str, int] = {}
        self.fell_behind = 0
        self.caught_up = 0
        self.replaced = 0
        self.lapses = 0
        self.repaired = 0
        self.hook_errors = 0
        self.disconnects: dict[int, int] = {}

    def count_disconnect(self, code: int) -> None:
        self.disconnects[code] = self.disconnects.get(code, 0) + 1

    def count_gap(self, reason: str) -> None:
        self.gaps[reason] = self.gaps.get(reason, 0) + 1
