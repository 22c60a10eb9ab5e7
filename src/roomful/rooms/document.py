"""One Yjs document: what it holds, what an update brings, what a replica lacks. The only door to pycrdt.

The engine has traps, each of which this file keeps shut (Yjs protocols, section 10): what waits for missing updates is
left out of its exports and can be dropped, so it is kept here; merging many updates is quadratic, so it is done as a
tree; a panic is no Exception; a failed apply may have been half done. It makes no engine document before one is needed:
a snapshot answers its first readers by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from pycrdt import Doc, get_update, merge_updates

from roomful.rooms.update_walker import (
    NOTHING,
    Malformed,
    Ranges,
    Walked,
    delete_set,
    deletions_only,
    lacking,
    merge_ranges,
    missing_from,
    read_state_vector,
    state_vector,
    walk,
)
from roomful.rooms.waiting_updates import WaitingUpdates

NO_STATE = b"\x00"
"""The state vector of an empty document."""

MERGE_AT_ONCE = 64
"""`merge_updates` is quadratic: 260,000 updates take 327 s at once, 0.25 s as a tree of 64."""

LINEAGE_ROOT = "__lineage"
"""A root type that no editor shows; its one struct marks every replica of this document."""

MANY_DELETIONS = 8
"""An update with more deleted ranges than this answers a sync step, and most of them are known."""

_PANIC = "pyo3_runtime"


class Broken(Exception):
    """The engine failed half-way: this document is of no use any more and has to be loaded anew."""


@contextmanager
def _guarded() -> Iterator[None]:
    """The engine's errors as ours. Malformed: nothing happened. Its panics are no Exceptions, only BaseExceptions."""
    try:
        yield
    except ValueError as error:
        raise Malformed(str(error)) from error
    except BaseException as error:
        if isinstance(error, RuntimeError) or type(error).__module__ == _PANIC:
            raise Broken(str(error)) from error
        raise


class Encoded(msgspec.Struct, frozen=True):
    """A whole document as bytes. deletions: an update that deletes all that it has deleted, and nothing else.

    parked: what waits for updates that haven't come; b"" for nothing.
    """

    update: bytes = NOTHING
    state_vector: bytes = NO_STATE
    deletions: bytes = NOTHING
    parked: bytes = b""


def lineage_mark(client: int) -> bytes:
    """The update that starts a document: one struct by a client id drawn for it."""
    start = state_vector({client: 0})[1:]  # the client's id, and clock 0
    root = LINEAGE_ROOT.encode()
    return b"\x01\x01" + start + b"\x28\x01" + bytes((len(root),)) + root + b"\x01v\x01\x78\x00"


def merge(updates: Sequence[bytes]) -> bytes:
    """One update in place of many. Raises Malformed, Broken."""
    level = list(updates) or [NOTHING]
    with _guarded():
        while len(level) > 1:
            groups = (level[at : at + MERGE_AT_ONCE] for at in range(0, len(level), MERGE_AT_ONCE))
            level = [merge_updates(*group) if len(group) > 1 else group[0] for group in groups]
    return level[0]


