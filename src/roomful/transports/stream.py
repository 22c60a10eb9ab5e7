"""A streamed HTTP response as a `Transport`: one table of URLs, one contract, two ways to send.

A streamed endpoint is a path and a function:

    def open_news(stream: Stream, request: Request) -> Receiver | Refused:
        if "topic" not in request.query:
            return Refused(400, 107, "which topic?")
        stream.start("text/event-stream; charset=utf-8", first=b":\\n\\n", heartbeat=b":\\n\\n")
        return News(stream, request)

    StreamRoute("/news", open_news, kind="news")

and everything else is done here: method, origin, CORS and preflight, the client's address, the limits of the request,
the headers that keep proxies from buffering, heartbeats, backpressure, the end of either side, draining. Under
`roomful serve` a stream writes to its socket (`uvicorn_http.py`), elsewhere over ASGI's `send` (`asgi_stream.py`); both
pass `StreamContract` in `roomful/testing/stream_contract.py`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from roomful.node.admission import Admission
from roomful.node.wheel import Wheel
from roomful.seams.transport import Receiver, Request
from roomful.transports.cors import cors_headers
from roomful.transports.http_request import check_request
from roomful.transports.negotiate import (
    DRAINING,
    OUR_FAULT,
    RawHeaders,
    Refused,
    TransportOptions,
    read_headers,
    read_request,
    refusal_of,
)
from roomful.transports.shutdown import Closable, close_all

log = logging.getLogger("roomful.transports")

_CUT = (1006, "")
_STOPPING = (1012, "service restart")  # for streams that nobody has ended before

HEADERS = {
    "Cache-Control": "no-cache, no-transform",  # no-transform: compressors that would hold bytes back leave it alone
    "X-Accel-Buffering": "no",  # nginx
    "X-Content-Type-Options": "nosniff",  # browsers that guess the type wait for a kilobyte first
}
"""Of every stream, beside its Content-Type."""


class Stream(ABC):
    """A `seams.transport.Transport` over the body of one HTTP response.

    - Its endpoint calls `start`, which sends status 200, the headers and the first bytes at once; then `write` sends a
      piece of the body. What is written before `start`, or after the end, is not sent.
    - Until `start`, `refuse` answers with another status instead. An endpoint that has to wait for something (a token,
      a hook) returns its receiver and calls one of the two later.
    - `close` ends the body properly. Code and reason reach the receiver alone: what the client is to know of them has
      to be written before. Before `start` it is answered with 503.
    - `Receiver.on_close` comes once, in every case: after `close` and `refuse` with what they said (a refusal's code
      is its status), with 1006 when the client has gone. `on_message` and `on_pong` never come; `ping` and the
      reading of a stream do nothing.
    - `paused` and `on_writable` are those of the socket: the client's own speed, on both ways to send.
    - `heartbeat` of `start` is written every `TransportOptions.heartbeat_s` while the client reads.
    """

    __slots__ = (
        "_ending",
        "_extra_headers",
        "_heartbeat",
        "_open",
        "_receiver",
        "_streams",
        "kind",
        "overloaded",
        "started",
        "wheel_slot",
    )

    framed: bool = False
    has_close_frame: bool = False

    def __init__(self, kind: str, streams: Streams, extra_headers: dict[str, str]) -> None:
        self.kind = kind
        self.started = False
        self.overloaded = False
        """Too many came at once: this one is to be told so and to end."""
        self.wheel_slot = 0
        self._streams = streams
        self._extra_headers = extra_headers
        self._receiver: Receiver | None = None
        self._heartbeat = b""
        self._open = True
        self._ending = _CUT  # what the receiver hears at the end

    # What an endpoint and its receiver call

    @property
    def draining(self) -> bool:
        """The server is about to stop."""
        return self._streams.draining

    def start(self, content_type: str, *, first: bytes = b"", heartbeat: bytes = b"") -> None:
        """Status 200, headers and `first`, at once."""
        if self.started or not self._open:
            return
        self.started = True
        headers, self._extra_headers = {"Content-Type": content_type, **HEADERS, **self._extra_headers}, {}
        self._send_head(headers)
        if first:
            self.write(first, False)
        if heartbeat:
            self._heartbeat = heartbeat
            self._streams.wheel.schedule(self, self._streams.wheel.now() + self._streams.options.heartbeat_s)

    def refuse(self, refused: Refused) -> None:
        """Answers with an error in place of a stream; nothing happens after `start`."""
        if self.started or not self._open:
            return
        self._open = False
        self._ending = (refused.status, refused.message)
        self._send_answer(refused.status, {**refused.headers, **self._extra_headers}, refused.body)

    def close(self, code: int, reason: str) -> None:
        if not self._open:
            return
        if not self.started:
            self.refuse(DRAINING)
        else:
            self._open = False
            self._send_end()
        self._ending = (code, reason)

    @property
    @abstractmethod
    def paused(self) -> bool: ...

    @abstractmethod
    def write(self, data: bytes, binary: bool) -> None:
        """A piece of the body."""

    def ping(self) -> bool:
        return False

    def pause_reading(self) -> None:
        return  # there is nothing more to read

    def resume_reading(self) -> None:
        return  # there is nothing more to read

    # What the wheel calls

    def on_due(self, now: float) -> float | None:
        if not self._open:
            return None
        if not self.paused:
            self.write(self._heartbeat, False)
        return now + self._streams.options.heartbeat_s

    # For the two ways to send

    def _begin(self, opening: Opening) -> None:
        self.overloaded = opening.overloaded
        try:
            opened = opening.route.endpoint(self, opening.request)
        except Exception:
            log.exception("an endpoint failed; its stream is refused")
            opened = OUR_FAULT
        if isinstance(opened, Refused):
            self.refuse(opened)
        else:
            self._receiver = opened

    def _tell(self) -> None:
        """The connection is gone."""
        self._open = False
        self._streams.wheel.forget(self)
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.on_close(*self._ending)

    @abstractmethod
    def _send_head(self, headers: dict[str, str]) -> None:
        """200 and a body to come."""

    @abstractmethod
    def _send_answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """A whole response, and the end of the connection."""

    @abstractmethod
    def _send_end(self) -> None:
        """The proper end of the body, and of the connection, after what was written before."""


StreamEndpoint: TypeAlias = Callable[[Stream, Request], Receiver | Refused]
"""Opens a receiver for a new stream, or refuses it. Synchronous; may call the stream's methods; never raises."""


