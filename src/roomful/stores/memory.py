"""Documents in memory: for tests, and for servers whose documents needn't outlive them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from roomful.model.errors import NotAvailable
from roomful.seams.store import Described, Entry, Lease, Logged, RawWindow, Rescue, Snapshot, Stored


class _Kept:
    """One document. log: every entry that is kept, raw ones too. deleted_until: seconds since 1970."""

    __slots__ = (
        "changed_at",
        "deleted_until",
        "fence",
        "head",
        "lease",
        "lineage",
        "log",
        "owner",
        "refused",
        "snapshots",
    )

    def __init__(self, lineage: int) -> None:
        self.lineage = lineage
        self.head = 0
        self.log: list[Logged] = []
        self.refused: set[int] = set()
        self.snapshots: list[Snapshot] = []
        self.changed_at = 0.0
        self.deleted_until: float | None = None
        self.owner = ""
        self.fence = 0
        self.lease = 0.0

    @property
    def upto(self) -> int:
        return self.snapshots[-1].upto if self.snapshots else 0

    def tail(self, seq: int) -> list[Logged]:
        return [logged for logged in self.log if logged.seq > seq and logged.seq not in self.refused]


class MemoryStore:
    """A `DocumentStore` that forgets everything with the process. clock: seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.id = str(uuid.uuid4())
        self._clock = clock
        self._documents: dict[str, _Kept] = {}
        self._rescues: dict[str, list[Rescue]] = {}
        self.quarantined: dict[str, list[Logged]] = {}

    async def start(self) -> None:
        """There is nothing to open."""

    async def stop(self) -> None:
        """There is nothing to close."""

    async def load(self, name: str) -> Stored | None:
        kept = self._find(name)
        if kept is None:
            return None
        snapshot = kept.snapshots[-1] if kept.snapshots else None
        return Stored(kept.lineage, snapshot, kept.tail(kept.upto))

    async def append(self, name: str, entries: Sequence[Entry], lineage: int) -> int:
        kept = self._find(name)
        if kept is None:
            kept = self._documents[name] = _Kept(lineage)
        first = kept.head + 1
        kept.log += [Logged(first + index, entry) for index, entry in enumerate(entries)]
        kept.head += len(entries)
        kept.changed_at = self._clock()
        return first

    async def append_next(self, name: str, entries: Sequence[Entry], lineage: int, first: int) -> bool:
        kept = self._find(name)
        if first != (kept.head if kept is not None else 0) + 1:
            return False
        await MemoryStore.append(self, name, entries, lineage)
        return True

    async def create(self, name: str, entries: Sequence[Entry], lineage: int) -> Stored:
        stored = await MemoryStore.load(self, name)
        if stored is None:
            await MemoryStore.append(self, name, entries, lineage)
            stored = Stored(lineage, None, self._documents[name].tail(0))
        return stored

    async def since(self, name: str, seq: int) -> list[Logged] | None:
        kept = self._find(name)
        if kept is None or seq < kept.upto:
            return None
        return kept.tail(seq)

    async def heads(self, names: Sequence[str]) -> dict[str, int]:
        found = {name: self._documents.get(name) for name in names}
        return {name: kept.head for name, kept in found.items() if kept is not None and kept.deleted_until is None}

    async def compact(self, name: str, snapshot: Snapshot, fence: int, keep: RawWindow) -> bool:
        kept = self._find(name)
        if kept is None or kept.fence != fence or kept.upto >= snapshot.upto:
            return False
        kept.snapshots.append(snapshot)
        kept_bytes, cut = 0, snapshot.upto
        for logged in reversed(kept.log):
            kept_bytes += len(logged.entry.update)
            if logged.entry.at < keep.since or kept_bytes > keep.bytes:
                break
            cut = min(cut, logged.seq - 1)
        base = max((s.upto for s in kept.snapshots if s.upto <= cut), default=0)
        if base or cut:
            kept.snapshots = [s for s in kept.snapshots if s.upto >= base]
            kept.log = [logged for logged in kept.log if logged.seq > base]
        return True

    async def raw(self, name: str) -> tuple[Snapshot | None, list[Logged]]:
        kept = self._find(name)
        if kept is None:
            return None, []
        starts_at_the_beginning = bool(kept.log) and kept.log[0].seq == 1
        base = kept.snapshots[0] if kept.snapshots and not starts_at_the_beginning else None
        return base, list(kept.log)

    async def replace(self, name: str, snapshot: Snapshot, lineage: int, fence: int) -> bool:
        kept = self._find(name)
        if kept is None or kept.fence != fence or snapshot.upto != kept.head + 1:
            return False
        kept.snapshots, kept.log, kept.lineage, kept.head = [snapshot], [], lineage, snapshot.upto
        return True

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        kept, now = self._find(name), self._clock()
        if kept is None or (kept.owner != owner and kept.lease > now):
            return None
        if kept.owner != owner or kept.lease <= now:
            kept.owner, kept.fence = owner, kept.fence + 1
        kept.lease = now + ttl_s
        return Lease(kept.fence, kept.lease)

    async def delete(self, name: str, keep_out_s: float) -> bool:
        if self._find(name) is None:
            return False
        self._documents[name] = gone = _Kept(0)
        gone.deleted_until = self._clock() + keep_out_s
        self._rescues.pop(name, None)
        self.quarantined.pop(name, None)
        return True

    async def described(self, prefix: str, after: str, limit: int) -> list[Described]:
        names = sorted(n for n in self._documents if n.startswith(prefix) and n > after)
        found = [(name, self._documents[name]) for name in names]
        return [_described(name, kept) for name, kept in found if kept.deleted_until is None][:limit]

    async def rescue(
        self, name: str, update: bytes, author: str, at: float, *, count_max: int, max_bytes: int
    ) -> int | None:
        rescues = self._rescues.setdefault(name, [])
        for kept in rescues:
            if (kept.update, kept.author) == (update, author):
                return kept.id
        if len(rescues) >= count_max or sum(len(kept.update) for kept in rescues) + len(update) > max_bytes:
            return None
        rescues.append(Rescue(len(rescues) + 1, update, author, at))
        return len(rescues)

    async def rescues(self, name: str) -> list[Rescue]:
        return list(self._rescues.get(name, ()))

    async def quarantine(self, name: str, seqs: Sequence[int], error: str) -> None:
        kept = self._find(name)
        if kept is not None:
            self.quarantined.setdefault(name, []).extend(logged for logged in kept.log if logged.seq in seqs)
            kept.refused.update(seqs)

    def _find(self, name: str) -> _Kept | None:
        kept = self._documents.get(name)
        if kept is None or kept.deleted_until is None:
            return kept
        if kept.deleted_until > self._clock():
            raise NotAvailable("the document was deleted")
        del self._documents[name]
        return None


def _described(name: str, kept: _Kept) -> Described:
    snapshot_bytes = len(kept.snapshots[-1].update) if kept.snapshots else 0
    log_bytes = sum(len(logged.entry.update) for logged in kept.tail(kept.upto))
    return Described(name, kept.head, snapshot_bytes, log_bytes, kept.changed_at)
