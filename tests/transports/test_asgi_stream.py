from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from roomful.testing.stream_contract import StreamContract
from roomful.transports.stream import Streams
from tests.transports.hosts import hypercorn_streams, plain_streams


class TestUnderUvicorn(StreamContract):
    @classmethod
    @contextmanager
    def serving(cls, streams: Streams) -> Iterator[int]:
        with plain_streams(streams) as host:
            yield host.address[1]


class TestUnderHypercorn(StreamContract):
    @classmethod
    @contextmanager
    def serving(cls, streams: Streams) -> Iterator[int]:
        with hypercorn_streams(streams) as host:
            yield host.address[1]
