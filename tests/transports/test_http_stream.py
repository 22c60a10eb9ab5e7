"""Source: Centrifuge protocol, sections 19.1, 20 and 28.5."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from roomful.testing.stream_contract import Client
from roomful.wire import centrifuge_pb2 as pb
from tests.transports.hosts import roomful
from tests.transports.rooms import Listener, emulate, open_rooms

STREAM, UNI = "/connection/http_stream", "/connection/uni_http_stream"
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


def test_the_worked_example(client: Client, port: int) -> None:
    stream = Listener(client.ask("POST", STREAM, b'{"connect":{},"id":1}'))
    assert client.header("Content-Type") == "application/x-ndjson"
    connected = stream.next()["connect"]
    commands = {"subscribe": {"channel": "news"}, "id": 2}, {"rpc": {"method": "m"}, "id": 3}
    assert emulate(port, connected, *commands) == 204
    assert stream.next() == {"id": 2, "subscribe": {}}
    assert stream.next()["error"]["code"] == 108


def test_in_protobuf(client: Client, port: int) -> None:
    connect = pb.Command(id=1, connect=pb.ConnectRequest())
    client.ask("POST", STREAM, framed(connect), OCTETS)
    assert client.header("Content-Type") == "application/octet-stream"
    connected = next_reply(client).connect
    data = framed(pb.Command(id=2, subscribe=pb.SubscribeRequest(channel="news"))) + framed(pb.Command())
    request = pb.EmulationRequest(node=connected.node, session=connected.session, data=data)
    other = Client(port).ask("POST", "/emulation", request.SerializeToString(), OCTETS)
    assert other.status == 204
    other.close()
    assert next_reply(client).id == 2
    assert next_reply(client).push.disconnect.code == 3501  # the pong was an answer to nothing
    assert client.read(1) == b""


def test_nothing_said(client: Client) -> None:
    assert client.ask("POST", STREAM, b"").status == 400
    assert client.error()["code"] == 107


def test_too_much_said(client: Client) -> None:
    assert client.ask("POST", STREAM, b"*" * 2_001).status == 413


def test_a_refused_connect_ends_the_stream(client: Client) -> None:
    stream = Listener(client.ask("POST", STREAM, b'{"connect":{"token":"nonsense"},"id":1}'))
    assert stream.next() == {"push": {"disconnect": {"code": 3500, "reason": "invalid token"}}}
    stream.end()


def test_one_way(client: Client) -> None:
    stream = Listener(client.ask("POST", UNI, b'{"subs":{"a":{}}}'))
    connected = stream.next()["connect"]
    assert connected["subs"] == {"a": {}}
    assert "node" not in connected
    assert next(stream._documents) == {}


def test_one_way_nonsense(client: Client) -> None:
    assert client.ask("POST", UNI, b"nonsense").status == 400


def framed(message: pb.Command) -> bytes:
    data = message.SerializeToString()
    assert len(data) < 128
    return bytes((len(data),)) + data


def next_reply(client: Client) -> pb.Reply:
    """The next one that isn't a ping."""
    size, shift = 0, 0
    while True:
        byte = client.read(1)[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return pb.Reply.FromString(client.read(size)) if size else next_reply(client)
