"""What every WebSocket transport promises, as tests. One of your own passes them too:

    class TestMyTransport(ConformanceContract):     # TransportContract where the frames are another server's business
        @classmethod
        def serving(cls, routes, options):
            return my_server_in_a_thread(routes, options)

Needs pytest. The client is blocking and speaks bytes, so nothing of the server's own code stands on both sides.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import pytest

from roomful.seams.transport import Request, Transport
from roomful.testing.echo import open_echo
from roomful.testing.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Address,
    RawWebSocket,
    close_payload,
    frame,
)
from roomful.testing.websocket_cases import Case, all_cases
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.wire.framing import websocket_frame

WAIT_S = 10.0
"""How long something may take. It is waited for, so a test that passes takes as long as the transport does."""

MESSAGE_MAX_BYTES = 65_536
CLOSE_TIMEOUT_S = 0.3
STUCK_S = 0.2
"""A transport that hasn't become writable by then has a client that doesn't read."""

Call = tuple[Any, ...]
"""What a receiver was told: the method's name without `on_`, and its arguments."""


class Probe:
    """A receiver that remembers what it is told, and does what a test wants, on the server's loop."""

    def __init__(self, transport: Transport, request: Request) -> None:
        self.transport = transport
        self.request = request
        self.fails = False
        self._loop = asyncio.get_running_loop()
        self._calls: queue.Queue[Call] = queue.Queue()

    def on_message(self, data: bytes, binary: bool) -> None:
        if self.fails:
            raise RuntimeError("a receiver with a bug")
        self._calls.put(("message", data, binary))

    def on_pong(self) -> None:
        self._calls.put(("pong",))

    def on_writable(self) -> None:
        self._calls.put(("writable", self.transport.paused))

    def on_close(self, code: int, reason: str) -> None:
        self._calls.put(("close", code, reason))

    def heard(self) -> Call:
        """The next call; fails when none comes."""
        return self._calls.get(timeout=WAIT_S)

    def heard_within(self, wait_s: float) -> bool:
        """Whether there is a next call; it is dropped."""
        try:
            return bool(self._calls.get(timeout=wait_s))
        except queue.Empty:
            return False

    def heard_no_more(self) -> None:
        """Nothing was told that hasn't been asked for, up to now."""
        self.do(lambda transport: None)
        assert self._calls.empty(), self._calls.get()

    def do(self, act: Callable[[Transport], object]) -> None:
        """Returns when the server's loop has done it."""
        done: queue.Queue[BaseException | None] = queue.Queue()

        def run() -> None:
            try:
                act(self.transport)
            except BaseException as failure:
                done.put(failure)
            else:
                done.put(None)

        self._loop.call_soon_threadsafe(run)
        failure = done.get(timeout=WAIT_S)
        if failure is not None:
            raise failure

    def send(self, data: bytes, binary: bool = False) -> None:
        """One message, framed if the transport wants that."""
        self.do(lambda transport: transport.write(spelled(transport, data, binary), binary))


def spelled(transport: Transport, data: bytes, binary: bool) -> bytes:
    return websocket_frame(data, binary) if transport.framed else data


class Endpoint:
    """Opens probes, and hands them to the test."""

    def __init__(self) -> None:
        self._opened: queue.Queue[Probe] = queue.Queue()
        self.greeting = b""

    def __call__(self, transport: Transport, request: Request) -> Probe:
        probe = Probe(transport, request)
        if self.greeting:
            transport.write(spelled(transport, self.greeting, False), False)
        self._opened.put(probe)
        return probe

    def opened(self) -> Probe:
        return self._opened.get(timeout=WAIT_S)


