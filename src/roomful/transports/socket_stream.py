"""HOT A streamed response on a socket of its own: what asyncio calls, and what a session calls.

Like `websocket.py`: no task, no queue, no timer of its own while it is open.
"""

from __future__ import annotations

import asyncio
import socket
from socket import SocketType

from roomful.transports.stream import Opening, Stream, Streams
from roomful.transports.uvicorn_bridge import response_head


class SocketStream(Stream, asyncio.Protocol):
    """The whole of an HTTP/1 connection from the moment at which its request is there.

    The body is chunked, so that a client can tell its end from a cut; for HTTP/1.0 it ends with the connection. However
    little the client does for it, the socket is gone `close_timeout_s` after the end. Until then it stands in
    `streams.connections`.
    """

    __slots__ = ("_chunked", "_date", "_deadline", "_socket", "paused")

    paused: bool

    def __init__(
        self, socket: asyncio.Transport, opening: Opening, streams: Streams, *, chunked: bool, date: dict[str, str]
    ) -> None:
        """date: the header of that name. chunked: the client knows HTTP/1.1."""
        super().__init__(opening.route.kind, streams, opening.headers)
        self.paused = False
        self._socket = socket
        self._chunked = chunked
        self._date = date
        self._deadline: asyncio.TimerHandle | None = None

    def open(self, opening: Opening) -> None:
        """The socket is ours: the endpoint may be asked."""
        options = self._streams.options
        self._streams.connections.add(self)
        self._socket.set_write_buffer_limits(options.write_high_water_bytes, options.write_low_water_bytes)
        _limit_silence(self._socket, options.unread_timeout_s)
        self._begin(opening)

    # What a session calls

    def write(self, data: bytes, binary: bool) -> None:
        if self._open and self.started and data:  # an empty chunk would be the end
            self._socket.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def abort(self) -> None:
        """Cuts the connection; nothing that waits is sent."""
        self._socket.abort()

    # What asyncio calls

    def data_received(self, data: bytes) -> None:
        """Nobody asked for it; `Connection: close` says that it isn't read."""

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._open and self._receiver is not None:
            self._receiver.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._streams.connections.discard(self)
        self._tell()

    # Inside

    def _send_head(self, headers: dict[str, str]) -> None:
        body = {"Transfer-Encoding": "chunked"} if self._chunked else {}
        self._socket.write(response_head(200, {**self._date, **headers, **body, "Connection": "close"}))

    def _send_answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._socket.write(response_head(status, {**self._date, **headers, "Connection": "close"}) + body)
        self._leave()

    def _send_end(self) -> None:
        if self._chunked:
            self._socket.write(b"0\r\n\r\n")
        self._leave()

    def _leave(self) -> None:
        """Closes when everything is sent, or when the time for that is over."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._streams.options.close_timeout_s, self._socket.abort)
        self._socket.close()


def _limit_silence(transport: asyncio.Transport, seconds: float) -> None:
    """A link that is open and dead, or a client that has stopped for good, is found by the system, which retransmits:
    without a limit for a quarter of an hour."""
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6) or not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    borrowed = SocketType(fileno=peer.fileno())
    try:
        borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
    finally:
        borrowed.detach()  # or it would close what isn't ours
