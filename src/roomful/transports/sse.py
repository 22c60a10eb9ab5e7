"""Centrifuge over EventSource: the way back is `/emulation`, or there is none. Source: sections 19.2 and 20."""

from __future__ import annotations

from roomful.model.errors import WireError
from roomful.seams.transport import Receiver, Request
from roomful.session.session import Context, Session
from roomful.transports.negotiate import Refused
from roomful.transports.stream import Stream, StreamRoute
from roomful.wire.dialect import JSON_EVENTS, UNI_EVENTS

SSE_PATH = "/connection/sse"
UNI_SSE_PATH = "/connection/uni_sse"

CONTENT_TYPE = "text/event-stream; charset=utf-8"
FIRST = b"\r\n"
"""So that whatever stands between opens the stream at once."""
HEARTBEAT = b":\n\n"

_BAD_REQUEST = 107
_METHODS = ("GET", "POST")


def start_events(stream: Stream) -> None:
    """Begins a stream of server-sent events."""
    stream.start(CONTENT_TYPE, first=FIRST, heartbeat=HEARTBEAT)


def sse(context: Context) -> StreamRoute:
    """Both ways. The first commands come in the parameter `cf_connect`, or as the body of a POST."""

    def open_sse(stream: Stream, request: Request) -> Receiver | Refused:
        commands = first_message(request)
        if not commands:
            return Refused(400, _BAD_REQUEST, "the parameter cf_connect is missing, or the body of a POST")
        start_events(stream)
        session = Session(context, stream, JSON_EVENTS, request)
        session.on_message(commands, False)
        return session

    return StreamRoute(SSE_PATH, open_sse, "sse", _METHODS, context.limits.message_max_bytes)


def uni_sse(context: Context) -> StreamRoute:
    """One way. The connect request comes in the parameter `cf_connect`, or as the body of a POST, or is empty."""

    def open_uni_sse(stream: Stream, request: Request) -> Receiver | Refused:
        connect = first_message(request)
        refused = check_connect(connect)
        if refused is not None:
            return refused
        start_events(stream)
        session = Session(context, stream, UNI_EVENTS, request)
        session.on_message(connect, False)
        return session

    return StreamRoute(UNI_SSE_PATH, open_uni_sse, "uni_sse", _METHODS, context.limits.message_max_bytes)


def first_message(request: Request) -> bytes:
    """What the client says in opening the stream."""
    return request.body if request.method == "POST" else request.query.get("cf_connect", "").encode()


def check_connect(connect: bytes) -> Refused | None:
    """What is wrong with the connect request of a one-way client."""
    try:
        UNI_EVENTS.decode(connect)
    except WireError as error:
        return Refused(400, _BAD_REQUEST, str(error))
    return None
