"""Several served nodes on one Redis or NATS, followers who read, publishers who write through them, the books of all.

Each node reaches that server through a proxy of its own, so that one node's link can be broken. Followers do what an
SDK does: they come back after every end, with their position. Publishers number what they publish; an error makes a
number unsure.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from roomful.testing.fault_proxy import FaultProxy
from roomful.testing.ledger import Ledger, Reader
from tests.engines.nats_server import NatsServer
from tests.engines.redis_server import RedisServer, eventually
from tests.served import Server, serve

CONFIG = """
[engine]
{engine}
[metrics]
open = true
[api]
keys = ["{key}"]
[tokens]
anonymous = true
[namespaces.room]
subscribe = "client"
publish = "client"
recover = true
history_size = {history}
history_ttl_s = 300
"""

AGAIN_S = 0.2
"""Whoever was refused, or lost the connection, tries again after about this long."""

API_KEY = "the key of soaks"

SharedT = TypeVar("SharedT", RedisServer, NatsServer)

OnReply = Callable[[dict[str, Any]], None]

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


class Ended(Exception):
    """The connection ended before the reply came."""


async def answered(reply: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
    """Raises Ended for a reply that will never come."""
    await asyncio.wait((reply,))
    if reply.cancelled():
        raise Ended
    return reply.result()


class Connection:
    """A Centrifuge client's connection in JSON: commands get their replies, pushes come by `pushes`."""

    def __init__(self, socket: ClientConnection, on_push: Any) -> None:
        self._socket = socket
        self._on_push = on_push
        self._replies: dict[int, tuple[asyncio.Future[dict[str, Any]], OnReply]] = {}
        self._ids = 0
        self.ended = False

    def send(self, on_reply: OnReply = lambda reply: None, **command: Any) -> asyncio.Future[dict[str, Any]]:
        """The reply, at some time; cancelled when the connection ends. on_reply: gets it before the next push comes."""
        self._ids += 1
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[self._ids] = reply, on_reply
        self._write(encode({"id": self._ids, **command}).decode())
        return reply

    def _write(self, message: str) -> None:
        """Soon; nothing happens when the connection has ended."""
        self._writing = asyncio.ensure_future(self._socket.send(message))
        self._writing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def read(self) -> None:
        """Until it ends."""
        try:
            async for message in self._socket:
                for line in message.splitlines():
                    self._take(decode(line))
        except WebSocketException:
            pass
        finally:
            self.ended = True
            for reply, _ in self._replies.values():
                reply.cancel()

    def _take(self, reply: dict[str, Any]) -> None:
        if not reply:
            self._write("{}")
        elif "push" in reply:
            self._on_push(reply["push"])
        else:
            waiting, on_reply = self._replies.pop(reply["id"])
            on_reply(reply)
            if not waiting.done():
                waiting.set_result(reply)


