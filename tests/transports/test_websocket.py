from __future__ import annotations

import asyncio
import queue
import random
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.seams.transport import Request, Transport
from roomful.testing.echo import EchoReceiver, open_echo
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
from roomful.testing.transport_contract import ConformanceContract, Endpoint, Probe
from roomful.testing.websocket_cases import Case, all_cases, compressed, deflate_cases
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.uvicorn_bridge import Bridge
from roomful.transports.websocket import WebSocketConnection
from roomful.wire.framing import websocket_frame
from tests.transports.certificates import localhost_certificate
from tests.transports.hosts import Host, bridged


class TestWebSocketConnection(ConformanceContract):
    @classmethod
    @contextmanager
    def serving(cls, routes: Sequence[WebSocketRoute], options: TransportOptions) -> Iterator[Address]:
        with bridged(Bridge(routes, options)) as host:
            yield host.address


class TestDeflate:
    """permessage-deflate, where a route has it and the client offers it."""

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls) -> Iterator[Host]:
        routes = [
            WebSocketRoute("/echo", open_echo, 65_536, deflate=True),
            WebSocketRoute("/plain", open_echo, 65_536),
        ]
        with bridged(Bridge(routes, TransportOptions(close_timeout_s=0.3))) as host:
            yield host

    @pytest.fixture
    def client(self, host: Host) -> Iterator[RawWebSocket]:
        with RawWebSocket(host.address) as client:
            yield client

    @pytest.mark.parametrize("case", deflate_cases(), ids=str)
    def test_conformance(self, client: RawWebSocket, case: Case) -> None:
        client.open("/echo", {"Sec-WebSocket-Extensions": "permessage-deflate"})
        ConformanceContract().conforms(client, case)

    def test_what_is_agreed_on(self, client: RawWebSocket) -> None:
        client.open("/echo", {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"})
        agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        assert client.headers["sec-websocket-extensions"] == agreed

    @pytest.mark.parametrize(
        ("target", "offer"),
        [
            ("/plain", "permessage-deflate"),
            ("/echo", None),
            ("/echo", "permessage-deflate; server_max_window_bits=9"),
        ],
    )
    def test_where_it_is_not_agreed_on(self, client: RawWebSocket, target: str, offer: str | None) -> None:
        client.open(target, {"Sec-WebSocket-Extensions": offer})
        assert "sec-websocket-extensions" not in client.headers
        client.send(frame(TEXT, b"*" * 500))
        assert client.receive() == (TEXT, b"*" * 500)
        client.send(frame(TEXT, compressed(b"*" * 500), reserved=4))
        assert client.receive_close()[0] == 1002


class TestOverTls:
    """What TLS changes: writing, half-closing, the end."""

    @pytest.fixture(scope="class")
    @classmethod
    def certificate(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return localhost_certificate(tmp_path_factory.mktemp("tls"))

    @pytest.fixture
    def endpoint(self) -> Endpoint:
        return Endpoint()

    @pytest.fixture
    def client(self, certificate: Path, endpoint: Endpoint) -> Iterator[RawWebSocket]:
        bridge = Bridge([WebSocketRoute("/probe", endpoint)], TransportOptions(close_timeout_s=0.3))
        trust = ssl.create_default_context(cafile=str(certificate))
        with (
            bridged(bridge, ssl_certfile=str(certificate)) as host,
            RawWebSocket(host.address, tls=trust) as client,
        ):
            yield client.open("/probe")

    def test_messages(self, client: RawWebSocket, endpoint: Endpoint) -> None:
        probe = endpoint.opened()
        client.send(frame(BINARY, b"*" * 60_000))
        assert probe.heard() == ("message", b"*" * 60_000, True)
        probe.send(b"#" * 500_000, binary=True)
        assert client.receive() == (BINARY, b"#" * 500_000)
        client.close()
        assert probe.heard() == ("close", 1000, "")

    def test_a_violation(self, client: RawWebSocket, endpoint: Endpoint) -> None:
        client.send(frame(TEXT, b"\xff"))
        assert client.receive_close()[0] == 1007
        assert endpoint.opened().heard()[:2] == ("close", 1007)

    def test_a_silent_client_is_not_waited_for(self, client: RawWebSocket, endpoint: Endpoint) -> None:
        probe = endpoint.opened()
        probe.do(lambda transport: transport.close(3012, "no pong"))
        assert probe.heard() == ("close", 3012, "no pong")


# One server for the rest

ENDPOINT = Endpoint()
MESSAGE_MAX_BYTES = 65_536


class Connections(set[WebSocketConnection]):
    """Those of the bridge, so that a test can wait until one is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: queue.Queue[WebSocketConnection] = queue.Queue()

    def discard(self, connection: WebSocketConnection) -> None:
        super().discard(connection)
        self.gone.put(connection)

    def wait_until_gone(self, transport: Transport) -> None:
        while self.gone.get(timeout=10.0) is not transport:
            pass


@pytest.fixture(scope="module")
def connections() -> Connections:
    return Connections()


@pytest.fixture(scope="module")
def bridge(connections: Connections) -> Bridge:
    routes = [WebSocketRoute("/echo", open_echo), WebSocketRoute("/probe", ENDPOINT, MESSAGE_MAX_BYTES)]
    bridge = Bridge(routes, TransportOptions(close_timeout_s=0.5))
    bridge.connections = connections
    return bridge


@pytest.fixture(scope="module")
def host(bridge: Bridge) -> Iterator[Host]:
    with bridged(bridge) as host:
        yield host


@pytest.fixture
def client(host: Host) -> Iterator[RawWebSocket]:
    with RawWebSocket(host.address) as client:
        yield client


def test_a_client_that_goes_on_sending_hears_1009(client: RawWebSocket) -> None:
    """Not a reset: centrifuge-js stops at 1009, and comes back for ever after 1006."""
    client.open("/probe")
    probe = ENDPOINT.opened()
    client.send(frame(BINARY, b"*" * 2_000_000))
    assert client.receive() == (CLOSE, close_payload(1009, b"message longer than 65536 bytes"))
    client.receive_end()
    assert probe.heard()[:2] == ("close", 1009)


def test_pings_without_reading_cost_no_memory(client: RawWebSocket) -> None:
    """While the client doesn't read, only the last ping is remembered; it is answered when the client reads again."""
    client.open("/probe")
    probe = ENDPOINT.opened()
    client.send(frame(TEXT, b"fill"))
    probe.heard()
    waiting = fill(probe)
    client.send(b"".join(frame(PING, b"%d" % number) for number in range(5000)) + frame(TEXT, b"after the pings"))
    assert probe.heard() == ("message", b"after the pings", False)
    assert [client.receive()[0] for _ in range(waiting)] == [BINARY] * waiting
    assert client.receive() == (PONG, b"4999")
    assert probe.heard() == ("writable", False)


def test_closing_with_3000_does_not_wait_for_a_client_that_does_not_read(client: RawWebSocket) -> None:
    client.open("/probe")
    probe = ENDPOINT.opened()
    fill(probe)
    probe.do(lambda transport: transport.close(3000, "connection closed"))
    assert probe.heard() == ("close", 3000, "connection closed")


def test_a_client_that_closes_and_does_not_read_is_told_once_and_cut(
    client: RawWebSocket, connections: Connections
) -> None:
    client.open("/probe")
    probe = ENDPOINT.opened()
    fill(probe)
    client.send(frame(CLOSE, close_payload(1001)))
    assert probe.heard() == ("close", 1001, "")
    connections.wait_until_gone(probe.transport)
    probe.heard_no_more()


def test_a_client_that_ends_tcp_and_does_not_read_is_told_once_and_cut(
    client: RawWebSocket, connections: Connections
) -> None:
    client.open("/probe")
    probe = ENDPOINT.opened()
    fill(probe)
    client.socket.shutdown(1)
    assert probe.heard() == ("close", 1006, "")
    connections.wait_until_gone(probe.transport)
    probe.heard_no_more()


@pytest.mark.parametrize("code", [3000, 4000])
@pytest.mark.parametrize("after", [frame(3), frame(TEXT, b"\xff"), frame(CLOSE), frame(PING), frame(TEXT, b"x")])
def test_whatever_follows_in_the_segment_that_made_us_close(code: int, after: bytes) -> None:
    told: list[tuple[int, str]] = []
    ended = threading.Event()

    class ClosesAtOnce(EchoReceiver):
        def on_message(self, data: bytes, binary: bool) -> None:
            told.append((0, data.decode()))
            self._transport.close(code, "enough")

        def on_close(self, code: int, reason: str) -> None:
            told.append((code, reason))
            ended.set()

    route = WebSocketRoute("/", lambda transport, request: ClosesAtOnce(transport))
    with bridged(Bridge([route], TransportOptions(close_timeout_s=0.1))) as host, RawWebSocket(host.address) as client:
        client.open("/").send(frame(TEXT, b"first") + after)
        if code == 4000:
            assert client.receive() == (CLOSE, close_payload(4000, b"enough"))
        client.receive_end()
        assert ended.wait(10)
    assert told == [(0, "first"), (code, "enough")]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object, bool]]:
    """Level, event, and whether there is a traceback, of each line of ours."""
    ours = [line for line in caplog.records if line.name.startswith("roomful")]
    return [(line.levelname, line.msg, bool(line.exc_info)) for line in ours]


def test_an_endpoint_with_a_bug_closes_1011(caplog: pytest.LogCaptureFixture) -> None:
    def broken(transport: Transport, request: Request) -> Probe:
        raise RuntimeError("an endpoint with a bug")

    options = TransportOptions(close_timeout_s=0.3)
    with bridged(Bridge([WebSocketRoute("/", broken)], options)) as host, RawWebSocket(host.address) as client:
        assert client.open("/").receive_close()[0] == 1011
    assert "an endpoint with a bug" in caplog.text
    assert logged(caplog) == [("ERROR", "an endpoint failed; its connection is closed", True)]


def test_a_receiver_with_a_bug_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(EchoReceiver):
        def on_message(self, data: bytes, binary: bool) -> None:
            raise RuntimeError("a receiver with a bug")

    route = WebSocketRoute("/", lambda transport, request: Broken(transport))
    options = TransportOptions(close_timeout_s=0.3)
    with bridged(Bridge([route], options)) as host, RawWebSocket(host.address) as client:
        client.open("/").send(frame(TEXT, b"first"), frame(TEXT, b"second"))
        assert client.receive_close()[0] == 1011
    assert logged(caplog) == [("ERROR", "a receiver failed; its connection is closed", True)]


def test_an_open_connection_has_no_task_and_no_dictionary(client: RawWebSocket, host: Host) -> None:
    async def tasks() -> int:
        return len(asyncio.all_tasks())

    before = asyncio.run_coroutine_threadsafe(tasks(), host.loop).result(10)
    client.open("/probe")
    probe = ENDPOINT.opened()
    assert asyncio.run_coroutine_threadsafe(tasks(), host.loop).result(10) == before
    assert not hasattr(probe.transport, "__dict__")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.data())
