"""What the application is told about one open document: what changed, in order; that it is time to derive from it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable

from roomful.model.document import AwarenessEntry
from roomful.model.event import AwarenessEvent, DocumentChangeEvent, DocumentStoreEvent, DocumentUnloadEvent
from roomful.node import eager
from roomful.node.hooks import Hooks
from roomful.node.live_document import Edit

log = logging.getLogger("roomful.documents")

QUIET_S = 2.0
"""So long after the last edit the application is told to store."""

LONGEST_S = 10.0
"""So long after the first one it is told, though people go on editing. Both are those of Hocuspocus."""


class DocumentHooks:
    """One document's hooks, one call at a time. store_due: when `DocumentStoreEvent` is due, monotonic seconds."""

    __slots__ = ("_changes", "_first", "_hooks", "_name", "_states", "_telling", "store_due")

    def __init__(self, hooks: Hooks, name: str) -> None:
        self._hooks = hooks
        self._name = name
        self._changes: list[Edit] = []
        self._states: dict[int, object] = {}
        self._telling = False
        self._first = math.inf
        self.store_due = math.inf

    def edited(self, edits: list[Edit], now: float) -> None:
        """These were stored on this node."""
        if self._hooks.has(DocumentStoreEvent):
            self._first = min(self._first, now)
            self.store_due = min(now + QUIET_S, self._first + LONGEST_S)
        if self._hooks.has(DocumentChangeEvent):
            self._changes += edits
            self._begin()

    def aware(self, entries: list[AwarenessEntry]) -> None:
        """These were announced."""
        if self._hooks.has(AwarenessEvent):
            for entry in entries:
                self._states[entry.client] = None if entry.state is None else json.loads(entry.state)
            self._begin()

    def is_due(self, now: float) -> bool:
        """Whether it is time to `store`; asked once, for the next edit begins to wait anew."""
        if now < self.store_due:
            return False
        self._first = self.store_due = math.inf
        return True

    async def store(self, encode: Callable[[], Awaitable[bytes | None]]) -> None:
        """Tells the application. encode: the whole document; None where another node is to tell."""
        update = await encode()
        if update is not None:
            await self._hooks.tell(DocumentStoreEvent(self._name, update), self._name)

    async def unloaded(self) -> None:
        """It isn't open here any more."""
        if self._hooks.has(DocumentUnloadEvent):
            await self._hooks.tell(DocumentUnloadEvent(self._name), self._name)

    def _begin(self) -> None:
        if not self._telling:
            self._telling = True
            eager.later(self._tell())

    async def _tell(self) -> None:
        """What came while a hook was running goes to it together."""
        try:
            while self._changes or self._states:
                changes, self._changes = self._changes, []
                states, self._states = self._states, {}
                if changes:
                    updates = [edit.update for edit in changes]
                    users = list(dict.fromkeys(edit.entry.author for edit in changes if edit.entry is not None))
                    await self._hooks.tell(DocumentChangeEvent(self._name, updates, users), self._name)
                if states:
                    await self._hooks.tell(AwarenessEvent(self._name, states), self._name)
        finally:
            self._telling = False
