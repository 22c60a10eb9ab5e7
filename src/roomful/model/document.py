"""What is said about documents: rights, awareness entries, and the messages of both Yjs wires.

Updates and state vectors are bytes as they arrived: Yjs format v1, opaque but for `rooms/update_walker.py`.
Source: Yjs protocols, sections 4 to 6.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec


class Rights(StrEnum):
    """What somebody may do with a document; each one includes those before it."""

    NONE = "none"
    READ = "read"
    """Gets the document; others see it in the awareness."""
    COMMENT = "comment"
    """Reads, and sends stateless messages."""
    WRITE = "write"

    @property
    def may_read(self) -> bool:
        return self is not Rights.NONE

    @property
    def may_comment(self) -> bool:
        return self in (Rights.COMMENT, Rights.WRITE)

    @property
    def may_write(self) -> bool:
        return self is Rights.WRITE


class AwarenessEntry(msgspec.Struct, frozen=True):
    """What one client shows of itself. state: JSON text exactly as it was sent; None: it is gone."""

    client: int
    clock: int
    state: bytes | None


# Both ways


class SyncStep1(msgspec.Struct, frozen=True):
    """Asks for everything that this state vector lacks."""

    state_vector: bytes


class SyncStep2(msgspec.Struct, frozen=True):
    """Answers a step 1."""

    update: bytes


class SyncUpdate(msgspec.Struct, frozen=True):
    """One change."""

    update: bytes


class AwarenessUpdate(msgspec.Struct, frozen=True):
    entries: tuple[AwarenessEntry, ...]


class Stateless(msgspec.Struct, frozen=True):
    """A message of the application (Hocuspocus)."""

    payload: str


class Close(msgspec.Struct, frozen=True):
    """Ends one document on a socket (Hocuspocus). reason: "" from a client."""

    reason: str = ""


# From clients only


class QueryAwareness(msgspec.Struct, frozen=True):
    """Asks for all awareness entries."""


class Authenticate(msgspec.Struct, frozen=True):
    """A token for one document (Hocuspocus). version: of the provider, from its version 4 on, else ""."""

    token: str
    version: str = ""


class Ping(msgspec.Struct, frozen=True):
    """Hocuspocus 4; to be answered with `Pong`."""


class Pong(msgspec.Struct, frozen=True):
    """Hocuspocus 4; needs no answer."""


class Unknown(msgspec.Struct, frozen=True):
    """A type of message that we don't know, or that says nothing to a server."""

    kind: int


class Violation(msgspec.Struct, frozen=True):
    """What no client may send; it ends its document (malformed: its connection)."""

    reason: str
    malformed: bool = True


# To clients only


class Authenticated(msgspec.Struct, frozen=True):
    """(Hocuspocus)"""

    may_write: bool


class PermissionDenied(msgspec.Struct, frozen=True):
    """A refusal. reason: for the application; on y-websocket it only reaches the console."""

    reason: str


class TokenRequest(msgspec.Struct, frozen=True):
    """Asks for a new token (Hocuspocus from 3.3 on)."""


class SyncStatus(msgspec.Struct, frozen=True):
    """Answers one step 2 or update: whether it is stored (Hocuspocus)."""

    stored: bool


FromClient: TypeAlias = (
    SyncStep1
    | SyncStep2
    | SyncUpdate
    | AwarenessUpdate
    | QueryAwareness
    | Authenticate
    | Stateless
    | Close
    | Ping
    | Pong
    | Unknown
    | Violation
)

ToClient: TypeAlias = (
    SyncStep1
    | SyncStep2
    | SyncUpdate
    | AwarenessUpdate
    | Authenticated
    | PermissionDenied
    | TokenRequest
    | SyncStatus
    | Stateless
    | Close
    | Pong
)
