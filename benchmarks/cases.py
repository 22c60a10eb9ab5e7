"""What is measured: how many members, how many publications in flight, how often."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass

from servers import LOAD, Missing, Peer, cores, serving

SIZE = 200


@dataclass(frozen=True)
class Case:
    """burst: publications in one write of the publisher; the next ones go out when all have arrived everywhere, or
    `rate` times a second. growth: only for us."""

    name: str
    members: int
    burst: int
    rounds: int
    rate: float = 0
    growth: bool = False

    def wants(self, peer: Peer) -> bool:
        return peer.name == "Roomful" if self.growth else not (peer.name.endswith("off") and self.burst > 1)


def all_cases(quick: bool) -> list[Case]:
    """Rounds are chosen so that each measurement has some hundred thousand deliveries; quick: a tenth."""
    less = 10 if quick else 1
    cases = [
        Case("16 in flight", 1_000, 16, 200 // less),
        Case("8 a turn", 1_000, 8, 400 // less),
        Case("one at a time", 1_000, 1, 600 // less),
        Case("20 a second", 1_000, 1, 200 // less, rate=20),
        Case("100 a second", 1_000, 1, 600 // less, rate=100),
        Case("9,000 idle", 9_000, 1, 3),
    ]
    for members in (10, 100, 1_000, 10_000):
        for burst in (1, 16):
            rounds = max(3, 1_600_000 // (members * (burst + 3) * less))
            cases.append(
                Case(f"{members:,} members, {burst} in flight", members, burst, min(rounds, 5_000), growth=True)
            )
    return cases


def measure(peer: Peer, case: Case) -> dict[str, float]:
    """One measurement on a fresh server: what the load generator prints. Raises Missing."""
    with serving(peer) as (port, pid):
        numbers = (case.members, case.burst, case.rounds, SIZE, case.rate)
        command = [*cores()[1], str(LOAD), str(port), str(pid), peer.protocol, *map(str, numbers)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        except subprocess.CalledProcessError as error:
            raise Missing(error.stderr.strip()) from error
        except subprocess.TimeoutExpired as error:
            raise Missing("not done in 300 s") from error
        figures: dict[str, float] = json.loads(done.stdout)
        return figures