class Client:
    """Stays connected to one of several nodes until the test ends.

    hello: its connect command. failed: how often it was refused, or lost, in a row. open_s: how long a handshake may
    take. door: how many of all clients may be at one at once, None for any number."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = urls
        self.connections = 0
        self.hello: dict[str, Any] = {}
        self.failed = 0
        self.open_s = 5.0
        self.door: asyncio.Semaphore | None = None

    async def run(self) -> None:
        while True:
            url = self.urls[self.connections % len(self.urls)]
            self.connections += 1
            with suppress(OSError, WebSocketException, TimeoutError, Ended):
                async with await self._opened(url) as socket:
                    connection = Connection(socket, self.on_push)
                    reading = asyncio.ensure_future(connection.read())
                    try:
                        await answered(connection.send(connect=self.hello))
                        self.failed = 0
                        await self.connected(connection)
                        await reading
                    finally:
                        reading.cancel()
            self.lost()
            self.failed += 1
            await asyncio.sleep(self.pause())

    async def _opened(self, url: str) -> ClientConnection:
        address = url.replace("http", "ws") + "/connection/websocket"
        if self.door is None:
            return await connect(address, open_timeout=self.open_s)
        async with self.door:
            return await connect(address, open_timeout=self.open_s)

    def pause(self) -> float:
        """Seconds before it comes back."""
        return AGAIN_S * (0.5 + random.random())

    def on_push(self, push: dict[str, Any]) -> None: ...

    async def connected(self, connection: Connection) -> None: ...

    def lost(self) -> None: ...


class Follower(Client):
    """Reads some channels. came: publications so far. gaps: how often it was told of one. pause_s: the longest time
    between two publications."""

    def __init__(self, urls: Sequence[str], channels: Sequence[str], reader: Reader) -> None:
        super().__init__(urls)
        self.channels = channels
        self.reader = reader
        self.positions: dict[str, tuple[str, int]] = {}
        self.subscribed: set[str] = set()
        self.came = 0
        self.gaps = 0
        self.pause_s = 0.0
        self._read_at: float | None = None
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self, connection: Connection) -> None:
        self._connection = connection
        for channel in self.channels:
            self._subscribe_soon(channel)

    def lost(self) -> None:
        self._connection = None
        for channel in tuple(self.subscribed):
            self._unsubscribed(channel)

    def on_push(self, push: dict[str, Any]) -> None:
        channel = push["channel"]
        if "pub" in push:
            self._read(channel, push["pub"])
        elif "unsubscribe" in push:
            self._unsubscribed(channel)
            self._subscribe_soon(channel)

    def _subscribe_soon(self, channel: str) -> None:
        task = asyncio.ensure_future(self._subscribe(channel, self._connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _subscribe(self, channel: str, connection: Connection | None) -> None:
        with suppress(Ended):
            while connection is not None and connection is self._connection:
                wanted: dict[str, Any] = {"channel": channel}
                if channel in self.positions:
                    epoch, offset = self.positions[channel]
                    wanted |= {"recover": True, "epoch": epoch, "offset": offset}
                if "subscribe" in await answered(connection.send(self._on_subscribe(channel), subscribe=wanted)):
                    return
                await asyncio.sleep(AGAIN_S * (0.5 + random.random()))

    def _on_subscribe(self, channel: str) -> OnReply:
        return lambda reply: self._begin(channel, reply["subscribe"]) if "subscribe" in reply else None

    def _begin(self, channel: str, result: dict[str, Any]) -> None:
        recovered = result.get("recovered", False)
        if channel in self.positions and not recovered:
            self.gaps += 1
        epoch, offset = result["epoch"], result.get("offset", 0)
        self.positions[channel] = (epoch, offset)
        self.subscribed.add(channel)
        self.reader.subscribed(channel, recovered=recovered)
        for publication in result.get("publications", ()):
            self._read(channel, publication)

    def rest(self) -> None:
        """Nothing was to come for a while, and from now on it is."""
        self.pause_s, self._read_at = 0.0, None

    def _read(self, channel: str, publication: dict[str, Any]) -> None:
        now = asyncio.get_running_loop().time()
        self.pause_s = max(self.pause_s, now - (self._read_at or now))
        self._read_at = now
        self.came += 1
        self.positions[channel] = (self.positions[channel][0], publication["offset"])
        self.reader.read(channel, publication["data"]["n"], publication["data"]["by"])

    def _unsubscribed(self, channel: str) -> None:
        self.subscribed.discard(channel)
        self.reader.unsubscribed(channel)


class Publisher(Client):
    """Publishes numbers to all channels in turn. interval_s: between two. paused: it waits.

    slowest_s: how long the slowest answer took that came at all."""

    def __init__(self, urls: Sequence[str], channels: Sequence[str], name: str, ledger: Ledger, interval_s: float):
        super().__init__(urls)
        self.channels = channels
        self.name = name
        self.ledger = ledger
        self.interval_s = interval_s
        self.published = 0
        self.refused = 0
        self.under_way = 0
        self.slowest_s = 0.0
        self.paused = False

    async def connected(self, connection: Connection) -> None:
        self._task = asyncio.ensure_future(self._publish(connection))

    async def _publish(self, connection: Connection) -> None:
        turn, begun, loop = 0, 0.0, asyncio.get_running_loop()
        begun = loop.time()
        while not connection.ended:
            if not self.paused and self.under_way < 200:
                channel = self.channels[turn % len(self.channels)]
                number = self.ledger.write(channel, self.name)
                self.under_way += 1
                reply = connection.send(publish={"channel": channel, "data": {"n": number, "by": self.name}})
                at = channel, number, loop.time()
                reply.add_done_callback(lambda reply, at=at: self._answered(reply, *at))  # type: ignore[misc]
            turn += 1
            await asyncio.sleep(max(0.0, begun + turn * self.interval_s - loop.time()))

    def _answered(self, reply: asyncio.Future[dict[str, Any]], channel: str, number: int, asked: float) -> None:
        self.under_way -= 1
        if not reply.cancelled():
            self.slowest_s = max(self.slowest_s, asyncio.get_running_loop().time() - asked)
        if reply.cancelled() or "error" in reply.result():
            self.refused += 1
            self.ledger.unsure(channel, number, self.name)
        else:
            self.published += 1


class Node:
    """A served process and its link to the shared server."""

    def __init__(self, server: Server, proxy: FaultProxy) -> None:
        self.server = server
        self.proxy = proxy

    @property
    def url(self) -> str:
        return self.server.url

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.server.pid, number)

    async def metrics(self) -> dict[str, float]:
        """By the name of the series, labels and all: `roomful_engine_ready`, `roomful_gaps_total{reason="deaf"}` …"""
        async with httpx.AsyncClient(timeout=10.0) as client:
            text = (await client.get(self.url + "/metrics")).text
        pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    async def ready(self) -> bool:
        async with httpx.AsyncClient(timeout=5.0) as client:
            return (await client.get(self.url + "/ready")).status_code == 200


class Fleet(Generic[SharedT]):
    """All of it. shared: the server that makes the nodes one. check(): the books balance once everything is at rest.

    add_node: starts one more, which isn't among `nodes`. notes: what a fault has measured."""

    def __init__(
        self, shared: SharedT, nodes: list[Node], channels: list[str], add_node: Callable[[], Awaitable[Node]]
    ) -> None:
        self.shared = shared
        self.nodes = nodes
        self.add_node = add_node
        self.channels = channels
        self.ledger = Ledger()
        self.followers: list[Follower] = []
        self.publishers: list[Publisher] = []
        self.notes: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def populate(self, followers: int, per_second: int) -> None:
        """Followers are spread over nodes and channels, one publisher writes at each node."""
        for number in range(followers):
            turned = self.urls[number % len(self.nodes) :] + self.urls[: number % len(self.nodes)]
            channel = self.channels[number // len(self.nodes) % len(self.channels)]
            self.followers.append(Follower(turned, [channel], self.ledger.reader(f"follower-{number}")))
        for number, url in enumerate(self.urls):
            others = [other for other in self.urls if other != url]
            interval_s = len(self.nodes) / per_second
            self.publishers.append(Publisher([url, *others], self.channels, f"w{number}", self.ledger, interval_s))
        clients: list[Client] = [*self.followers, *self.publishers]
        self._tasks = [asyncio.ensure_future(client.run()) for client in clients]

    def follow(self, node: Node, number: int) -> None:
        """So many more followers, at this node first."""
        for _ in range(number):
            name = f"follower-{len(self.followers)}"
            channel = self.channels[len(self.followers) % len(self.channels)]
            self.followers.append(Follower([node.url, *self.urls], [channel], self.ledger.reader(name)))
            self._tasks.append(asyncio.ensure_future(self.followers[-1].run()))

    async def flows(self, number: int = 20) -> None:
        """Until every publisher has got so many more through."""
        marks = [publisher.published + number for publisher in self.publishers]
        await eventually(lambda: all(p.published >= mark for p, mark in zip(self.publishers, marks, strict=True)), 60.0)

    async def all_subscribed(self) -> None:
        await eventually(lambda: all(len(each.subscribed) == len(each.channels) for each in self.followers), 60.0)

    async def check(self) -> None:
        """Everything is delivered, or told: waits until it is, then looks for what must not be."""
        for publisher in self.publishers:
            publisher.paused = True
        await eventually(lambda: all(not publisher.under_way for publisher in self.publishers), 30.0)
        await self.all_subscribed()
        with suppress(TimeoutError):
            await eventually(lambda: not any(follower.reader.lacks() for follower in self.followers), 20.0)
        for task in self._tasks:
            if task.done():
                task.result()  # why a client has ended
        self.ledger.check()
        for publisher in self.publishers:
            publisher.paused = False

    @property
    def gaps(self) -> int:
        return sum(follower.gaps for follower in self.followers)

    @property
    def published(self) -> int:
        return sum(publisher.published for publisher in self.publishers)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _node(home: Path, config: str, proxy: FaultProxy, scheme: str, dev: bool) -> Node:
    home.mkdir()  # noqa: ASYNC240  in a temporary folder
    return Node(
        await serve(home, dev=dev, config=config, options=("--engine", f"{scheme}://127.0.0.1:{proxy.port}")), proxy
    )


@asynccontextmanager
async def fleet(
    directory: Path,
    shared: SharedT,
    *,
    nodes: int,
    channels: int,
    followers: int,
    per_second: int,
    history: int,
    engine: str = "",
    dev: bool = True,
) -> AsyncIterator[Fleet[SharedT]]:
    """Running, with all followers subscribed and publications flowing. engine: lines of the `[engine]` table.

    dev: with everything on, presence too."""
    running: list[Node] = []
    proxies: list[FaultProxy] = []
    config = CONFIG.format(history=history, engine=engine, key=API_KEY)
    scheme = shared.url.partition("://")[0]

    async def add_node() -> Node:
        proxy = await FaultProxy(shared.port).__aenter__()
        proxies.append(proxy)
        node = await _node(directory / f"served-{proxy.port}", config, proxy, scheme, dev)
        running.append(node)
        return node

    try:
        first = await asyncio.gather(*(add_node() for _ in range(nodes)))
        whole = Fleet(shared, list(first), [f"room:{number}" for number in range(channels)], add_node)
        whole.populate(followers, per_second)
        try:
            await whole.all_subscribed()
            await whole.flows()
            yield whole
        finally:
            await whole.stop()
    finally:
        for node in running:
            with suppress(ProcessLookupError):
                node.signal(signal.SIGCONT)
        await asyncio.gather(*(node.server.stop() for node in running))
        for node in running:
            print(f"--- roomful serve, process {node.server.pid}\n{node.server.log}")
        for proxy in proxies:
            await proxy.__aexit__(None, None, None)
