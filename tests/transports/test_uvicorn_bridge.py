from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roomful.testing.echo import open_echo
from roomful.testing.raw_websocket import CLOSE, TEXT, HandshakeRefused, RawWebSocket, close_payload, frame
from roomful.testing.transport_contract import Endpoint, Probe
from roomful.transports import uvicorn_bridge
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.uvicorn_bridge import Bridge
from tests.transports.hosts import Host, bridged

OPTIONS = TransportOptions(
    allowed_origins=("https://example.com",), trusted_proxies=("127.0.0.1",), close_timeout_s=0.3
)


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture(scope="module")
def bridge(endpoint: Endpoint) -> Bridge:
    routes = [
        WebSocketRoute("/echo", open_echo),
        WebSocketRoute("/probe", endpoint, subprotocols=("centrifuge-json",)),
        WebSocketRoute("/späti/a b", open_echo),
    ]
    return Bridge(routes, OPTIONS)


@pytest.fixture(scope="module")
def host(bridge: Bridge) -> Iterator[Host]:
    with bridged(bridge) as host:
        yield host


@pytest.fixture
def client(host: Host) -> Iterator[RawWebSocket]:
    with RawWebSocket(host.address) as client:
        yield client


def refusal(client: RawWebSocket, target: str, headers: dict[str, str | None]) -> tuple[int, dict[str, Any]]:
    with pytest.raises(HandshakeRefused) as refused:
        client.open(target, headers)
    assert refused.value.headers["content-type"] == "application/json"
    assert refused.value.headers["connection"] == "close"
    client.receive_end()
    body: dict[str, Any] = json.loads(refused.value.body)
    return refused.value.status, body["error"]


def test_uvicorn_calls_in_the_order_that_the_bridge_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """connection_made, data_received with the whole request, and then, in the same turn, set_protocol."""
    seen: list[tuple[str, Any]] = []

    class Spy(uvicorn_bridge._Handover):
        def connection_made(self, transport: Any) -> None:
            seen.append(("connection_made", type(transport.get_protocol()).__name__))
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            seen.append(("data_received", data))
            super().data_received(data)

        def _hand_over(self, head: bytes) -> None:
            seen.append(("next turn", self._socket.get_protocol() is self))
            super()._hand_over(head)

    monkeypatch.setattr(uvicorn_bridge, "_Handover", Spy)
    bridge = Bridge([WebSocketRoute("/echo", open_echo)], OPTIONS)
    with bridged(bridge) as host, RawWebSocket(host.address) as client:
        client.request(
            "GET /echo?a=%20 HTTP/1.1",
            {
                "Host": "x",
                "UPGRADE": "WebSocket",
                "Connection": "keep-alive,  Upgrade",
                "X-Twice": "1",
                "x-twice": "2: 3",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version": "13",
            },
        )
        client.close()
    (_, http_protocol), (_, request), (_, has_set_protocol) = seen
    assert [name for name, _ in seen] == ["connection_made", "data_received", "next turn"]
    assert http_protocol == "HttpToolsProtocol"
    assert request.startswith(b"GET /echo?a=%20 HTTP/1.1\r\nhost: x\r\nupgrade: WebSocket\r\n")
    assert b"\r\nx-twice: 1\r\n" in request
    assert b"\r\nx-twice: 2: 3\r\n" in request
    assert request.endswith(b"\r\n\r\n")
    assert has_set_protocol


def test_the_key_is_answered(client: RawWebSocket) -> None:
    """The example of RFC 6455 section 1.3."""
    client.open("/echo")
    assert client.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert (client.headers["upgrade"], client.headers["connection"]) == ("websocket", "Upgrade")


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "keep-alive, Upgrade"},  # Firefox
        {"Connection": "upgrade", "Upgrade": "WebSocket"},
        {"Sec-WebSocket-Protocol": ""},  # centrifuge-python
        {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
        {"Origin": "https://example.com"},
    ],
)
def test_handshakes_of_real_clients(client: RawWebSocket, headers: dict[str, str | None]) -> None:
    client.open("/echo", headers).send(frame(TEXT, b"hello"))
    assert client.receive() == (TEXT, b"hello")
    assert not {"sec-websocket-protocol", "sec-websocket-extensions"} & client.headers.keys()


