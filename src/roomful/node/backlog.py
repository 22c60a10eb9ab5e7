"""What waits in one process for all the clients that don't read, bounded in bytes.

Each connection has a budget of its own; a thousand frozen clients of 1 MiB are still a gigabyte. Counted is only what
waits for longer than a turn of the loop, so a client that reads well is never asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from roomful.node.stats import Stats

LIMIT = "outboxes_max_bytes"
"""The option, as it is counted."""


class Debtor(Protocol):
    """An outbox. owed: what the backlog counts of it."""

    owed: int


class Backlog:
    """bytes: all that is owed. debtors: by how many. max_bytes: 0 for no limit.

    Beyond it, whoever owes at least half the average is told that its frame doesn't fit, as if its own budget were
    spent, so its channels' policies decide; the half, lest of a thousand that froze together some are closed for being
    a frame behind the others. Who owes less gets its frame, and at the end of the turn `relieve` is called, which ends
    those who owe most until the rest fits.
    """

    __slots__ = ("_relieving", "_stats", "bytes", "debtors", "max_bytes", "relieve")

    def __init__(self, stats: Stats, max_bytes: int = 0, relieve: Callable[[], None] | None = None) -> None:
        self._stats = stats
        self.max_bytes = max_bytes
        self.relieve = relieve
        self.bytes = 0
        self.debtors = 0
        self._relieving = False

    @property
    def over(self) -> bool:
        """More waits than may."""
        return 0 < self.max_bytes < self.bytes

    def settle(self, debtor: Debtor, owed: int) -> None:
        """It owes so much now; 0: it reads again, or is gone."""
        self.bytes += owed - debtor.owed
        self.debtors += (owed > 0) - (debtor.owed > 0)
        debtor.owed = owed
        if owed and self.over:
            self._relieve_soon()

    def admit(self, debtor: Debtor, size: int) -> bool:
        """Whether one that owes something already may owe so much more; then it does."""
        if size > 0 and 0 < self.max_bytes < self.bytes + size:
            if 2 * debtor.owed * self.debtors >= self.bytes:
                self._stats.count_limited(LIMIT)
                return False
            self._relieve_soon()
        self.bytes += size
        debtor.owed += size
        return True

    def _relieve_soon(self) -> None:
        if not self._relieving and self.relieve is not None:
            self._relieving = True
            asyncio.get_running_loop().call_soon(self._relieve)

    def _relieve(self) -> None:
        self._relieving = False
        if self.over and self.relieve is not None:
            self.relieve()
