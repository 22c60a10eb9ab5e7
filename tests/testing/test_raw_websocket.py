from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from roomful.testing.raw_websocket import BINARY, TEXT, HandshakeRefused, RawWebSocket, close_payload, frame

ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nX-Some: Thing\r\n\r\n"


@pytest.fixture
def answered() -> Iterator[tuple[RawWebSocket, socket.socket]]:
    """A client, and the server's end of its connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        RawWebSocket(server.getsockname(), timeout_s=5) as client,
        server.accept()[0] as peer,
    ):
        peer.settimeout(5)
        yield client, peer


def answer(peer: socket.socket, data: bytes) -> None:
    """When the client has asked."""

    def run() -> None:
        while not peer.recv(65_536).endswith(b"\r\n\r\n"):
            pass
        peer.sendall(data)

    threading.Thread(target=run).start()


@pytest.mark.parametrize(
    ("made", "octets"),
    [
        (frame(TEXT, b"Hello"), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),  # RFC 6455 section 5.7
        (frame(TEXT), b"\x81\x80\x37\xfa\x21\x3d"),
        (frame(TEXT, b"Hello", mask=None), b"\x81\x05Hello"),
        (frame(TEXT, b"Hel", final=False, reserved=5, mask=None), b"\x51\x03Hel"),
        (frame(BINARY, b"*" * 256, mask=None)[:4], b"\x82\x7e\x01\x00"),
        (frame(BINARY, b"*" * 65_536, mask=None)[:10], b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        (close_payload(1000, b"bye"), b"\x03\xe8bye"),
    ],
)
def test_frames_are_spelled_as_the_rfc_says(made: bytes, octets: bytes) -> None:
    assert made == octets


def test_a_handshake_and_frames(answered: tuple[RawWebSocket, socket.socket]) -> None:
    client, peer = answered
    answer(peer, ACCEPTED + b"\x81\x02hi" + b"\x82\x7e\x01\x00" + b"*" * 256 + b"\x88\x05\x0b\xb9bye")
    assert client.open("/").headers == {"x-some": "Thing"}
    assert client.receive() == (TEXT, b"hi")
    assert client.receive() == (BINARY, b"*" * 256)
    peer.shutdown(socket.SHUT_WR)
    assert client.receive_close() == (3001, "bye")


def test_a_refusal(answered: tuple[RawWebSocket, socket.socket]) -> None:
    client, peer = answered
    answer(peer, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    with pytest.raises(HandshakeRefused) as refused:
        client.open("/")
    assert (refused.value.status, refused.value.body) == (404, b"no")


@pytest.mark.parametrize("bad", [b"\xc1\x00", b"\x01\x00", b"\x81\x80\0\0\0\0", b"\x81\x7e\x00\x05Hello"])
def test_frames_that_no_server_may_send(answered: tuple[RawWebSocket, socket.socket], bad: bytes) -> None:
    client, peer = answered
    answer(peer, ACCEPTED + bad)
    client.open("/")
    with pytest.raises(AssertionError):
        client.receive()


def test_what_comes_instead_of_a_close_or_of_the_end(answered: tuple[RawWebSocket, socket.socket]) -> None:
    client, peer = answered
    answer(peer, ACCEPTED + b"\x81\x02hi" + b"\x88\x02\x03\xe8more")
    client.open("/")
    with pytest.raises(AssertionError, match="not a close frame"):
        client.receive_close()
    with pytest.raises(AssertionError, match="in place of the end"):
        client.receive_close()


def test_tcp_ends_inside_a_frame(answered: tuple[RawWebSocket, socket.socket]) -> None:
    client, peer = answered
    answer(peer, ACCEPTED + b"\x81\x05Hel")
    client.open("/")
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        client.receive()


def test_a_cut_is_a_reset(answered: tuple[RawWebSocket, socket.socket]) -> None:
    client, peer = answered
    client.cut()
    with pytest.raises(ConnectionResetError):
        peer.recv(1)
