"""Centrifuge over a streamed response to a POST: the way back is `/emulation`, or there is none.

Source: sections 19.1 and 20.
"""

from __future__ import annotations

from roomful.seams.transport import Receiver, Request
from roomful.session.session import Context, Session
from roomful.transports.negotiate import Refused
from roomful.transports.sse import check_connect
from roomful.transports.stream import Stream, StreamRoute
from roomful.wire.dialect import JSON_LINES, PROTOBUF_BARE, UNI_LINES

HTTP_STREAM_PATH = "/connection/http_stream"
UNI_HTTP_STREAM_PATH = "/connection/uni_http_stream"

PROTOBUF_TYPE = "application/octet-stream"
LINES_TYPE = "application/x-ndjson"

_BAD_REQUEST = 107


def http_stream(context: Context) -> StreamRoute:
    """Both ways. The body holds the first commands, its Content-Type says in which encoding the connection is."""

    def open_http_stream(stream: Stream, request: Request) -> Receiver | Refused:
        if not request.body:
            return Refused(400, _BAD_REQUEST, "the body has to hold a connect command")
        protobuf = request.headers.get("content-type") == PROTOBUF_TYPE
        stream.start(PROTOBUF_TYPE if protobuf else LINES_TYPE)
        session = Session(context, stream, PROTOBUF_BARE if protobuf else JSON_LINES, request)
        session.on_message(request.body, protobuf)
        return session

    return StreamRoute(HTTP_STREAM_PATH, open_http_stream, "http_stream", ("POST",), context.limits.message_max_bytes)


def uni_http_stream(context: Context) -> StreamRoute:
    """One way. The body is the connect request."""

    def open_uni_http_stream(stream: Stream, request: Request) -> Receiver | Refused:
        refused = check_connect(request.body)
        if refused is not None:
            return refused
        stream.start(LINES_TYPE)
        session = Session(context, stream, UNI_LINES, request)
        session.on_message(request.body, False)
        return session

    size = context.limits.message_max_bytes
    return StreamRoute(UNI_HTTP_STREAM_PATH, open_uni_http_stream, "uni_http_stream", ("POST",), size)
