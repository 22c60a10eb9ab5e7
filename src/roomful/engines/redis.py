"""The engine on Redis 7 or Valkey: one server, one behind Sentinel, or a cluster.

RedisEngine ─ broker, presence, control ─▶ servers ─▶ link (commands) and listener (Pub/Sub) of each server
"""

from __future__ import annotations

import logging
import ssl

from roomful.engines.options import EngineOptions
from roomful.engines.redis_broker import RedisBroker
from roomful.engines.redis_cluster import ClusterServers
from roomful.engines.redis_control import RedisControl
from roomful.engines.redis_link import Server
from roomful.engines.redis_names import CONTROL, Names
from roomful.engines.redis_presence import RedisPresence
from roomful.engines.redis_servers import OneServer, Servers, Setup
from roomful.engines.redis_url import parse
from roomful.engines.redis_wire import Login
from roomful.model.errors import InternalError
from roomful.seams.engine import Sink

log = logging.getLogger("roomful.engines")


class RedisEngine:
    """One node's way to Redis. Raises ConfigError for a URL that makes no sense."""

    alone = False

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._url = parse(options.url)
        self._names = Names(options.prefix)
        self._servers: Servers = ClusterServers(self._url) if self._url.kind == "cluster" else OneServer(self._url)
        self.broker = RedisBroker(self._servers, self._names)
        self.presence = RedisPresence(self.broker, self._servers, self._names, options.lease_s, options.renew_s)
        self.control = RedisControl(self.broker, self._servers, self._names, self.presence.living_nodes)
        self._sink: Sink | None = None

    @property
    def ready(self) -> bool:
        return self._sink is not None and self._servers.ready

    async def start(self, sink: Sink, node: str) -> None:
        url, options = self._url, self._options
        tls = ssl.create_default_context() if url.tls else None
        setup = Setup(
            Login(url.user, url.password, url.database, f"roomful-{node}", tls),
            options.publish_deadline_s,
            options.backlog_max_bytes,
            self._on_server,
            self._on_message,
            self._on_lapse,
            self._names.pubsub,
        )
        await self._servers.start(setup)
        try:
            self._sink = self.broker.sink = self.control.sink = sink
            await self.control.start(node)
            await self.presence.start(node)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._sink is None:
            return
        self._sink = self.broker.sink = None
        await self.control.stop()
        await self.presence.stop()
        await self._servers.stop()

    def _on_server(self, server: Server) -> None:
        if server.evicts and not self._options.allow_eviction:
            message = (
                f"Redis may evict the log (maxmemory-policy {server.evicts}): set it to noeviction, or set "
                "engine.allow_eviction if gaps are acceptable"
            )
            if self._sink is None:
                raise InternalError(message)
            log.error("Redis was changed while we run: %s", message)  # worse than gaps would be no service
        self.presence.look_soon()

    def _on_message(self, name: bytes, data: bytes) -> None:
        tag = self._names.tag_of(name)
        if tag[:1] == b".":
            self.broker.on_message(tag, data)
        elif self.control.owns(tag):
            self.control.on_message(data)

    def _on_lapse(self, names: set[bytes]) -> None:
        tags = {self._names.tag_of(name) for name in names}
        if CONTROL in tags:
            self.control.catch_up()
        self.presence.look_soon()
        channels = [tag[1:].decode() for tag in tags if tag[:1] == b"."]
        if self._sink is not None:
            self._sink.on_lapse(channels)
