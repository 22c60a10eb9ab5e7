"""The contract catches transports that break it: here, ones that are made to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from roomful.testing.raw_websocket import RawWebSocket
from roomful.testing.transport_contract import ConformanceContract, Endpoint, TransportContract
from roomful.testing.websocket_cases import all_cases
from roomful.transports.frames import FrameReader
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.uvicorn_bridge import Bridge
from roomful.transports.websocket import WebSocketConnection
from tests.transports.hosts import bridged

Check = Callable[[RawWebSocket, Endpoint], None]


@contextmanager
def opened() -> Iterator[tuple[RawWebSocket, Endpoint]]:
    endpoint = Endpoint()
    with (
        bridged(Bridge([WebSocketRoute("/probe", endpoint)], TransportOptions(close_timeout_s=0.3))) as host,
        RawWebSocket(host.address, timeout_s=1.0) as client,
    ):
        client.open("/probe")
        yield client, endpoint


def tells_twice(connection: WebSocketConnection) -> None:
    receiver = connection._receiver
    if receiver is not None:
        receiver.on_close(*connection._ending)


@pytest.mark.parametrize(
    ("name", "broken", "check"),
    [
        ("_tell", tells_twice, TransportContract.test_their_close),
        ("ping", lambda connection: None, TransportContract.test_native_pings),
        ("write", lambda connection, data, binary: None, TransportContract.test_what_is_written_comes_as_its_kind),
        ("close", lambda connection, code, reason: None, TransportContract.test_our_close),
    ],
)
def test_a_broken_transport_is_caught(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: object, check: Callable[..., None]
) -> None:
    monkeypatch.setattr(WebSocketConnection, name, broken)
    with opened() as (client, endpoint), pytest.raises((AssertionError, TimeoutError)):
        check(TransportContract(), client, endpoint.opened())


def test_a_reader_that_takes_what_it_may_not_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never fails: of the cases that must be refused, not one passes."""
    monkeypatch.setattr(FrameReader, "feed", lambda reader, data: [])
    case = next(case for case in all_cases() if case.code == 1002)
    with opened() as (client, _), pytest.raises(TimeoutError):
        ConformanceContract().conforms(client, case)
