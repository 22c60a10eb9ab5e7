"""HOT When a payload travels as a delta: once made, it serves every dialect and all who have the same base."""

from __future__ import annotations

from functools import lru_cache

from roomful.model.publication import DeltaPublication
from roomful.wire import fossil

KEPT = 64
"""Deltas that are remembered: one for the other dialects of a channel, and those of a page for all who recover it after
a restart. A delta of 64 KiB payloads holds on to 128 KiB of them, so 8 MiB at most with the default message limit."""


def delta_of(word: DeltaPublication) -> bytes | None:
    """The delta from the base to the payload; None where the payload itself is sent: no base, or a delta that is no
    shorter. Source: Centrifuge protocol, section 15.3.

    An empty payload is no base: over JSON it can't travel as it is.
    """
    return _shorter(word.base, word.publication.data) if word.base else None


@lru_cache(maxsize=KEPT)
def _shorter(base: bytes, payload: bytes) -> bytes | None:
    delta = fossil.create(base, payload)
    return delta if len(delta) < len(payload) else None
