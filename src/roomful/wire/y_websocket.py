"""y-websocket: one document a connection, its name in the path; several messages a frame are read, one is written.

Source: Yjs protocols, section 5.2.
"""

from __future__ import annotations

from roomful.model.document import (
    AwarenessUpdate,
    FromClient,
    PermissionDenied,
    QueryAwareness,
    SyncStep1,
    SyncStep2,
    SyncUpdate,
    ToClient,
    Unknown,
    Violation,
)
from roomful.model.errors import WireError
from roomful.wire.framing import websocket_frame
from roomful.wire.lib0 import Reader, string, uint
from roomful.wire.y_protocols import (
    AUTH,
    AWARENESS,
    QUERY_AWARENESS,
    SYNC,
    read_awareness,
    read_sync,
    write_awareness,
    write_sync,
)

KEY = ""
"""The routing key of the only document."""

_DENIED = 0


class YWebsocket:
    """framed: frames carry their WebSocket header (`seams.transport.Transport`)."""

    __slots__ = ("joins",)

    name = "y-websocket"
    binary = True
    acknowledges = False

    def __init__(self, framed: bool) -> None:
        self.joins = framed

    def decode(self, data: bytes) -> list[tuple[str, FromClient]]:
        reader = Reader(data)
        messages: list[tuple[str, FromClient]] = []
        try:
            while reader.left:
                kind = reader.uint()
                if kind == SYNC:
                    messages.append((KEY, read_sync(reader)))
                elif kind == AWARENESS:
                    messages.append((KEY, read_awareness(reader)))
                elif kind == QUERY_AWARENESS:
                    messages.append((KEY, QueryAwareness()))
                else:
                    messages.append((KEY, Unknown(kind)))
                    break  # how long its body is nobody knows
        except WireError as error:
            messages.append((KEY, Violation(str(error))))
        return messages

    def encode(self, _key: str, message: ToClient) -> bytes:
        """Raises TypeError for what this wire can't say."""
        payload = _spelled(message)
        return websocket_frame(payload, True) if self.joins else payload

    def join(self, frames: list[bytes]) -> bytes:
        return b"".join(frames)


def _spelled(message: ToClient) -> bytes:
    match message:
        case SyncStep1() | SyncStep2() | SyncUpdate():
            return uint(SYNC) + write_sync(message)
        case AwarenessUpdate():
            return uint(AWARENESS) + write_awareness(message)
        case PermissionDenied(reason):
            return uint(AUTH) + uint(_DENIED) + string(reason)
        case _:
            raise TypeError(f"y-websocket has no {type(message).__name__}")


FRAMED = YWebsocket(framed=True)
BARE = YWebsocket(framed=False)
