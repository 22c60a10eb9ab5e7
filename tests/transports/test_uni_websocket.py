"""Source: Centrifuge protocol, section 20."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from roomful.testing.raw_websocket import CLOSE, PING, PONG, TEXT, HandshakeRefused, RawWebSocket, close_payload, frame
from tests.transports.hosts import Host, roomful, roomful_elsewhere
from tests.transports.rooms import connect_parameter, open_rooms

PATH = "/connection/uni_websocket"


@pytest.fixture(scope="module", params=[roomful, roomful_elsewhere])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with request.param(open_rooms()) as host:
        yield host


@pytest.fixture
def client(host: Host) -> Iterator[RawWebSocket]:
    with RawWebSocket(host.address) as client:
        yield client


def documents(client: RawWebSocket, count: int) -> Sequence[dict[str, Any]]:
    """One a message; native pings are answered, server pings left out."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        opcode, payload = client.receive()
        if opcode == PING:
            client.send(frame(PONG, payload))
        elif payload != b"{}":
            assert opcode == TEXT
            found.append(json.loads(payload))
    return found


def test_it_says_connect_and_listens(client: RawWebSocket, host: Host) -> None:
    client.open(PATH).send(frame(TEXT, b'{"subs":{"a":{},"b":{}}}'))
    [push] = documents(client, 1)
    assert push["connect"].keys() == {"client", "version", "session", "ping", "subs"}
    with RawWebSocket(host.address) as other:
        publish = b'{"publish":{"channel":"a","data":1},"id":2}\n{"publish":{"channel":"b","data":2},"id":3}'
        other.open("/connection/websocket").send(frame(TEXT, b'{"connect":{},"id":1}\n' + publish))
        assert [push["pub"]["data"] for push in documents(client, 2)] == [1, 2]  # each a message of its own


def test_with_the_connect_in_the_url(client: RawWebSocket) -> None:
    client.open(f"{PATH}?{connect_parameter({'subs': {'a': {}}})}")
    [push] = documents(client, 1)
    assert push["connect"]["subs"] == {"a": {}}


def test_nonsense_in_the_url(client: RawWebSocket) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        client.open(f"{PATH}?cf_connect=nonsense")
    assert refused.value.status == 400


@pytest.mark.parametrize("second", [b"nonsense", b"{}"])
def test_whoever_says_more_is_told_that_nobody_listens(client: RawWebSocket, second: bytes) -> None:
    client.open(PATH).send(frame(TEXT, b"{}"), frame(TEXT, second))
    _, ending = documents(client, 2)
    assert ending == {"disconnect": {"code": 3501, "reason": "bad request"}}
    assert client.receive() == (CLOSE, close_payload(3501, b"bad request"))


def test_pings_need_no_pongs_of_the_application(client: RawWebSocket) -> None:
    client.open(PATH).send(frame(TEXT, b"{}"))
    documents(client, 1)
    pings = 0
    while pings < 2:  # longer than a pong may take
        opcode, payload = client.receive()
        if opcode == PING:
            client.send(frame(PONG, payload))
        else:
            assert payload == b"{}"
            pings += 1


def test_who_is_not_there_any_more_is_let_go(request: pytest.FixtureRequest, client: RawWebSocket) -> None:
    """By native pings; another server has its own."""
    client.open(PATH).send(frame(TEXT, b"{}"))
    documents(client, 1)
    if request.node.callspec.params["host"] is roomful:
        assert [client.receive(), client.receive()] == [(PING, b""), (TEXT, b"{}")]
        assert client.receive() == (TEXT, b'{"disconnect":{"code":3012,"reason":"no pong"}}')
        assert client.receive() == (CLOSE, close_payload(3012, b"no pong"))
