"""For whom a delta speaks: what a server asks before it merges what a client has sent."""

from __future__ import annotations

from collections.abc import Callable

from roomful.crdt.causal import within
from roomful.crdt.errors import ForeignReplica
from roomful.crdt.replicated import R
from roomful.crdt.value import packed


def authors(delta: R, known: R) -> frozenset[str]:
    """The replicas in whose name the delta says something new to `known`. Costs the size of the delta.

    These are the replicas of dots that `known` hasn't seen, live or already ended; of dots that it holds with another
    item; and, in types that only add (counters, GSet, TwoPhaseSet), of live dots that the delta would end. Ending
    somebody's dot elsewhere is an ordinary removal and nobody's speech. A delta that removes what `known` hasn't seen
    yet speaks for its author: merge what the sender has seen first.
    """
    return frozenset(replica for replica, _ in delta._context.items() if _speaks(replica, delta, known))


def check_authors(delta: R, known: R, allowed: Callable[[str], bool]) -> None:
    """Raises ForeignReplica if the delta speaks for a replica that isn't allowed."""
    foreign = sorted(replica for replica in authors(delta, known) if not allowed(replica))
    if foreign:
        raise ForeignReplica(foreign)


def _speaks(replica: str, delta: R, known: R) -> bool:
    bounds = list(delta._context.bounds(replica))
    if not known._context.covers(replica, bounds):
        return True
    theirs, mine = delta._live.get(replica, {}), known._live.get(replica, {})
    if any(number in mine and packed(mine[number]) != packed(item) for number, item in theirs.items()):
        return True
    return known.guarded and any(number not in theirs for number in within(mine, bounds))
