"""How figures are shown: the median of each, with its spread, in Markdown that also reads well in a terminal."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

Figures = list[dict[str, float]]
"""The same measurement, repeated."""

COLUMNS: list[tuple[str, str, Callable[[float], str]]] = [
    ("server µs", "server_us", lambda value: f"{value:.2f}"),
    ("load µs", "load_us", lambda value: f"{value:.2f}"),
    ("deliveries/s", "per_s", lambda value: f"{value:,.0f}"),
    ("p50 ms", "p50_us", lambda value: f"{value / 1e3:.1f}"),
    ("p99 ms", "p99_us", lambda value: f"{value / 1e3:.1f}"),
    ("KB a member", "kb_each", lambda value: f"{value:.1f}"),
]


def row(name: str, figures: Figures) -> str:
    """Median of each figure; of the first also the smallest and the largest."""
    cells = [name]
    for _, key, shown in COLUMNS:
        values = [each[key] for each in figures]
        spread = f" ({shown(min(values))}–{shown(max(values))})" if key == "server_us" else ""
        cells.append(shown(median(values)) + spread)
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, Figures], missing: dict[str, str]) -> list[str]:
    """One case: a row for each peer, the cheapest first; who can't be measured is named with the reason."""
    lines = [f"| server | {' | '.join(title for title, _, _ in COLUMNS)} |", "|---" + "|--:" * len(COLUMNS) + "|"]
    cost = {name: median(each["server_us"] for each in figures) for name, figures in results.items()}
    lines += [row(name, results[name]) for name in sorted(results, key=cost.__getitem__)]
    return lines + [f"| {name} | – {reason.replace('|', '/')} |" for name, reason in missing.items()]


def replace_section(text: str, heading: str, body: str) -> str:
    """The document with this section (`## heading`) renewed, or put at its end."""
    before, found, rest = text.partition(f"## {heading}\n")
    _, another, after = rest.partition("\n## ")
    return before.rstrip() + f"\n\n## {heading}\n\n{body.strip()}\n" + (f"\n## {after}" if found and another else "")
