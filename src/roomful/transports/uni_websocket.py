"""Centrifuge over a WebSocket that only brings: the client's first message is its connect, or there is none.

Source: section 20.
"""

from __future__ import annotations

from roomful.seams.transport import Receiver, Request, Transport
from roomful.session.session import Context, Session
from roomful.transports.negotiate import Refused, WebSocketRoute
from roomful.transports.sse import check_connect
from roomful.wire.dialect import UNI_BARE, UNI_FRAMED

UNI_WEBSOCKET_PATH = "/connection/uni_websocket"


def uni_websocket(context: Context) -> WebSocketRoute:
    """With the parameter `cf_connect` in the URL nothing more has to be said."""

    def check(request: Request) -> Refused | None:
        return check_connect(request.query.get("cf_connect", "").encode())

    def open_uni_websocket(transport: Transport, request: Request) -> Receiver:
        session = Session(context, transport, UNI_FRAMED if transport.framed else UNI_BARE, request)
        if "cf_connect" in request.query:
            session.on_message(request.query["cf_connect"].encode(), False)
        return session

    size = context.limits.message_max_bytes
    return WebSocketRoute(UNI_WEBSOCKET_PATH, open_uni_websocket, size, kind="uni_websocket", check=check)
