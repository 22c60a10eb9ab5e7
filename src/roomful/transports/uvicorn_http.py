"""A streamed response goes from uvicorn to a socket of its own; and requests that never end, end.

uvicorn takes any class as `http=`. Ours is its own with httptools, but for two things. A request for one of our streams
leaves it as soon as it is whole: a `SocketStream` has the transport then, and no ASGI stands between a session and the
socket. And uvicorn waits for ever for a request that comes a byte an hour, and takes headers of any length: here a head
and a body have their time, and a head its size. tests/transports/test_uvicorn_http.py pins what is used of its insides.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from roomful.transports.negotiate import Refused, read_headers
from roomful.transports.socket_stream import SocketStream
from roomful.transports.stream import Opening, Streams
from roomful.transports.uvicorn_bridge import Bridge, peer_of, response_head
from roomful.transports.uvicorn_door import Door

_BAD_REQUEST = 107
_NOT_HTTP = Refused(400, _BAD_REQUEST, "this is not HTTP")
_TOO_LATE = Refused(408, _BAD_REQUEST, "the request took too long to arrive")
_HEAD_TOO_LARGE = Refused(431, _BAD_REQUEST, "the headers are too large")


class HttpEntrance:
    """What to give uvicorn as `http=`. bridge: takes whole handshakes by the short way; None: nobody does."""

    def __init__(self, streams: Streams, bridge: Bridge | None = None) -> None:
        self._streams = streams
        self._bridge = bridge

    def __call__(self, **of_uvicorn: Any) -> asyncio.Protocol:
        inside = partial(_Http, self._streams, **of_uvicorn)
        return inside() if self._bridge is None else Door(self._bridge, inside, of_uvicorn["server_state"].connections)


class _Http(HttpToolsProtocol):
    """One connection, until it is closed, or a WebSocket or a stream takes over."""

    def __init__(self, streams: Streams, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._streams = streams
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0  # of a head that isn't whole yet
        self._in_head = True
        self._opening: Opening | None = None  # the stream that this request is for
        self._body = bytearray()
        self._whole = False

    # What asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait(self._streams.options.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn itself does so only without an error

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and self._idle:
            self._wait(self._streams.options.head_timeout_s)
        super().data_received(data)
        if self._whole:
            self._hand_over()
        elif self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._streams.options.head_max_bytes:
                self._end(_HEAD_TOO_LARGE)

    # What the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._opening is not None:
            return  # more requests behind one for a stream: never answered
        self._wait(self._streams.options.body_timeout_s)
        if self._idle and not self._upgrades:
            self._opening = self._stream()
        if self._opening is None:
            super().on_headers_complete()
        elif self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._opening is None:
            super().on_body(body)
        elif not self._whole:
            self._body += body  # no more than was announced, and that has been looked at

    def on_message_complete(self) -> None:
        if self._opening is not None:
            self._whole = True
            return
        if not self._upgrades:
            self._wait(None)
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._wait(None)
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self._end(_NOT_HTTP)

    # Inside

    @property
    def _idle(self) -> bool:
        """No response is under way."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _upgrades(self) -> bool:
        """To a WebSocket; what else there is to upgrade to isn't spoken, and such a request is served as it stands."""
        return bool(self.parser.should_upgrade()) and self._should_upgrade()

    def _stream(self) -> Opening | None:
        """What this request opens; everything that needs another answer than a stream goes the way of ASGI."""
        path, _, query = self.url.partition(b"?")
        route = self._streams.route(unquote_to_bytes(path).decode("utf-8", "replace"))
        if route is None or any(name == b"transfer-encoding" for name, _ in self.headers):
            return None
        method = self.parser.get_method().decode("ascii")
        verdict = self._streams.decide(route, method, query, self.headers, peer_of(self.transport))
        return verdict if isinstance(verdict, Opening) else None

    def _hand_over(self) -> None:
        """Not from inside the parser, which may have more to say about the same bytes."""
        assert self._opening is not None
        socket = self.transport
        if socket.is_closing():
            return
        self._wait(None)
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        request = msgspec.structs.replace(self._opening.request, body=bytes(self._body))
        opening = msgspec.structs.replace(self._opening, request=request)
        date = read_headers(self.server_state.default_headers)
        stream = SocketStream(socket, opening, self._streams, chunked=self._knows_chunks, date=date)
        socket.set_protocol(stream)
        stream.open(opening)

    @property
    def _knows_chunks(self) -> bool:
        return self.parser.get_http_version() == "1.1"

    def _wait(self, timeout_s: float | None) -> None:
        """The next step of the request has to be made within this time; None: it is the server's turn."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if timeout_s is None else self.loop.call_later(timeout_s, self._too_late)

    def _too_late(self) -> None:
        if self._in_head and not self._head_bytes and self._idle:
            self.transport.close()  # browsers open connections in advance; an answer to nothing would confuse them
        else:
            self._end(_TOO_LATE)

    def _end(self, refused: Refused) -> None:
        """Answers what can't go on, unless another answer is under way, and closes."""
        self._wait(None)
        if self.transport.is_closing():
            return
        if self._idle or not self.cycle.response_started:
            self.transport.write(response_head(refused.status, {**refused.headers, "Connection": "close"}))
            self.transport.write(refused.body)
        self.transport.close()
