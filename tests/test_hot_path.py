"""What one delivery costs, in calls instead of time: the same on every machine, and it fails when somebody adds one.

Counted are calls of Python functions and of built-in ones, from the hub to the transport's door. The bounds are what
was counted when they were set: a change that lowers a count should lower its bound.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from roomful.model.publication import Position, Publication
from roomful.node.backlog import Backlog
from roomful.node.flusher import Flusher
from roomful.node.hub import Hub
from roomful.node.stats import Stats
from roomful.session.outbox import Outbox
from roomful.session.subscription import Subscription, Traits
from roomful.testing.client import MemoryTransport
from roomful.wire.dialect import JSON_BARE
from tests.session.test_subscription import Holder

CHANNEL = "bench:room"
EPOCH = "epoch"


def calls_of(work: Callable[[], None]) -> int:
    """How many functions, Python's and built-in ones, were called on the way."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # its callbacks, of whichever test library, would be counted too
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def calls_of_a_turn(members: int, publications: int) -> int:
    """Of publications in one room that come in one turn of the loop, up to the transport of each member."""
    hub, flusher, stats = Hub(), Flusher(), Stats()
    transports = [MemoryTransport() for _ in range(members)]
    for transport in transports:
        outbox = Outbox(transport, JSON_BARE, flusher, stats, 1 << 20, Backlog(stats))
        subscription = Subscription(Holder(), outbox, CHANNEL, Traits(tracked=True, positioned=True, recoverable=True))
        subscription.begin(Position(EPOCH, 0), complete=True)
        hub.add(CHANNEL, JSON_BARE, subscription)
    batch = [Publication(b'"hello"', offset) for offset in range(1, publications + 1)]

    def turn() -> None:
        for publication in batch:
            hub.broadcast(CHANNEL, publication, EPOCH)
        flusher.flush()

    async def run() -> int:
        return calls_of(turn)

    calls = asyncio.run(run())
    assert [len(transport.written) for transport in transports] == [1] * members
    return calls


@pytest.mark.parametrize(("publications", "bound"), [(1, 11), (8, 41), (16, 73)])
def test_a_member_costs_no_more_calls_than_it_did(publications: int, bound: int) -> None:
    """The difference that a hundred members make, so that what is done once for a publication doesn't count."""
    each = (calls_of_a_turn(200, publications) - calls_of_a_turn(100, publications)) / 100
    assert each <= bound