class Document:
    """A document in memory."""

    __slots__ = (
        "_applying",
        "_clocks",
        "_deletions",
        "_doc",
        "_encoded",
        "_is_behind",
        "_parked",
        "_waiting",
        "_watchers",
        "_whole",
    )

    def __init__(self, encoded: Encoded | None = None) -> None:
        """Raises Malformed for a state vector that isn't one, or for what is parked if that isn't an update."""
        self._encoded = encoded or Encoded()
        self._doc: Doc[Any] | None = None
        self._clocks = read_state_vector(self._encoded.state_vector)
        self._deletions: dict[int, Ranges] | None = None
        self._applying = False
        self._is_behind = False
        self._waiting: WaitingUpdates | None = None
        self._parked: bytes | None = b""
        self._watchers = 0
        self._whole: bytes | None = None
        if self._encoded.parked:
            self._park(self._encoded.parked, walk(self._encoded.parked))

    @classmethod
    def load(cls, snapshot: Encoded | None, tail: Sequence[bytes]) -> tuple[Document, list[int]]:
        """The document, and which of the tail's updates the engine doesn't take (their indices).

        The tail is merged before it is applied: one by one, what waits for another could be dropped.
        """
        document = cls(snapshot)
        if not tail:
            return document, []
        try:
            document.apply(merge(tail))
            return document, []
        except (Malformed, Broken):
            return cls._load_one_by_one(snapshot, tail)

    @classmethod
    def _load_one_by_one(cls, snapshot: Encoded | None, tail: Sequence[bytes]) -> tuple[Document, list[int]]:
        document, good, bad = cls(snapshot), list[bytes](), list[int]()
        for index, update in enumerate(tail):
            try:
                document.apply(update)
                good.append(update)
            except Malformed:
                bad.append(index)
            except Broken:
                bad.append(index)
                document = cls(snapshot)
                for earlier in good:
                    document.apply(earlier)
        return document, bad

    # What it has

    @property
    def clients(self) -> int:
        """How many client ids have ever written in it. Raises Malformed, Broken."""
        self._catch_up()
        return len(self._clocks)

    def knows(self, client: int) -> bool:
        """Whether that client id has written in it. Raises Malformed, Broken."""
        self._catch_up()
        return client in self._clocks

    @property
    def waiting_bytes(self) -> int:
        """About how large what is parked is."""
        return self._waiting.size if self._waiting is not None else 0

    @property
    def parked(self) -> bytes:
        """What waits for updates that haven't come; b"" for nothing. Raises Malformed, Broken."""
        if self._parked is None:
            self._parked = merge([*self._waiting]) if self._waiting else b""
        return self._parked

    def state_vector(self) -> bytes:
        return self._encoded.state_vector if self._doc is None else self._doc.get_state()

    def diff(self, vector: bytes = NO_STATE) -> bytes:
        """All that a replica with that state vector lacks, also what is parked. Raises Malformed, Broken."""
        read_state_vector(vector)
        with _guarded():
            found = self._encoded_whole() if vector == NO_STATE else self._engine().get_update(vector)
            return merge_updates(found, self.parked) if self.parked else found

    def unknown_of(self, update: bytes) -> bytes:
        """An update without the structs that are here: of a whole document, what is worth reading. Raises Malformed."""
        with _guarded():
            return get_update(update, self.state_vector())

    def contains(self, walked: Walked) -> bool:
        """Whether an update would bring nothing new, deletions included."""
        self._catch_up()
        return not self._has_new_structs(walked) and not self._new_deletions(walked, exactly=True)

    def encode(self) -> Encoded:
        """The whole document; nothing parked is lost. Raises Broken."""
        doc = self._doc
        if doc is None:
            return self._encoded
        with _guarded():
            vector = doc.get_state()
            return Encoded(self._encoded_whole(), vector, doc.get_update(vector), self.parked)

    def rest(self) -> None:
        """Gives the engine's document back, 3 KB even for a few letters: bytes are kept until one is needed again.

        Raises Broken.
        """
        if self._doc is not None and not self._watchers:
            self._catch_up()
            self._encoded, self._doc, self._deletions, self._whole = self.encode(), None, None, None

    # What it gets

    def apply(self, update: bytes, walked: Walked | None = None) -> bytes | None:
        """Takes an update, whatever it waits for; what of it was new, to be stored and sent on.

        None: nothing was new. The bytes are those of `update`, but for deletions that were known: every client answers
        a sync step with all deletions ever made, and these alone would make the log grow without end.
        Raises Malformed (nothing happened) and Broken.
        """
        walked = walked or walk(update)
        self._catch_up()
        has_structs = self._has_new_structs(walked)
        exactly = sum(map(len, walked.deletions.values())) > MANY_DELETIONS
        deletions = self._new_deletions(walked, exactly)
        if not has_structs and not deletions:
            return None
        missing = self._hand_over(update)
        rest = walk(missing).structs if missing[0] else {}
        if not rest:
            self._note(walked.structs, deletions)
        elif rest == walked.structs:
            self._note({}, deletions)
        else:
            self._look_again()
        if rest or self._ahead(walked.deletions):
            self._park(missing, walked)
        if self._waiting:
            self._go_on(walked.structs)
        if not has_structs:
            return deletions_only(deletions)
        return update if deletions == walked.deletions else update[: walked.at] + delete_set(deletions)

    def watch(self, on_edit: Callable[[bytes], None]) -> tuple[Doc[Any], Callable[[], None]]:
        """The engine's own document, for edits in Python, and what ends that.

        on_edit: gets each transaction that is made in it, as an update. It must not touch the document.
        """
        doc = self._engine()

        def committed(event: Any) -> None:
            if not self._applying:
                self._whole = None
                update = event.update
                if update != NOTHING:
                    self._is_behind = True
                    on_edit(update)

        subscription = doc.observe(committed)
        self._watchers += 1

        def end() -> None:
            doc.unobserve(subscription)  # a document with an observer is never freed
            self._watchers -= 1

        return doc, end

    def live(self) -> Doc[Any]:
        """The engine's own document, to read from."""
        self._catch_up()
        return self._engine()

    def deletions(self) -> dict[int, Ranges]:
        """Client → deleted ranges of clocks, as the engine knows them now."""
        if self._doc is None:
            bare = self._encoded.deletions
        else:
            with _guarded():
                bare = self._doc.get_update(self._doc.get_state())
        self._deletions = walk(bare).deletions
        return dict(self._deletions)

    # Inside

    def _encoded_whole(self) -> bytes:
        """Kept until the next change: whoever opens a document asks for it, and the engine takes milliseconds."""
        if self._doc is None:
            return self._encoded.update
        if self._whole is None:
            self._whole = self._doc.get_update()
        return self._whole

    def _engine(self) -> Doc[Any]:
        """Raises Malformed or Broken for stored bytes that the engine doesn't take."""
        if self._doc is None:
            doc: Doc[Any] = Doc()
            with _guarded():
                if self._encoded.update != NOTHING:
                    doc.apply_update(self._encoded.update)
                if self.parked:
                    doc.apply_update(self.parked)
            self._doc, self._encoded = doc, Encoded()
        return self._doc

    def _has_new_structs(self, walked: Walked) -> bool:
        clocks = self._clocks
        return any(ranges and ranges[-1][1] > clocks.get(client, 0) for client, ranges in walked.structs.items())

    def _new_deletions(self, walked: Walked, exactly: bool) -> dict[int, Ranges]:
        """Deleted ranges that aren't known.

        exactly: it is asked once more: the engine also deletes by itself (what a later value of a key replaces).
        """
        if not walked.deletions:
            return {}
        if self._deletions is not None:
            new = _uncovered(walked.deletions, self._deletions)
            if not new or not exactly:
                return new
        return _uncovered(walked.deletions, self.deletions())

    def _ahead(self, deletions: dict[int, Ranges]) -> dict[int, Ranges]:
        """Deletions of what hasn't come yet; the engine waits for it, but leaves them out of its exports."""
        ahead = {}
        for client, ranges in deletions.items():
            clock = self._clocks.get(client, 0)
            if ranges[-1][1] > clock:
                ahead[client] = [(max(start, clock), end) for start, end in ranges if end > clock]
        return ahead

    def _hand_over(self, update: bytes) -> bytes:
        """Gives the engine an update; what of it the engine's document doesn't show, with all its deletions."""
        doc = self._engine()
        self._whole = None
        self._applying = True
        try:
            with _guarded():
                doc.apply_update(update)
                return get_update(update, doc.get_state())
        finally:
            self._applying = False

    def _park(self, missing: bytes, walked: Walked) -> None:
        """Keeps what waits: structs that the engine's document doesn't show, and deletions of what hasn't come.

        walked: the update of which that is the rest.
        """
        if self._waiting is None:
            self._waiting = WaitingUpdates()
        if missing[0]:
            self._waiting.keep(missing, lacking(missing, walk(missing), self._clocks))
        self._waiting.keep_deletions(self._ahead(walked.deletions))
        self._parked = None

    def _go_on(self, clients: Iterable[int]) -> None:
        """Applies what waited for these clients, until nothing more comes of it.

        Again, although the engine has had it before: it drops some of what waits in it.
        """
        waiting = self._waiting
        if waiting is None:
            return
        freed = [*waiting.stuck(), *waiting.freed(clients, self._clocks)]
        while freed:
            update = merge(freed)
            walked = walk(update)
            missing = self._hand_over(update)
            self._look_again()
            self._park(missing, walked)
            freed = waiting.freed(walked.structs, self._clocks)

    def _note(self, structs: dict[int, Ranges], deletions: dict[int, Ranges]) -> None:
        """Keeps what is known of the engine's document in step with it, without asking it.

        structs: that it shows now. deletions: that it has done, or will do when it can.
        """
        clocks = self._clocks
        for client, ranges in structs.items():
            if ranges and ranges[-1][1] > clocks.get(client, 0):
                clocks[client] = ranges[-1][1]
        if self._deletions is not None:
            for client, ranges in deletions.items():
                self._deletions[client] = merge_ranges([*self._deletions.get(client, ()), *ranges])

    def _catch_up(self) -> None:
        """Edits in Python change the engine's document behind our back."""
        if self._is_behind:
            self._look_again()
            self._go_on(tuple(self._clocks))

    def _look_again(self) -> None:
        self._is_behind = False
        self._clocks = read_state_vector(self.state_vector())
        self._deletions = None


def _uncovered(wanted: dict[int, Ranges], known: dict[int, Ranges]) -> dict[int, Ranges]:
    uncovered = {client: missing_from(ranges, known.get(client, [])) for client, ranges in wanted.items()}
    return {client: ranges for client, ranges in uncovered.items() if ranges}
