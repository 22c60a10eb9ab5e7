from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from starlette.types import Message

from roomful.testing.echo import EchoReceiver
from roomful.testing.raw_websocket import (
    BINARY,
    CLOSE,
    PONG,
    TEXT,
    Address,
    HandshakeRefused,
    RawWebSocket,
    close_payload,
    frame,
)
from roomful.testing.transport_contract import ConformanceContract, Endpoint, Probe, TransportContract
from roomful.testing.websocket_cases import Case, all_cases
from roomful.transports.asgi_websocket import inner_path, serve_websocket
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from tests.transports.hosts import hypercorn, plain


def either_order(client: RawWebSocket, case: Case) -> None:
    """Control frames are answered by the host, messages by the application a turn later."""
    client.send(*case.segments)
    assert sorted(client.receive() for _ in case.answers) == sorted(case.answers)
    client.close()


def answer_may_be_missing(client: RawWebSocket, case: Case) -> None:
    """The host may act on what comes after a message before the application has answered that message."""
    client.send(*case.segments)
    opcode, payload = client.receive()
    if opcode != CLOSE:
        assert (opcode, payload) in case.answers
        opcode, payload = client.receive()
    assert (opcode, payload[:2]) == (CLOSE, close_payload(case.code or 0))


def not_noticed_yet(client: RawWebSocket, case: Case) -> None:
    """The host looks at the text when the message is whole, and waits."""
    client.send(*case.segments, frame(PONG))
    client.cut()


def taken_as_a_length(client: RawWebSocket, case: Case) -> None:
    """The host takes a length in more bytes than it needs."""
    client.send(*case.segments)
    client.cut()


def another_code(client: RawWebSocket, case: Case) -> None:
    """1002, where ours are more exact."""
    client.send(*case.segments)
    assert client.receive_close()[0] in (1002, 1009)


DIFFERS: list[tuple[str, Callable[[RawWebSocket, Case], None]]] = [
    (r"5 pings between all fragments", either_order),
    (r"3 a message, then reserved bits", answer_may_be_missing),
    (r"4 a message", answer_may_be_missing),
    (r"5 continuation after a whole message", answer_may_be_missing),
    (r"7 message", answer_may_be_missing),
    (r"6 bad: known before", not_noticed_yet),
    (r"header: (16|64)-bit length for", taken_as_a_length),
    (r"header: 64-bit length with the highest bit", another_code),
    (r"5 close inside fragments", another_code),
]
"""What uvicorn with `websockets` decides in its own way: name of the cases → what is asked of it instead."""


class TestUnderUvicornWithWebsockets(ConformanceContract):
    drop_code = 1000
    cut_code = 1005  # all that uvicorn says of a connection without a close frame
    native_pings = False

    @classmethod
    @contextmanager
    def serving(cls, routes: Sequence[WebSocketRoute], options: TransportOptions) -> Iterator[Address]:
        with plain(routes, options, "websockets-sansio") as host:
            yield host.address

    def conforms(self, client: RawWebSocket, case: Case) -> None:
        check = next((check for names, check in DIFFERS if re.match(names, case.name)), super().conforms)
        check(client, case)


class TestUnderUvicornWithWsproto(TransportContract):
    drop_code = 1000
    cut_code = 1005
    native_pings = False

    @classmethod
    @contextmanager
    def serving(cls, routes: Sequence[WebSocketRoute], options: TransportOptions) -> Iterator[Address]:
        with plain(routes, options, "wsproto") as host:
            yield host.address

    def test_a_violation_is_told_with_its_code(self, client: RawWebSocket, probe: Probe) -> None:
        """uvicorn with wsproto drops TCP without a close frame."""
        client.send(frame(TEXT, b"\xff"))
        client.receive_end()
        assert probe.heard()[:2] == ("close", 1007)


class TestUnderHypercorn(TransportContract):
    drop_code = 1000
    native_pings = False

    @classmethod
    @contextmanager
    def serving(cls, routes: Sequence[WebSocketRoute], options: TransportOptions) -> Iterator[Address]:
        with hypercorn(routes, options) as host:
            yield host.address

    def test_their_close(self, client: RawWebSocket, probe: Probe) -> None:
        """hypercorn answers it, and tells the application 1006 whatever it was."""
        client.send(frame(CLOSE, close_payload(4321, b"genug")))
        assert client.receive_close()[0] == 4321
        assert probe.heard() == ("close", 1006, "")
        probe.heard_no_more()

    def test_their_close_without_a_code(self, client: RawWebSocket, probe: Probe) -> None:
        client.send(frame(CLOSE))
        assert client.receive_close()[0] == 1005
        assert probe.heard() == ("close", 1006, "")

    def test_a_violation_is_told_with_its_code(self, client: RawWebSocket, probe: Probe) -> None:
        """hypercorn drops TCP."""
        client.send(frame(TEXT, b"\xff"))
        client.receive_end()
        assert probe.heard() == ("close", 1006, "")


@pytest.mark.parametrize("names", [names for names, _ in DIFFERS])
def test_every_difference_is_about_a_case(names: str) -> None:
    assert any(re.match(names, case.name) for case in all_cases())


# In a process of its own, mounted in a Starlette application, as users start it

