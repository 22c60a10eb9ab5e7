"""5,000 people come into one room in 20 s, beside a chat: `python -m tests.soak.people`.

Three nodes on one Redis. A chat of its own goes on all the time; looked at is how long its messages take: alone, while
the joins go into a room that keeps no presence, and while they go into one that does and whose people are watched. Then
one node is killed, and it is looked at that each of its people leaves once. The joins come from a process of their own.
Not part of `make test`, whose small size is tests/e2e/sdks/test_19_people.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvloop

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from tests.components import find
from tests.engines.redis_server import RedisServer, eventually
from tests.served import Server, serve
from tests.soak.fleet import Client, Connection, answered

SECRET = "a-secret-for-the-tests-of-people"
CONFIG = f"""
[connection]
ping_s = 600
[tokens]
hmac_secret = "{SECRET}"
[metrics]
open = true
[limits]
handshakes_per_s = 0
unauthenticated_per_address_max = 0
[engine]
lease_s = 15
renew_s = 5
[people]
grace_s = 30
[namespaces.chat]
subscribe = "client"
publish = "client"
history_size = 100
history_ttl_s = 60
[namespaces.empty]
subscribe = "client"
[namespaces.room]
subscribe = "client"
presence = true
"""
HEAD = """\
| beside the chat | joins took s | chat messages | p50 ms | p99 ms | own lag s | nodes' CPU s |
|---|--:|--:|--:|--:|--:|--:|"""
CHAT, CHAT_PER_S, QUIET_S = "chat:1", 20, 10.0
WAIT_S = 240.0


def token(user: str) -> str:
    return sign(TokenOptions(hmac_secret=SECRET), {}, user=user, now=time.time(), ttl_s=None)


class Chatter(Client):
    """One of those who read the chat. took: seconds from the publish to here, on this machine's clock."""

    def __init__(self, url: str) -> None:
        super().__init__([url])
        self.hello = {"token": token("reader")}
        self.took: list[float] = []
        self.connection: Connection | None = None

    async def connected(self, connection: Connection) -> None:
        await answered(connection.send(subscribe={"channel": CHAT}))
        self.connection = connection

    def on_push(self, push: dict[str, Any]) -> None:
        if "pub" in push:
            self.took.append(time.time() - push["pub"]["data"]["at"])


class Watcher(Client):
    """One of those who watch the people. told: each change of status; fails when it is told what it knows."""

    def __init__(self, url: str) -> None:
        super().__init__([url])
        self.hello = {"token": token("watcher")}
        self.told: Counter[tuple[str, str]] = Counter()
        self.batches = self.bytes = 0
        self.counts = (0, 0)
        self.statuses: dict[str, str] = {}

    async def connected(self, connection: Connection) -> None:
        await answered(connection.send(self._begin, subscribe={"channel": "people:room:1"}))

    def _begin(self, reply: dict[str, Any]) -> None:
        self._take(reply["subscribe"]["data"])

    def on_push(self, push: dict[str, Any]) -> None:
        if "pub" in push:
            self.batches += 1
            self.bytes += len(json.dumps(push["pub"]["data"]))
            self._take(push["pub"]["data"])

    def _take(self, change: dict[str, Any]) -> None:
        self.counts = change["online"], change["away"]
        for person in change["people"]:
            user, status = person["user"], person["status"]
            if self.statuses.get(user, "gone") != status:
                self.told[user, status] += 1
            self.statuses[user] = status


class Joiner(asyncio.Protocol):
    """A WebSocket client that says two things and then only counts: 5,000 of them must not be what is measured."""

    def __init__(self, port: int, user: str, channel: str, joined: asyncio.Future[None]) -> None:
        self._port = port
        self._hello = {"id": 1, "connect": {"token": token(user)}}, {"id": 2, "subscribe": {"channel": channel}}
        self._joined = joined
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's isn't an asyncio.Transport
        self._transport.write(
            b"GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n" % self._port
        )

    def data_received(self, data: bytes) -> None:
        if not self._upgraded:
            self._upgraded = True
            text = "\n".join(map(json.dumps, self._hello)).encode()
            # Masked with zeros, so as it is.
            self._transport.write(b"\x81" + bytes((0x80 | 126,)) + len(text).to_bytes(2, "big") + bytes(4) + text)
        elif b'"id":2' in data and not self._joined.done():
            self._joined.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._joined.done():
            self._joined.set_exception(ConnectionError("it was lost before it had joined"))


