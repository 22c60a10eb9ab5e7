"""The contract catches streams that break it: here, ones that are made to."""

from __future__ import annotations

import queue
from collections.abc import Callable
from http.client import IncompleteRead

import pytest

from roomful.node.wheel import Wheel
from roomful.testing import stream_contract
from roomful.testing.stream_contract import Client, StreamContract, StreamEndpoint
from roomful.transports.socket_stream import SocketStream
from roomful.transports.stream import StreamRoute, Streams
from tests.transports.hosts import entered


def tells_twice(stream: SocketStream) -> None:
    if stream._receiver is not None:
        stream._receiver.on_close(*stream._ending)
        stream._receiver.on_close(*stream._ending)


@pytest.mark.parametrize(
    ("name", "broken", "check"),
    [
        ("_tell", tells_twice, StreamContract.test_our_close),
        ("_send_end", lambda stream: stream._socket.close(), StreamContract.test_our_close),
        ("write", lambda stream, data, binary: None, StreamContract.test_what_is_written_comes_at_once),
        ("connection_lost", lambda stream, exc: None, StreamContract.test_the_client_goes),
    ],
)
def test_a_broken_stream_is_caught(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: object, check: Callable[..., None]
) -> None:
    monkeypatch.setattr(stream_contract, "WAIT_S", 0.5)
    endpoint = StreamEndpoint()
    streams = Streams([StreamRoute("/probe", endpoint.open, "probe")], StreamContract.options, Wheel())
    with entered(streams) as host:
        client = Client(host.address[1])
        assert client.ask("GET", "/probe").read(5) == b"hello"
        probe = endpoint.opened()
        monkeypatch.setattr(SocketStream, name, broken)
        monkeypatch.setattr("roomful.testing.transport_contract.WAIT_S", 0.5)
        with pytest.raises((AssertionError, TimeoutError, IncompleteRead, queue.Empty)):
            check(StreamContract(), client, probe)
        monkeypatch.undo()
        client.close()
