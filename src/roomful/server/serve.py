"""Serves an application on one port: uvicorn for HTTP, own protocols for WebSocket and streams; signals; draining."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Protocol, cast

import uvicorn
import uvloop
from starlette.types import ASGIApp

from roomful.model.errors import ConfigError
from roomful.node.admission import Admission
from roomful.server.config import Config, ServerOptions
from roomful.server.listen import Share, bound_sockets, url_of
from roomful.server.reload import on_hangup
from roomful.server.signals import SIGNALS
from roomful.server.supervisor import end_with_supervisor
from roomful.server.worker_peers import Peers
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.stream import Streams
from roomful.transports.uvicorn_bridge import Bridge
from roomful.transports.uvicorn_http import HttpEntrance

log = logging.getLogger("roomful.server")

_CLOSE_S = 1.0
"""After draining, for the last closing handshakes. uvicorn takes whole seconds for its part, the requests under way."""

_STOP_S = 5.0
"""For leaving the engine and closing the stores."""

_EXIT_S = 1.0
"""For the interpreter's own end, which a thread that hangs in a hook would hold up for ever."""


class Served(Protocol):
    """What `serve` needs of an application."""

    @property
    def asgi(self) -> ASGIApp:
        """HTTP; the lifespan isn't used here, `start` and `stop` are called."""
        ...

    @property
    def websocket_routes(self) -> Sequence[WebSocketRoute]: ...

    @property
    def transport_options(self) -> TransportOptions: ...

    @property
    def admission(self) -> Admission: ...

    @property
    def streams(self) -> Streams: ...

    def serving(self) -> None:
        """Says that signals are looked after."""
        ...

    def join(self, peers: Peers) -> None:
        """It is one of several workers."""
        ...

    def reload(self, config: Config) -> list[str]:
        """New settings; the names of those that need a new start."""
        ...

    async def start(self) -> None: ...

    async def drain(self, drain_s: float) -> None:
        """Tells the clients to go, spread over time; returns when all are gone or the time is over."""
        ...

    async def stop(self) -> None: ...


def serve(
    app: Served, options: ServerOptions, peers: Peers | None = None, reread: Callable[[], Config] | None = None
) -> NoReturn:
    """Serves until SIGTERM or SIGINT, sends everybody away, stops, and ends the process within a second.

    peers: this is one of several workers, started by a supervisor; then the port is shared, and the line with the URL
    is left to the supervisor. reread: reads the settings anew, at each SIGHUP; None: SIGHUP isn't looked after.

    The status is 0, or 1 when a step of the end failed or took too long; 1 also at a second signal, which ends it at
    once. Prints a line with the URL when it listens. Raises ConfigError when it can't listen or can't use its TLS
    files, and what `app.start` raises. For the main thread.
    """
    if peers is not None:
        app.join(peers)
    bridge = Bridge(app.websocket_routes, app.transport_options, app.admission)
    server = _Server(_uvicorn_config(app.asgi, bridge, HttpEntrance(app.streams, bridge), options), peers)
    share: Share | None = None if peers is None else "more"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, bound_sockets(options, share) as sockets:
        status = runner.run(_serve(app, server, bridge, sockets, options.drain_s, reread))
        _exit_soon(status)
    sys.exit(status)


class _Server(uvicorn.Server):
    """uvicorn without its signals: it would end by raising SIGTERM anew, and it knows no draining."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def __init__(self, config: uvicorn.Config, peers: Peers | None) -> None:
        super().__init__(config)
        self.peers = peers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.peers is not None:
            await self.peers.start()  # an answer there means that we listen
            return
        for each in sockets or ():
            print(f"Roomful listens on {url_of(each, self.config.is_ssl)}", flush=True)


def _uvicorn_config(asgi: ASGIApp, bridge: Bridge, entrance: HttpEntrance, options: ServerOptions) -> uvicorn.Config:
    if options.tls_key and not options.tls_cert:
        raise ConfigError("server.tls_cert: is missing; tls_key alone is no use")
    config = uvicorn.Config(
        asgi,
        http=cast(type[asyncio.Protocol], entrance),
        ws=cast(type[asyncio.Protocol], bridge),
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )
    try:
        config.load()
    except OSError as failure:  # an SSLError is one, too
        raise ConfigError(f"server.tls_cert, tls_key: can't use them: {failure.strerror or failure}") from failure
    return config


async def _serve(
    app: Served,
    server: _Server,
    bridge: Bridge,
    sockets: list[socket.socket],
    drain_s: float,
    reread: Callable[[], Config] | None,
) -> int:
    """The status to end with."""
    told_to_end = asyncio.Event()
    with _signals(told_to_end.set):
        if server.peers is not None:
            end_with_supervisor()
        app.serving()
        await app.start()
        if reread is not None:
            tls = server.config.ssl
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup, reread, app.reload, tls)
        _freeze()
        serving = asyncio.create_task(server.serve(sockets))
        await _either(serving, told_to_end)
        bridge.draining = True
        fine = await _at_most(drain_s + _CLOSE_S, "draining", app.drain(drain_s))
        await asyncio.gather(bridge.shutdown(_CLOSE_S), app.streams.shutdown(_CLOSE_S))
        server.should_exit = True
        fine &= await _at_most(_STOP_S, "serving the last requests", serving)
        fine &= await _at_most(_STOP_S, "stopping", app.stop())
        if server.peers is not None:
            await server.peers.stop()
        return 0 if fine else 1


@contextmanager
def _signals(act: Callable[[], None]) -> Iterator[None]:
    """The first signal makes the loop call `act`; the second ends the process, also when the loop is blocked."""
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if seen:
            os._exit(1)
        seen.append(number)
        loop.call_soon_threadsafe(act)

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _either(serving: asyncio.Task[None], told_to_end: asyncio.Event) -> None:
    waiting = asyncio.create_task(told_to_end.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _at_most(timeout_s: float, what: str, work: Coroutine[Any, Any, None] | asyncio.Task[None]) -> bool:
    """Waits for one step of the end, and says whether it went well; if not, the next one has its turn all the same."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=timeout_s)
    if not task.done():
        task.cancel()
        log.error("%s takes longer than %g s; going on without it", what, timeout_s)
        return False
    failure = None if task.cancelled() else task.exception()
    if failure is not None:
        log.error("%s failed; going on without it", what, exc_info=failure)
    return failure is None


def _freeze() -> None:
    """What is loaded by now stays for good: the garbage collector needn't look through it again."""
    gc.collect()
    gc.freeze()


def _exit_soon(status: int) -> None:
    def end() -> None:
        sys.stdout.flush()
        os._exit(status)

    timer = threading.Timer(_EXIT_S, end)
    timer.daemon = True
    timer.start()