async def join(ports: Sequence[int], number: int, seconds: float, channel: str) -> None:
    """The process of its own: joins, says how long that took, and stays until its stdin ends."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    joined: list[asyncio.Future[None]] = []
    for each in range(number):
        await asyncio.sleep(max(0.0, begun + each * seconds / number - loop.time()))
        done: asyncio.Future[None] = loop.create_future()
        port = ports[each % len(ports)]
        await loop.create_connection(lambda: Joiner(port, f"user-{each}", channel, done), "127.0.0.1", port)  # noqa: B023
        joined.append(done)
    await asyncio.gather(*joined)
    print(f"{loop.time() - begun:.1f}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


class Phase(NamedTuple):
    name: str
    joins_s: float
    took: list[float]
    lag: float
    cpu_s: float

    def row(self) -> str:
        ordered = sorted(self.took)
        p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        joins = f"{self.joins_s:.1f}" if self.joins_s else "–"
        figures = f"{p50 * 1000:.0f} | {p99 * 1000:.0f} | {self.lag:.2f} | {self.cpu_s:.1f}"
        return f"| {self.name} | {joins} | {len(ordered):,} | {figures} |"


class Soak:
    def __init__(self, servers: list[Server], joins: int, seconds: float) -> None:
        self.servers = servers
        self.joins = joins
        self.seconds = seconds
        self.readers = [Chatter(server.url) for server in servers for _ in range(10)]
        self.watchers = [Watcher(server.url) for server in servers for _ in range(30)]
        self._lag = 0.0

    async def chat(self) -> None:
        """Says so much in the chat, through the readers, and sees how late this process itself is."""
        loop = asyncio.get_running_loop()
        number, due = 0, loop.time()
        while True:
            due += 1 / CHAT_PER_S
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._lag = max(self._lag, loop.time() - due)
            due = max(due, loop.time() - 0.2)
            connection = self.readers[number % len(self.readers)].connection
            number += 1
            if connection is not None and not connection.ended:
                connection.send(publish={"channel": CHAT, "data": {"at": time.time()}})

    async def phase(self, name: str, channel: str) -> tuple[Phase, asyncio.subprocess.Process | None]:
        for reader in self.readers:
            reader.took.clear()
        self._lag, process, joins_s = 0.0, None, 0.0
        cpu_s = self._cpu_s()
        if channel:
            ports = ",".join(str(server.port) for server in self.servers)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.soak.people", "--join", channel, "--ports", ports),
                *("--joins", str(self.joins), "--seconds", str(self.seconds)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            assert process.stdout is not None
            joins_s = float(await process.stdout.readline())
        else:
            await asyncio.sleep(QUIET_S)
        return Phase(
            name, joins_s, [each for reader in self.readers for each in reader.took], self._lag, self._cpu_s() - cpu_s
        ), process

    def _cpu_s(self) -> float:
        """What all nodes together have taken of the processor."""
        stats = [Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split() for server in self.servers]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


async def totals(servers: Sequence[Server]) -> Counter[str]:
    """What the nodes have counted of their people."""
    counted: Counter[str] = Counter()
    async with httpx.AsyncClient(timeout=30.0) as http:
        for server in servers:
            for line in (await http.get(server.url + "/metrics")).text.splitlines():
                if line.startswith("roomful_people"):
                    name, _, value = line.rpartition(" ")
                    counted[name] += int(float(value))
    return counted


async def end(process: asyncio.subprocess.Process | None) -> None:
    if process is not None and process.stdin is not None:
        process.stdin.close()
        await process.wait()


async def measure(soak: Soak) -> int:
    print(HEAD)
    alone, _ = await soak.phase("nothing", "")
    print(alone.row(), flush=True)
    plain, process = await soak.phase("joins, no presence", "empty:1")
    print(plain.row(), flush=True)
    await end(process)
    kept, process = await soak.phase("joins, people watched", "room:1")
    print(kept.row(), flush=True)
    await eventually(lambda: all(each.counts == (soak.joins, 0) for each in soak.watchers), WAIT_S)
    counted = await totals(soak.servers)
    batches = max(each.batches for each in soak.watchers)
    size = sum(each.bytes for each in soak.watchers) // len(soak.watchers)
    print(
        f"\n{counted['roomful_people_changes_total']:,} changes in {counted['roomful_people_batches_total']} batches;"
    )
    print(f"each of {len(soak.watchers)} watchers was sent {batches} publications, {size:,} bytes, ", end="")
    print(f"and shown {len(soak.watchers[0].statuses)} of {soak.watchers[0].counts[0]:,} people")

    killed, rest = soak.servers[0], soak.watchers[30:]
    before = [Counter(each.told) for each in rest]
    on_it = (soak.joins + 2) // 3
    os.kill(killed.pid, signal.SIGKILL)
    begun = time.monotonic()
    await eventually(lambda: all(each.counts == (soak.joins - on_it, on_it) for each in rest), WAIT_S)
    away_s = time.monotonic() - begun
    await eventually(lambda: all(each.counts == (soak.joins - on_it, 0) for each in rest), WAIT_S)
    gone_s = time.monotonic() - begun
    twice = sum(count > 1 for each in rest for (_, status), count in each.told.items() if status == "gone")
    left = {sum(count for (_, status), count in (each.told - known).items() if status == "gone")
            for each, known in zip(rest, before, strict=True)}  # fmt: skip
    print(
        f"killed a node of {on_it:,} people: away after {away_s:.1f} s (lease 15), gone after {gone_s:.1f} s (grace 30)"
    )
    print(f"leaves of those shown, told to each watcher: {left}; told twice: {twice}")
    await end(process)
    return int(twice > 0)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--joins", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--join", default="", help=argparse.SUPPRESS)
    parser.add_argument("--ports", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if given.join:
        await join([int(port) for port in given.ports.split(",")], given.joins, given.seconds, given.join)
        return 0
    program = find("redis-server")
    if program is None:
        sys.exit("redis-server isn't installed")
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = RedisServer(program, directory / "redis")
        await redis.start()
        stack.push_async_callback(redis.kill)
        servers: list[Server] = []
        for number in range(3):
            home = directory / f"node-{number}"
            home.mkdir()
            servers.append(await serve(home, dev=False, config=CONFIG, options=("--engine", redis.url)))
            stack.push_async_callback(servers[-1].stop)
        soak = Soak(servers, given.joins, given.seconds)
        tasks = [asyncio.ensure_future(each.run()) for each in (*soak.readers, *soak.watchers)]
        tasks.append(asyncio.ensure_future(soak.chat()))
        try:
            await eventually(lambda: all(reader.connection for reader in soak.readers), 60.0)
            return await measure(soak)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
