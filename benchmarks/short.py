"""The table's short form, for the README: Roomful, the floor, and the best of the peers in each case."""

from __future__ import annotations

from statistics import median
from typing import Any

from roster import ROOMFUL
from table import COLUMNS

HEADING = "How fast"
ROWS: dict[str, tuple[str, str]] = {
    "16 in flight": ("1,000 members, 16 publications in flight: server µs a delivery", "server_us"),
    "one at a time": ("1,000 members, one publication at a time: server µs a delivery", "server_us"),
    "100 a second": ("1,000 members, 100 publications a second: p99 ms", "p99_us"),
    "calls, 100 connections": ("a call: server µs (ours through a hook, the others echo)", "server_us"),
    "event streams, 16 in flight": ("1,000 event streams, 16 in flight: server µs a delivery", "server_us"),
    "a document, 16 edits in flight": (
        "100 clients of a Yjs document, 16 in flight: server µs a delivery",
        "server_us",
    ),
    "idle": ("9,000 idle connections: KB each", "kb_each"),
}
"""Of each case: what the reader is told, and which figure."""

FLOORS = frozenset({"C, a send each", "C, joined"})
"""No servers that anybody could use."""


def short_form(cases: list[dict[str, Any]], taken: str) -> str:
    """A section's text. taken: when, where and how."""
    measured = {case["case"]: case["results"] for case in cases}
    lines = ["| | Roomful | the best other ones |", "|---|--:|---|"]
    for case, (text, key) in ROWS.items():
        shown = COLUMNS[key][1]
        results = measured.get(case, {})
        middles = sorted((median(each[key] for each in figures), peer) for peer, figures in results.items())
        ours = [value for value, peer in middles if peer.startswith(ROOMFUL)]
        others = [(value, peer) for value, peer in middles if not peer.startswith(ROOMFUL) and peer not in FLOORS]
        if ours:
            best = ", ".join(f"{peer} {shown(value)}" for value, peer in others[:3])
            lines.append(f"| {text} | {shown(ours[0])} | {best} |")
    return "\n".join(
        [
            "![Server CPU for a delivery, beside the peers](benchmarks/plots/peers.svg)",
            "",
            *lines,
            "",
            f"{taken}. All cases, the goals that are missed, and how to measure: "
            "[benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
        ]
    )
