"""A WebSocket client at the level of bytes, for tests: it can say everything, also what no client should.

It blocks, so that a server in another thread or process can be tested without a loop of one's own.
"""

from __future__ import annotations

import socket
import ssl
import struct
import zlib
from types import TracebackType
from typing import TypeAlias

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

MASK = b"\x37\xfa\x21\x3d"

Address: TypeAlias = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


def frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0, mask: bytes | None = MASK
) -> bytes:
    """A client's frame. reserved: the three bits as a number. mask: None for none, which no client may."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    masked = 0x80 if mask is not None else 0
    size = len(payload)
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 65_536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + payload
    key = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """What stands in a close frame."""
    return code.to_bytes(2, "big") + reason


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    return inflater.decompress(data + b"\x00\x00\xff\xff") + inflater.flush()


class HandshakeRefused(Exception):
    """The server answered over HTTP. headers: names in lower case."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.headers = headers
        self.body = body


class RawWebSocket:
    """One connection. Whatever it waits for has to come within `timeout_s`, else TimeoutError."""

    def __init__(self, address: Address, *, timeout_s: float = 10.0, tls: ssl.SSLContext | None = None) -> None:
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout_s)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.headers: dict[str, str] = {}
        self._received = b""

    def __enter__(self) -> RawWebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def open(self, target: str, headers: dict[str, str | None] | None = None) -> RawWebSocket:
        """The handshake. headers: more, or others than the usual ones; one that is None isn't sent.

        Raises HandshakeRefused.
        """
        wanted: dict[str, str | None] = {
            "Host": "localhost",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            **(headers or {}),
        }
        sent = {name: value for name, value in wanted.items() if value is not None}
        return self.request(f"GET {target} HTTP/1.1", sent)

    def request(self, line: str, headers: dict[str, str]) -> RawWebSocket:
        """A handshake as the caller spells it."""
        self.send("\r\n".join([line, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode())
        status_line, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        status = int(status_line.split(" ")[1])
        if status != 101:
            raise HandshakeRefused(status, self.headers, self._exactly(int(self.headers.get("content-length", "0"))))
        return self

    def send(self, *segments: bytes) -> None:
        """Each segment is given to TCP for itself."""
        for segment in segments:
            self.socket.sendall(segment)

    def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame, inflated if an extension was agreed on.

        Raises EOFError, and AssertionError for one that no server may send."""
        first, second = self._exactly(2)
        compressed = bool(first & 0x40) and "sec-websocket-extensions" in self.headers and not first & 0x08
        assert first & (0xB0 if compressed else 0xF0) == 0x80, f"a fragment, or reserved bits: {first:#x}"
        assert second < 0x80, "a masked frame"
        size = second
        if second > 125:
            size = int.from_bytes(self._exactly(2 if second == 126 else 8), "big")
            assert size >= (126 if second == 126 else 65_536), "a length that is too long"
        payload = self._exactly(size)
        return first & 0x0F, _inflated(payload) if compressed else payload

    def receive_close(self) -> tuple[int, str]:
        """Code and reason of the close frame that comes next, and then the end of TCP."""
        opcode, payload = self.receive()
        assert opcode == CLOSE, f"not a close frame: {opcode:#x} {payload[:80]!r}"
        self.receive_end()
        return int.from_bytes(payload[:2], "big") if payload else 1005, payload[2:].decode()

    def receive_end(self) -> None:
        """The server closes TCP, and sends nothing before."""
        rest = self._received or self.socket.recv(65_536)
        assert not rest, f"something came in place of the end: {rest[:80]!r}"

    def close(self, code: int = 1000) -> None:
        """The closing handshake, begun by us."""
        self.send(frame(CLOSE, close_payload(code)))
        assert self.receive_close()[0] == code

    def cut(self) -> None:
        """Resets TCP."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._more()
        head, self._received = self._received.split(end, 1)
        return head

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._more()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _more(self) -> None:
        data = self.socket.recv(262_144)
        if not data:
            raise EOFError(f"the server closed TCP after {self._received[:80]!r}")
        self._received += data
