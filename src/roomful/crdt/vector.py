"""Clocks that tell *before* from *concurrent*: vector clocks (Mattern 1988) and dotted version vectors.

The types of this package don't need them (their contexts know more); they are for versions kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from roomful.crdt.causal import Dot


class VectorClock:
    """How many events of each replica have been seen. A value: methods return new ones. All costs: O(replicas).

    `a <= b`: b has seen all that a has. `a < b`: a is before b. Neither: `a.concurrent(b)`.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts = {replica: count for replica, count in (counts or {}).items() if count > 0}

    def __getitem__(self, replica: str) -> int:
        return self._counts.get(replica, 0)

    def tick(self, replica: str) -> VectorClock:
        """After one more event of that replica."""
        return VectorClock({**self._counts, replica: self[replica] + 1})

    def merge(self, other: VectorClock) -> VectorClock:
        """What both have seen together."""
        replicas = self._counts.keys() | other._counts.keys()
        return VectorClock({replica: max(self[replica], other[replica]) for replica in replicas})

    def concurrent(self, other: VectorClock) -> bool:
        """Whether each has seen something that the other hasn't."""
        return not self <= other and not other <= self

    def counts(self) -> dict[str, int]:
        """A copy, without zeros."""
        return dict(self._counts)

    def __le__(self, other: VectorClock) -> bool:
        return all(count <= other[replica] for replica, count in self._counts.items())

    def __lt__(self, other: VectorClock) -> bool:
        return self <= other and self != other

    def __eq__(self, other: object) -> bool:
        return self._counts == other._counts if isinstance(other, VectorClock) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._counts.items()))

    def __repr__(self) -> str:
        return f"VectorClock({self._counts})"


class DottedVersionVector:
    """One version of a value: its own event (dot), apart from the events that it has seen (past).

    Two clients that read the same version and write through the same server make two concurrent versions; a plain
    version vector would call one of them older. Preguiça, Baquero, Almeida, Fonte, Gonçalves, "Dotted version vectors"
    (2010).
    """

    __slots__ = ("dot", "past")

    def __init__(self, dot: Dot, past: VectorClock) -> None:
        self.dot = dot
        self.past = past

    def seen_by(self, clock: VectorClock) -> bool:
        """Whether whoever has seen `clock` has seen this version. O(1)."""
        return self.dot[1] <= clock[self.dot[0]]

    def __lt__(self, other: DottedVersionVector) -> bool:
        """Whether the other one was written by somebody who had seen this one. O(1)."""
        return self.seen_by(other.past)

    def concurrent(self, other: DottedVersionVector) -> bool:
        return self.dot != other.dot and not self < other and not other < self

    def __eq__(self, other: object) -> bool:
        """A dot names one version."""
        return self.dot == other.dot if isinstance(other, DottedVersionVector) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.dot)

    def __repr__(self) -> str:
        return f"DottedVersionVector({self.dot}, {self.past})"


def context(versions: Iterable[DottedVersionVector]) -> VectorClock:
    """All that these versions have seen, themselves included: what a reader brings along when it writes."""
    clock = VectorClock()
    for version in versions:
        replica, number = version.dot
        clock = clock.merge(version.past).merge(VectorClock({replica: number}))
    return clock


def write(kept: Iterable[DottedVersionVector], read: VectorClock, replica: str) -> DottedVersionVector:
    """The version that `replica`, which keeps these versions, makes of a write by somebody who had seen `read`."""
    number = max(context(kept)[replica], read[replica]) + 1
    return DottedVersionVector((replica, number), read)


def newest(versions: Iterable[DottedVersionVector]) -> set[DottedVersionVector]:
    """Those that none of the others has seen: what is kept after a write or an exchange. O(versions²)."""
    given = set(versions)
    return {version for version in given if not any(version < other for other in given)}
