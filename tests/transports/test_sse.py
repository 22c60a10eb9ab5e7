"""Source: Centrifuge protocol, sections 19.2, 20 and 28.6."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from roomful.server.app import Roomful
from roomful.testing.stream_contract import Client, asked
from tests.transports.hosts import Host, roomful, roomful_elsewhere
from tests.transports.rooms import Listener, connect_parameter, emulate, open_rooms

SSE, UNI = "/connection/sse", "/connection/uni_sse"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with roomful(open_rooms()) as host:
        yield host.address[1]


@pytest.fixture
def client(port: int) -> Iterator[Client]:
    client = Client(port)
    yield client
    client.close()


def test_both_ways(client: Client, port: int) -> None:
    client.ask("GET", f"{SSE}?{connect_parameter({'connect': {}, 'id': 1}, {'subscribe': {'channel': 'a'}, 'id': 2})}")
    assert client.header("Content-Type") == "text/event-stream; charset=utf-8"
    stream = Listener(client)
    connected = stream.next()["connect"]
    assert connected["pong"] is True
    assert len(connected["session"]) == len(connected["node"]) == 36
    assert stream.next() == {"id": 2, "subscribe": {}}
    assert emulate(port, connected, {"publish": {"channel": "a", "data": "é\n"}, "id": 3}) == 204
    heard = [stream.next(), stream.next()]
    assert {"id": 3, "publish": {}} in heard
    assert "é\n" in [document.get("push", {}).get("pub", {}).get("data") for document in heard]
    assert emulate(port, connected, {"connect": {}, "id": 4}) == 204
    assert stream.next() == {"push": {"disconnect": {"code": 3501, "reason": "bad request"}}}
    stream.end()
    assert emulate(port, connected, {}) == 204


def test_by_post(client: Client) -> None:
    assert "connect" in Listener(client.ask("POST", SSE, b'{"connect":{},"id":1}')).next()


def test_the_first_bytes_come_before_the_reply(port: int) -> None:
    target = f"{SSE}?{connect_parameter({'connect': {}, 'id': 1})}"
    with asked(port, f"GET {target} HTTP/1.0\r\n\r\n".encode()) as client:
        received = b""
        while b"data" not in received:
            received += client.recv(65_536)
    assert b"\r\n\r\n\r\ndata: {" in received


def test_pings_are_answered_or_missed(client: Client, port: int) -> None:
    stream = Listener(client.ask("POST", SSE, b'{"connect":{},"id":1}'))
    connected = stream.next()["connect"]
    assert next(stream._documents) == {}
    assert emulate(port, connected, {}) == 204
    assert stream.next() == {"push": {"disconnect": {"code": 3012, "reason": "no pong"}}}
    stream.end()


@pytest.mark.parametrize("target", [SSE, f"{SSE}?cf_connect="])
def test_nothing_said(client: Client, target: str) -> None:
    assert client.ask("GET", target).status == 400
    assert client.error()["code"] == 107


def test_nonsense_said(client: Client) -> None:
    stream = Listener(client.ask("GET", f"{SSE}?cf_connect=nonsense"))
    assert stream.next()["push"]["disconnect"]["code"] == 3501
    stream.end()


def test_one_way(client: Client, port: int) -> None:
    client.ask("GET", f"{UNI}?{connect_parameter({'subs': {'a': {}}})}")
    stream = Listener(client)
    connected = stream.next()["connect"]
    assert connected.keys() == {"client", "version", "session", "ping", "subs"}
    other = Listener(Client(port).ask("POST", SSE, b'{"connect":{},"id":1}'))
    emulate(port, other.next()["connect"], {"publish": {"channel": "a", "data": {"n": 1}}, "id": 2})
    push = stream.next()
    assert (push["channel"], push["pub"]["data"]) == ("a", {"n": 1})
    assert [next(stream._documents) for _ in range(2)] == [{}, {}]  # longer than a pong may take
    other.client.close()


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b""), ("POST", b"{}")])
def test_one_way_with_nothing_to_say(client: Client, method: str, body: bytes | None) -> None:
    assert "connect" in Listener(client.ask(method, UNI, body)).next()


def test_one_way_nonsense(client: Client) -> None:
    assert client.ask("POST", UNI, b"nonsense").status == 400
    assert client.error()["code"] == 107


@pytest.mark.parametrize(
    ("connect", "code"),
    [({"token": "nonsense"}, 3500), ({"subs": {"no-such:a": {}}}, 3501)],
)
def test_one_way_refused(client: Client, connect: dict[str, object], code: int) -> None:
    stream = Listener(client.ask("POST", UNI, json.dumps(connect).encode()))
    assert stream.next()["disconnect"]["code"] == code
    stream.end()


CLIENTS = 200


@pytest.mark.parametrize("serving", [roomful, roomful_elsewhere])
def test_streams_that_are_reset_leave_nothing_behind(
    serving: Callable[[Roomful], AbstractContextManager[Host]],
) -> None:
    """Before the response, and in the middle of it. The same with 2,000: benchmarks/streams.py."""
    app = open_rooms()
    target = f"{SSE}?{connect_parameter({'connect': {}, 'id': 1}, {'subscribe': {'channel': 'a'}, 'id': 2})}"
    with serving(app) as host:

        async def state() -> tuple[int, ...]:
            live = app.live
            rest = len(live.streams.connections), len(live.node.connections), live.node.hub.subscribers("a")
            return (*rest, len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")))

        def now() -> tuple[int, ...]:
            return asyncio.run_coroutine_threadsafe(state(), host.loop).result(10)

        at_first = now()
        for number in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", host.address[1]), 10)
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while number % 2 and b'"subscribe"' not in client.recv(65_536):
                continue
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        deadline = time.monotonic() + 20
        while any(left > first for left, first in zip(now(), at_first, strict=True)):
            assert time.monotonic() < deadline, (at_first, now())
