"""`roomful serve --workers N --engine local`: one port, many processes, nothing lost between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
import websockets
from websockets.asyncio.client import ClientConnection

from roomful.testing.ledger import Ledger, Reader
from tests.served import Server, serve

CONFIG = """
[engine]
check_s = 1
[namespaces.chat]
history_size = 100000
history_ttl_s = 300
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("four")


@pytest.fixture
def channel() -> str:
    return f"chat:{uuid4().hex}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def four(component: Callable[[str], str], folder: Path) -> AsyncIterator[Server]:
    """Four workers that all tests share, also those that kill some of them."""
    component("redis-server")
    server = await serve(folder, config=CONFIG, options=("--workers", "4", "--engine", "local"))
    yield server
    status = await server.stop()
    print(f"--- four workers\n{server.log}")
    assert status == 0


def children_of(server: Server) -> list[int]:
    """What the supervisor has started."""
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def workers_of(server: Server) -> list[int]:
    """Of these, the ones that serve."""
    return [pid for pid in children_of(server) if b"--worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def http(port: int, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and answer; a POST if there is a body."""
    sent = b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(sent)}\r\n\r\n"
    writer.write(head.encode() + sent)
    told, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(told.split()[1]), json.loads(answer)


class Subscriber:
    """A client that comes back, with its position, whenever its connection is lost."""

    def __init__(self, port: int, channel: str, reader: Reader) -> None:
        self._port = port
        self._channel = channel
        self._reader = reader
        self._position: dict[str, Any] = {}
        self.count = 0
        self.subscribed = asyncio.Event()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, websockets.exceptions.WebSocketException):
                async with websockets.connect(f"ws://127.0.0.1:{self._port}/connection/websocket") as link:
                    await self._follow(link)
            self._reader.unsubscribed(self._channel)
            await asyncio.sleep(0.05)

    async def _follow(self, link: ClientConnection) -> None:
        subscribe = {"channel": self._channel, "recoverable": True, **self._position}
        if self._position:
            subscribe["recover"] = True
        await link.send('{"id": 1, "connect": {}}\n' + json.dumps({"id": 2, "subscribe": subscribe}))
        async for text in link:
            for line in str(text).splitlines():
                message = json.loads(line)
                if not message:
                    await link.send("{}")
                elif "error" in message:
                    return
                elif message.get("id") == 2:
                    self._begun(message["subscribe"])
                elif "pub" in message.get("push", {}):
                    self._read(message["push"]["pub"])
                elif "unsubscribe" in message.get("push", {}):
                    return

    def _begun(self, reply: dict[str, Any]) -> None:
        self._reader.subscribed(self._channel, recovered=reply.get("recovered", False))
        self._position = {"epoch": reply["epoch"], "offset": reply.get("offset", 0)}
        for publication in reply.get("publications", []):
            self._read(publication)
        self.subscribed.set()

    def _read(self, publication: dict[str, Any]) -> None:
        self._reader.read(self._channel, publication["data"]["n"])
        self._position["offset"] = publication["offset"]
        self.count += 1


@asynccontextmanager
async def subscribers(server: Server, channel: str, ledger: Ledger, count: int) -> AsyncIterator[list[Subscriber]]:
    all_of_them = [Subscriber(server.port, channel, ledger.reader(f"reader {number}")) for number in range(count)]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each.run()) for each in all_of_them]
        async with asyncio.timeout(30):
            await asyncio.gather(*(each.subscribed.wait() for each in all_of_them))
        yield all_of_them
        for task in running:
            task.cancel()


class Publisher:
    """Publishes numbers, one after the other, each until a worker has confirmed it, under a key of its own."""

    def __init__(self, server: Server, channel: str, ledger: Ledger) -> None:
        self._channel = channel
        self._port = server.port
        self._ledger = ledger

    async def publish(self, count: int, pause_s: float = 0.0) -> None:
        for _ in range(count):
            await self._publish(self._ledger.write(self._channel))
            await asyncio.sleep(pause_s)

    async def _publish(self, number: int) -> None:
        request = {"channel": self._channel, "data": {"n": number}, "idempotency_key": str(number)}
        while True:
            with contextlib.suppress(OSError, ValueError, IndexError):
                _, answer = await http(self._port, "/api/publish", request)
                if answer.get("result", {}).get("offset"):
                    return
            await asyncio.sleep(0.05)


