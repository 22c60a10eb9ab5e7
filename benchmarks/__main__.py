"""`make bench`: Roomful beside its peers, on this machine, in one run. `--quick`: some minutes, for a first look.

Peers come from the registries, into build/. Server and load have one core each. Repetitions alternate between all
peers, so that whatever else the machine does meets everybody alike. Ctrl-C ends it, and keeps what is whole. Written:
benchmarks/RESULTS.md (its section), benchmarks/results.json, benchmarks/plots/ and the short form in README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Any

import crdt
import short
from cases import SIZE, Case, all_cases, compile_load, measure
from goals import Results, verdicts
from install import HERE, PYTHON, Missing, pip, run
from roster import all_peers
from servers import Peer, raise_open_files
from table import Figures, replace_section, table

HEADING = "Beside the peers (`make bench`)"
EXPLAINED = f"""\
One room; a publication of {SIZE} B goes to every member. server µs: CPU, user and system, of the server's process for
a delivery (a call; a returning member); median (smallest–largest). load µs: the load generator's own. Latency: from
the publisher's write to a member's read. KB: the server's anonymous memory. Roomful is the real server: Centrifuge
JSON, rights, limits, metrics, presence, a history of 100, an rpc through a hook; only the limits on handshakes and on
channels a connection are raised, because the benchmark is one client. The floors, picows, ws, Nchan and Starlette only
relay frames; CPU of Django channels is without its Redis. In a storm only Roomful's members recover; the others shake
hands."""


def machine() -> str:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())  # fmt: skip
    return f"{len(os.sched_getaffinity(0))} × {model}, Linux {platform.release()}, Python {platform.python_version()}"


def set_up(peers: list[Peer]) -> tuple[dict[str, str], dict[str, str]]:
    """Versions of those that could be set up, and why the others couldn't."""
    versions, missing = {}, {}
    for peer in peers:
        print(f"\r\033[Ksetting up {peer.name}", end="", file=sys.stderr)
        try:
            peer.set_up()
            versions[peer.name] = peer.version()
        except Missing as error:
            missing[peer.name] = str(error)
    print("\r\033[K", end="", file=sys.stderr)
    return versions, missing


def measure_case(case: Case, peers: list[Peer], repetitions: int) -> tuple[dict[str, Figures], dict[str, str]]:
    """Each peer's figures, taken in turns."""
    results: dict[str, Figures] = {}
    missing: dict[str, str] = {}
    for repetition in range(repetitions):
        for peer in peers:
            if peer.name in missing or not case.wants(peer):
                continue
            print(f"\r\033[K{case.name}: {peer.name}, {repetition + 1} of {repetitions}", end="", file=sys.stderr)
            try:
                results.setdefault(peer.name, []).append(measure(peer, case))
            except Missing as error:
                missing[peer.name] = str(error)
    print("\r\033[K", end="", file=sys.stderr)
    return {name: figures for name, figures in results.items() if figures and name not in missing}, missing


def kept(case: Case, results: dict[str, Figures], missing: dict[str, str]) -> dict[str, Any]:
    """A case as results.json has it."""
    facts = {"case": case.name, "members": case.members, "burst": case.burst, "rate": case.rate, "size": case.size}
    growth = {"growth": case.growth} if case.growth else {}
    return {**facts, **growth, "results": results, **({"missing": missing} if missing else {})}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fraction of the rounds")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with this in their name; nothing is written")
    parser.add_argument("--peers", default="", metavar="TEXT", help="peers with this in their name; nothing is written")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    arguments = parser.parse_args()

    compile_load()
    files = raise_open_files()
    peers = [peer for peer in all_peers() if arguments.peers in peer.name]
    versions, absent = set_up(peers)
    peers = [peer for peer in peers if peer.name in versions]
    command = shlex.join(["make", "bench", *([f"ARGS={shlex.join(sys.argv[1:])}"] if sys.argv[1:] else [])])
    lines = [f"{date.today()}, {machine()}, load {os.getloadavg()[0]:.1f} at the start; `{command}`", "", EXPLAINED, ""]
    lines += [f"- {name}: {version}" for name, version in versions.items()]
    lines += [f"- {name}: not measured; {reason}" for name, reason in absent.items()]
    cases, measured = [], Results()
    wanted = [
        case for case in all_cases(arguments.quick) if arguments.only in case.name and case.members + 100 <= files
    ]
    for case in wanted:
        try:
            results, missing = measure_case(case, peers, arguments.repetitions)
        except KeyboardInterrupt:
            print("\nstopped: what is whole is kept", file=sys.stderr)
            break
        shown = ["", f"### {case.name}" + ("" if case.growth else f", {case.members:,} members"), ""]
        shown += table(results, missing, case.shown)
        print("\n".join(shown), flush=True)
        lines += shown
        cases.append(kept(case, results, missing))
        measured[case.name] = results
    goals = ["", "### What it has to be", "", *verdicts(measured)]
    print("\n".join(goals), flush=True)
    if arguments.only or arguments.peers:
        return
    document = HERE / "RESULTS.md"
    document.write_text(replace_section(document.read_text(), HEADING, "\n".join(lines + goals)))
    written = {
        "date": str(date.today()),
        "machine": machine(),
        "command": command,
        "versions": versions,
        "cases": cases,
    }
    (HERE / "results.json").write_text(json.dumps(written, indent=1) + "\n")
    readme = HERE.parent / "README.md"
    taken = f"{date.today()}, {machine()}, `{command}`"
    readme.write_text(replace_section(readme.read_text(), short.HEADING, short.short_form(cases, taken)))
    draw()
    crdt.write()


def draw() -> None:
    try:
        pip("matplotlib")()
        run(PYTHON, str(HERE / "plots.py"))
    except Missing as error:
        print(f"no plots: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
