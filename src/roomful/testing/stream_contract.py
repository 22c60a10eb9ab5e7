"""What every way to send a streamed response promises, as tests. One of your own passes them too:

    class TestMyStreams(StreamContract):
        @classmethod
        def serving(cls, streams):
            return my_server_in_a_thread(streams)

Needs pytest. The client is blocking, so nothing of the server's own code stands on both sides.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any, ClassVar

import pytest

from roomful.node.wheel import Wheel
from roomful.seams.transport import Request, Transport
from roomful.testing.transport_contract import CLOSE_TIMEOUT_S, STUCK_S, WAIT_S, Endpoint, Probe
from roomful.transports.negotiate import Refused, TransportOptions
from roomful.transports.stream import Stream, StreamRoute, Streams

ORIGIN = "https://example.com"
BODY_MAX_BYTES = 65_536
EVENTS = "text/event-stream; charset=utf-8"


class StreamEndpoint(Endpoint):
    """Opens probes over streams that have started with `hello`; with `?wait` over ones that haven't."""

    def open(self, stream: Stream, request: Request) -> Probe | Refused:
        if "refuse" in request.query:
            return Refused(400, 107, "you wanted it")
        if "boom" in request.query:
            raise RuntimeError("an endpoint with a bug")
        if "wait" not in request.query:
            stream.start(EVENTS, first=b"hello", heartbeat=b":\n" if "beat" in request.query else b"")
        return self(stream, request)

    def forget(self) -> None:
        """The probes that no test has asked for."""
        while not self._opened.empty():
            self._opened.get()


def stream_of(transport: Transport) -> Stream:
    assert isinstance(transport, Stream)
    return transport


