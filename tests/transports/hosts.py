"""Servers for the tests of transports, each on its own loop in its own thread, on a free port of loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.types import Receive, Scope, Send

from roomful.server.app import Roomful
from roomful.testing.raw_websocket import Address
from roomful.transports.asgi_stream import serve_stream
from roomful.transports.asgi_websocket import serve_websocket
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.stream import Streams
from roomful.transports.uvicorn_bridge import Bridge
from roomful.transports.uvicorn_http import HttpEntrance

WAIT_S = 10.0


@dataclass
class Host:
    """A running server. failures: what reached the loop's exception handler."""

    address: Address
    failures: list[dict[str, Any]] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop = field(init=False)
    told_to_end: asyncio.Event = field(init=False)


async def nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@contextmanager
def bridged(bridge: Bridge, *, uds: str = "", **more: Any) -> Iterator[Host]:
    """uvicorn with the bridge, as `serve` runs it."""
    with _uvicorn(nothing_here, uds, ws=bridge, **more) as host:
        yield host


@contextmanager
def entered(streams: Streams, *, uds: str = "", **more: Any) -> Iterator[Host]:
    """uvicorn with the entrance for streams, as `serve` runs it."""
    with _uvicorn(streaming(streams), uds, http=HttpEntrance(streams, more.get("ws")), **more) as host:
        yield host


@contextmanager
def roomful(app: Roomful) -> Iterator[Host]:
    """The whole server, as `serve` runs it."""
    bridge = Bridge(app.websocket_routes, app.transport_options)
    with _uvicorn(app, "", http=HttpEntrance(app.streams, bridge), ws=bridge, lifespan="on") as host:
        yield host


@contextmanager
def roomful_elsewhere(app: Roomful) -> Iterator[Host]:
    """The whole server under uvicorn as it comes."""
    with _uvicorn(app, "", lifespan="on") as host:
        yield host


@contextmanager
def plain_streams(streams: Streams) -> Iterator[Host]:
    """uvicorn as it comes, and `serve_stream` as the application."""
    with _uvicorn(streaming(streams), "") as host:
        yield host


@contextmanager
def hypercorn_streams(streams: Streams) -> Iterator[Host]:
    """hypercorn, and `serve_stream` as the application."""
    with _hypercorn(streaming(streams)) as host:
        yield host


def streaming(streams: Streams) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not await serve_stream(scope, receive, send, streams):
            await nothing_here(scope, receive, send)

    return app


@contextmanager
def plain(routes: Sequence[WebSocketRoute], options: TransportOptions, ws: str) -> Iterator[Host]:
    """uvicorn with one of its own WebSocket protocols, and `serve_websocket` as the application."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_websocket(scope, receive, send, routes, options)

    with _uvicorn(app, "", ws=ws) as host:
        yield host


@contextmanager
def hypercorn(routes: Sequence[WebSocketRoute], options: TransportOptions) -> Iterator[Host]:
    """hypercorn, and `serve_websocket` as the application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await serve_websocket(scope, receive, send, routes, options)

    with _hypercorn(app) as host:
        yield host


@contextmanager
def _hypercorn(app: Any) -> Iterator[Host]:
    bound = _bind("")
    config = Config()
    config.bind = [f"fd://{bound.fileno()}"]
    config.graceful_timeout = 1.0
    config.errorlog = None

    async def run(ready: Callable[[], None], told_to_end: asyncio.Event) -> None:
        asyncio.get_running_loop().call_soon(ready)
        await serve(app, config, shutdown_trigger=told_to_end.wait, mode="asgi")

    with _thread(bound.getsockname(), run) as host:
        yield host


@contextmanager
def _uvicorn(app: Any, uds: str, **more: Any) -> Iterator[Host]:
    bound = _bind(uds)
    settings = {"http": "httptools", "interface": "asgi3", "lifespan": "off", "log_config": None, **more}
    config = uvicorn.Config(app, timeout_graceful_shutdown=1, **settings)

    async def run(ready: Callable[[], None], told_to_end: asyncio.Event) -> None:
        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready()

        server = Server(config)
        serving = asyncio.create_task(server.serve([bound]))
        await told_to_end.wait()
        server.should_exit = True
        await serving

    with _thread(uds or bound.getsockname(), run) as host:
        yield host


def _bind(uds: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX if uds else socket.AF_INET, socket.SOCK_STREAM)
    bound.bind(uds or ("127.0.0.1", 0))
    bound.listen()  # who connects before the server is ready waits
    return bound


@contextmanager
def _thread(address: Address, run: Callable[[Callable[[], None], asyncio.Event], Awaitable[None]]) -> Iterator[Host]:
    host = Host(address)
    ready = threading.Event()

    async def main() -> None:
        host.loop = asyncio.get_running_loop()
        host.loop.set_exception_handler(lambda _loop, context: host.failures.append(context))
        host.told_to_end = asyncio.Event()
        await run(ready.set, host.told_to_end)

    def in_thread() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=in_thread, daemon=True)
    thread.start()
    assert ready.wait(WAIT_S)
    try:
        yield host
    finally:
        host.loop.call_soon_threadsafe(host.told_to_end.set)
        thread.join(WAIT_S)
    assert not thread.is_alive()
    assert host.failures == []
