"""The same streams over any ASGI server: slower, for servers and applications that aren't ours."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.types import Message, Receive, Scope, Send

from roomful.transports.asgi_backlog import Backlog
from roomful.transports.asgi_websocket import inner_path, raw_headers
from roomful.transports.cors import preflight_headers
from roomful.transports.negotiate import Refused, read_headers
from roomful.transports.stream import Opening, Stream, Streams, too_large

_BAD_REQUEST = 107


async def serve_stream(scope: Scope, receive: Receive, send: Send, streams: Streams) -> bool:
    """Serves one ASGI HTTP request to its end; False: there is no stream at its path, and nothing has happened."""
    route = streams.route(inner_path(scope))
    if route is None:
        return False
    method, headers = str(scope["method"]), raw_headers(scope)
    if method == "OPTIONS":
        await _answer(send, 204, preflight_headers(read_headers(headers), route.methods, streams.options), b"")
        return True
    peer = scope["client"][0] if scope.get("client") else ""
    verdict: Opening | Refused | None
    verdict = streams.decide(route, method, scope.get("query_string", b""), headers, peer)
    if isinstance(verdict, Opening):
        verdict = await _with_body(verdict, receive, streams)
    if verdict is None:
        return True
    if isinstance(verdict, Refused):
        await _answer(send, verdict.status, verdict.headers, verdict.body)
        return True
    await AsgiStream(verdict, receive, send, streams).serve(verdict)
    return True


async def _with_body(opening: Opening, receive: Receive, streams: Streams) -> Opening | Refused | None:
    """The opening with the request's body; None: the client has gone."""
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(streams.options.body_timeout_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > opening.route.body_max_bytes:
                    return _refused(too_large(opening.route), opening)
    except TimeoutError:
        return _refused(Refused(408, _BAD_REQUEST, "the request took too long to arrive"), opening)
    return msgspec.structs.replace(opening, request=msgspec.structs.replace(opening.request, body=bytes(body)))


def _refused(refused: Refused, opening: Opening) -> Refused:
    return msgspec.structs.replace(refused, extra_headers={**opening.headers, "Connection": "close"})


async def _answer(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


class AsgiStream(Stream):
    """A stream over ASGI's `receive` and `send`."""

    __slots__ = ("_backlog", "_deadline", "_receive", "_send")

    def __init__(self, opening: Opening, receive: Receive, send: Send, streams: Streams) -> None:
        super().__init__(opening.route.kind, streams, opening.headers)
        self._receive = receive
        self._send = send
        self._backlog = Backlog(self._send_on, streams.options, self._on_writable, self._on_lost)
        self._deadline = asyncio.timeout(None)

    async def serve(self, opening: Opening) -> None:
        """Until the response or the client has ended; the receiver's `on_close` is called in every case."""
        try:
            async with self._deadline:
                self._begin(opening)
                while (await self._receive())["type"] != "http.disconnect":
                    continue
        except TimeoutError:
            if not self._deadline.expired():
                raise
        finally:
            self._backlog.drop()
            self._tell()

    # What a session calls

    @property
    def paused(self) -> bool:
        return self._backlog.paused

    def write(self, data: bytes, binary: bool) -> None:
        if self._open and self.started and data:
            self._backlog.put({"type": "http.response.body", "body": data, "more_body": True}, len(data))

    # Inside

    def _send_head(self, headers: dict[str, str]) -> None:
        self._backlog.put({"type": "http.response.start", "status": 200, "headers": _encoded(headers)}, 0)

    def _send_answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._backlog.put({"type": "http.response.start", "status": status, "headers": _encoded(headers)}, 0)
        self._send_last(body)

    def _send_end(self) -> None:
        self._send_last(b"")

    def _send_last(self, body: bytes) -> None:
        self._deadline.reschedule(asyncio.get_running_loop().time() + self._streams.options.close_timeout_s)
        self._backlog.put({"type": "http.response.body", "body": body}, len(body))

    async def _send_on(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._deadline.reschedule(asyncio.get_running_loop().time())  # not every server tells us now

    def _on_writable(self) -> None:
        if self._open and self._receiver is not None:
            self._receiver.on_writable()

    def _on_lost(self) -> None:
        self._open = False
