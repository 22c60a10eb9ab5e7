"""A deploy and a crash, and everybody comes back at once: `python -m tests.soak.storm`.

Two nodes on one Redis, all clients in one room, each with a valid token. One node is drained (SIGTERM) while another
one takes its place, then the node that most have gone to is killed. Looked at: that no node lets in more than its
admission bucket gives, that nobody but the token is asked who they are, how often the log is read, that all are back in
time, and that the books balance. Not part of `make test`, whose small size is tests/e2e/test_12_storm.py.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvloop

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from roomful.testing.ledger import Ledger, Reader
from tests.components import find
from tests.engines.redis_server import RedisServer, eventually
from tests.served import Server, serve
from tests.soak.fleet import Follower

SECRET = "a-secret-for-the-tests-of-storms"
ROOM = "room:1"
CONFIG = """
[server]
drain_s = {drain_s}
[tokens]
hmac_secret = "{secret}"
[api]
keys = ["{secret}"]
[metrics]
open = true
[limits]
handshakes_per_s = {per_s}
unauthenticated_per_address_max = 0
[namespaces.room]
subscribe = "client"
history_size = 5000
history_ttl_s = 600
recover = true
"""


AT_ONCE = 200
"""Handshakes under way. All clients share one process here; 5,000 at once would take longer than any client waits."""


class Figures(msgspec.Struct):
    """What a storm has shown. most_per_s: of the handshakes that a node let in, beyond what lay in its bucket."""

    back_after_drain_s: float
    back_after_crash_s: float
    sent_away: int
    most_per_s: float
    hook_calls: int
    log_reads: int
    published: int


class Returning(Follower):
    """Comes back as the Centrifuge SDKs do: after a random part of a time that doubles, 0.5 s to 20 s."""

    def __init__(self, urls: Sequence[str], reader: Reader, user: str, door: asyncio.Semaphore) -> None:
        super().__init__(urls, [ROOM], reader)
        self.open_s = 30.0
        self.door = door
        self.hello = {"token": sign(TokenOptions(hmac_secret=SECRET), {}, user=user, now=time.time(), ttl_s=None)}

    def pause(self) -> float:
        return random.random() * min(20.0, 0.5 * 2.0 ** min(self.failed, 10))


class Gauge:
    """What one node says of itself, asked ten times a second; it may die."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opened: list[tuple[float, float, float]] = []
        """When it was asked, when it had answered, and how many connections it had let in until then."""
        self.last: dict[str, float] = {}

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=10.0) as http:
            while True:
                asked = time.monotonic()
                try:
                    text = (await http.get(self.url + "/metrics")).text
                except httpx.HTTPError:
                    return
                pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
                self.last = {name: float(value) for name, _, value in pairs}
                self.opened.append((asked, time.monotonic(), self.last["roomful_connections_opened_total"]))
                await asyncio.sleep(0.1)

    def most_per_s(self, bucket: float) -> float:
        """Over every stretch of a second or more between two answers: what was let in beyond one full bucket."""
        return max(
            (
                (after - before - bucket) / (end - begin)
                for number, (begin, _, before) in enumerate(self.opened)
                for _, end, after in self.opened[number:]
                if end - begin >= 1.0
            ),
            default=0.0,
        )

    def total(self, prefix: str) -> int:
        return int(sum(value for name, value in self.last.items() if name.startswith(prefix)))


