"""The two halves of a connection: what a session calls (`Transport`), and what calls a session (`Receiver`).

Every transport passes `roomful/testing/transport_contract.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class Request(msgspec.Struct, frozen=True):
    """The HTTP request that opened the connection.

    path: without the prefix the application is mounted under. query: decoded, last value of a repeated name;
    query_string: as it was sent, for names that may come several times. headers: names in lower case. address: the
    client's ("" on a Unix socket). subprotocol: the negotiated one. body: whole; "" where the connection was upgraded.
    deflate: permessage-deflate was negotiated, so frames may be compressed (`wire.framing.deflated_frame`).
    """

    path: str
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    address: str = ""
    subprotocol: str = ""
    method: str = "GET"
    query_string: bytes = b""
    body: bytes = b""
    deflate: bool = False


class Transport(Protocol):
    """What a session calls. None of these blocks, raises, or calls the receiver back before it returns."""

    kind: str
    """"websocket" …, for hooks, logs and metrics."""

    framed: bool
    """True: `write` takes bytes that already carry their WebSocket frame header. False: each `write` is one message."""

    has_close_frame: bool
    """Whether the peer hears code and reason of `close`. False: what it is to know of the end has to be written."""

    @property
    def paused(self) -> bool:
        """The peer reads too slowly: what is written now waits in memory. `Receiver.on_writable` tells when it ends."""
        ...

    def write(self, data: bytes, binary: bool) -> None:
        """Sends; nothing happens after close. binary: which kind of WebSocket message, where `framed` is False."""
        ...

    def ping(self) -> bool:
        """Sends a native WebSocket ping. False: there are none here, or the host sends its own; no pong will come."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Flushes, sends the close frame (if there are such) and closes; for code 3000 without one. Idempotent.

        Receiver.on_close follows, exactly once, with this code and reason.
        """
        ...

    def pause_reading(self) -> None:
        """No `on_message` from the next read on, until `resume_reading`."""
        ...

    def resume_reading(self) -> None: ...


class Receiver(Protocol):
    """What a transport calls. None of these raises."""

    def on_message(self, data: bytes, binary: bool) -> None:
        """One whole message. data: a copy of its own, to keep."""
        ...

    def on_pong(self) -> None:
        """A native WebSocket pong came."""
        ...

    def on_writable(self) -> None:
        """`paused` has become False."""
        ...

    def on_close(self, code: int, reason: str) -> None:
        """The connection is gone: exactly once, the last call. code: 1006 when it was cut."""
        ...


Endpoint = Callable[[Transport, Request], Receiver]
"""Opens a receiver for a new connection. Synchronous; never raises."""
