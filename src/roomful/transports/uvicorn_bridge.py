"""An upgraded connection goes from uvicorn to our own WebSocket protocol: one port for both.

uvicorn takes any class as `ws=`. It makes an instance for each request that asks for an upgrade, and calls its
`connection_made(transport)`, its `data_received` with the request spelled anew, and only then
`transport.set_protocol(instance)`. That order isn't documented; tests/transports/test_uvicorn_bridge.py pins it.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha1
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import msgspec

from roomful.node.admission import Admission
from roomful.transports.extensions import choose_deflate
from roomful.transports.negotiate import (
    DRAINING,
    Accepted,
    Refused,
    TransportOptions,
    WebSocketRoute,
    check_upgrade,
    negotiate,
    read_headers,
)
from roomful.transports.shutdown import close_all
from roomful.transports.websocket import WebSocketConnection

_STOPPING = (1012, "service restart")  # for connections that nobody has closed before
_KEY_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "


class Bridge:
    """What to give uvicorn as `ws=`, and who came over it.

    draining: set it, and each handshake is answered by 503. admission: None admits all.
    """

    def __init__(
        self, routes: Sequence[WebSocketRoute], options: TransportOptions, admission: Admission | None = None
    ) -> None:
        self.routes = routes
        self.options = options
        self.admission = admission
        self.draining = False
        self.connections: set[WebSocketConnection] = set()

    def __call__(self, **_: Any) -> asyncio.Protocol:
        return _Handover(self)

    def let_in(
        self, socket: asyncio.Transport, method: str, target: bytes, raw_headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Answers a handshake; from then on the connection is a WebSocket, or closed."""
        headers = read_headers(raw_headers)
        verdict = self._decide(method, target, headers, peer_of(socket))
        if isinstance(verdict, Refused):
            socket.write(_refusal(verdict))
            socket.close()
            return
        route, request = verdict.route, verdict.request
        offered = headers.get("sec-websocket-extensions", "")
        extension = choose_deflate(offered) if offered and route.deflate else ""
        connection = WebSocketConnection(
            socket, route.max_message_bytes, self.options, self.connections, deflate=bool(extension), kind=route.kind
        )
        socket.set_protocol(connection)
        socket.write(_acceptance(headers["sec-websocket-key"], request.subprotocol, extension))
        connection.open(route.endpoint, msgspec.structs.replace(request, deflate=True) if extension else request)

    def _decide(self, method: str, target: bytes, headers: dict[str, str], peer: str) -> Accepted | Refused:
        if self.draining:
            return DRAINING
        path, _, query = target.partition(b"?")
        text = unquote_to_bytes(path).decode("utf-8", "replace")
        return check_upgrade(method, headers) or negotiate(
            text, query, headers, peer, self.routes, self.options, self.admission
        )

    async def shutdown(self, timeout_s: float) -> None:
        """Closes what is open, waits for the closing handshakes, and cuts what is left after `timeout_s`."""
        await close_all(self.connections, *_STOPPING, timeout_s)


class _Handover(asyncio.Protocol):
    """Stands in for one turn of the loop, until uvicorn has let go of the transport."""

    __slots__ = ("_bridge", "_socket")

    _socket: asyncio.Transport

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._socket.pause_reading()  # what comes now is for the next protocol
        asyncio.get_running_loop().call_soon(self._hand_over, data)

    def _hand_over(self, head: bytes) -> None:
        socket = self._socket
        if socket.is_closing():
            return
        socket.resume_reading()
        self._bridge.let_in(socket, *_read_head(head))


def _read_head(head: bytes) -> tuple[str, bytes, list[tuple[bytes, bytes]]]:
    """Method, target and headers of a request as uvicorn spells it: names in lower case, nothing folded."""
    request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _ = request_line.split(b" ", 2)
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    return method.decode("latin-1"), target, headers


def peer_of(socket: asyncio.Transport) -> str:
    """The IP address at the other end, "" on a Unix socket."""
    name = socket.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def _acceptance(key: str, subprotocol: str, extension: str) -> bytes:
    head = _SWITCHING + b64encode(sha1((key.strip() + _KEY_SUFFIX).encode()).digest())
    if subprotocol:
        head += f"\r\nSec-WebSocket-Protocol: {subprotocol}".encode("latin-1")
    if extension:
        head += f"\r\nSec-WebSocket-Extensions: {extension}".encode("latin-1")
    return head + b"\r\n\r\n"


def _refusal(refused: Refused) -> bytes:
    return response_head(refused.status, {**refused.headers, "Connection": "close"}) + refused.body


def response_head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
