from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from roomful.testing.raw_websocket import Address
from roomful.testing.transport_contract import ConformanceContract
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.uvicorn_bridge import Bridge
from tests.transports.hosts import bridged


class TestWebSocketConnection(ConformanceContract):
    @classmethod
    @contextmanager
    def serving(cls, routes: Sequence[WebSocketRoute], options: TransportOptions) -> Iterator[Address]:
        with bridged(Bridge(routes, options)) as host:
            yield host.address
