"""What the figures have to be, and whether a run's are: server CPU in µs, latency in ms, memory in KB."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import NamedTuple

from roster import DIRECT, ROOMFUL, ROOMFUL_ALONE
from table import Figures

Results = dict[str, dict[str, Figures]]
"""Of each case, of each peer."""

CPU, PICOWS = "server_us", "bare picows"


class Goal(NamedTuple):
    """measured: from a run's results; LookupError where it has none."""

    text: str
    at_most: float
    measured: Callable[[Results], float]


def figure(case: str, peer: str = ROOMFUL, key: str = CPU, scale: float = 1.0) -> Callable[[Results], float]:
    return lambda results: median(each[key] for each in results[case][peer]) * scale


def ratio(case: str, peer: str, ours: str = ROOMFUL) -> Callable[[Results], float]:
    return lambda results: figure(case, ours)(results) / figure(case, peer)(results)


def spread(cases: Iterable[str]) -> Callable[[Results], float]:
    """The largest beside the smallest."""

    def measured(results: Results) -> float:
        costs = [figure(case)(results) for case in cases]
        return max(costs) / min(costs)

    return measured


def growing(what: str, values: Iterable[int]) -> list[str]:
    return [f"{value:,} {what}" for value in values]


SIZES = (10, 100, 1_000, 10_000)

GOALS = [
    Goal("16 in flight: µs a delivery", 1.4, figure("16 in flight")),
    Goal("one at a time: beside bare picows", 1.1, ratio("one at a time", PICOWS)),
    Goal("20 a second: p50, ms", 4.7, figure("20 a second", key="p50_us", scale=1e-3)),
    Goal("20 a second: p99, ms", 11.4, figure("20 a second", key="p99_us", scale=1e-3)),
    Goal("100 a second: p50, ms", 4, figure("100 a second", key="p50_us", scale=1e-3)),
    Goal("100 a second: p99, ms", 10, figure("100 a second", key="p99_us", scale=1e-3)),
    Goal("calls, 100 connections: µs each", 14, figure("calls, 100 connections")),
    Goal("calls, one connection: p50, ms", 0.08, figure("calls, one connection", key="p50_us", scale=1e-3)),
    Goal("event streams, 16 in flight: µs a delivery", 2.5, figure("event streams, 16 in flight", "Roomful, /events")),
    Goal(
        "event streams, 20 a second: beside one direct write",
        1.1,
        ratio("event streams, 20 a second", DIRECT, "Roomful, /events"),
    ),
    Goal("a document, 16 edits in flight: µs a delivery", 2, figure("a document, 16 edits in flight", "Roomful, /yjs")),
    Goal("a document, 50 edits a second: µs a delivery", 12, figure("a document, 50 edits a second", "Roomful, /yjs")),
    Goal("idle, presence off: KB a connection", 11, figure("idle", ROOMFUL_ALONE, "kb_each")),
    Goal("idle, presence on: KB a connection", 12, figure("idle", key="kb_each")),
    Goal(
        "storm, recovery included: beside bare picows' handshakes",
        2,
        ratio("storm: all cut, and back with 10 missed messages", PICOWS),
    ),
    Goal("10 to 10,000 members, 1 in flight: most beside least", 1.3, spread(growing("members, 1 in flight", SIZES))),
    Goal("10 to 10,000 members, 16 in flight: most beside least", 1.3, spread(growing("members, 16 in flight", SIZES))),
    Goal(
        "1 to 100,000 other rooms: most beside least",
        1.1,
        spread(growing("other rooms", (1, 1_000, 10_000, 100_000))),
    ),
    Goal("a room with one member, presence on: KB", 1.5, figure("100,000 other rooms", key="kb_room")),
]


def verdicts(results: Results) -> list[str]:
    """The goals as a table; what wasn't measured says so."""
    lines = ["| goal | at most | measured | |", "|---|--:|--:|---|"]
    for goal in GOALS:
        try:
            value = goal.measured(results)
        except LookupError:
            lines.append(f"| {goal.text} | {goal.at_most:g} | – | not measured |")
        else:
            verdict = "met" if value <= goal.at_most else f"**missed by {(value / goal.at_most - 1) * 100:.0f} %**"
            lines.append(f"| {goal.text} | {goal.at_most:g} | {value:.3g} | {verdict} |")
    return lines
