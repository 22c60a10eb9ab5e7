"""The same streams over any ASGI server: slower, for servers and applications that aren't ours."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.types import Message, Receive, Scope, Send

from roomful.transports.asgi_backlog import Backlog
from roomful.transports.asgi_websocket import inner_path, raw_headers
from roomful.transports.cors import preflight_headers
from roomful.transports.http_request import answer, encoded, read_body
from roomful.transports.negotiate import Refused, read_headers
from roomful.transports.stream import Opening, Stream, Streams


async def serve_stream(scope: Scope, receive: Receive, send: Send, streams: Streams) -> bool:
    """Serves one ASGI HTTP request to its end; False: there is no stream at its path, and nothing has happened."""
    route = streams.route(inner_path(scope))
    if route is None:
        return False
    method, headers = str(scope["method"]), raw_headers(scope)
    if method == "OPTIONS":
        await answer(send, 204, preflight_headers(read_headers(headers), route.methods, streams.options))
        return True
    peer = scope["client"][0] if scope.get("client") else ""
    verdict = streams.decide(route, method, scope.get("query_string", b""), headers, peer)
    body: bytes | Refused | None = b""
    if isinstance(verdict, Opening):
        body = await read_body(receive, route.body_max_bytes, streams.options.body_timeout_s)
        if isinstance(body, Refused):
            verdict = msgspec.structs.replace(body, extra_headers={**body.extra_headers, **verdict.headers})
    if isinstance(verdict, Refused):
        await answer(send, verdict.status, verdict.headers, verdict.body)
    elif isinstance(body, bytes):
        request = msgspec.structs.replace(verdict.request, body=body)
        await AsgiStream(verdict, receive, send, streams).serve(msgspec.structs.replace(verdict, request=request))
    return True


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
        self._backlog.put({"type": "http.response.start", "status": 200, "headers": encoded(headers)}, 0)

    def _send_answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._backlog.put({"type": "http.response.start", "status": status, "headers": encoded(headers)}, 0)
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
