"""What the CRDTs cost: bytes and time of 10,000 operations by 100 replicas, and what an ORSet keeps of the dead.

    .venv/bin/python benchmarks/crdt.py      # its section of RESULTS.md alone; `make bench` does it too

Every replica changes its own object; a server merges each delta, in another order than they were made; every tenth time
a replica asks the server for what it has missed (`delta_since`). Takes a minute. The garbage
collector rests meanwhile: no real process holds a hundred copies of everything for it to look through.
"""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable
from datetime import date
from random import Random
from time import process_time_ns
from typing import Any, NamedTuple

import msgspec
from install import HERE
from table import replace_section

from roomful.crdt import (
    HLC,
    KINDS,
    LWWRegister,
    ORMap,
    ORSet,
    Replicated,
    from_json,
    from_msgpack,
    to_json,
    to_msgpack,
)

HEADING = "CRDTs (`benchmarks/crdt.py`)"

OPERATIONS, REPLICAS, NAMES, TURNOVER = 10_000, 100, 1_000, 100_000

Change = Callable[[Any, Random], Any]


def name(random: Random) -> str:
    return f"n{random.randrange(NAMES)}"


def toggled(state: Any, random: Random) -> Any:
    """Mostly additions; a removal of something that is there otherwise."""
    element = name(random)
    return state.remove(element) if element in state else state.add(element)


def typed(state: Any, random: Random) -> Any:
    at = random.randrange(len(state) + 1)
    return state.delete(at) if random.random() < 0.3 and at < len(state) else state.insert(at, "x")


CHANGES: dict[str, Change] = {
    "gcounter": lambda state, random: state.increment(),
    "pncounter": lambda state, random: state.increment() if random.random() < 0.6 else state.decrement(),
    "lww": lambda state, random: state.set(name(random)),
    "mv": lambda state, random: state.set(name(random)),
    "gset": lambda state, random: state.add(name(random)),
    "2pset": lambda state, random: state.add(f"n{random.randrange(10**9)}"),
    "lwwset": toggled,
    "orset": toggled,
    "lwwmap": lambda state, random: state.set(name(random), "some value"),
    "ormap": lambda state, random: state.update(name(random), LWWRegister, lambda entry: entry.set("some value")),
    "ewflag": lambda state, random: state.enable() if random.random() < 0.5 else state.disable(),
    "dwflag": lambda state, random: state.enable() if random.random() < 0.5 else state.disable(),
    "fugue": typed,
}


class Row(NamedTuple):
    """Of one type: microseconds for each operation, bytes for each delta and of the state at the end."""

    kind: str
    change_us: float
    merge_us: float
    delta_bytes: float
    since_us: float
    state_bytes: int
    json_bytes: int
    encode_ms: float
    decode_ms: float


def measured(kind: str) -> Row:
    random, now = Random(1), [1_700_000_000_000]
    replicas: list[Any] = [
        KINDS[kind](f"user{n}/abcd", clock=HLC(now=lambda: now[0], max_ahead_ms=None)) for n in range(REPLICAS)
    ]
    server = KINDS[kind](clock=HLC(now=lambda: now[0]))
    change_ns = merge_ns = since_ns = sizes = pulls = 0
    waiting: list[Replicated] = []
    for number in range(OPERATIONS):
        now[0] += 10
        replica = random.choice(replicas)
        if number % 10 == 0:
            start = process_time_ns()
            news = server.delta_since(replica.context)
            since_ns += process_time_ns() - start
            pulls += 1
            replica.merge(news)
        start = process_time_ns()
        delta = CHANGES[kind](replica, random)
        change_ns += process_time_ns() - start
        data = to_msgpack(delta)
        sizes += len(data)
        waiting.append(from_msgpack(data, KINDS[kind]))
        if len(waiting) == 50 or number == OPERATIONS - 1:
            random.shuffle(waiting)
            start = process_time_ns()
            for delta in waiting:
                server.merge(delta)
            merge_ns += process_time_ns() - start
            waiting.clear()
    data, encode_ms = timed(lambda: to_msgpack(server))
    again, decode_ms = timed(lambda: from_msgpack(data, KINDS[kind], max_bytes=len(data)))
    assert again == server == from_json(to_json(server), KINDS[kind], max_bytes=1 << 24)
    per = 1_000 * OPERATIONS
    return Row(
        kind,
        change_ns / per,
        merge_ns / per,
        sizes / OPERATIONS,
        since_ns / pulls / 1_000,
        len(data),
        len(to_json(server)),
        encode_ms,
        decode_ms,
    )


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = process_time_ns()
    result = call()
    return result, (process_time_ns() - start) / 1e6