class TransportContract:
    """What the docstrings of `seams/transport.py` say."""

    drop_code: ClassVar[int | None] = None
    """What the client sees of a close with 3000: None for the bare end of TCP."""
    cut_code: ClassVar[int] = 1006
    """What the receiver hears when TCP ended without a close frame."""
    native_pings: ClassVar[bool] = True

    @classmethod
    def serving(cls, routes: Sequence[WebSocketRoute], options: TransportOptions) -> AbstractContextManager[Address]:
        """Serves in another thread or process, on loopback."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def endpoint(cls) -> Endpoint:
        return Endpoint()

    @pytest.fixture(scope="class")
    @classmethod
    def address(cls, endpoint: Endpoint) -> Iterator[Address]:
        routes = [
            WebSocketRoute("/echo", open_echo, MESSAGE_MAX_BYTES),
            WebSocketRoute("/probe", endpoint, MESSAGE_MAX_BYTES, ("centrifuge-json", "centrifuge-protobuf")),
        ]
        with cls.serving(routes, TransportOptions(close_timeout_s=CLOSE_TIMEOUT_S)) as address:
            yield address

    @pytest.fixture
    def client(self, address: Address) -> Iterator[RawWebSocket]:
        with RawWebSocket(address, timeout_s=WAIT_S) as client:
            yield client

    @pytest.fixture
    def probe(self, client: RawWebSocket, endpoint: Endpoint) -> Probe:
        """The server's end of `client`, which is open."""
        client.open("/probe")
        return endpoint.opened()

    # The request

    def test_the_endpoint_gets_the_request(self, client: RawWebSocket, endpoint: Endpoint) -> None:
        client.open(
            "/probe?format=protobuf&empty=&twice=1&twice=2&text=a%20b%C3%A9",
            {"X-Mixed-Case": "Kept", "Sec-WebSocket-Protocol": "unknown, centrifuge-protobuf"},
        )
        request = endpoint.opened().request
        assert request.path == "/probe"
        assert request.query == {"format": "protobuf", "empty": "", "twice": "2", "text": "a bé"}
        assert request.headers["x-mixed-case"] == "Kept"
        assert request.address in ("127.0.0.1", "")
        assert request.subprotocol == "centrifuge-protobuf"
        assert client.headers["sec-websocket-protocol"] == "centrifuge-protobuf"

    def test_no_known_subprotocol_is_none(self, client: RawWebSocket, endpoint: Endpoint) -> None:
        client.open("/probe", {"Sec-WebSocket-Protocol": "graphql-ws"})
        assert endpoint.opened().request.subprotocol == ""
        assert "sec-websocket-protocol" not in client.headers

    def test_what_the_endpoint_writes_at_once_comes_first(self, client: RawWebSocket, endpoint: Endpoint) -> None:
        endpoint.greeting = b"welcome"
        try:
            client.open("/probe")
            assert client.receive() == (TEXT, b"welcome")
        finally:
            endpoint.greeting = b""
        endpoint.opened()

    # Messages

    def test_messages_come_whole_and_in_order(self, client: RawWebSocket, probe: Probe) -> None:
        client.send(frame(TEXT, b"a"), frame(BINARY, b"b", final=False), frame(CONTINUATION, b"c"), frame(TEXT))
        assert [probe.heard() for _ in range(3)] == [
            ("message", b"a", False),
            ("message", b"bc", True),
            ("message", b"", False),
        ]

    def test_what_is_written_comes_as_its_kind(self, client: RawWebSocket, probe: Probe) -> None:
        probe.send("ä".encode())
        probe.send(b"\xff", binary=True)
        assert client.receive() == (TEXT, "ä".encode())
        assert client.receive() == (BINARY, b"\xff")

    def test_the_largest_message_passes(self, client: RawWebSocket, probe: Probe) -> None:
        client.send(frame(BINARY, b"*" * MESSAGE_MAX_BYTES))
        assert probe.heard() == ("message", b"*" * MESSAGE_MAX_BYTES, True)

    def test_a_larger_one_is_1009(self, client: RawWebSocket, probe: Probe) -> None:
        client.send(frame(BINARY, b"*" * (MESSAGE_MAX_BYTES + 1)))
        assert client.receive()[1][:2] == close_payload(1009)
        assert probe.heard()[:2] == ("close", 1009)

    def test_the_limit_is_for_all_fragments(self, client: RawWebSocket, probe: Probe) -> None:
        client.send(frame(BINARY, b"*" * MESSAGE_MAX_BYTES, final=False), frame(CONTINUATION, b"*"))
        assert client.receive()[1][:2] == close_payload(1009)
        assert probe.heard()[:2] == ("close", 1009)

    # Closing

    def test_our_close(self, client: RawWebSocket, probe: Probe) -> None:
        probe.send(b"last words")
        probe.do(lambda transport: transport.close(4100, "tschüß"))
        assert client.receive() == (TEXT, b"last words")
        assert client.receive() == (CLOSE, close_payload(4100, "tschüß".encode()))
        client.send(frame(CLOSE, close_payload(4100)))
        client.receive_end()
        assert probe.heard() == ("close", 4100, "tschüß")
        probe.heard_no_more()

    def test_only_the_first_close_counts(self, client: RawWebSocket, probe: Probe) -> None:
        def close_twice(transport: Transport) -> None:
            transport.close(3501, "bad request")
            transport.close(3000, "")
            transport.write(spelled(transport, b"too late", False), False)
            transport.ping()

        probe.do(close_twice)
        assert client.receive() == (CLOSE, close_payload(3501, b"bad request"))
        client.send(frame(CLOSE, close_payload(3501)))
        client.receive_end()
        assert probe.heard() == ("close", 3501, "bad request")
        probe.do(lambda transport: transport.write(spelled(transport, b"x", False), False))
        probe.do(lambda transport: transport.close(4000, "again"))
        probe.heard_no_more()

    def test_a_long_reason_is_cut_at_a_character(self, client: RawWebSocket, probe: Probe) -> None:
        probe.do(lambda transport: transport.close(4000, "é" * 100))
        assert client.receive() == (CLOSE, close_payload(4000, "é".encode() * 61))
        client.send(frame(CLOSE, close_payload(4000)))

    def test_3000_has_no_close_frame(self, client: RawWebSocket, probe: Probe) -> None:
        probe.send(b"last words")
        probe.do(lambda transport: transport.close(3000, "connection closed"))
        assert client.receive() == (TEXT, b"last words")
        if self.drop_code is not None:
            assert client.receive()[1][:2] == close_payload(self.drop_code)
            client.send(frame(CLOSE, close_payload(self.drop_code)))
        client.receive_end()
        assert probe.heard() == ("close", 3000, "connection closed")

    def test_a_message_on_the_way_when_we_close_is_dropped(self, client: RawWebSocket, probe: Probe) -> None:
        probe.do(lambda transport: transport.close(3001, "shutdown"))
        client.send(frame(TEXT, b"on the way"), frame(CLOSE, close_payload(3001)))
        assert client.receive_close()[0] == 3001
        assert probe.heard() == ("close", 3001, "shutdown")

    def test_their_close(self, client: RawWebSocket, probe: Probe) -> None:
        client.send(frame(CLOSE, close_payload(4321, b"genug")))
        assert client.receive_close()[0] == 4321
        assert probe.heard() == ("close", 4321, "genug")
        probe.heard_no_more()

    def test_their_close_without_a_code(self, client: RawWebSocket, probe: Probe) -> None:
        client.send(frame(CLOSE))
        assert client.receive_close()[0] == 1005
        assert probe.heard() == ("close", 1005, "")

    def test_a_violation_is_told_with_its_code(self, client: RawWebSocket, probe: Probe) -> None:
        client.send(frame(TEXT, b"\xff"))
        assert client.receive()[1][:2] == close_payload(1007)
        assert probe.heard()[:2] == ("close", 1007)
        probe.heard_no_more()

    def test_tcp_ends_without_a_close_frame(self, client: RawWebSocket, probe: Probe) -> None:
        client.socket.close()
        assert probe.heard() == ("close", self.cut_code, "")
        probe.heard_no_more()

    def test_tcp_is_reset(self, client: RawWebSocket, probe: Probe) -> None:
        client.cut()
        assert probe.heard() == ("close", self.cut_code, "")
        probe.do(lambda transport: transport.write(spelled(transport, b"into the void", False), False))
        probe.heard_no_more()

    def test_a_silent_client_is_not_waited_for(self, client: RawWebSocket, probe: Probe) -> None:
        probe.do(lambda transport: transport.close(3012, "no pong"))
        assert probe.heard() == ("close", 3012, "no pong")

    def test_a_client_that_does_not_read_is_not_waited_for(self, client: RawWebSocket, probe: Probe) -> None:
        self._fill(probe)
        while probe.heard_within(STUCK_S):
            self._fill(probe)
        probe.do(lambda transport: transport.close(3008, "slow"))
        assert probe.heard() == ("close", 3008, "slow")

    # Flow

    def test_a_slow_client_pauses_writing(self, client: RawWebSocket, probe: Probe) -> None:
        sent = self._fill(probe)
        for number in range(sent):
            assert client.receive()[1][:4] == number.to_bytes(4, "big")
        assert probe.heard() == ("writable", False)
        probe.send(b"as before")
        assert client.receive() == (TEXT, b"as before")

    def test_paused_reading_loses_nothing(self, client: RawWebSocket, probe: Probe) -> None:
        probe.do(lambda transport: transport.pause_reading())
        sent = 0
        client.socket.settimeout(0.2)  # until the buffers between us are full: the server doesn't read
        try:
            while True:
                client.send(frame(BINARY, sent.to_bytes(4, "big") + b"*" * 60_000))
                sent += 1
        except TimeoutError:
            client.socket.settimeout(WAIT_S)
        probe.do(lambda transport: transport.resume_reading())
        for number in range(sent):
            kind, data, binary = probe.heard()
            assert (kind, data[:4], len(data), binary) == ("message", number.to_bytes(4, "big"), 60_004, True)

    def test_closing_hears_the_answer_though_reading_was_paused(self, client: RawWebSocket, probe: Probe) -> None:
        probe.do(lambda transport: transport.pause_reading())
        client.send(frame(CLOSE, close_payload(1000)))
        probe.do(lambda transport: transport.close(3004, "internal server error"))
        client.receive()
        client.receive_end()
        assert probe.heard()[0] == "close"

    def test_native_pings(self, client: RawWebSocket, probe: Probe) -> None:
        probe.do(lambda transport: transport.ping())
        if self.native_pings:
            assert client.receive() == (PING, b"")
            client.send(frame(PONG))
            assert probe.heard() == ("pong",)
        client.close()

    # Bugs

    def test_a_receiver_with_a_bug_costs_its_own_connection(
        self, client: RawWebSocket, probe: Probe, address: Address, caplog: pytest.LogCaptureFixture
    ) -> None:
        probe.fails = True
        client.send(frame(TEXT, b"boom"))
        assert client.receive()[1][:2] == close_payload(1011)
        client.send(frame(CLOSE, close_payload(1011)))
        assert probe.heard()[:2] == ("close", 1011)
        assert "a receiver with a bug" in caplog.text
        with RawWebSocket(address, timeout_s=WAIT_S) as other:
            other.open("/echo").send(frame(TEXT, b"still here"))
            assert other.receive() == (TEXT, b"still here")

    def _fill(self, probe: Probe) -> int:
        """Writes numbered messages until `paused` is set; how many."""
        written = 0

        def write(transport: Transport) -> None:
            nonlocal written
            while not transport.paused:
                data = written.to_bytes(4, "big") + b"*" * 20_000
                transport.write(spelled(transport, data, True), True)
                written += 1

        probe.do(write)
        return written


class ConformanceContract(TransportContract):
    """The same, and RFC 6455."""

    @pytest.mark.parametrize("case", all_cases(), ids=str)
    def test_conformance(self, client: RawWebSocket, case: Case) -> None:
        client.open("/echo")
        self.conforms(client, case)

    def conforms(self, client: RawWebSocket, case: Case) -> None:
        """client: connected to the echo. To be overridden for what a server decides in its own way."""
        client.send(*case.segments)
        for answer in case.answers:
            assert client.receive() == answer
        if case.code is None:
            client.close()
        else:
            assert client.receive_close()[0] == case.code
