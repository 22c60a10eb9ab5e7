"""An echo at `/echo`, over the same transports as everything else: `roomful serve roomful.testing.echo:app`.

For conformance suites and benchmarks: each message comes back as it was.
"""

from __future__ import annotations

from roomful.seams.transport import Request, Transport
from roomful.server.app import Roomful
from roomful.transports.negotiate import WebSocketRoute
from roomful.wire.framing import deflated_frame, websocket_frame

MESSAGE_MAX_BYTES = 16 * 1024 * 1024


class EchoReceiver:
    """Sends back what comes; stops reading while the client doesn't read."""

    __slots__ = ("_frame", "_transport")

    def __init__(self, transport: Transport, deflate: bool = False) -> None:
        self._transport = transport
        self._frame = deflated_frame if deflate else websocket_frame

    def on_message(self, data: bytes, binary: bool) -> None:
        transport = self._transport
        transport.write(self._frame(data, binary) if transport.framed else data, binary)
        if transport.paused:
            transport.pause_reading()

    def on_pong(self) -> None:
        """Nothing waits for one."""

    def on_writable(self) -> None:
        self._transport.resume_reading()

    def on_close(self, code: int, reason: str) -> None:
        """Nothing to free."""


def open_echo(transport: Transport, request: Request) -> EchoReceiver:
    return EchoReceiver(transport, request.deflate)


app = Roomful(websocket_routes=[WebSocketRoute("/echo", open_echo, MESSAGE_MAX_BYTES, deflate=True)])