class StreamRoute(msgspec.Struct, frozen=True):
    """Where a stream is opened.

    path: exactly this one. kind: `Transport.kind` of its streams. methods: all others are answered with 405.
    body_max_bytes: of the request; a larger one is answered with 413. opens_while_draining: its endpoint has a way to
    say that the server is about to stop, or has too much to do (EventSource gives up for ever at 503).
    """

    path: str
    endpoint: StreamEndpoint
    kind: str
    methods: tuple[str, ...] = ("GET",)
    body_max_bytes: int = 65_536
    opens_while_draining: bool = False


class Opening(msgspec.Struct, frozen=True):
    """A stream may be opened. headers: more of the response. overloaded: only to be told so."""

    route: StreamRoute
    request: Request
    headers: dict[str, str]
    overloaded: bool = False


class Streams:
    """The streamed endpoints of one server, and what is open on sockets of its own.

    draining: set it, and new streams are answered by 503. wheel: for heartbeats. admission: None admits all.
    """

    def __init__(
        self,
        routes: Iterable[StreamRoute],
        options: TransportOptions,
        wheel: Wheel,
        admission: Admission | None = None,
    ) -> None:
        self.admission = admission
        self.options = options
        self.wheel = wheel
        self.draining = False
        self.connections: set[Closable] = set()
        self._routes = {route.path: route for route in routes}

    def route(self, path: str) -> StreamRoute | None:
        """path: decoded, without a prefix."""
        return self._routes.get(path)

    def decide(
        self, route: StreamRoute, method: str, query_string: bytes, raw_headers: RawHeaders, peer: str
    ) -> Opening | Refused:
        """The verdict over a request whose body hasn't been read."""
        headers = read_headers(raw_headers)
        granted = cors_headers(headers, self.options)
        refused = check_request(method, headers, route.methods, route.body_max_bytes, self.options)
        if refused is None and self.draining and not route.opens_while_draining:
            refused = DRAINING
        if refused is not None:
            extra = {**refused.extra_headers, **granted}
            return msgspec.structs.replace(refused, extra_headers=extra)
        request = read_request(method, route.path, query_string, headers, peer, self.options)
        overloaded = self.admit(request)
        if overloaded is not None and not route.opens_while_draining:
            return msgspec.structs.replace(overloaded, extra_headers=granted)
        return Opening(route, request, granted, overloaded is not None)

    def admit(self, request: Request) -> Refused | None:
        """What the admission has against a request; None: it may go on."""
        sent_away = self.admission.ask(request.address) if self.admission is not None else None
        return refusal_of(sent_away) if sent_away is not None else None

    async def shutdown(self, timeout_s: float) -> None:
        """Ends what is open, waits until the clients have read it, and cuts what is left after `timeout_s`."""
        await close_all(self.connections, *_STOPPING, timeout_s)
