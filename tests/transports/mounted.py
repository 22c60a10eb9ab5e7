"""An application of somebody else with our WebSockets mounted in it; served by the tests of foreign ASGI servers."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from roomful.seams.transport import Request, Transport
from roomful.testing.echo import EchoReceiver, open_echo
from roomful.transports.asgi_websocket import serve_websocket
from roomful.transports.negotiate import TransportOptions, WebSocketRoute


class Leaver(EchoReceiver):
    """Closes with the code that it is sent."""

    def on_message(self, data: bytes, binary: bool) -> None:
        self._transport.close(int(data), "as you wish")


def open_leaver(transport: Transport, request: Request) -> Leaver:
    return Leaver(transport)


ROUTES = [WebSocketRoute("/echo", open_echo, 1_000_000, ("centrifuge-json",)), WebSocketRoute("/leave", open_leaver)]


async def realtime(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await serve_websocket(scope, receive, send, ROUTES, TransportOptions())


app = Starlette(routes=[Mount("/realtime", realtime)])
