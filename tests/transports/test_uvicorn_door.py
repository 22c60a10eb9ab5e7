"""Who goes the short way, and that those who can't are served all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from roomful.node.wheel import Wheel
from roomful.testing.echo import open_echo
from roomful.testing.raw_websocket import TEXT, HandshakeRefused, RawWebSocket, frame
from roomful.testing.stream_contract import asked
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.stream import Streams
from roomful.transports.uvicorn_bridge import Bridge
from tests.transports.hosts import Host, entered

OPTIONS = TransportOptions(head_timeout_s=60.0, close_timeout_s=0.3)
REQUEST = b"GET /echo HTTP/1.1\r\nHost: x\r\n"
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"


class Counting(Bridge):
    """long: how many came the long way, by uvicorn."""

    long = 0

    def __call__(self, **of_uvicorn: Any) -> asyncio.Protocol:
        self.long += 1
        return super().__call__(**of_uvicorn)


@pytest.fixture
def bridge() -> Counting:
    return Counting([WebSocketRoute("/echo", open_echo)], OPTIONS)


@pytest.fixture
def host(bridge: Counting) -> Iterator[Host]:
    with entered(Streams([], OPTIONS, Wheel()), ws=bridge) as host:
        yield host
    assert host.failures == []


def test_a_whole_handshake_goes_the_short_way(host: Host, bridge: Counting) -> None:
    with RawWebSocket(host.address) as client:
        client.open("/echo")
        client.send(frame(TEXT, b"hello"))
        assert client.receive() == (TEXT, b"hello")
    assert bridge.long == 0


def test_so_does_one_that_is_refused(host: Host, bridge: Counting) -> None:
    with RawWebSocket(host.address) as client, pytest.raises(HandshakeRefused) as refused:
        client.open("/nothing")
    assert (refused.value.status, bridge.long) == (404, 0)


@pytest.mark.parametrize(
    "pieces",
    [
        [REQUEST, KEY + UPGRADE + b"\r\n"],
        [REQUEST + KEY + UPGRADE, b"\r\n"],
        [REQUEST + KEY + UPGRADE.upper().replace(b"WEBSOCKET", b"websocket") + b"\r\n"],
        [REQUEST + KEY + UPGRADE + b"\r\n" + b"too soon"],
    ],
)
def test_what_is_no_whole_handshake_goes_the_long_way(host: Host, bridge: Counting, pieces: list[bytes]) -> None:
    with asked(host.address[1], pieces[0]) as client:
        for piece in pieces[1:]:
            with asked(host.address[1], REQUEST + b"\r\n") as other:
                other.recv(13)  # by now the server has read the piece before
            client.sendall(piece)
        assert client.recv(13) == b"HTTP/1.1 101 "
    assert bridge.long == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (REQUEST + b"\r\n", b"404"),
        (REQUEST + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", b"404"),
        (REQUEST + b"Upgrade-Insecure-Requests: 1\r\nX: pgrade\r\n\r\n", b"404"),
        (REQUEST + UPGRADE + b"no header\r\n\r\n", b"400"),
        (b"\x16\x03pgrade", b"400"),
    ],
)
def test_everything_else_is_uvicorns(host: Host, bridge: Counting, request_: bytes, status: bytes) -> None:
    with asked(host.address[1], request_) as client:
        assert client.recv(13) == b"HTTP/1.1 " + status + b" "
    assert bridge.long == 0


def test_who_says_nothing_and_goes(host: Host) -> None:
    with asked(host.address[1], b""):
        pass
    with RawWebSocket(host.address) as client:
        client.open("/echo").close()


def test_who_says_nothing_is_closed_at_the_end_of_the_server(bridge: Counting) -> None:
    with entered(Streams([], OPTIONS, Wheel()), ws=bridge) as host, asked(host.address[1], b"") as client:
        with RawWebSocket(host.address) as other:
            other.open("/echo").close()  # by now the server knows of the first one
        host.loop.call_soon_threadsafe(host.told_to_end.set)
        assert client.recv(1) == b""
