"""How figures are shown: the median of each, with its spread, in Markdown that also reads well in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

Figures = list[dict[str, float]]
"""The same measurement, repeated."""


def milliseconds(value: float) -> str:
    return f"{value / 1e3:.1f}" if value >= 1e3 else f"{value / 1e3:.3f}"


COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "server_us": ("server µs", lambda value: f"{value:.2f}"),
    "load_us": ("load µs", lambda value: f"{value:.2f}"),
    "per_s": ("a second", lambda value: f"{value:,.0f}"),
    "p50_us": ("p50 ms", milliseconds),
    "p99_us": ("p99 ms", milliseconds),
    "kb_each": ("KB a connection", lambda value: f"{value:.1f}"),
    "kb_room": ("KB a room", lambda value: f"{value:.2f}"),
    "connect_p50_us": ("connect p50 ms", milliseconds),
    "connect_p99_us": ("connect p99 ms", milliseconds),
}


def row(name: str, figures: Figures, keys: Sequence[str]) -> str:
    """Median of each figure; of the first also the smallest and the largest."""
    cells = [name]
    for index, key in enumerate(keys):
        shown, values = COLUMNS[key][1], [each[key] for each in figures]
        spread = f" ({shown(min(values))}–{shown(max(values))})" if index == 0 else ""
        cells.append(shown(median(values)) + spread)
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, Figures], missing: dict[str, str], keys: Sequence[str]) -> list[str]:
    """One case: a row for each peer, the cheapest first; who can't be measured is named with the reason."""
    lines = [f"| server | {' | '.join(COLUMNS[key][0] for key in keys)} |", "|---" + "|--:" * len(keys) + "|"]
    cost = {name: median(each[keys[0]] for each in figures) for name, figures in results.items()}
    lines += [row(name, results[name], keys) for name in sorted(results, key=cost.__getitem__)]
    return lines + [f"| {name} | – {reason.replace('|', '/')} |" for name, reason in missing.items()]


def replace_section(text: str, heading: str, body: str) -> str:
    """The document with this section (`## heading`) renewed, or put at its end."""
    before, found, rest = text.partition(f"## {heading}\n")
    _, another, after = rest.partition("\n## ")
    return before.rstrip() + f"\n\n## {heading}\n\n{body.strip()}\n" + (f"\n## {after}" if found and another else "")
