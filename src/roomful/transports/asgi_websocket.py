"""The same receivers over any ASGI server's WebSocket: slower, for servers and applications that aren't ours.

The server has the handshake's grammar, the frames, native pings, compression and its own size limit. Under it close
code 3000 becomes 1000 (3000 is: no close frame, which ASGI can't say), and `ping` does nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from starlette.types import Receive, Scope, Send

from roomful.node.admission import Admission
from roomful.node.connection_log import about
from roomful.seams.transport import Receiver
from roomful.transports.asgi_backlog import Backlog
from roomful.transports.frames import close_reason
from roomful.transports.negotiate import (
    Accepted,
    Refused,
    TransportOptions,
    WebSocketRoute,
    negotiate,
    read_headers,
)

log = logging.getLogger("roomful.transports")

_DROP_CODE, _NORMAL_CODE = 3000, 1000


async def serve_websocket(
    scope: Scope,
    receive: Receive,
    send: Send,
    routes: Sequence[WebSocketRoute],
    options: TransportOptions,
    admission: Admission | None = None,
) -> None:
    """Serves one ASGI WebSocket connection to its end."""
    await receive()  # websocket.connect
    peer = scope["client"][0] if scope.get("client") else ""
    headers, query_string = read_headers(raw_headers(scope)), scope.get("query_string", b"")
    verdict = negotiate(inner_path(scope), query_string, headers, peer, routes, options, admission)
    if isinstance(verdict, Refused):
        await _refuse(scope, send, verdict)
        return
    await send({"type": "websocket.accept", "subprotocol": verdict.request.subprotocol or None})
    await AsgiWebSocket(receive, send, options, verdict.route.kind).serve(verdict)


def inner_path(scope: Scope) -> str:
    """The path without the prefix that the application is mounted under."""
    path, prefix = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    if prefix and path.startswith(f"{prefix}/"):
        return path[len(prefix) :]
    return path


def raw_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """With the subprotocols, which some servers (uvicorn with wsproto) take out."""
    headers = [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]]
    offered = ", ".join(scope.get("subprotocols") or ()).encode()
    if offered and not any(name == b"sec-websocket-protocol" for name, _ in headers):
        headers.append((b"sec-websocket-protocol", offered))
    return headers


async def _refuse(scope: Scope, send: Send, refused: Refused) -> None:
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
        start = {"type": "websocket.http.response.start", "status": refused.status, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": refused.body})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": refused.message})  # the server answers 403


class AsgiWebSocket:
    """A `Transport` over ASGI's `receive` and `send`."""

    framed: bool = False
    has_close_frame: bool = True

    def __init__(self, receive: Receive, send: Send, options: TransportOptions, kind: str = "websocket") -> None:
        self.kind = kind
        self._receive = receive
        self._options = options
        self._backlog = Backlog(send, options, self._on_writable, self._on_lost)
        self._open = True
        self._ending: tuple[int, str] | None = None  # how it ended, by whoever was first
        self._deadline = asyncio.timeout(None)
        self._readable = asyncio.Event()
        self._readable.set()
        self._receiver: Receiver | None = None

    async def serve(self, accepted: Accepted) -> None:
        """Reads until the end; the receiver's `on_close` is called in every case."""
        route = accepted.route
        try:
            async with self._deadline:
                receiver = self._receiver = route.endpoint(self, accepted.request)
                await self._read(receiver, route.max_message_bytes)
        except TimeoutError:
            if not self._deadline.expired():
                raise
        finally:
            self._open = False
            self._backlog.drop()
            if self._receiver is not None:
                self._receiver.on_close(*(self._ending or (1006, "")))

    # What a session calls

    @property
    def paused(self) -> bool:
        return self._backlog.paused

    def write(self, data: bytes, binary: bool) -> None:
        if self._open:
            content = {"bytes": data} if binary else {"text": data.decode("utf-8", "replace")}
            self._backlog.put({"type": "websocket.send", **content}, len(data))

    def ping(self) -> bool:
        return False  # the server sends its own

    def close(self, code: int, reason: str) -> None:
        if not self._open:
            return
        self._open = False
        self._ending = (code, reason)
        self._deadline.reschedule(asyncio.get_running_loop().time() + self._options.close_timeout_s)
        self._readable.set()  # the answer has to be heard
        code = _NORMAL_CODE if code == _DROP_CODE else code
        self._backlog.put({"type": "websocket.close", "code": code, "reason": close_reason(reason)}, 0)

    def pause_reading(self) -> None:
        if self._open:
            self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    # Reading and sending

    async def _read(self, receiver: Receiver, max_message_bytes: int) -> None:
        while True:
            await self._readable.wait()
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._ending = self._ending or (int(message.get("code") or 1005), message.get("reason") or "")
                return
            if not self._open:
                continue
            binary = message.get("bytes")
            data = binary if binary is not None else message["text"].encode()
            if len(data) > max_message_bytes:
                self.close(1009, f"message longer than {max_message_bytes} bytes")
                continue
            try:
                receiver.on_message(data, binary is not None)
            except Exception:
                about(log, receiver).exception("a receiver failed; its connection is closed")
                self.close(1011, "internal server error")

    def _on_writable(self) -> None:
        if self._open and self._receiver is not None:
            self._receiver.on_writable()

    def _on_lost(self) -> None:
        self._open = False
        self._readable.set()
