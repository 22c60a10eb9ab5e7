"""Broken input: mutants of good messages, a fixed number a test, or for as long as `ROOMFUL_FUZZ_SECONDS` says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from random import Random

MUTANTS = 3000
SECONDS = float(os.environ.get("ROOMFUL_FUZZ_SECONDS", "0"))
LIMIT_S = SECONDS + 120
"""What a test that goes through the mutants may take."""

SPICE = [
    *(b"", b"\x00", b"\n", b"{}", b"null", b'"', b"\xc3", b"\\ud800"),
    *(b"\xff" * 10, b"\x80" * 9, b"9" * 5000, b"[" * 3000),
]


def mutants(seeds: list[bytes]) -> Iterator[bytes]:
    """Mutated seeds, the same ones in each run."""
    end = time.monotonic() + SECONDS
    random = Random(1)
    count = 0
    while count < MUTANTS or time.monotonic() < end:
        count += 1
        mutant = random.choice(seeds)
        for _ in range(random.randint(1, 4)):
            mutant = _mutated(random, mutant, seeds)
        yield mutant


def _mutated(random: Random, data: bytes, seeds: list[bytes]) -> bytes:
    start, end = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    match random.randrange(6):
        case 0:  # one bit
            if start == len(data):
                return data
            return data[:start] + bytes([data[start] ^ 1 << random.randrange(8)]) + data[start + 1 :]
        case 1:  # cut out
            return data[:start] + data[end:]
        case 2:  # cut off
            return data[:start]
        case 3:  # twice
            return data[:end] + data[start:]
        case 4:  # something hot
            return data[:start] + random.choice(SPICE) + data[start:]
        case _:  # a piece of another
            other = random.choice(seeds)
            return data[:start] + other[random.randint(0, len(other)) :] + data[end:]