COMMANDS = {
    "uvicorn --ws auto": ["uvicorn", "--port", "0"],
    "uvicorn --ws websockets": ["uvicorn", "--port", "0", "--ws", "websockets"],
    "uvicorn --ws wsproto": ["uvicorn", "--port", "0", "--ws", "wsproto"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:0"],
}
LISTENING = re.compile(r"unning on http://127\.0\.0\.1:(\d+)")


@pytest.fixture(scope="module", params=COMMANDS)
def foreign(request: pytest.FixtureRequest) -> Iterator[Address]:
    module, *options = COMMANDS[request.param]
    command = [sys.executable, "-m", module, *options, "tests.transports.mounted:app"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        log = ""
        try:
            while not (listening := LISTENING.search(log)):
                line = process.stdout.readline()
                assert line, log
                log += line
            yield "127.0.0.1", int(listening[1])
        finally:
            process.terminate()
            log += process.stdout.read()
    assert "Traceback" not in log, log


@pytest.fixture
def mounted(foreign: Address) -> Iterator[RawWebSocket]:
    with RawWebSocket(foreign) as client:
        yield client


def test_mounted_it_echoes(mounted: RawWebSocket) -> None:
    mounted.open("/realtime/echo", {"Sec-WebSocket-Protocol": "other, centrifuge-json"})
    assert mounted.headers["sec-websocket-protocol"] == "centrifuge-json"
    for message in ((TEXT, "κόσμε".encode()), (BINARY, b"\xff" * 200_000), (TEXT, b"")):
        mounted.send(frame(*message))
        assert mounted.receive() == message
    mounted.close()


@pytest.mark.parametrize(("asked", "told"), [(3001, 3001), (4500, 4500), (1012, 1012), (3000, 1000)])
def test_mounted_it_closes(mounted: RawWebSocket, asked: int, told: int) -> None:
    mounted.open("/realtime/leave").send(frame(TEXT, b"%d" % asked))
    assert mounted.receive()[1] == close_payload(told, b"as you wish")
    mounted.send(frame(CLOSE, close_payload(told)))
    mounted.receive_end()


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/realtime/nothing", {}, 404),
        ("/realtime/realtime/echo", {}, 404),
        ("/realtime/echo", {"Origin": "https://evil.example"}, 403),
    ],
)
def test_mounted_it_refuses(mounted: RawWebSocket, target: str, headers: dict[str, str | None], status: int) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        mounted.open(target, headers)
    assert refused.value.status == status
    assert json.loads(refused.value.body)["error"]["message"]


@pytest.mark.parametrize(
    ("path", "root_path", "inner"),
    [
        ("/echo", "", "/echo"),
        ("/realtime/echo", "/realtime", "/echo"),
        ("/realtime/echo", "/realtime/", "/echo"),
        ("/echo", "/realtime", "/echo"),  # servers of before ASGI 3 said it: the path is already without the prefix
        ("/realtimes/echo", "/realtime", "/realtimes/echo"),
        ("/realtime", "/realtime", "/realtime"),
    ],
)
def test_the_path_inside(path: str, root_path: str, inner: str) -> None:
    assert inner_path({"type": "websocket", "path": path, "root_path": root_path}) == inner


async def test_a_server_that_cannot_refuse_over_http_gets_a_close() -> None:
    sent = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/nothing", "headers": [], "query_string": b""}
    await serve_websocket(scope, receive, send, [], TransportOptions())
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "there is nothing here"}]


async def test_a_receiver_with_a_bug_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(EchoReceiver):
        def on_message(self, data: bytes, binary: bool) -> None:
            raise RuntimeError("a receiver with a bug")

    closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    messages: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "first"},
        {"type": "websocket.receive", "text": "second"},
    ]

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "websocket.disconnect", "code": await closed}

    async def send(message: Message) -> None:
        if message["type"] == "websocket.close":
            closed.set_result(message["code"])

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    route = WebSocketRoute("/", lambda transport, request: Broken(transport))
    await serve_websocket(scope, receive, send, [route], TransportOptions())
    assert closed.result() == 1011
    assert [(line.levelname, line.msg, bool(line.exc_info)) for line in caplog.records] == [
        ("ERROR", "a receiver failed; its connection is closed", True)
    ]


async def test_a_cancelled_connection_is_told_as_cut() -> None:
    """The server stops and cancels its tasks."""
    endpoint = Endpoint()

    async def receive() -> Message:
        if not asked:
            asked.append(True)
            return {"type": "websocket.connect"}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        pass

    asked: list[bool] = []
    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    serving = asyncio.create_task(
        serve_websocket(scope, receive, send, [WebSocketRoute("/", endpoint)], TransportOptions())
    )
    probe = await asyncio.to_thread(endpoint.opened)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert probe.heard() == ("close", 1006, "")


async def test_a_client_that_is_gone_ends_the_sending() -> None:
    """ASGI's `send` raises OSError then; the code comes with the disconnect."""
    endpoint, gone = Endpoint(), asyncio.Event()
    messages: list[Message] = [{"type": "websocket.connect"}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}

    async def send(message: Message) -> None:
        if message["type"] == "websocket.send":
            gone.set()
            raise OSError("the client has gone")

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    endpoint.greeting = b"welcome"
    await serve_websocket(scope, receive, send, [WebSocketRoute("/", endpoint)], TransportOptions())
    assert endpoint.opened().heard() == ("close", 1001, "bye")