class Storm:
    """clients: how many. per_s: handshakes of a node."""

    def __init__(self, directory: Path, redis: RedisServer, clients: int, per_s: float, drain_s: float) -> None:
        self._directory = directory
        self._redis = redis
        self._config = CONFIG.format(secret=SECRET, per_s=per_s, drain_s=drain_s)
        self.per_s = per_s
        self.urls: list[str] = []
        """Where clients go; the same list for all of them."""
        self.ledger = Ledger()
        door = asyncio.Semaphore(AT_ONCE)
        self.clients = [
            Returning(self.urls, self.ledger.reader(f"client-{number}"), f"user-{number}", door)
            for number in range(clients)
        ]
        self.gauges: list[Gauge] = []
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()
        self.published = 0

    async def add_node(self) -> Server:
        home = self._directory / f"node-{len(self.gauges)}"
        home.mkdir()
        server = await serve(home, dev=False, config=self._config, options=("--engine", self._redis.url))
        self._stack.push_async_callback(server.stop)
        self.urls.append(server.url)
        self.gauges.append(Gauge(server.url))
        self._tasks.append(asyncio.ensure_future(self.gauges[-1].run()))
        return server

    async def run(self, interval_s: float, back_s: float) -> Figures:
        """interval_s: between two publications. back_s: in which all have to be back."""
        first, second = await self.add_node(), await self.add_node()
        for number, client in enumerate(self.clients):
            client.connections = number  # so that they are spread over both
            self._tasks.append(asyncio.ensure_future(client.run()))
        await self._wait_for_all(back_s)
        publishing = asyncio.ensure_future(self._publish(interval_s))
        third = await self.add_node()
        self.urls.remove(first.url)
        drained = time.monotonic()
        status = await first.stop()  # SIGTERM
        assert status == 0, f"the drained node ended with {status}"
        await self._wait_for_all(back_s)
        after_drain_s = time.monotonic() - drained
        self.urls.remove(second.url)
        killed = time.monotonic()
        os.kill(second.pid, signal.SIGKILL)
        await second.stop()
        await self._wait_for_all(back_s)
        after_crash_s = time.monotonic() - killed
        self._over.set()
        await publishing  # not cancelled: what it has asked for last would be neither published nor in doubt
        await eventually(lambda: not any(client.reader.lacks() for client in self.clients), back_s)
        self.ledger.check()
        assert not any(client.gaps for client in self.clients), "the log had it all"
        await asyncio.sleep(0.3)  # the last look of the gauges
        assert third.url == self.urls[0]
        return self._figures(after_drain_s, after_crash_s)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._stack.aclose()

    async def _wait_for_all(self, seconds: float) -> None:
        try:
            await eventually(lambda: all(client.subscribed for client in self.clients), seconds)
        except TimeoutError:
            here = sum(bool(client.subscribed) for client in self.clients)
            let_in = [gauge.total("roomful_connections_opened_total") for gauge in self.gauges]
            told = f"{here} of {len(self.clients)} are here after {seconds} s; the nodes let in {let_in} in all"
            raise AssertionError(told) from None

    async def _publish(self, interval_s: float) -> None:
        async with httpx.AsyncClient(headers={"X-API-Key": SECRET}, timeout=5.0) as http:
            while not self._over.is_set():
                number = self.ledger.write(ROOM, "api")
                body = {"channel": ROOM, "data": {"n": number, "by": "api"}}
                try:
                    answer = await http.post(self.urls[-1] + "/api/publish", json=body)
                    done = "result" in answer.json()
                except httpx.HTTPError:
                    done = False
                if done:
                    self.published += 1
                else:
                    self.ledger.unsure(ROOM, number, "api")
                await asyncio.sleep(interval_s)

    def _figures(self, after_drain_s: float, after_crash_s: float) -> Figures:
        return Figures(
            back_after_drain_s=after_drain_s,
            back_after_crash_s=after_crash_s,
            sent_away=sum(gauge.total('roomful_limited_total{limit="handshakes_per_s"') for gauge in self.gauges),
            most_per_s=max(gauge.most_per_s(self.per_s) for gauge in self.gauges),
            hook_calls=sum(gauge.total("roomful_hook_seconds_count") for gauge in self.gauges),
            log_reads=sum(gauge.total('roomful_engine_seconds_count{operation="history"') for gauge in self.gauges),
            published=self.published,
        )


@asynccontextmanager
async def storm(directory: Path, program: str, clients: int, per_s: float, drain_s: float) -> AsyncIterator[Storm]:
    """program: redis-server."""
    redis = RedisServer(program, directory / "redis")
    await redis.start()
    try:
        whole = Storm(directory, redis, clients, per_s, drain_s)
        try:
            yield whole
        finally:
            await whole.stop()
    finally:
        await redis.kill()


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--per-second", type=float, default=500.0, help="handshakes of a node")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two publications")
    given: Any = parser.parse_args()
    program = find("redis-server")
    if program is None:
        sys.exit("redis-server isn't installed")
    with tempfile.TemporaryDirectory() as directory:
        async with storm(Path(directory), program, given.clients, given.per_second, drain_s=10.0) as whole:
            figures = await whole.run(given.interval, back_s=180.0)
    print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    return 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
