"""CRDTs: objects that many change at once, apart, and that end alike. Pure: no clock, no network, nothing of ours.

    from roomful.crdt import ORSet

    a, b = ORSet("a"), ORSet("b")
    delta = a.add("x")          # the change, to be sent to whoever shares the set
    b.merge(delta)              # late, twice, in any order
    assert "x" in b and a == b

`replicated.py` has the one state and the one merge behind all types; `docs/crdt.md` says what each promises.
"""

from roomful.crdt.authors import authors, check_authors
from roomful.crdt.causal import Context, Dot
from roomful.crdt.clock import HLC, Clock, Lamport, Stamp
from roomful.crdt.codec import (
    context_from_plain,
    context_to_plain,
    from_json,
    from_msgpack,
    from_plain,
    to_json,
    to_msgpack,
    to_plain,
)
from roomful.crdt.counter import GCounter, PNCounter
from roomful.crdt.errors import (
    CRDTError,
    Exhausted,
    ForeignReplica,
    FutureClock,
    InvalidValue,
    KindMismatch,
    Malformed,
    ReadOnly,
    RemovedForever,
)
from roomful.crdt.flag import DisableWinsFlag, EnableWinsFlag
from roomful.crdt.map import KINDS, LWWMap, ORMap
from roomful.crdt.register import LWWRegister, MVRegister
from roomful.crdt.replicated import Replicated
from roomful.crdt.sequence import Fugue
from roomful.crdt.set import GSet, LWWSet, ORSet, TwoPhaseSet
from roomful.crdt.vector import DottedVersionVector, VectorClock

__all__ = [
    "HLC",
    "KINDS",
    "CRDTError",
    "Clock",
    "Context",
    "DisableWinsFlag",
    "Dot",
    "DottedVersionVector",
    "EnableWinsFlag",
    "Exhausted",
    "ForeignReplica",
    "Fugue",
    "FutureClock",
    "GCounter",
    "GSet",
    "InvalidValue",
    "KindMismatch",
    "LWWMap",
    "LWWRegister",
    "LWWSet",
    "Lamport",
    "MVRegister",
    "Malformed",
    "ORMap",
    "ORSet",
    "PNCounter",
    "ReadOnly",
    "RemovedForever",
    "Replicated",
    "Stamp",
    "TwoPhaseSet",
    "VectorClock",
    "authors",
    "check_authors",
    "context_from_plain",
    "context_to_plain",
    "from_json",
    "from_msgpack",
    "from_plain",
    "to_json",
    "to_msgpack",
    "to_plain",
]
