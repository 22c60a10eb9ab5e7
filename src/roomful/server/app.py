"""Roomful: the whole server as an object. What the user's program holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from roomful.model.errors import ConfigError
from roomful.node import eager
from roomful.node.admission import Admission
from roomful.node.hooks import Hooks
from roomful.node.stats import Stats
from roomful.server import api, metrics, routes
from roomful.server.calls import Calls
from roomful.server.config import Config
from roomful.server.config_check import check
from roomful.server.reload import reload
from roomful.server.settings import load
from roomful.server.signals import on_termination
from roomful.server.wiring import Live, wire
from roomful.server.worker_peers import Peers
from roomful.transports.asgi_stream import serve_stream
from roomful.transports.asgi_websocket import inner_path, serve_websocket
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.stream import StreamRoute, Streams

log = logging.getLogger("roomful.server")

HookT = TypeVar("HookT", bound=Callable[..., Any])


class Roomful(Calls):
    """A server: hooks are added to it, it is served or mounted, and it publishes from any task of the process.

        app = Roomful()                      # roomful.toml and ROOMFUL_… ; or Roomful(Config(...))
        await app.publish("chat:1", {"text": "hello"})

    It starts by itself at the first request or call, belongs to the event loop of that moment, and ends with `stop`.
    dev: every right to everybody, on loopback only (`--dev`).
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        dev: bool = False,
        websocket_routes: Sequence[WebSocketRoute] = (),
        stream_routes: Sequence[StreamRoute] = (),
    ) -> None:
        self._config = config
        self._dev = dev
        self._more_routes = tuple(websocket_routes)
        self._more_streams = tuple(stream_routes)
        self._stats = Stats()
        self._hooks = Hooks(self._stats)
        self._live: Live | None = None
        self._started: asyncio.Future[None] | None = None
        self._draining = False
        self._served = False
        self.peers: Peers | None = None
        """The other workers, when there are any."""
        self._forget_signals: Callable[[], None] = lambda: None
        self._http: ASGIApp = routes.http_app(self, [*api.routes(self), *metrics.routes(self)])

    # Before it starts

    def on(
        self, event: type, *, channel: str | None = None, method: str | None = None, document: str | None = None
    ) -> Callable[[HookT], HookT]:
        """Makes the function a hook for an event type, for all channels (methods, documents) or those that match.

        `*` stands for any text; the most specific pattern wins. The function takes the event and returns the reply type
        of that event or None, or raises (see `roomful.model.event`). Plain functions run in a thread. Raises
        ConfigError for a second hook with the same event and pattern.
        """
        patterns = [pattern for pattern in (channel, method, document) if pattern is not None]
        if len(patterns) > 1:
            raise ConfigError("a hook is narrowed by a channel, a method or a document, not by several")

        def add(hook: HookT) -> HookT:
            self._hooks.add(event, patterns[0] if patterns else None, hook)
            return hook

        return add

    def configure(self, config: Config, *, dev: bool = False) -> None:
        """Replaces the configuration, as `roomful serve` does with its flags. Raises ConfigError once it is running."""
        if self._live is not None:
            raise ConfigError("the server is already running")
        self._config, self._dev = config, dev

    def reload(self, config: Config) -> list[str]:
        """Puts the keys and the limits of a configuration into force while it runs; no connection notices.

        What has changed otherwise needs a new start: the names of these keys, such as "server.port". Raises ConfigError
        for a configuration that can't be used; then nothing has changed.
        """
        if self._live is None:
            check(config)
            self._config = config
            return []
        self._live, changed = reload(self._live, config)
        return changed

    # Its life

    @property
    def config(self) -> Config | None:
        """What it was given; None: it reads file and environment when it starts."""
        return self._config

    @property
    def dev(self) -> bool:
        return self._dev

    @property
    def ready(self) -> bool:
        """Whether clients may be sent here."""
        return not self.trouble

    @property
    def trouble(self) -> str:
        """Why no clients may be sent here; "" when they may."""
        if self._started is None or not self._started.done():
            return "the server is starting"
        if self._draining:
            return "the server is stopping"
        if not self.live.node.engine.ready:
            return "the engine can't be reached"
        return self.live.documents.trouble

    def join(self, peers: Peers) -> None:
        """Says that it is one of several workers that `roomful serve` runs."""
        self.peers = peers
        metrics.answers(peers, lambda: self.live)
        peers.answer("ready", lambda: self.trouble.encode() or b"true")

    @property
    def stats(self) -> Stats:
        """What has been counted."""
        return self._stats

    @property
    def live(self) -> Live:
        """The live objects, made at the first look. Raises ConfigError for a configuration that can't be used."""
        if self._live is None:
            config = self._config if self._config is not None else load()
            check(config)
            self._live = wire(
                config,
                dev=self._dev,
                hooks=self._hooks,
                stats=self._stats,
                more_routes=self._more_routes,
                more_streams=self._more_streams,
            )
        return self._live

    @property
    def websocket_routes(self) -> Sequence[WebSocketRoute]:
        return self.live.websocket_routes

    @property
    def transport_options(self) -> TransportOptions:
        return self.live.transport_options

    @property
    def admission(self) -> Admission:
        return self.live.node.admission

    @property
    def streams(self) -> Streams:
        return self.live.streams

    async def start(self) -> None:
        """Connects to the engine; does nothing when running. Raises RoomfulError or ConfigError when it can't."""
        while self._started is not None:
            if self._started.done():
                return
            await asyncio.wait((self._started,))
        started = self._started = asyncio.get_running_loop().create_future()
        try:
            await self.live.node.start()
            await self.live.documents.start()
            self.live.lag.start()
        except BaseException:
            self._started = None
            raise
        finally:
            started.set_result(None)
        self._draining = False
        if not self._served:
            self._forget_signals = on_termination(self._drain_at_once)

    async def drain(self, drain_s: float) -> None:
        """Not ready any more, and every client is told to come back (3001), spread over the first half of the time."""
        if self._started is None or self._draining:
            return
        self._draining = self.live.streams.draining = True
        await self.live.node.drain(drain_s)

    async def stop(self) -> None:
        """Ends what is left and leaves the engine. It may be started again."""
        if self._started is None:
            return
        self._forget_signals()
        self._draining = True
        self.live.lag.stop()
        await self.live.node.stop()
        await self.live.state.stop()
        await self.live.documents.stop()
        if self.live.webhooks is not None:
            await self.live.webhooks.close()
        self._live = None
        self._started = None

    @asynccontextmanager
    async def lifespan(self, _host: object = None) -> AsyncIterator[None]:
        """For applications that mount it: `FastAPI(lifespan=app.lifespan)`."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def serving(self) -> None:
        """Says that `roomful serve` runs it, which looks after signals itself."""
        self._served = True

    def _drain_at_once(self) -> None:
        eager.start(self.drain(self.live.config.server.drain_s))

    # HTTP and WebSocket

    @property
    def asgi(self) -> ASGIApp:
        """The ASGI application, to be mounted inside another one: this object itself.

        Not a bound method: uvicorn takes one for an application of ASGI 2.
        """
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: `uvicorn module:app`."""
        match scope["type"]:
            case "lifespan":
                await routes.serve_lifespan(self.lifespan, receive, send)
            case "websocket":
                await self.start()
                await serve_websocket(
                    scope, receive, send, self.websocket_routes, self.transport_options, self.admission
                )
            case "http":
                await self.start()
                endpoint = self.live.http_endpoints.get(inner_path(scope))
                if endpoint is not None:
                    await endpoint(scope, receive, send)
                elif not await serve_stream(scope, receive, send, self.streams):
                    await self._http(scope, receive, send)
