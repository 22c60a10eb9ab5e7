"""Clients that cost the machine little: a WebSocket, or a request whose answer nobody reads to its end."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextlib import suppress
from typing import Any

from roomful.testing.raw_websocket import PONG, TEXT, frame

TIMEOUT_S = 20.0


class Ended(Exception):
    """The server refused the handshake, or closed."""


class Socket:
    """One connection. Every wait gives up after `TIMEOUT_S`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int) -> Socket:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @classmethod
    async def open(cls, port: int, path: str) -> Socket:
        """A WebSocket. Raises Ended."""
        opened = await cls.connect(port)
        opened.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = await opened.until(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            opened.close()
            raise Ended(head)
        return opened

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def send(self, *commands: dict[str, Any] | bytes, opcode: int = TEXT) -> None:
        """Each in a frame of its own."""
        spelled = (each if isinstance(each, bytes) else json.dumps(each).encode() for each in commands)
        self.write(b"".join(frame(opcode, each) for each in spelled))

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame. Raises Ended."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                first, second = await self._reader.readexactly(2)
                size = second & 0x7F
                if size > 125:
                    size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
                return first & 0x0F, await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Ended from error

    async def replies(self) -> list[dict[str, Any]]:
        """Of the next text frame; pings of rooms are answered. Raises Ended."""
        while True:
            opcode, payload = await self.receive()
            if opcode == TEXT:
                said = [json.loads(line) for line in payload.split(b"\n")]
                if {} in said:
                    self.send(b"{}")
                return [each for each in said if each]
            if opcode == 0x9:
                self.write(frame(PONG, payload))
            if opcode == 0x8:
                raise Ended(payload)

    async def reply(self, id: int) -> dict[str, Any]:
        """The one with that id; what comes before it is left out. Raises Ended."""
        while True:
            for reply in await self.replies():
                if reply.get("id") == id:
                    return reply

    async def until(self, end: bytes) -> bytes:
        """Raises Ended."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._reader.readuntil(end)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Ended from error

    async def drain(self) -> None:
        """Takes whatever comes, until the end."""
        try:
            while await self._reader.read(262_144):
                continue
        except ConnectionError:
            return

    async def ended(self) -> None:
        """Waits for the server's close frame, or the end without one, and closes."""
        with suppress(Ended):
            while (await self.receive())[0] != 0x8:
                continue
        self.close()

    def cut(self) -> None:
        """Resets TCP."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._writer.close()