class Client:
    """One request over HTTP/1.1, and its response as it comes."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        self.response: HTTPResponse

    def ask(self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Client:
        """Returns when the head of the response is here."""
        self._connection.request(method, target, body, headers or {})
        self.socket = self._connection.sock
        self.response = self._connection.getresponse()
        return self

    @property
    def status(self) -> int:
        return self.response.status

    def header(self, name: str) -> str | None:
        return self.response.getheader(name)

    def read(self, size: int) -> bytes:
        """Exactly that much of the body, or less when it has ended."""
        return self.response.read(size)

    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.response.read())["error"]
        return error

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.response.close()
        self.socket.close()

    def close(self) -> None:
        self._connection.close()


class StreamContract:
    """What the docstrings of `transports/stream.py` say."""

    @classmethod
    def serving(cls, streams: Streams) -> AbstractContextManager[int]:
        """Serves in another thread, on that port of loopback."""
        raise NotImplementedError

    options: ClassVar[TransportOptions] = TransportOptions(
        allowed_origins=(ORIGIN,), close_timeout_s=CLOSE_TIMEOUT_S, heartbeat_s=0.05, body_timeout_s=0.5
    )

    @pytest.fixture(scope="class")
    @classmethod
    def endpoint(cls) -> StreamEndpoint:
        return StreamEndpoint()

    @pytest.fixture(scope="class")
    @classmethod
    def streams(cls, endpoint: StreamEndpoint) -> Streams:
        routes = [
            StreamRoute("/probe", endpoint.open, "probe", ("GET", "POST"), BODY_MAX_BYTES),
            StreamRoute("/always", endpoint.open, "always", opens_while_draining=True),
        ]
        return Streams(routes, cls.options, Wheel())

    @pytest.fixture(scope="class")
    @classmethod
    def port(cls, streams: Streams) -> Iterator[int]:
        with cls.serving(streams) as port:
            yield port

    @pytest.fixture
    def client(self, port: int, endpoint: StreamEndpoint) -> Iterator[Client]:
        client = Client(port)
        yield client
        client.close()
        endpoint.forget()

    @pytest.fixture
    def probe(self, client: Client, endpoint: StreamEndpoint) -> Probe:
        """The server's end of `client`, whose response has begun."""
        assert client.ask("GET", "/probe").read(5) == b"hello"
        return endpoint.opened()

    @pytest.fixture
    def waiting(self, port: int, endpoint: StreamEndpoint) -> Iterator[tuple[socket.socket, Probe]]:
        """A stream that hasn't started, and its client's socket."""
        with asked(port, b"GET /probe?wait= HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client:
            yield client, endpoint.opened()

    # The request

    def test_the_endpoint_gets_the_request(self, client: Client, endpoint: StreamEndpoint) -> None:
        body = b"*" * BODY_MAX_BYTES
        client.ask("POST", "/probe?twice=1&twice=2&text=a%20b%C3%A9&empty=", body, {"X-Mixed-Case": "Kept"})
        probe = endpoint.opened()
        request = probe.request
        assert (request.method, request.path, request.body) == ("POST", "/probe", body)
        assert request.query == {"twice": "2", "text": "a bé", "empty": ""}
        assert request.query_string == b"twice=1&twice=2&text=a%20b%C3%A9&empty="
        assert request.headers["x-mixed-case"] == "Kept"
        assert request.address == "127.0.0.1"
        assert (probe.transport.kind, probe.transport.framed, probe.transport.has_close_frame) == (
            "probe",
            False,
            False,
        )

    def test_a_body_in_chunks(self, client: Client, endpoint: StreamEndpoint) -> None:
        client._connection.request("POST", "/probe", iter([b"one", b"two"]), encode_chunked=True)
        assert client._connection.getresponse().status == 200
        assert endpoint.opened().request.body == b"onetwo"

    @pytest.mark.parametrize("method", ["PUT", "HEAD", "DELETE"])
    def test_another_method(self, client: Client, method: str) -> None:
        client.ask(method, "/probe")
        assert (client.status, client.header("Allow")) == (405, "GET, POST, OPTIONS")
        if method != "HEAD":
            assert client.error()["code"] == 107

    def test_a_foreign_page(self, client: Client) -> None:
        client.ask("GET", "/probe", headers={"Origin": "https://evil.example"})
        assert (client.status, client.error()["code"]) == (403, 103)
        assert client.header("Access-Control-Allow-Origin") is None

    @pytest.mark.parametrize("target", ["/probe", "/probe?refuse="])
    def test_an_allowed_page(self, client: Client, target: str) -> None:
        client.ask("GET", target, headers={"Origin": ORIGIN})
        assert client.header("Access-Control-Allow-Origin") == ORIGIN
        assert client.header("Access-Control-Allow-Credentials") == "true"
        assert client.header("Vary") == "Origin"

    def test_a_preflight(self, client: Client) -> None:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        client.ask("OPTIONS", "/probe", headers={"Origin": ORIGIN, **asks})
        assert client.status == 204
        assert client.header("Access-Control-Allow-Origin") == ORIGIN
        assert client.header("Access-Control-Allow-Methods") == "GET, POST, OPTIONS"
        assert client.header("Access-Control-Allow-Headers") == "content-type"
        assert client.header("Access-Control-Max-Age") == "300"

    def test_a_compressed_body(self, client: Client) -> None:
        client.ask("POST", "/probe", b"x", {"Content-Encoding": "gzip"})
        assert (client.status, client.error()["code"]) == (415, 107)

    def test_a_large_body(self, client: Client) -> None:
        client.ask("POST", "/probe", b"*" * (BODY_MAX_BYTES + 1))
        assert (client.status, client.error()["code"]) == (413, 107)

    def test_a_large_body_in_chunks(self, client: Client) -> None:
        client._connection.request("POST", "/probe", iter([b"*" * BODY_MAX_BYTES, b"*"]), encode_chunked=True)
        assert client._connection.getresponse().status == 413

    def test_a_slow_body(self, port: int) -> None:
        with asked(port, b"POST /probe HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1") as client:
            assert client.recv(13) == b"HTTP/1.1 408 "

    def test_draining(self, port: int, streams: Streams, endpoint: StreamEndpoint) -> None:
        streams.draining = True
        try:
            refused, opened = Client(port).ask("GET", "/probe"), Client(port).ask("GET", "/always")
            assert (refused.status, refused.header("Retry-After"), refused.error()["code"]) == (503, "1", 111)
            assert opened.status == 200
            endpoint.opened()
            opened.close()
        finally:
            streams.draining = False

    # The response

    def test_the_head(self, client: Client, probe: Probe) -> None:
        assert client.status == 200
        assert client.header("Content-Type") == EVENTS
        assert "no-cache" in (client.header("Cache-Control") or "")
        assert client.header("X-Accel-Buffering") == "no"
        assert client.header("X-Content-Type-Options") == "nosniff"
        assert client.header("Content-Length") is None

    def test_what_is_written_comes_at_once(self, client: Client, probe: Probe) -> None:
        for piece in ("ä".encode(), b"\xff\0", b"*" * 100_000):
            probe.send(piece)
            probe.send(b"")  # no piece, and no end
            assert client.read(len(piece)) == piece

    def test_heartbeats(self, client: Client, endpoint: StreamEndpoint) -> None:
        assert client.ask("GET", "/probe?beat=").read(5 + 4) == b"hello:\n:\n"
        endpoint.opened()

    def test_nothing_is_sent_before_the_start(self, waiting: tuple[socket.socket, Probe]) -> None:
        client, probe = waiting
        probe.send(b"too early")
        probe.do(lambda transport: stream_of(transport).start("text/plain", first=b"first"))
        probe.do(lambda transport: stream_of(transport).start("text/html"))
        probe.do(lambda transport: stream_of(transport).refuse(Refused(400, 107, "too late")))
        probe.do(lambda transport: transport.close(3001, "shutdown"))
        response = whole(client)
        assert b"content-type: text/plain" in response.lower()
        assert b"first" in response
        assert b"too" not in response
        assert probe.heard() == ("close", 3001, "shutdown")

    def test_refused_at_once(self, client: Client) -> None:
        client.ask("GET", "/probe?refuse=")
        assert (client.status, client.header("Content-Type")) == (400, "application/json")
        assert client.error() == {"code": 107, "message": "you wanted it"}

    def test_refused_later(self, waiting: tuple[socket.socket, Probe]) -> None:
        client, probe = waiting
        probe.do(lambda transport: stream_of(transport).refuse(Refused(401, 109, "token expired")))
        probe.do(lambda transport: stream_of(transport).start("text/plain", first=b"never"))
        response = whole(client)
        assert response.startswith(b"HTTP/1.1 401 ")
        assert response.endswith(b'{"error":{"code":109,"message":"token expired"}}')
        assert probe.heard() == ("close", 401, "token expired")
        probe.heard_no_more()

    # The end

    def test_our_close(self, client: Client, probe: Probe) -> None:
        probe.send(b"last words")
        probe.do(lambda transport: transport.close(4100, "tschüß"))
        probe.do(lambda transport: transport.close(3000, "again"))
        probe.send(b"too late")
        assert client.response.read() == b"last words"  # IncompleteRead if the body had been cut
        assert probe.heard() == ("close", 4100, "tschüß")
        probe.heard_no_more()

    def test_our_close_before_the_start(self, waiting: tuple[socket.socket, Probe]) -> None:
        client, probe = waiting
        probe.do(lambda transport: transport.close(3001, "shutdown"))
        assert whole(client).startswith(b"HTTP/1.1 503 ")
        assert probe.heard() == ("close", 3001, "shutdown")

    def test_the_client_goes(self, client: Client, probe: Probe) -> None:
        client.response.close()
        client.close()
        assert probe.heard() == ("close", 1006, "")
        probe.heard_no_more()

    def test_the_client_goes_before_the_start(self, waiting: tuple[socket.socket, Probe]) -> None:
        client, probe = waiting
        client.close()
        assert probe.heard() == ("close", 1006, "")

    def test_the_client_resets(self, client: Client, probe: Probe) -> None:
        client.reset()
        assert probe.heard() == ("close", 1006, "")
        probe.send(b"into the void")
        probe.do(lambda transport: transport.close(3001, "shutdown"))
        probe.heard_no_more()

    def test_a_client_that_does_not_read_is_not_waited_for(self, client: Client, probe: Probe) -> None:
        self._fill(probe)
        while probe.heard_within(STUCK_S):
            self._fill(probe)
        probe.do(lambda transport: transport.close(3008, "slow"))
        assert probe.heard() == ("close", 3008, "slow")

    # Flow

    def test_a_slow_client_pauses_writing(self, client: Client, probe: Probe) -> None:
        sent = self._fill(probe)
        for number in range(sent):
            assert client.read(20_004)[:4] == number.to_bytes(4, "big")
        assert probe.heard() == ("writable", False)
        probe.send(b"as before")
        assert client.read(9) == b"as before"

    # Bugs

    def test_an_endpoint_with_a_bug_costs_its_own_request(
        self, client: Client, port: int, endpoint: StreamEndpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        client.ask("GET", "/probe?boom=")
        assert (client.status, client.error()["code"]) == (500, 100)
        assert "an endpoint with a bug" in caplog.text
        other = Client(port)
        assert other.ask("GET", "/probe").read(5) == b"hello"
        endpoint.opened()
        other.close()

    def _fill(self, probe: Probe) -> int:
        """Writes numbered pieces until `paused` is set; how many."""
        written = 0

        def write(transport: Transport) -> None:
            nonlocal written
            while not transport.paused:
                transport.write(written.to_bytes(4, "big") + b"*" * 20_000, True)
                written += 1

        probe.do(write)
        return written


@contextmanager
def asked(port: int, request: bytes) -> Iterator[socket.socket]:
    """A connection over which these bytes were sent."""
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as client:
        client.sendall(request)
        yield client


def whole(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    while piece := client.recv(65_536):
        received += piece
    return received
