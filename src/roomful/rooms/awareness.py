"""Who is in a document and what they show: cursors, selections, names. Never stored.

Each client numbers its own states; the higher clock wins. The server decides for each entry who may speak for whom: the
connections that hold a client id. Most entries that come from others are echoes of old clients, which mean no harm.
Source: Yjs protocols, section 11.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable
from typing import Any

import msgspec

from roomful.model.document import AwarenessEntry

RAISES_PER_S = 5
"""Clocks are raised no more often than this for one id: a guard against two who answer each other for ever."""


class AwarenessLimits(msgspec.Struct, frozen=True, kw_only=True):
    """expiry_s: an entry that its holders don't renew goes. entry_max_bytes: one state. ids_max: that one holder may
    hold. total_max_bytes: all states of a document. remembered_max: ids that have gone and whose clocks are kept."""

    expiry_s: float = 30.0
    entry_max_bytes: int = 8192
    ids_max: int = 16
    total_max_bytes: int = 4_194_304
    remembered_max: int = 4096


class _Known:
    """What is known of one client id. state: None when it has gone; since: of the removal, else of the last renewal."""

    __slots__ = ("clock", "holders", "parsed", "raised", "raised_at", "since", "state", "user")

    def __init__(self) -> None:
        self.clock = 0
        self.state: bytes | None = None
        self.parsed: Any = None
        self.holders: set[Hashable] = set()
        self.since = 0.0
        self.user = ""
        self.raised = 0
        self.raised_at = 0.0


class _Speaker:
    """A connection (or another node). ids: held now. before: ever held."""

    __slots__ = ("before", "ids", "ids_max", "joined_at", "user")

    def __init__(self, joined_at: float, user: str, ids_max: float) -> None:
        self.ids_max = ids_max
        self.joined_at = joined_at
        self.user = user
        self.ids: set[int] = set()
        self.before: set[int] = set()


class Awareness:
    """The awareness of one document. A holder is any hashable value that stands for a connection."""

    __slots__ = ("_bytes", "_known", "_limits", "_speakers")

    def __init__(self, limits: AwarenessLimits | None = None) -> None:
        self._limits = limits or AwarenessLimits()
        self._known: dict[int, _Known] = {}
        self._speakers: dict[Hashable, _Speaker] = {}
        self._bytes = 0

    def join(self, holder: Hashable, user: str, now: float, ids_max: float | None = None) -> None:
        """user: "" for an anonymous one. ids_max: how many ids it may hold, by default as in the limits."""
        self._speakers[holder] = _Speaker(now, user, self._limits.ids_max if ids_max is None else ids_max)

    def leave(self, holder: Hashable, now: float) -> list[int]:
        """Takes a holder out; the ids that are gone with it."""
        speaker = self._speakers.pop(holder, None)
        if speaker is None:
            return []
        gone = []
        for id in speaker.ids:
            known = self._known[id]
            known.holders.discard(holder)
            if not known.holders:
                self._remove(known, known.clock, now)
                gone.append(id)
        self._forget()
        return gone

    def receive(self, holder: Hashable, entries: Iterable[AwarenessEntry], now: float) -> list[int]:
        """Takes what a holder says; the ids that have changed and are to be announced to all, the sender too."""
        speaker = self._speakers.get(holder)
        if speaker is None:
            return []
        changed = dict.fromkeys(entry.client for entry in entries if self._take(holder, speaker, entry, now))
        self._forget()
        return list(changed)

    def expire(self, now: float) -> dict[int, frozenset[Hashable]]:
        """Ids that nobody has renewed in time, each with its holders, who needn't be told."""
        gone = {}
        for id, known in self._known.items():
            if known.state is not None and now - known.since >= self._limits.expiry_s:
                gone[id] = frozenset(known.holders)
                for holder in known.holders:
                    self._speakers[holder].ids.discard(id)
                known.holders.clear()
                self._remove(known, known.clock, now)
        return gone

    def entry(self, id: int) -> AwarenessEntry:
        """How an id stands. KeyError for one that was never seen."""
        known = self._known[id]
        return AwarenessEntry(id, known.clock, known.state)

    def entries(self) -> list[AwarenessEntry]:
        """All that have a state: what a newcomer is told."""
        return [self.entry(id) for id, known in self._known.items() if known.state is not None]

    def ids_of(self, holder: Hashable) -> list[int]:
        """What a holder speaks for at the moment."""
        speaker = self._speakers.get(holder)
        return list(speaker.ids) if speaker else []

    def knows_holder(self, holder: Hashable) -> bool:
        return holder in self._speakers

    def user_of(self, id: int) -> str:
        """Whose state an id has, or had last. KeyError for one that was never seen."""
        return self._known[id].user

    def __len__(self) -> int:
        """How many have a state."""
        return sum(known.state is not None for known in self._known.values())

    # Inside

    def _take(self, holder: Hashable, speaker: _Speaker, entry: AwarenessEntry, now: float) -> bool:
        """Whether the entry is to be announced. The cases stand in the order of the table in section 11."""
        known = self._known.get(entry.client)
        parsed: Any = None
        if entry.state is not None:
            parsed = _parsed(entry.state, self._limits.entry_max_bytes)
            if parsed is None:
                return False
        if known is None:
            if entry.state is None or not self._may_hold(speaker, entry):
                return False
            known = self._known[entry.client] = _Known()
            return self._store(known, holder, speaker, entry, entry.clock, parsed, now)
        if holder in known.holders:
            return self._take_of_holder(known, holder, speaker, entry, parsed, now)
        if entry.state is None:
            return False
        if known.holders:
            if entry.clock <= known.clock or known.user != speaker.user or not self._may_hold(speaker, entry):
                return False  # the echo, the common case
            return self._store(known, holder, speaker, entry, entry.clock, parsed, now)
        if not self._may_hold(speaker, entry):
            return False
        if entry.clock > known.clock:
            return self._store(known, holder, speaker, entry, entry.clock, parsed, now)
        if speaker.joined_at > known.since or entry.client in speaker.before:
            return self._store(known, holder, speaker, entry, known.clock + 1, parsed, now)
        return False  # a late echo of somebody who left

    def _take_of_holder(
        self, known: _Known, holder: Hashable, speaker: _Speaker, entry: AwarenessEntry, parsed: Any, now: float
    ) -> bool:
        if entry.state is None:
            if entry.clock < known.clock:
                return False
            known.holders.discard(holder)
            speaker.ids.discard(entry.client)
            if known.holders:
                return False
            self._remove(known, entry.clock, now)
            return True
        if entry.clock > known.clock:
            return self._store(known, holder, speaker, entry, entry.clock, parsed, now)
        if entry.clock == known.clock and parsed == known.parsed:
            known.since = now
            return False
        if len(known.holders) == 1 and self._may_raise(known, now):
            return self._store(known, holder, speaker, entry, known.clock + 1, parsed, now)
        return False

    def _may_hold(self, speaker: _Speaker, entry: AwarenessEntry) -> bool:
        size = len(entry.state or b"")
        return len(speaker.ids) < speaker.ids_max and self._bytes + size <= self._limits.total_max_bytes

    def _may_raise(self, known: _Known, now: float) -> bool:
        if now - known.raised_at >= 1.0:
            known.raised, known.raised_at = 0, now
        known.raised += 1
        return known.raised <= RAISES_PER_S

    def _store(
        self,
        known: _Known,
        holder: Hashable,
        speaker: _Speaker,
        entry: AwarenessEntry,
        clock: int,
        parsed: Any,
        now: float,
    ) -> bool:
        assert entry.state is not None
        size = len(entry.state) - len(known.state or b"")
        if self._bytes + size > self._limits.total_max_bytes:
            return False
        self._bytes += size
        known.clock, known.state, known.parsed, known.since, known.user = clock, entry.state, parsed, now, speaker.user
        known.holders.add(holder)
        speaker.ids.add(entry.client)
        if len(speaker.before) < self._limits.remembered_max:
            speaker.before.add(entry.client)
        return True

    def _remove(self, known: _Known, clock: int, now: float) -> None:
        self._bytes -= len(known.state or b"")
        known.clock, known.state, known.parsed, known.since = clock, None, None, now

    def _forget(self) -> None:
        """The oldest of too many ids that have gone."""
        most = self._limits.remembered_max
        if len(self._known) <= most:
            return
        gone = sorted((known.since, id) for id, known in self._known.items() if known.state is None)
        for _, id in gone[: max(0, len(gone) - most)]:
            del self._known[id]


def _parsed(state: bytes, max_bytes: int) -> dict[str, Any] | None:
    """A state as a value to compare by, numbers as floats; None for what is no JSON object, or too large.

    By value, because a client that takes over a raised entry spells it in its own way when it sends it back.
    """
    if len(state) > max_bytes:
        return None
    try:
        parsed = json.loads(state.decode(), parse_int=_number, parse_float=_number, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number beyond what a client could read")
    return number


def _refused(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
