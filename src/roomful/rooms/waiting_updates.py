"""Updates that wait for others on which they lean, and which of them may go on when those have come.

Whoever may write can send as many of these as are let wait, also such as wait for ever. So an edit that frees none
costs nothing here: each is looked up by what it lacks, and nothing is merged, read or applied again but what was freed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush

from roomful.rooms.update_walker import Ranges, deletions_only, merge_ranges

DELETION_BYTES = 16
"""What a deleted range that waits counts for."""


class WaitingUpdates:
    """size: of all that waits, in bytes."""

    __slots__ = ("_by_client", "_deletions", "_stuck", "_updates", "size")

    def __init__(self) -> None:
        self.size = 0
        self._updates: dict[bytes, None] = {}
        self._by_client: dict[int, list[tuple[int, bytes]]] = {}
        self._deletions: dict[int, Ranges] = {}
        self._stuck: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._updates or self._deletions)

    def __iter__(self) -> Iterator[bytes]:
        """All of them, as updates."""
        yield from self._updates
        if self._deletions:
            yield deletions_only(self._deletions)

    def keep(self, update: bytes, lacking: Mapping[int, int]) -> None:
        """Has an update wait. lacking: client → the smallest clock that it leans on and that isn't there.

        One that lacks nothing, and was not taken all the same, is tried again whenever anything comes.
        """
        if update in self._updates:
            return
        self._updates[update] = None
        self.size += len(update)
        if not lacking:
            self._stuck.append(update)
        for client, clock in lacking.items():
            heappush(self._by_client.setdefault(client, []), (clock, update))

    def keep_deletions(self, deletions: Mapping[int, Ranges]) -> None:
        """Has deletions wait for what they delete."""
        for client, ranges in deletions.items():
            waiting = self._deletions.get(client, [])
            merged = self._deletions[client] = merge_ranges([*waiting, *ranges])
            self.size += DELETION_BYTES * (len(merged) - len(waiting))

    def stuck(self) -> list[bytes]:
        """Those that lack nothing; they don't wait any more."""
        stuck, self._stuck = self._stuck, []
        return self._taken_out(stuck)

    def freed(self, clients: Iterable[int], clocks: Mapping[int, int]) -> list[bytes]:
        """Those that lack less than before, now that these clients are at these clocks; they don't wait any more."""
        found: list[bytes] = []
        deletions: dict[int, Ranges] = {}
        for client in clients:
            clock = clocks.get(client, 0)
            if client in self._by_client:
                found += self._pop(client, clock)
            if client in self._deletions:
                come = self._pop_deletions(client, clock)
                if come:
                    deletions[client] = come
        gone = self._taken_out(found)
        return [*gone, deletions_only(deletions)] if deletions else gone

    def _taken_out(self, found: list[bytes]) -> list[bytes]:
        """Each once, and none that went before: an update is listed under every client of which it lacks something."""
        gone = [update for update in dict.fromkeys(found) if update in self._updates]
        for update in gone:
            del self._updates[update]
            self.size -= len(update)
        return gone

    def _pop(self, client: int, clock: int) -> list[bytes]:
        lacking, found = self._by_client[client], []
        while lacking and lacking[0][0] < clock:
            found.append(heappop(lacking)[1])
        if not lacking:
            del self._by_client[client]
        return found

    def _pop_deletions(self, client: int, clock: int) -> Ranges:
        waiting = self._deletions[client]
        if waiting[0][0] >= clock:
            return []
        come = [(start, min(end, clock)) for start, end in waiting if start < clock]
        left = [(max(start, clock), end) for start, end in waiting if end > clock]
        self.size -= DELETION_BYTES * (len(waiting) - len(left))
        if left:
            self._deletions[client] = left
        else:
            del self._deletions[client]
        return come
