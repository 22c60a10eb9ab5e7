from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from roomful.testing.raw_websocket import CLOSE, PONG, TEXT, Address, RawWebSocket, close_payload, frame
from roomful.testing.transport_contract import ConformanceContract, Probe, TransportContract
from roomful.testing.websocket_cases import Case, all_cases
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from tests.transports.hosts import hypercorn, plain


def either_order(client: RawWebSocket, case: Case) -> None:
    """Control frames are answered by the host, messages by the application a turn later."""
    client.send(*case.segments)
    assert sorted(client.receive() for _ in case.answers) == sorted(case.answers)
    client.close()


def answer_may_be_missing(client: RawWebSocket, case: Case) -> None:
    """The host may act on what comes after a message before the application has answered that message."""
    client.send(*case.segments)
    opcode, payload = client.receive()
    if opcode != CLOSE:
        assert (opcode, payload) in case.answers
        opcode, payload = client.receive()
    assert (opcode, payload[:2]) == (CLOSE, close_payload(case.code or 0))


def not_noticed_yet(client: RawWebSocket, case: Case) -> None:
    """The host looks at the text when the message is whole, and waits."""
    client.send(*case.segments, frame(PONG))
    client.cut()


def taken_as_a_length(client: RawWebSocket, case: Case) -> None:
    """The host takes a length in more bytes than it needs."""
    client.send(*case.segments)
    client.cut()


def another_code(client: RawWebSocket, case: Case) -> None:
    """1002, where ours are more exact."""
    client.send(*case.segments)
    assert client.receive_close()[0] in (1002, 1009)


DIFFERS: list[tuple[str, Callable[[RawWebSocket, Case], None]]] = [
    (r"5 pings between all fragments", either_order),
    (r"3 a message, then reserved bits", answer_may_be_missing),
    (r"4 a message", answer_may_be_missing),
    (r"5 continuation after a whole message", answer_may_be_missing),
    (r"7 message", answer_may_be_missing),
    (r"6 bad: known before", not_noticed_yet),
    (r"header: (16|64)-bit length for", taken_as_a_length),
    (r"header: 64-bit length with the highest bit", another_code),
    (r"5 close inside fragments", another_code),
]
"""What uvicorn with `websockets` decides in its own way: name of the cases → what is asked of it instead."""


class TestUnderUvicornWithWebsockets(ConformanceContract):
    drop_code = 1000
    cut_code = 1005  # all that uvicorn says of a connection without a close frame
    native_pings = False

    @classmethod
    @contextmanager
    def serving(cls, routes: Sequence[WebSocketRoute], options: TransportOptions) -> Iterator[Address]:
        with plain(routes, options, "websockets-sansio") as host:
            yield host.address

    def conforms(self, client: RawWebSocket, case: Case) -> None:
        check = next((check for names, check in DIFFERS if re.match(names, case.name)), super().conforms)
        check(client, case)


class TestUnderUvicornWithWsproto(TransportContract):
    drop_code = 1000
    cut_code = 1005
    native_pings = False

    @classmethod
    @contextmanager
    def serving(cls, routes: Sequence[WebSocketRoute], options: TransportOptions) -> Iterator[Address]:
        with plain(routes, options, "wsproto") as host:
            yield host.address

    def test_a_violation_is_told_with_its_code(self, client: RawWebSocket, probe: Probe) -> None:
        """uvicorn with wsproto drops TCP without a close frame."""
        client.send(frame(TEXT, b"\xff"))
        client.receive_end()
        assert probe.heard()[:2] == ("close", 1007)


class TestUnderHypercorn(TransportContract):
    drop_code = 1000
    native_pings = False

    @classmethod
    @contextmanager
    def serving(cls, routes: Sequence[WebSocketRoute], options: TransportOptions) -> Iterator[Address]:
        with hypercorn(routes, options) as host:
            yield host.address

    def test_their_close(self, client: RawWebSocket, probe: Probe) -> None:
        """hypercorn answers it, and tells the application 1006 whatever it was."""
        client.send(frame(CLOSE, close_payload(4321, b"genug")))
        assert client.receive_close()[0] == 4321
        assert probe.heard() == ("close", 1006, "")
        probe.heard_no_more()

    def test_their_close_without_a_code(self, client: RawWebSocket, probe: Probe) -> None:
        client.send(frame(CLOSE))
        assert client.receive_close()[0] == 1005
        assert probe.heard() == ("close", 1006, "")

    def test_a_violation_is_told_with_its_code(self, client: RawWebSocket, probe: Probe) -> None:
        """hypercorn drops TCP."""
        client.send(frame(TEXT, b"\xff"))
        client.receive_end()
        assert probe.heard() == ("close", 1006, "")


@pytest.mark.parametrize("names", [names for names, _ in DIFFERS])
def test_every_difference_is_about_a_case(names: str) -> None:
    assert any(re.match(names, case.name) for case in all_cases())
