"""What the entrance uses of uvicorn's insides, and what it adds: time and size for a request."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from roomful.node.wheel import Wheel
from roomful.testing.echo import open_echo
from roomful.testing.raw_websocket import TEXT, RawWebSocket, frame
from roomful.testing.stream_contract import StreamEndpoint, asked, whole
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.stream import StreamRoute, Streams
from roomful.transports.uvicorn_bridge import Bridge
from tests.transports.hosts import Host, entered

OPTIONS = TransportOptions(head_timeout_s=0.3, body_timeout_s=0.3, head_max_bytes=4_096, close_timeout_s=0.3)
GET = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def endpoint() -> StreamEndpoint:
    return StreamEndpoint()


@pytest.fixture(scope="module")
def streams(endpoint: StreamEndpoint) -> Streams:
    return Streams([StreamRoute("/probe", endpoint.open, "probe", ("GET", "POST"))], OPTIONS, Wheel())


@pytest.fixture(scope="module")
def host(streams: Streams) -> Iterator[Host]:
    bridge = Bridge([WebSocketRoute("/echo", open_echo)], OPTIONS)
    with entered(streams, ws=bridge) as host:
        yield host


@contextmanager
def refused(host: Host, request: bytes, status: int) -> Iterator[socket.socket]:
    """The request is answered with this status and an error in JSON, and the connection is closed."""
    with asked(host.address[1], request) as client:
        yield client
        head, _, body = whole(client).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == 107


@pytest.mark.parametrize(
    "beginning",
    [
        b"\r\n",
        b"GET",
        b"GET /probe HTTP/1.1\r\nHost: x\r\nX-",
        b"POST /probe HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n12",
        b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n12",
    ],
)
def test_a_request_that_never_ends(host: Host, beginning: bytes) -> None:
    """The application at /nothing answers before the body is there: then the end is without a word."""
    with asked(host.address[1], beginning) as client:
        assert whole(client)[:13] in (b"HTTP/1.1 408 ", b"HTTP/1.1 404 ")


def test_a_connection_without_a_request_is_closed_without_a_word(host: Host) -> None:
    with asked(host.address[1], b"") as client:
        assert whole(client) == b""


def test_a_request_that_never_ends_on_a_used_connection(host: Host) -> None:
    with asked(host.address[1], GET) as client:
        assert client.recv(65_536).startswith(b"HTTP/1.1 404 ")
        client.sendall(GET[:10])
        assert whole(client).startswith(b"HTTP/1.1 408 ")


def test_dripping_does_not_help(host: Host) -> None:
    with asked(host.address[1], b"GET / HTTP/1.1\r\n") as client:
        client.settimeout(0.02)
        for _ in range(500):
            client.sendall(b"X")
            with suppress(TimeoutError):
                assert client.recv(65_536).startswith(b"HTTP/1.1 408 ")
                return
    pytest.fail("it may drip for ever")


def test_an_open_stream_outlives_the_time_for_requests(host: Host, endpoint: StreamEndpoint) -> None:
    with asked(host.address[1], b"GET /probe HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        probe = endpoint.opened()
        assert not probe.heard_within(3 * OPTIONS.head_timeout_s)
        probe.do(lambda transport: transport.close(3001, "shutdown"))
        assert whole(client).endswith(b"0\r\n\r\n")


def test_so_does_a_websocket(host: Host) -> None:
    with RawWebSocket(host.address) as client:
        client.open("/echo")
        client.socket.settimeout(3 * OPTIONS.head_timeout_s)
        with pytest.raises(TimeoutError):
            client.receive()
        client.socket.settimeout(10.0)
        client.send(frame(TEXT, b"still here"))
        assert client.receive() == (TEXT, b"still here")


@pytest.mark.parametrize("header", [b"X: " + b"*" * 5_000, b"X: y\r\n" * 1_000, b"*" * 5_000])
def test_endless_headers(host: Host, header: bytes) -> None:
    with refused(host, b"GET /probe HTTP/1.1\r\n" + header, 431):
        pass


def test_a_large_body_is_no_head(host: Host, endpoint: StreamEndpoint) -> None:
    request = b"POST /probe HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"*" * 60_000
    with asked(host.address[1], request) as client:
        assert endpoint.opened().request.body == b"*" * 60_000
        assert client.recv(13) == b"HTTP/1.1 200 "


def test_no_http(host: Host) -> None:
    with refused(host, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400):
        pass


def test_expectations_are_met(host: Host, endpoint: StreamEndpoint) -> None:
    head = b"POST /probe HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with asked(host.address[1], head) as client:
        assert client.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert client.recv(13) == b"HTTP/1.1 200 "
        assert endpoint.opened().request.body == b"abc"


def test_an_upgrade_to_something_unknown_is_a_request_like_any_other(host: Host, endpoint: StreamEndpoint) -> None:
    """curl --http2 asks for this."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    with asked(host.address[1], b"GET /probe HTTP/1.1\r\nHost: x\r\n" + upgrade) as client:
        probe = endpoint.opened()
        assert not probe.heard_within(2 * OPTIONS.body_timeout_s)
        assert client.recv(13) == b"HTTP/1.1 200 "


def test_a_stream_asked_for_behind_an_answer_that_is_still_under_way(host: Host, endpoint: StreamEndpoint) -> None:
    """Pipelined: uvicorn keeps it until the answer before it is out, so it goes the way of ASGI."""
    with asked(host.address[1], GET + b"GET /probe HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        probe = endpoint.opened()
        probe.do(lambda transport: transport.close(3001, "shutdown"))
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += client.recv(65_536)
        assert received.startswith(b"HTTP/1.1 404 ")
        assert b"hello" in received


def test_on_a_unix_socket(endpoint: StreamEndpoint, tmp_path: Path) -> None:
    streams = Streams([StreamRoute("/probe", endpoint.open, "probe")], OPTIONS, Wheel())
    path = str(tmp_path / "s")
    with entered(streams, uds=path), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10.0)
        client.connect(path)
        client.sendall(b"GET /probe HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(13) == b"HTTP/1.1 200 "
        assert endpoint.opened().request.address == ""
