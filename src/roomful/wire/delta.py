"""HOT When a payload travels as a delta: once made, it serves every dialect and all who have the same base."""

from __future__ import annotations

from functools import lru_cache

from roomful.model.publication import DeltaPublication
from roomful.wire import fossil

KEPT, KEPT_MAX_BYTES = 64, 131_072
"""Deltas that are remembered, and how large base and payload may be together for that: one for the other dialects of a
channel, and those of a page for all who recover it after a restart. They hold on to 8 MiB at most."""


def delta_of(word: DeltaPublication) -> bytes | None:
    """The delta from the base to the payload; None where the payload itself is sent: no base, or a delta that is no
    shorter. Source: Centrifuge protocol, section 15.3.

    An empty payload is no base: over JSON it can't travel as it is.
    """
    base, payload = word.base, word.publication.data
    if not base:
        return None
    return (_kept if len(base) + len(payload) <= KEPT_MAX_BYTES else _shorter)(base, payload)


def _shorter(base: bytes, payload: bytes) -> bytes | None:
    delta = fossil.create(base, payload)
    return delta if len(delta) < len(payload) else None


_kept = lru_cache(maxsize=KEPT)(_shorter)
