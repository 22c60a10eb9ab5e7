"""Hocuspocus: any number of documents on one socket; each message begins with its routing key.

Source: Yjs protocols, sections 6.1 to 6.3.
"""

from __future__ import annotations

from roomful.model.document import (
    Authenticate,
    Authenticated,
    AwarenessUpdate,
    Close,
    FromClient,
    PermissionDenied,
    Ping,
    Pong,
    QueryAwareness,
    Stateless,
    SyncStatus,
    SyncStep1,
    SyncStep2,
    SyncUpdate,
    ToClient,
    TokenRequest,
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

SYNC_REPLY, STATELESS, BROADCAST_STATELESS, CLOSE, SYNC_STATUS = 4, 5, 6, 7, 8
TOKEN, DENIED, AUTHENTICATED = 0, 1, 2
PING, PONG = b"\x09", b"\x0a"
"""Whole messages, without a routing key."""


class Hocuspocus:
    """framed: frames carry their WebSocket header (`seams.transport.Transport`)."""

    __slots__ = ("joins",)

    name = "hocuspocus"
    binary = True
    acknowledges = True

    def __init__(self, framed: bool) -> None:
        self.joins = framed

    def decode(self, data: bytes) -> list[tuple[str, FromClient]]:
        if data == PING:
            return [("", Ping())]
        if data == PONG:
            return [("", Pong())]
        reader = Reader(data)
        key = reader.string()
        kind = reader.uint()
        try:
            return [(key, _read(kind, reader))]
        except WireError as error:
            return [(key, Violation(str(error)))]

    def encode(self, key: str, message: ToClient) -> bytes:
        payload = PONG if isinstance(message, Pong) else string(key) + _spelled(message)
        return websocket_frame(payload, True) if self.joins else payload

    def join(self, frames: list[bytes]) -> bytes:
        return b"".join(frames)


def _read(kind: int, reader: Reader) -> FromClient:
    if kind in (SYNC, SYNC_REPLY):
        return read_sync(reader)
    if kind == AWARENESS:
        return read_awareness(reader)
    if kind == AUTH:
        return _read_auth(reader)
    if kind == QUERY_AWARENESS:
        return QueryAwareness()
    if kind == STATELESS:
        return Stateless(reader.string())
    if kind == BROADCAST_STATELESS:
        return Violation("only servers send BroadcastStateless", malformed=False)
    if kind == CLOSE:
        return Close(reader.string() if reader.left else "")
    return Unknown(kind)


def _read_auth(reader: Reader) -> FromClient:
    subtype = reader.uint()
    if subtype != TOKEN:
        return Violation(f"there is no auth message {subtype} from clients", malformed=False)
    return Authenticate(reader.string(), reader.string() if reader.left else "")


def _spelled(message: ToClient) -> bytes:
    match message:
        case SyncStep1() | SyncStep2() | SyncUpdate():
            return uint(SYNC) + write_sync(message)
        case AwarenessUpdate():
            return uint(AWARENESS) + write_awareness(message)
        case SyncStatus(stored):
            return uint(SYNC_STATUS) + uint(stored)
        case Authenticated(may_write):
            return uint(AUTH) + uint(AUTHENTICATED) + string("read-write" if may_write else "readonly")
        case PermissionDenied(reason):
            return uint(AUTH) + uint(DENIED) + string(reason)
        case TokenRequest():
            return uint(AUTH) + uint(TOKEN)
        case Stateless(payload):
            return uint(STATELESS) + string(payload)
        case Close(reason):
            return uint(CLOSE) + string(reason)
        case Pong():
            return PONG


FRAMED = Hocuspocus(framed=True)
BARE = Hocuspocus(framed=False)
