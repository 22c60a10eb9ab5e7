"""The bodies that y-websocket and Hocuspocus share: sync steps and awareness.

Source: Yjs protocols, section 4.
"""

from __future__ import annotations

from roomful.model.document import (
    AwarenessEntry,
    AwarenessUpdate,
    SyncStep1,
    SyncStep2,
    SyncUpdate,
    Violation,
)
from roomful.model.errors import WireError
from roomful.wire.lib0 import Reader, byte_string, uint

SYNC, AWARENESS, AUTH, QUERY_AWARENESS = 0, 1, 2, 3
"""Types of messages; both framings begin a message with one of these."""

_STEP_1, _STEP_2, _UPDATE = 0, 1, 2
_GONE = b"null"


def read_sync(reader: Reader) -> SyncStep1 | SyncStep2 | SyncUpdate | Violation:
    """Raises WireError for a body that is cut off."""
    kind = reader.uint()
    if kind == _UPDATE:
        return SyncUpdate(reader.byte_string())
    if kind == _STEP_1:
        return SyncStep1(reader.byte_string())
    if kind == _STEP_2:
        return SyncStep2(reader.byte_string())
    return Violation(f"there is no sync message {kind}", malformed=False)


def write_sync(message: SyncStep1 | SyncStep2 | SyncUpdate) -> bytes:
    match message:
        case SyncUpdate(update):
            return b"\x02" + byte_string(update)
        case SyncStep1(state_vector):
            return b"\x00" + byte_string(state_vector)
        case SyncStep2(update):
            return b"\x01" + byte_string(update)


def read_awareness(reader: Reader) -> AwarenessUpdate:
    """Raises WireError. Whether a state is JSON is for `rooms.awareness` to see."""
    body = Reader(reader.byte_string())
    count = body.uint()
    if count * 3 > body.left:  # before anything is made: an entry has at least three bytes
        raise WireError("an awareness update is cut off")
    entries = []
    for _ in range(count):
        client, clock, state = body.uint(), body.uint(), body.byte_string()
        entries.append(AwarenessEntry(client, clock, None if state == _GONE else state))
    return AwarenessUpdate(tuple(entries))


def write_awareness(message: AwarenessUpdate) -> bytes:
    parts = [uint(len(message.entries))]
    for entry in message.entries:
        state = _GONE if entry.state is None else entry.state
        parts += (uint(entry.client), uint(entry.clock), byte_string(state))
    return byte_string(b"".join(parts))
