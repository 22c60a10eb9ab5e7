"""Draws benchmarks/results.json into benchmarks/plots/: Roomful beside its peers, and how its cost grows."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "roomful", "font.size": 9, "axes.spines.top": False,
                            "axes.spines.right": False})  # fmt: skip
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import NullFormatter, StrMethodFormatter  # noqa: E402

HERE = Path(__file__).parent
PLOTS = HERE / "plots"
OURS, OTHERS = "#2563eb", "#94a3b8"
AXES = {"kb_each": "KB a connection", "server_us": "server CPU, µs a delivery"}


def middle(figures: list[dict[str, float]], key: str) -> float:
    return median(each[key] for each in figures)


def save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def logarithmic(axis: Any) -> None:
    """In plain numbers, at powers of ten only."""
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def peers(cases: list[dict[str, Any]]) -> None:
    """Two cases as bars, the cheapest on top."""
    wanted = ["16 in flight", "one at a time"]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for axis, name in zip(axes, wanted, strict=True):
        results = next(case["results"] for case in cases if case["case"] == name)
        cost = sorted(((middle(figures, "server_us"), peer) for peer, figures in results.items()), reverse=True)
        bars = axis.barh([peer for _, peer in cost], [value for value, _ in cost],
                         color=[OURS if peer.startswith("Roomful") else OTHERS for _, peer in cost])  # fmt: skip
        axis.bar_label(bars, fmt="%.2g", padding=3)
        logarithmic(axis)
        axis.set_xlim(0.5, 2 * cost[0][0])
        axis.set_title(f"{name}: server CPU, µs a delivery", loc="left")
    save(figure, "peers")


def growth(cases: list[dict[str, Any]]) -> None:
    """One drawing for each thing that grows."""
    series: dict[str, list[tuple[float, list[dict[str, float]]]]] = {}
    for case in cases:
        if "growth" in case:
            against, value = case["growth"]
            series.setdefault(against, []).append((value, next(iter(case["results"].values()), [])))
    for against, points in series.items():
        key = "kb_each" if against == "connections" else "server_us"
        figure, axis = plt.subplots(figsize=(4.5, 2.8))
        drawn = [(value, [each[key] for each in figures]) for value, figures in points if figures]
        middles = [median(values) for _, values in drawn]
        around = [[m - min(v) for m, (_, v) in zip(middles, drawn, strict=True)],
                  [max(v) - m for m, (_, v) in zip(middles, drawn, strict=True)]]  # fmt: skip
        axis.errorbar([value for value, _ in drawn], middles, yerr=around, color=OURS, marker="o", capsize=3)
        logarithmic(axis)
        axis.set_ylim(bottom=0)
        axis.set_xlabel(against)
        axis.set_ylabel(AXES[key])
        save(figure, against.replace(",", "").replace(" ", "-"))


def main() -> None:
    PLOTS.mkdir(exist_ok=True)
    cases = json.loads((HERE / "results.json").read_text())["cases"]
    peers(cases)
    growth(cases)


if __name__ == "__main__":
    main()