def turnover(live: int) -> tuple[int, int, float]:
    """Bytes of an ORSet that was filled, and that has added and removed 100,000 other elements since; µs for each."""
    state = ORSet[int]("user1/abcd")
    for n in range(live):
        state.add(n)
    before = len(to_msgpack(state))
    start = process_time_ns()
    for n in range(live, live + TURNOVER):
        state.add(n)
        state.remove(n)
    took_us = (process_time_ns() - start) / 1_000 / TURNOVER / 2
    assert len(state) == live
    return before, len(to_msgpack(state)), took_us


def in_a_map() -> tuple[int, int]:
    """Bytes of a counter that 10,000 increments have made: alone, and inside a map, where each keeps its dot."""
    alone, inside = KINDS["gcounter"]("user1/abcd"), ORMap("user1/abcd")
    for _ in range(OPERATIONS):
        alone.increment()  # type: ignore[attr-defined]
        inside.update("likes", KINDS["gcounter"], lambda likes: likes.increment())  # type: ignore[attr-defined]
    return len(to_msgpack(alone)), len(to_msgpack(inside))


def section() -> str:
    """Markdown for RESULTS.md; each line is printed as soon as it is there."""
    lines: list[str] = []

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    versions = f"Python {platform.python_version()}, msgspec {msgspec.__version__}"
    say(f"{date.today()}, {versions}, {machine()}, load {os.getloadavg()[0]:.1f} at the start")
    say()
    say(
        f"{OPERATIONS:,} operations by {REPLICAS} replicas, names out of {NAMES:,}. Bytes are MessagePack's, times CPU."
    )
    say("change: with what it reads first, which a type may put in order only then; merge: of a delta, by the server;")
    say("since: `delta_since` for a replica that has missed about 1,000 operations.")
    say()
    say("| type | change µs | merge µs | delta bytes | since µs | state bytes | as JSON | write ms | read ms |")
    say("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    gc.disable()
    try:
        for kind in CHANGES:
            row = measured(kind)
            gc.collect()
            say(
                f"| {row.kind} | {row.change_us:.1f} | {row.merge_us:.1f} | {row.delta_bytes:.0f} | {row.since_us:.0f} "
                f"| {row.state_bytes:,} | {row.json_bytes:,} | {row.encode_ms:.1f} | {row.decode_ms:.1f} |"
            )
        say(f"\nORSet, after {TURNOVER:,} elements were added and removed:\n")
        say("| live elements | bytes before | bytes after | µs an operation |\n|--:|--:|--:|--:|")
        for live in (0, 100, 1_000, 10_000):
            before, after, took_us = turnover(live)
            say(f"| {live:,} | {before:,} | {after:,} | {took_us:.1f} |")
    finally:
        gc.enable()
    alone, inside = in_a_map()
    say(f"\nA counter after {OPERATIONS:,} increments: {alone} bytes alone, {inside:,} inside an ORMap.")
    return "\n".join(lines)


def write() -> None:
    print(f"\n## {HEADING}\n")
    body, document = section(), HERE / "RESULTS.md"
    document.write_text(replace_section(document.read_text(), HEADING, body))


def machine() -> str:
    with open("/proc/cpuinfo") as cpus:
        models = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    return f"{os.cpu_count()} × {models[0] if models else platform.processor()}"


if __name__ == "__main__":
    write()
