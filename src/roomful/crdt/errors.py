"""The errors of the toolkit.

CRDTError
├── InvalidValue     a value outside the domain: JSON with numbers that every language holds exactly
├── Malformed        bytes or a tree that no replica can have written
├── KindMismatch     a state of another kind
├── ReadOnly         a change to what isn't a replica: a delta, a decoded state without a replica id, a nested object
├── ForeignReplica   a delta speaks for replicas that its sender isn't
├── FutureClock      a stamp lies too far ahead of this clock
├── RemovedForever   an element of a two-phase set that has been removed
└── Exhausted        a number would leave the range that every language holds exactly

All are raised before anything has changed.
"""

from __future__ import annotations


class CRDTError(Exception):
    """Anything that this package refuses."""


class InvalidValue(CRDTError):
    """A value outside the domain (see `value.py`)."""


class Malformed(CRDTError):
    """Bytes or a tree that no replica can have written. Says what is wrong, never repeats the input."""


class KindMismatch(CRDTError):
    """Two kinds that don't merge. wanted, got: their names."""

    def __init__(self, wanted: str, got: str) -> None:
        super().__init__(f"wanted {wanted}, got {got}")
        self.wanted = wanted
        self.got = got


class ReadOnly(CRDTError):
    """A change to what isn't a replica."""


class ForeignReplica(CRDTError):
    """A delta speaks for others. replicas: for whom, sorted."""

    def __init__(self, replicas: list[str]) -> None:
        super().__init__(f"the delta speaks for {', '.join(map(repr, replicas[:5]))}")
        self.replicas = replicas


class FutureClock(CRDTError):
    """A stamp ahead of this clock. ahead_ms: by how much; limit_ms: how much is let through.

    The writer corrects its clock (`HLC.correct`), writes again, and sends the refused delta with the new one merged
    into it: what the refused write had replaced must still be said.
    """

    def __init__(self, ahead_ms: int, limit_ms: int) -> None:
        super().__init__(f"stamped {ahead_ms} ms ahead of this clock, {limit_ms} ms are let through")
        self.ahead_ms = ahead_ms
        self.limit_ms = limit_ms


class RemovedForever(CRDTError):
    """A two-phase set never takes back what was removed."""


class Exhausted(CRDTError):
    """A count, total or sequence number would exceed 2^53 - 1."""
