"""Where documents sleep: a log of updates for each, and snapshots that stand for its beginning.

Every store passes `roomful/testing/store_contract.py`. A store knows bytes, numbers and names; what an update means it
doesn't know. Several nodes may use one store at once: the log is what they share, numbered without gaps.
Source: Yjs protocols, section 12; design, decision 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """One update of the log. author: the user id, "" for an anonymous one. at: seconds since 1970."""

    update: bytes
    author: str = ""
    at: float = 0.0


class Logged(msgspec.Struct, frozen=True):
    """An entry in the log. seq: 1 for a document's first."""

    seq: int
    entry: Entry


class Snapshot(msgspec.Struct, frozen=True):
    """The whole document after entry `upto`. update, state_vector, deletions, parked: see `rooms.document.Encoded`."""

    upto: int
    update: bytes
    state_vector: bytes
    deletions: bytes
    parked: bytes = b""


class Stored(msgspec.Struct, frozen=True):
    """A document as it is loaded: the newest snapshot (None: there is none yet) and all entries after it, in order.

    lineage: the client id that marks its replicas. log_bytes: of the entries after the snapshot.
    """

    lineage: int
    snapshot: Snapshot | None
    tail: list[Logged]

    @property
    def head(self) -> int:
        """The number of the newest entry."""
        if self.tail:
            return self.tail[-1].seq
        return self.snapshot.upto if self.snapshot else 0


class Described(msgspec.Struct, frozen=True):
    """A document in a list. *_bytes: of the snapshot, and of the log after it. changed_at: seconds since 1970."""

    name: str
    head: int
    snapshot_bytes: int
    log_bytes: int
    changed_at: float


class RawWindow(msgspec.Struct, frozen=True):
    """Which compacted entries are kept for cutting an author out: since (seconds since 1970), and so many bytes."""

    since: float
    bytes: int


class Lease(msgspec.Struct, frozen=True):
    """The right to compact and to call webhooks for a document. fence: grows with each new owner."""

    fence: int
    until: float


class Rescue(msgspec.Struct, frozen=True):
    """What a client with another history held: nothing of it was applied. id: within the document."""

    id: int
    update: bytes
    author: str
    at: float


class DocumentStore(Protocol):
    """What it returns is durable: a crash of the process or of the machine loses nothing of it.

    Every method may raise RoomfulError: InternalError where the storage fails, and then nothing is known of what
    happened. Raises NotAvailable for a document that was deleted.
    """

    @property
    def id(self) -> str:
        """Names the database: two nodes with different ids don't share their documents."""
        ...

    async def start(self) -> None:
        """Opens it, and makes what isn't there. Raises ConfigError with one sentence when it can't."""
        ...

    async def stop(self) -> None:
        """Finishes what is under way, and closes. Idempotent."""
        ...

    async def load(self, name: str) -> Stored | None:
        """From one read; None: there is no such document. A failure raises, it never looks like an empty document."""
        ...

    async def append(self, name: str, entries: Sequence[Entry], lineage: int) -> int:
        """Adds entries to the log, all or none; the number of the first.

        Their numbers follow each other, and nobody sees one before all lower ones are there. Makes the document if
        there is none, with that lineage. Appends of one turn, also of other documents, are committed together.
        """
        ...

    async def append_next(self, name: str, entries: Sequence[Entry], lineage: int, first: int) -> bool:
        """The same if `first` is the next number. False: somebody else was faster, and nothing has happened."""
        ...

    async def create(self, name: str, entries: Sequence[Entry], lineage: int) -> Stored:
        """Makes a document of these entries if there is none, and answers what is there: so nobody begins one twice."""
        ...

    async def since(self, name: str, seq: int) -> list[Logged] | None:
        """The entries after that number, in order; None when some of them are in a snapshot only."""
        ...

    async def heads(self, names: Sequence[str]) -> dict[str, int]:
        """The newest number of each of these documents; those that don't exist are left out."""
        ...

    async def compact(self, name: str, snapshot: Snapshot, fence: int, keep: RawWindow) -> bool:
        """Puts a snapshot in place of the entries up to `snapshot.upto`, in one step; what `load` reads is short then.

        The entries stay as raw log inside the window, from an older snapshot on. False: a later owner has the lease, or
        there is a snapshot that reaches as far; nothing has happened.
        """
        ...

    async def raw(self, name: str) -> tuple[Snapshot | None, list[Logged]]:
        """The oldest snapshot that is kept (None: the empty document) and all entries after it, refused ones too."""
        ...

    async def replace(self, name: str, snapshot: Snapshot, lineage: int, fence: int) -> bool:
        """Makes the snapshot and this lineage all that there is of a document: another history. False: see `compact`.

        `snapshot.upto` is the number of its next entry: no number is used twice.
        """
        ...

    async def lease(self, name: str, owner: str, ttl_s: float) -> Lease | None:
        """Takes or renews the lease; None while somebody else has it."""
        ...

    async def delete(self, name: str, keep_out_s: float) -> bool:
        """Deletes a document; False if there is none. For so long nobody can make it anew."""
        ...

    async def described(self, prefix: str, after: str, limit: int) -> list[Described]:
        """Documents by name, those that begin with `prefix` and come after `after`."""
        ...

    async def rescue(
        self, name: str, update: bytes, author: str, at: float, *, count_max: int, max_bytes: int
    ) -> int | None:
        """Keeps what a client with another history held; its id.

        What the author has left there before, to the byte, isn't kept twice: its id is that of the first. None: nothing
        is kept, because the document would have more rescues, or more bytes of them, than that.
        """
        ...

    async def rescues(self, name: str) -> list[Rescue]:
        """Those kept for a document, oldest first."""
        ...

    async def quarantine(self, name: str, seqs: Sequence[int], error: str) -> None:
        """Takes entries that the engine refuses out of the log that is loaded; `raw` has them, as long as others."""
        ...
