"""HOT One WebSocket connection on a socket of its own: what asyncio calls, and what a session calls.

No task, no queue, no timer while it is open; what idle connections cost is measured in
docs/decisions/0001-websocket-transport.md.
"""

from __future__ import annotations

import asyncio
import logging
from socket import SocketType

from roomful.node.connection_log import about
from roomful.seams.transport import Endpoint, Receiver, Request
from roomful.transports.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    FrameReader,
    Violation,
    close_frame,
    control_frame,
    parse_close,
)
from roomful.transports.negotiate import TransportOptions

log = logging.getLogger("roomful.transports")

_CUT = (1006, "")
_OUR_FAULT = (1011, "internal server error")
_DROP_CODE = 3000  # says nothing more: the connection ends without a close frame (Centrifuge protocol, section 17.4)


class WebSocketConnection(asyncio.Protocol):
    """A `Transport` of an upgraded connection; RFC 6455 from the first frame to the end of the closing handshake.

    It is open; then closing, when we sent a close frame and wait for the peer's; then over, when the receiver was told
    and only the socket has to go. However little the peer does for it, the socket is gone `close_timeout_s` after
    the connection ceased to be open. From `open` until then it is in the registry.
    """

    __slots__ = (
        "_deadline",
        "_direct",
        "_ending",
        "_late_pong",
        "_open",
        "_options",
        "_peer",
        "_reader",
        "_receiver",
        "_registry",
        "_socket",
        "kind",
        "paused",
    )

    framed: bool = True
    has_close_frame: bool = True

    def __init__(
        self,
        socket: asyncio.Transport,
        max_message_bytes: int,
        options: TransportOptions,
        registry: set[WebSocketConnection],
        deflate: bool = False,
        kind: str = "websocket",
    ) -> None:
        self.kind = kind
        self.paused = False
        self._socket = socket
        self._peer = _peer_of(socket)
        self._direct: SocketType | None = None  # the peer while open and nothing waits in the transport
        self._options = options
        self._registry = registry
        self._reader = FrameReader(max_message_bytes, deflate)
        self._receiver: Receiver | None = None
        self._open = False
        self._ending = _CUT  # what the receiver hears at the end
        self._deadline: asyncio.TimerHandle | None = None
        self._late_pong: bytes | None = None

    def open(self, endpoint: Endpoint, request: Request) -> None:
        """The handshake is done: frames may flow."""
        self._registry.add(self)
        self._socket.set_write_buffer_limits(self._options.write_high_water_bytes, self._options.write_low_water_bytes)
        self._open = True
        try:
            self._receiver = endpoint(self, request)
        except Exception:
            log.exception("an endpoint failed; its connection is closed")
            self.close(*_OUR_FAULT)

    # What a session calls

    def write(self, data: bytes, binary: bool) -> None:
        # Straight into the socket: 0.9 µs less than the way through uvloop's queue (docs/decisions/0001).
        direct = self._direct
        if direct is not None:
            try:
                sent = direct.send(data)
            except OSError:  # full, or gone: the transport finds out which, and what follows from it
                sent = 0
            if sent < len(data):
                self._direct = None
                self._socket.write(data[sent:])
        elif self._open:
            self._write_behind(data)

    def ping(self) -> bool:
        if self._open:
            self.write(control_frame(PING), binary=True)
        return True

    def _write_behind(self, data: bytes) -> None:
        """Behind what waits in the transport; when nothing does any more, directly again."""
        if self._peer is None or self._socket.get_write_buffer_size():
            self._socket.write(data)
        else:
            self._direct = self._peer
            self.write(data, binary=True)

    def close(self, code: int, reason: str) -> None:
        if not self._open:
            return
        self._begin_to_end((code, reason))
        if code == _DROP_CODE:
            self._socket.close()
        else:
            self._socket.write(close_frame(code, reason))
            self._socket.resume_reading()  # the answer has to be heard

    def pause_reading(self) -> None:
        if self._open:
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        if self._open:
            self._socket.resume_reading()

    def abort(self) -> None:
        """Cuts the connection; nothing that waits is sent."""
        self._socket.abort()

    # What asyncio calls

    def data_received(self, data: bytes) -> None:
        if self._receiver is None:
            return
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode > BINARY:
                    self._on_control(opcode, payload)
                elif self._open:
                    self._receiver.on_message(payload, opcode == BINARY)
        except Exception:
            about(log, self._receiver).exception("a receiver failed; its connection is closed")
            self.close(*_OUR_FAULT)
        if self._reader.violation is not None:
            self._fail(self._reader.violation)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._open and self._receiver is not None:
            if self._late_pong is not None:
                self.write(control_frame(PONG, self._late_pong), binary=True)
                self._late_pong = None
            self._receiver.on_writable()

    def eof_received(self) -> None:
        """The peer will say no more; asyncio now flushes and closes the socket."""
        self._begin_to_end(self._ending)
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self._direct = None
        if self._peer is not None:
            self._peer.detach()
            self._peer = None
        if self._deadline is not None:
            self._deadline.cancel()
        self._registry.discard(self)
        self._tell()

    # The end

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._on_close_frame(payload)
        elif not self._open or self._receiver is None:
            pass
        elif opcode == PONG:
            self._receiver.on_pong()
        elif self.paused:
            # A peer that pings without reading would fill our memory with pongs; the last one is enough, says
            # RFC 6455 section 5.5.3.
            self._late_pong = payload
        else:
            self.write(control_frame(PONG, payload), binary=True)

    def _on_close_frame(self, payload: bytes) -> None:
        """Theirs, or the answer to ours. The server is the one who then closes TCP: RFC 6455 section 7.1.1."""
        if self._open:
            self._begin_to_end(parse_close(payload))
            self._socket.write(control_frame(CLOSE, payload[:2]))
        self._socket.close()
        self._tell()

    def _fail(self, violation: Violation) -> None:
        """RFC 6455 section 7.1.7. What they still send is read and ignored: a socket closed with unread bytes is reset,
        and a client that is still sending its too long message would never hear the 1009."""
        if self._open:
            self._begin_to_end((violation.code, violation.reason))
            self._socket.write(close_frame(violation.code, violation.reason))
        if self._socket.can_write_eof():
            self._socket.write_eof()
        else:
            self._socket.close()
        self._tell()

    def _begin_to_end(self, ending: tuple[int, str]) -> None:
        self._open = False
        self._direct = None
        self._ending = ending
        if self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._options.close_timeout_s, self._socket.abort)

    def _tell(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.on_close(*self._ending)


def _peer_of(transport: asyncio.Transport) -> SocketType | None:
    """The socket itself, to write to; None where bytes have to be changed on their way (TLS). It is borrowed: detach
    it before the transport closes the descriptor, or it will close somebody else's."""
    socket = transport.get_extra_info("socket")
    if socket is None or transport.get_extra_info("sslcontext") is not None:
        return None
    return SocketType(socket.family, socket.type, socket.proto, socket.fileno())  # else each is asked of the system