async def balanced(ledger: Ledger, timeout_s: float = 20.0) -> None:
    """Waits until the books balance, and fails with what is wrong if they never do."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(AssertionError):
                    ledger.check()
                    return
                await asyncio.sleep(0.1)
    ledger.check()


async def test_16_four_workers_deliver_all_of_1000_to_40_subscribers(four: Server, channel: str) -> None:
    ledger = Ledger()
    async with subscribers(four, channel, ledger, 40) as readers:
        _, info = await http(four.port, "/api/info", {})
        clients = [node["num_clients"] for node in info["result"]["nodes"]]
        assert (len(clients), sum(clients)) == (4, 40)
        assert max(clients) < 40
        await Publisher(four, channel, ledger).publish(1000)
        await balanced(ledger)
        assert [reader.count for reader in readers] == [1000] * 40


async def test_16_four_workers_without_an_engine_say_what_to_do(tmp_path: Path) -> None:
    status, said = await run(tmp_path, "serve", "--dev", "--workers", "4")
    assert status == 1
    assert len(said.strip().splitlines()) == 1
    assert "workers = 1" in said
    assert "local://" in said


async def test_a_killed_worker_is_started_again_and_nothing_is_lost(four: Server, channel: str) -> None:
    ledger = Ledger()
    before = set(workers_of(four))
    async with subscribers(four, channel, ledger, 20), asyncio.TaskGroup() as tasks:
        publishing = tasks.create_task(Publisher(four, channel, ledger).publish(200, 0.01))
        for _ in range(2):
            await asyncio.sleep(0.5)
            os.kill(workers_of(four)[0], signal.SIGKILL)
        await publishing
        await balanced(ledger)
        async with asyncio.timeout(20):
            while (await http(four.port, "/ready"))[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    after = set(workers_of(four))
    assert len(after) == 4
    assert len(before & after) == 2
    assert four.log.count("ended by SIGKILL") == 2


async def test_ready_tells_of_every_worker(four: Server) -> None:
    everybody = {str(number): "ready" for number in range(1, 5)}
    assert await http(four.port, "/ready") == (200, {"ready": True, "workers": everybody})
    frozen = workers_of(four)[0]
    os.kill(frozen, signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):  # a frozen worker may get the request
                        status, said = await http(four.port, "/ready")
                        break
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert status == 503
    assert sorted(said["workers"].values()) == ["missing", "ready", "ready", "ready"]


async def test_the_private_redis_is_started_again(four: Server, channel: str) -> None:
    [redis] = set(children_of(four)) - set(workers_of(four))
    ledger = Ledger()
    async with subscribers(four, channel, ledger, 8):
        await Publisher(four, channel, ledger).publish(20)
        os.kill(redis, signal.SIGKILL)
        await Publisher(four, channel, ledger).publish(20)
        await balanced(ledger)


async def test_sigterm_drains_all_and_leaves_nothing(component: Callable[[str], str], tmp_path: Path) -> None:
    component("redis-server")
    server = await serve(tmp_path, config=CONFIG, options=("--workers", "2", "--engine", "local"))
    children = children_of(server)
    assert len(children) == 3
    links = [await websockets.connect(f"ws://127.0.0.1:{server.port}/connection/websocket") for _ in range(10)]
    for link in links:
        await link.send('{"id": 1, "connect": {}}')
        await link.recv()
    status, *closes = await asyncio.gather(server.stop(), *(closed(link) for link in links))
    assert status == 0, server.log
    assert {code for code, _ in closes} == {3001}
    assert [pid for pid in children if alive(pid)] == []
    assert "Traceback" not in server.log


async def test_workers_end_with_a_supervisor_that_was_killed(component: Callable[[str], str], tmp_path: Path) -> None:
    component("redis-server")
    server = await serve(tmp_path, config=CONFIG, options=("--workers", "2", "--engine", "local"))
    children = children_of(server)
    os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while any(alive(pid) for pid in children):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await server.stop()


async def test_a_port_that_is_taken_is_one_line(component: Callable[[str], str], tmp_path: Path) -> None:
    component("redis-server")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = await run(tmp_path, "serve", "--dev", "--engine", "local", "--workers", "2", "--port", str(port))
    assert status == 1
    assert [line for line in said.splitlines() if "already in use" in line] == said.strip().splitlines()


async def test_a_second_one_may_have_neither_the_port_nor_the_folder(
    four: Server, folder: Path, tmp_path: Path
) -> None:
    options = ("serve", "--dev", "--engine", "local", "--workers", "2")
    status, said = await run(folder, *options, "--port", "0")
    assert (status, len(said.strip().splitlines())) == (1, 1)
    assert "--data" in said
    status, said = await run(tmp_path, *options, "--port", str(four.port))
    assert (status, len(said.strip().splitlines())) == (1, 1)
    assert "already in use" in said


async def test_workers_that_cant_start_say_why_once(tmp_path: Path) -> None:
    status, said = await run(
        tmp_path, "serve", "--dev", "--engine", "nats://127.0.0.1:1", "--workers", "3", "--port", "0"
    )
    assert status == 1
    assert len(re.findall("can't reach NATS", said)) == 1
    assert "Traceback" not in said


async def run(directory: Path, *arguments: str) -> tuple[int, str]:
    """`roomful …` until it ends: its status, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "roomful", *arguments),
        cwd=directory,
        env={name: value for name, value in os.environ.items() if not name.startswith("ROOMFUL_")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def closed(link: ClientConnection) -> tuple[int, str]:
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        while True:
            await link.recv()
    return link.close_code or 0, link.close_reason or ""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ends while it is being read
        return False
