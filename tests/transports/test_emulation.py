"""Source: Centrifuge protocol, section 19.4."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from roomful.model.errors import WireError
from roomful.testing.stream_contract import Client, asked
from roomful.wire import centrifuge_pb2 as pb
from roomful.wire.centrifuge_json import read_emulation as read_json
from roomful.wire.centrifuge_protobuf import read_emulation as read_protobuf
from tests.transports.hosts import roomful
from tests.transports.rooms import Listener, emulate, open_rooms
from tests.wire.fuzz import LIMIT_S, mutants

OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with roomful(open_rooms()) as host:
        yield host.address[1]


@pytest.fixture
def client(port: int) -> Iterator[Client]:
    client = Client(port)
    yield client
    client.close()


@pytest.fixture
def stream(port: int) -> Iterator[Listener]:
    client = Client(port)
    yield Listener(client.ask("POST", "/connection/http_stream", b'{"connect":{},"id":1}'))
    client.close()


def refused(client: Client, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, int]:
    client.ask("POST", "/emulation", body, headers)
    return client.status, client.error()["code"]


def test_commands_of_one_request_keep_their_order(stream: Listener, port: int) -> None:
    connected = stream.next()["connect"]
    assert emulate(port, connected, *({"rpc": {"method": "m"}, "id": id} for id in range(2, 20))) == 204
    assert [stream.next()["id"] for _ in range(2, 20)] == list(range(2, 20))


def test_a_node_that_is_not_there(stream: Listener, port: int) -> None:
    connected = stream.next()["connect"]
    for wrong in ({"node": "nowhere"}, {"node": "x" * 1_000}, {"session": "x" * 1_000}):
        assert emulate(port, connected, {"ping": {}, "id": 2}, **wrong) == 404
    assert emulate(port, connected, {"rpc": {"method": "m"}, "id": 2}) == 204
    assert stream.next()["id"] == 2


def test_a_session_that_is_not_there_any_more(stream: Listener, port: int) -> None:
    """Its stream has told why it ended; centrifuge-js would cut that at a 404, and come back whatever it says."""
    connected = stream.next()["connect"]
    assert emulate(port, connected, {"rpc": {}, "id": 2}, session="nobody's") == 204
    assert emulate(port, connected, data="nonsense") == 204
    assert emulate(port, connected, {"rpc": {}, "id": 2}) == 204
    assert stream.next()["push"]["disconnect"]["code"] == 3501
    stream.end()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"nonsense", b"\xff", b"{}", b'{"session":"s","node":"n"}', b'{"session":"s","data":"{}"}'),
        *(b'{"node":"n","data":"{}"}', b'{"session":7,"node":"n","data":"{}"}'),
        b'{"session":"s","node":"n","data":{"id":1}}',
    ],
)
def test_no_request(client: Client, body: bytes) -> None:
    assert refused(client, body) == (400, 107)


@pytest.mark.parametrize("body", [b"", b"\xff", pb.EmulationRequest(node="n", session="s").SerializeToString()])
def test_no_request_in_protobuf(client: Client, body: bytes) -> None:
    assert refused(client, body, OCTETS) == (400, 107)


def test_commands_that_are_none_end_the_session(stream: Listener, port: int) -> None:
    """As they do over WebSocket; the request itself was fine."""
    connected = stream.next()["connect"]
    assert emulate(port, connected, data="nonsense") == 204
    assert stream.next()["push"]["disconnect"]["code"] == 3501
    stream.end()


def test_the_limits_of_a_request(client: Client, port: int) -> None:
    assert refused(client, b"*" * 2_001) == (413, 107)
    with asked(port, b"POST /emulation HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n") as other:
        other.sendall(b"7d1\r\n" + b"*" * 2_001 + b"\r\n0\r\n\r\n")  # it is answered when all has been said
        assert other.recv(13) == b"HTTP/1.1 413 "
    assert refused(Client(port), b"{}", {"Content-Encoding": "br"}) == (415, 107)


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
def test_another_method(client: Client, method: str) -> None:
    client.ask(method, "/emulation")
    assert (client.status, client.header("Allow")) == (405, "POST, OPTIONS")


def test_pages_of_other_origins(port: int) -> None:
    """The room server allows none."""
    client = Client(port)
    assert refused(client, b"{}", {"Origin": "https://evil.test"}) == (403, 103)
    client.ask("OPTIONS", "/emulation", headers={"Origin": "https://evil.test"})
    assert (client.status, client.header("Access-Control-Allow-Origin")) == (204, None)
    client.close()


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize(
    ("read", "request_body"),
    [
        (read_json, json.dumps({"session": "s", "node": "n", "data": '{"id":1,"rpc":{}}\n{}'}).encode()),
        (read_protobuf, pb.EmulationRequest(node="n", session="s", data=b"\0").SerializeToString()),
    ],
)
def test_broken_requests(read: Any, request_body: bytes) -> None:
    for mutant in mutants([request_body]):
        try:
            read(mutant)
        except WireError:
            continue


def test_a_client_that_goes_before_it_has_said_all(port: int) -> None:
    with asked(port, b"POST /emulation HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123") as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(65_536) == b""
