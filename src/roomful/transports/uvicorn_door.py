"""Where a connection comes in: a whole handshake of a WebSocket goes straight to the bridge, all else to uvicorn.

What uvicorn makes for a connection (its protocol, flow control, a scope, the request spelled anew) is a third of what a
returning client costs, and nobody needs it where the first bytes are the whole handshake, as they are of every client
that we know. Others come in the long way, by the bridge's other side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools

from roomful.transports.uvicorn_bridge import Bridge

_HINT = b"pgrade"
"""Not in it: it asks for no upgrade, and isn't parsed twice. In capitals it comes in the long way."""


class Door(asyncio.Protocol):
    """One connection until its first bytes are here, which it has `head_timeout_s` for.

    inside: makes uvicorn's protocol of it. connections: uvicorn's own set, whose members it ends by `shutdown`.
    """

    __slots__ = ("_bridge", "_connections", "_deadline", "_headers", "_inside", "_socket", "_target")

    _socket: asyncio.Transport
    _deadline: asyncio.TimerHandle

    def __init__(
        self, bridge: Bridge, inside: Callable[[], asyncio.Protocol], connections: set[asyncio.Protocol]
    ) -> None:
        self._bridge = bridge
        self._inside = inside
        self._connections = connections
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._connections.add(self)
        timeout_s = self._bridge.options.head_timeout_s
        # Without a word: browsers open connections in advance; an answer to nothing would confuse them.
        self._deadline = asyncio.get_running_loop().call_later(timeout_s, self._socket.close)

    def data_received(self, data: bytes) -> None:
        self._leave()
        method = self._handshake(data) if _HINT in data else ""
        if method:
            self._bridge.let_in(self._socket, method, self._target, self._headers)
            return
        protocol = self._inside()
        protocol.connection_made(self._socket)
        self._socket.set_protocol(protocol)
        protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    # What the parser calls

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    # What uvicorn calls when it ends

    def shutdown(self) -> None:
        self._socket.close()

    # Inside

    def _leave(self) -> None:
        self._deadline.cancel()
        self._connections.discard(self)

    def _handshake(self, data: bytes) -> str:
        """Its method, if it is one and ends where the bytes do; else ""."""
        parser: Any = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as end:
            if end.args[0] == len(data) and parser.get_http_version() == "1.1" and self._asks_for_websocket():
                return str(parser.get_method().decode("ascii"))
        except httptools.HttpParserError:
            pass  # uvicorn finds it too, and answers
        return ""

    def _asks_for_websocket(self) -> bool:
        return any(name == b"upgrade" and value.lower() == b"websocket" for name, value in self._headers)
