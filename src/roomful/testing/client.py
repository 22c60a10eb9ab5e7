"""A client in memory: a real session of a real server, without a socket.

    async with connect(app, token=token) as ann:
        await ann.subscribe("chat:1")
        await app.publish("chat:1", {"text": "hello"})
        push = await ann.next_push()

It speaks the Centrifuge protocol in JSON; replies and pushes are the dictionaries of the wire.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from roomful.seams.transport import Receiver, Request
from roomful.server.app import Roomful
from roomful.server.wiring import ROOMS_PATH

TIMEOUT_S = 5.0
"""How long an expectation waits before it fails."""


class CommandError(Exception):
    """An error reply."""

    def __init__(self, code: int, message: str, temporary: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.temporary = temporary


class Closed(Exception):
    """The server closed the connection."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class MemoryTransport:
    """The transport of a client in memory (`seams.transport.Transport`).

    paused: set it to play a client that reads too slowly; `resume` ends that. written: what the server wrote, a piece
    for each write.
    """

    kind = "memory"
    framed = False
    has_close_frame = True

    def __init__(self) -> None:
        self.paused = False
        self.reading = True
        self.pings = 0
        self.closed: tuple[int, str] | None = None
        self.written: list[bytes] = []
        self.receiver: Receiver | None = None
        self._arrived = asyncio.Event()

    def write(self, data: bytes, binary: bool) -> None:
        if self.closed is None:
            self.written.append(data)
            self._arrived.set()

    def ping(self) -> bool:
        self.pings += 1
        return True

    def close(self, code: int, reason: str) -> None:
        if self.closed is not None:
            return
        self.closed = (code, reason)
        self._arrived.set()
        if self.receiver is not None:
            asyncio.get_running_loop().call_soon(self.receiver.on_close, code, reason)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def resume(self) -> None:
        """The client reads again."""
        self.paused = False
        if self.receiver is not None:
            self.receiver.on_writable()

    async def arrival(self, seen: int) -> None:
        """Waits until more than `seen` pieces have been written or it is closed."""
        while len(self.written) <= seen and self.closed is None:
            self._arrived.clear()
            await self._arrived.wait()


class Client:
    """A connection in memory. Every wait gives up after `timeout_s` with TimeoutError."""

    def __init__(self, transport: MemoryTransport, receiver: Receiver, timeout_s: float = TIMEOUT_S) -> None:
        self.transport = transport
        self.pushes: deque[dict[str, Any]] = deque()
        self.pings = 0
        self.id = ""
        """Its client id, once connected."""
        self._receiver = receiver
        self._timeout_s = timeout_s
        self._replies: dict[int, dict[str, Any]] = {}
        self._last_id = 0
        self._read = 0

    def send(self, *commands: dict[str, Any]) -> None:
        """Sends commands in one message, as they are."""
        self._receiver.on_message(b"\n".join(json.dumps(c).encode() for c in commands), False)

    def send_bytes(self, data: bytes) -> None:
        """Sends a message, whatever it is."""
        self._receiver.on_message(data, False)

    async def call(self, **request: Any) -> dict[str, Any]:
        """Sends one command (`call(presence={"channel": "chat:1"})`); its result. Raises CommandError, Closed."""
        self._last_id += 1
        id = self._last_id
        self.send({"id": id, **request})
        while True:
            self.read()
            reply = self._replies.pop(id, None)
            if reply is not None:
                break
            await self._wait()
        failure = reply.get("error")
        if failure is not None:
            raise CommandError(failure["code"], failure["message"], failure.get("temporary", False))
        result: dict[str, Any] = reply[next(iter(request))]
        return result

    async def connect(self, **fields: Any) -> dict[str, Any]:
        """The connect command; its result."""
        result = await self.call(connect=fields)
        self.id = result["client"]
        return result

    async def subscribe(self, channel: str, **fields: Any) -> dict[str, Any]:
        return await self.call(subscribe={"channel": channel, **fields})

    async def unsubscribe(self, channel: str) -> dict[str, Any]:
        return await self.call(unsubscribe={"channel": channel})

    async def publish(self, channel: str, data: Any) -> dict[str, Any]:
        return await self.call(publish={"channel": channel, "data": data})

    async def next_push(self) -> dict[str, Any]:
        """The oldest push that wasn't taken yet. Raises Closed when none will come any more."""
        while True:
            self.read()
            if self.pushes:
                return self.pushes.popleft()
            await self._wait()

    async def closed(self) -> tuple[int, str]:
        """Code and reason with which the server closes."""
        while self.transport.closed is None:
            await asyncio.wait_for(self.transport.arrival(len(self.transport.written)), self._timeout_s)
        return self.transport.closed

    async def settle(self) -> list[dict[str, Any]]:
        """Lets the server's loop turn until it has nothing more to write at once; takes all pushes."""
        quiet = 0
        while quiet < 3:
            before = len(self.transport.written)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self.transport.written) == before else 0
        self.read()
        taken = list(self.pushes)
        self.pushes.clear()
        return taken

    def read(self) -> None:
        """Sorts what was written meanwhile into replies, pushes and pings."""
        written = self.transport.written
        while self._read < len(written):
            for document in written[self._read].split(b"\n"):
                self._sort(json.loads(document))
            self._read += 1

    def cut(self) -> None:
        """The connection is cut, without a word."""
        if self.transport.closed is None:
            self.transport.closed = (1006, "")
            self._receiver.on_close(1006, "")

    def _sort(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._replies[message["id"]] = message
        elif "push" in message:
            self.pushes.append(message["push"])
        else:
            self.pings += 1

    async def _wait(self) -> None:
        if self.transport.closed is not None:
            raise Closed(*self.transport.closed)
        await asyncio.wait_for(self.transport.arrival(self._read), self._timeout_s)


def open_client(app: Roomful, *, headers: dict[str, str] | None = None, query: dict[str, str] | None = None) -> Client:
    """A connection that hasn't said `connect` yet, to an application that is running."""
    transport = MemoryTransport()
    route = next(route for route in app.websocket_routes if route.path == ROOMS_PATH)
    receiver = route.endpoint(transport, Request(ROOMS_PATH, query or {}, headers or {}))
    transport.receiver = receiver
    return Client(transport, receiver)


@asynccontextmanager
async def connect(app: Roomful, *, headers: dict[str, str] | None = None, **fields: Any) -> AsyncIterator[Client]:
    """A connected client; cut at the end. fields: of the connect command (`token=…`, `data=…`).

    Raises CommandError or Closed when the server doesn't let it in.
    """
    await app.start()
    client = open_client(app, headers=headers)
    await client.connect(**fields)
    try:
        yield client
    finally:
        client.cut()
