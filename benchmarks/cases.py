"""What is measured: how many members, how many publications in flight, how often."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from install import BUILD, HERE, Missing, compiled
from pycrdt import Doc, Text
from roster import ECHO, FANOUT, ROOMFUL, ROOMFUL_ALONE, STORM
from servers import Peer, cores, serving

SIZE = 200
FLOW = ("server_us", "load_us", "per_s", "p50_us", "p99_us")
ROOM = ("server_us", "kb_room", "p50_us", "p99_us")
IDLE = ("kb_each", "connect_p50_us", "connect_p99_us")
LOAD = BUILD / "load"

compile_load = compiled(sorted((HERE / "load").glob("*.c")), LOAD)


@dataclass(frozen=True)
class Case:
    """burst: publications in one write of the publisher; the next ones go out when all have arrived everywhere, or
    `rate` times a second. growth: against what it is drawn, and where; only Roomful is measured then."""

    name: str
    members: int
    burst: int
    rounds: int
    rate: float = 0
    size: int = SIZE
    rooms: int = 0
    mode: str = FANOUT
    family: str = "websocket"
    growth: tuple[str, float] | None = None
    shown: tuple[str, ...] = FLOW

    def wants(self, peer: Peer) -> bool:
        if self.growth:
            return peer.name == ROOMFUL
        if peer.name == ROOMFUL_ALONE and "kb_each" not in self.shown:
            return False
        return peer.family == self.family and self.mode in peer.modes


def all_cases(quick: bool) -> list[Case]:
    """Rounds are chosen so that each measurement has some hundred thousand deliveries, or takes ten seconds; quick: a
    fraction, but enough for code that warms up."""
    less, sooner = (4, 3) if quick else (1, 1)
    return [
        Case("16 in flight", 1_000, 16, 80 // less),
        *([] if quick else [Case("8 a turn", 1_000, 8, 400)]),
        Case("one at a time", 1_000, 1, 600 // less),
        Case("20 a second", 1_000, 1, 200 // sooner, rate=20),
        Case("100 a second", 1_000, 1, 600 // sooner, rate=100),
        Case("calls, 100 connections", 100, 1, 1_000 // less, mode=ECHO),
        Case("calls, one connection", 1, 1, 20_000 // less, mode=ECHO),
        Case("event streams, 16 in flight", 1_000, 16, 80 // less, family="events"),
        Case("event streams, one at a time", 1_000, 1, 600 // less, family="events"),
        Case("event streams, 20 a second", 1_000, 1, 200 // sooner, rate=20, family="events"),
        Case("a document, 16 edits in flight", 100, 16, 200 // less, family="documents"),
        Case("a document, 50 edits a second", 100, 1, 500 // sooner, rate=50, family="documents"),
        Case("idle", 9_000, 1, 1, shown=IDLE),
        Case("storm: all cut, and back with 10 missed messages", 5_000, 10, 1, mode=STORM),
        *growth_cases(less, sooner),
    ]


def growth_cases(less: int, sooner: int) -> list[Case]:
    cases = []

    def rounds(members: int, burst: int) -> int:
        return min(5_000, max(3, 1_600_000 // (members * (burst + 3) * less)))

    for members in (10, 100, 1_000, 10_000):
        for burst in (1, 16):
            number = rounds(members, burst)
            growth = (f"members, {burst} in flight", members)
            cases.append(Case(f"{members:,} members, {burst} in flight", members, burst, number, growth=growth))
    for rooms in (1, 1_000, 10_000, 100_000):
        growth = ("other rooms", rooms)
        cases.append(Case(f"{rooms:,} other rooms", 1, 1, 20_000 // less, rooms=rooms, growth=growth, shown=ROOM))
    for size in (20, 200, 2_000, 20_000):
        number = rounds(1_000, 1 + size // 500)
        cases.append(Case(f"{size:,} B", 1_000, 1, number, size=size, growth=("bytes", size)))
    for rate in (5, 20, 100, 200):
        cases.append(
            Case(
                f"{rate} publications a second",
                1_000,
                1,
                5 * rate // sooner,
                rate=rate,
                growth=("a second", rate),
            )
        )
    for members in (1_000, 3_000, 9_000):
        growth = ("connections", members)
        cases.append(Case(f"{members:,} connections", members, 1, 1, growth=growth, shown=IDLE))
    return cases


def edits(number: int) -> Path:
    """A file of so many edits of one author: a letter at the end of the text each, every update after its length."""
    written, doc = BUILD / f"edits-{number}", Doc[Any]()
    if not written.exists():
        text, updates = doc.get("text", type=Text), []
        for _ in range(number):
            before = doc.get_state()
            text += "a"
            updates.append(doc.get_update(before))
        written.write_bytes(b"".join(len(update).to_bytes(4, "big") + update for update in updates))
    return written


def measure(peer: Peer, case: Case) -> dict[str, float]:
    """One measurement on a fresh server: what the load generator prints. Raises Missing."""
    with serving(peer) as (port, pid):
        settings = {
            "port": port, "pid": pid, "protocol": peer.protocol, "mode": case.mode, "clients": case.members,
            "burst": case.burst, "rounds": max(3, case.rounds // peer.slowness), "size": case.size, "rate": case.rate,
            "rooms": case.rooms,
        }  # fmt: skip
        if case.family == "documents":
            settings["updates"] = str(edits(case.burst * (case.rounds + case.rounds // 10 + 3)))
        command = [*cores()[1], str(LOAD), *(f"{name}={value}" for name, value in settings.items())]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        except subprocess.CalledProcessError as error:
            raise Missing(error.stderr.strip() or f"{Path(command[-1]).name} failed") from error
        except subprocess.TimeoutExpired as error:
            raise Missing("not done in 120 s") from error
        figures: dict[str, float] = json.loads(done.stdout)
        return figures
