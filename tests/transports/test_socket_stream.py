from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from roomful.node.wheel import Wheel
from roomful.testing.stream_contract import Client, StreamContract, StreamEndpoint, asked, whole
from roomful.transports.stream import StreamRoute, Streams
from tests.transports.hosts import entered


class TestOnASocketOfItsOwn(StreamContract):
    @classmethod
    @contextmanager
    def serving(cls, streams: Streams) -> Iterator[int]:
        with entered(streams) as host:
            yield host.address[1]
        assert not streams.connections

    def test_http_1_0_has_no_chunks(self, port: int, endpoint: StreamEndpoint) -> None:
        with asked(port, b"GET /probe HTTP/1.0\r\n\r\n") as client:
            probe = endpoint.opened()
            probe.send(b" and more")
            probe.do(lambda transport: transport.close(3001, "shutdown"))
            head, _, body = whole(client).partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert body == b"hello and more"

    def test_each_piece_is_a_chunk(self, port: int, endpoint: StreamEndpoint) -> None:
        with asked(port, b"GET /probe HTTP/1.1\r\nHost: x\r\n\r\n") as client:
            probe = endpoint.opened()
            probe.send(b"*" * 30)
            probe.do(lambda transport: transport.close(3001, "shutdown"))
            _, _, body = whole(client).partition(b"\r\n\r\n")
        assert body == b"5\r\nhello\r\n1e\r\n" + b"*" * 30 + b"\r\n0\r\n\r\n"

    def test_what_comes_behind_the_request_is_ignored(self, port: int, endpoint: StreamEndpoint) -> None:
        with asked(
            port, b"GET /probe HTTP/1.1\r\nHost: x\r\n\r\nGET /probe HTTP/1.1\r\nHost: x\r\n\r\nGET /pr"
        ) as client:
            probe = endpoint.opened()
            client.sendall(b"\xff\xfe" * 100_000)
            probe.send(b"still here")
            assert b"hello" in client.recv(65_536)
            probe.do(lambda transport: transport.close(3001, "shutdown"))
            assert probe.heard() == ("close", 3001, "shutdown")
            probe.heard_no_more()

    def test_14_who_takes_nothing_for_long_is_cut(self, endpoint: StreamEndpoint) -> None:
        """Nothing on a stream answers our heartbeats, so the system watches what it can't deliver."""
        options = msgspec.structs.replace(self.options, unread_timeout_s=0.3)
        streams = Streams([StreamRoute("/probe", endpoint.open, "probe")], options, Wheel())
        with entered(streams) as host, asked(host.address[1], b"GET /probe HTTP/1.1\r\nHost: x\r\n\r\n"):
            probe = endpoint.opened()
            probe.send(b"*" * 10_000_000)
            assert probe.heard() == ("close", 1006, "")
            probe.heard_no_more()

    def test_behind_other_requests_of_the_connection(self, client: Client, endpoint: StreamEndpoint) -> None:
        client.ask("GET", "/nothing").response.read()
        assert client.ask("GET", "/probe").read(5) == b"hello"
        endpoint.opened().do(lambda transport: transport.close(3001, "shutdown"))
        assert client.response.read() == b""