def test_every_cut_into_tcp_segments_and_fragments_is_echoed_alike(
    host: Host, payloads: list[bytes], data: st.DataObject
) -> None:
    octets = b""
    for payload in payloads:
        at = data.draw(st.integers(0, len(payload)))
        octets += frame(BINARY, payload[:at], final=False) + frame(CONTINUATION, payload[at:])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    with RawWebSocket(host.address) as client:
        client.open("/echo").send(*(octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)))
        assert [client.receive() for _ in payloads] == [(BINARY, payload) for payload in payloads]
        client.close()


@pytest.mark.timeout(90)
def test_garbage_costs_only_its_own_connection(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """Mutated and random bytes: no exception reaches the loop (`hosts.py` looks), nothing is logged, others go on."""
    seed = 77
    chance = random.Random(seed)
    good = [segment for case in all_cases() for segment in case.segments if len(segment) < 2000]
    with RawWebSocket(host.address) as bystander:
        bystander.open("/echo")
        for number in range(400):
            octets = bytearray(b"".join(chance.choices(good, k=chance.randrange(1, 6))))
            if number % 4 == 0:
                octets = bytearray(chance.randbytes(chance.randrange(1, 500)))
            for _ in range(chance.randrange(5)):
                octets[chance.randrange(len(octets))] = chance.randrange(256)
            with RawWebSocket(host.address) as hostile:
                hostile.open("/echo").send(bytes(octets))
                if number % 2:
                    hostile.cut()
            bystander.send(frame(TEXT, b"%d" % number))
            assert bystander.receive() == (TEXT, b"%d" % number), f"seed {seed}, round {number}"
        bystander.close()
    assert not caplog.records


def fill(probe: Probe) -> int:
    """Writes until the client's side is full; how many messages."""
    written = 0

    def write(transport: Transport) -> None:
        nonlocal written
        while not transport.paused:
            transport.write(b"\x82\x7e\x4e\x20" + b"*" * 20_000, True)
            written += 1

    probe.do(write)
    return written


def test_frames_keep_their_order_where_the_socket_is_full_and_where_it_has_room_again(client: RawWebSocket) -> None:
    """Some leave directly, some are cut in the middle and wait in the transport, some wait behind them."""
    client.open("/probe")
    probe = ENDPOINT.opened()

    def speak(transport: Transport) -> None:
        for number in range(300):
            transport.write(frame_of(number), True)
            transport.ping()

    def frame_of(number: int) -> bytes:
        return websocket_frame(number.to_bytes(4, "big") + b"*" * 30_000, binary=True)

    for _ in range(3):
        probe.do(speak)
        for number in range(300):
            opcode, data = client.receive()
            assert (opcode, data[:4], len(data)) == (BINARY, number.to_bytes(4, "big"), 30_004)
            assert client.receive() == (PING, b"")


def test_a_descriptor_that_was_lent_is_given_back(client: RawWebSocket, connections: Connections) -> None:
    """Else the next owner of its number is closed when the connection is forgotten."""
    client.open("/probe")
    probe = ENDPOINT.opened()
    probe.send(b"directly")
    assert client.receive() == (TEXT, b"directly")
    peer = probe.transport._peer  # type: ignore[attr-defined]
    assert peer.fileno() > 0
    client.close()
    connections.wait_until_gone(probe.transport)
    assert peer.fileno() == -1
