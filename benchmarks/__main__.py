"""`make bench`: Roomful beside its peers, on this machine, in one run. `--quick`: some minutes, for a first look.

Peers come from the registries, into build/. Server and load have one core each. Repetitions alternate between all
peers, so that whatever else the machine does meets everybody alike. Written: benchmarks/RESULTS.md (its section) and
benchmarks/results.json.
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

from cases import SIZE, Case, all_cases, measure
from servers import HERE, Missing, Peer, all_peers, compile_load, raise_open_files
from table import Figures, replace_section, table

HEADING = "WebSocket fan-out (`make bench`)"
EXPLAINED = f"""\
One room; a publication of {SIZE} B goes to every member. server µs: CPU, user and system, of the server a delivery;
median (smallest–largest). load µs: the load generator's own. Latency: from the publisher's write to a member's read. KB
a member: what the server's resident memory grew by while they connected; it says little below thousands of members,
because a server may fill what its start left free. Roomful is the real server: Centrifuge JSON, rights, limits,
metrics, presence, a history of 100 (members don't ask for recovery). bare picows, node ws and Starlette only relay
frames."""


def machine() -> str:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())  # fmt: skip
    return f"{len(os.sched_getaffinity(0))} × {model}, Linux {platform.release()}, Python {platform.python_version()}"


def set_up(peers: list[Peer]) -> tuple[dict[str, str], dict[str, str]]:
    """Versions of those that could be set up, and why the others couldn't."""
    versions, missing = {}, {}
    for peer in peers:
        try:
            peer.set_up()
            versions[peer.name] = peer.version()
        except Missing as error:
            missing[peer.name] = str(error)
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with this in their name; nothing is written")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    arguments = parser.parse_args()

    compile_load()
    files = raise_open_files()
    peers = all_peers()
    versions, absent = set_up(peers)
    peers = [peer for peer in peers if peer.name in versions]
    command = shlex.join(["python", "benchmarks", *sys.argv[1:]])
    lines = [f"{date.today()}, {machine()}, load {os.getloadavg()[0]:.1f} at the start; `{command}`", "", EXPLAINED, ""]
    lines += [f"- {name}: {version}" for name, version in versions.items()]
    lines += [f"- {name}: not measured; {reason}" for name, reason in absent.items()]
    kept = []
    for case in all_cases(arguments.quick):
        if arguments.only not in case.name or case.members + 100 > files:
            continue
        results, missing = measure_case(case, peers, arguments.repetitions)
        shown = ["", f"### {case.name}" + ("" if case.growth else f", {case.members:,} members"), ""]
        shown += table(results, missing)
        print("\n".join(shown), flush=True)
        lines += shown
        kept.append(
            {"case": case.name, "members": case.members, "burst": case.burst, "results": results, **missing_of(missing)}
        )
    if arguments.only:
        return
    document = HERE / "RESULTS.md"
    document.write_text(replace_section(document.read_text(), HEADING, "\n".join(lines)))
    written = {"date": str(date.today()), "machine": machine(), "command": command, "versions": versions, "cases": kept}
    (HERE / "results.json").write_text(json.dumps(written, indent=1) + "\n")


def missing_of(missing: dict[str, str]) -> dict[str, dict[str, str]]:
    return {"missing": missing} if missing else {}


if __name__ == "__main__":
    main()
