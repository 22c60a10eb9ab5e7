"""A store in memory that waits or fails when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from roomful.model.errors import InternalError
from roomful.seams.store import Entry, RawWindow, Snapshot, Stored
from roomful.stores.memory import MemoryStore


class SlowStore(MemoryStore):
    """loads: how many were asked for. `hold` makes everything wait until `release`; failing: everything fails."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.appends: list[int] = []
        self.failing = False
        self._free = asyncio.Event()
        self._free.set()

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    async def load(self, name: str) -> Stored | None:
        self.loads += 1
        await self._pass()
        return await super().load(name)

    async def append(self, name: str, entries: Sequence[Entry], lineage: int) -> int:
        await self._pass()
        self.appends.append(len(entries))
        return await super().append(name, entries, lineage)

    async def append_next(self, name: str, entries: Sequence[Entry], lineage: int, first: int) -> bool:
        await self._pass()
        return await super().append_next(name, entries, lineage, first)

    async def compact(self, name: str, snapshot: Snapshot, fence: int, keep: RawWindow) -> bool:
        await self._pass()
        return await super().compact(name, snapshot, fence, keep)

    async def _pass(self) -> None:
        await self._free.wait()
        if self.failing:
            raise InternalError("the disk is full")