def test_a_path_is_decoded(client: RawWebSocket) -> None:
    client.open("/sp%C3%A4ti/a%20b").close()


def test_the_address_is_the_one_that_the_proxy_tells(client: RawWebSocket, endpoint: Endpoint) -> None:
    client.open("/probe", {"X-Forwarded-For": "203.0.113.7"})
    assert endpoint.opened().request.address == "203.0.113.7"


@pytest.mark.parametrize(
    ("target", "headers", "status", "code"),
    [
        ("/", {}, 404, 104),
        ("/nothing", {}, 404, 104),
        ("/echo/", {}, 404, 104),
        ("/echo", {"Origin": "https://evil.example"}, 403, 103),
        ("/echo", {"Origin": "null"}, 403, 103),
        ("/echo", {"Sec-WebSocket-Version": "8"}, 426, 107),
        ("/echo", {"Sec-WebSocket-Key": None}, 400, 107),
        ("/echo", {"Sec-WebSocket-Key": "short"}, 400, 107),
    ],
)
def test_refusals_are_plain_http(
    client: RawWebSocket, target: str, headers: dict[str, str | None], status: int, code: int
) -> None:
    got, error = refusal(client, target, headers)
    assert (got, error["code"]) == (status, code)
    assert error["message"]


def test_only_get_opens_a_websocket(client: RawWebSocket) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        client.request(
            "POST /echo HTTP/1.1",
            {"Host": "x", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
        )
    assert (refused.value.status, refused.value.headers["allow"]) == (405, "GET")


def test_http_goes_on_beside_it(client: RawWebSocket) -> None:
    for _ in range(2):
        with pytest.raises(HandshakeRefused) as refused:
            client.request("GET /echo HTTP/1.1", {"Host": "x"})
        assert refused.value.status == 404
    client.open("/echo").close()


def test_a_client_that_leaves_during_the_handshake(host: Host, bridge: Bridge) -> None:
    for _ in range(20):
        client = RawWebSocket(host.address)
        client.send(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        client.cut()
    with RawWebSocket(host.address) as client:
        client.open("/echo").close()


def test_draining_refuses_the_new_ones_only(client: RawWebSocket, host: Host, bridge: Bridge) -> None:
    client.open("/echo")
    bridge.draining = True
    try:
        with RawWebSocket(host.address) as late:
            status, error = refusal(late, "/echo", {})
    finally:
        bridge.draining = False
    assert (status, error["retry_after"]) == (503, 1)
    client.send(frame(TEXT, b"still here"))
    assert client.receive() == (TEXT, b"still here")


def test_shutdown_closes_what_is_open_and_cuts_what_does_not_answer(endpoint: Endpoint) -> None:
    bridge = Bridge([WebSocketRoute("/probe", endpoint)], TransportOptions(close_timeout_s=60.0))
    with bridged(bridge) as host, RawWebSocket(host.address) as polite, RawWebSocket(host.address) as silent:
        probes: list[Probe] = []
        for client in (polite, silent):
            client.open("/probe")
            probes.append(endpoint.opened())
        ending = asyncio.run_coroutine_threadsafe(bridge.shutdown(0.2), host.loop)
        assert polite.receive() == (CLOSE, close_payload(1012, b"service restart"))
        polite.send(frame(CLOSE, close_payload(1012)))
        polite.receive_end()
        ending.result(10)
        assert silent.receive()[0] == CLOSE
        silent.receive_end()
        assert [probe.heard() for probe in probes] == [("close", 1012, "service restart")] * 2
        assert not bridge.connections


def test_on_a_unix_socket_there_is_no_address(tmp_path: Path, endpoint: Endpoint) -> None:
    path = str(tmp_path / "s")
    bridge = Bridge([WebSocketRoute("/probe", endpoint)], OPTIONS)
    with bridged(bridge, uds=path) as host, RawWebSocket(host.address) as client:
        assert client.socket.family == socket.AF_UNIX
        client.open("/probe", {"X-Forwarded-For": "203.0.113.7"})
        probe = endpoint.opened()
        assert probe.request.address == ""
        probe.send(b"hello")
        assert client.receive() == (TEXT, b"hello")
        client.close()
        assert probe.heard() == ("close", 1000, "")
