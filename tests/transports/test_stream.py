"""What is shared by all ways to send a stream: the verdict over a request. The rest is in the contract."""

from __future__ import annotations

import pytest

from roomful.node.wheel import Wheel
from roomful.seams.transport import Request
from roomful.testing.stream_contract import StreamEndpoint
from roomful.transports.negotiate import Refused, TransportOptions
from roomful.transports.stream import Opening, StreamRoute, Streams

ROUTE = StreamRoute("/news", StreamEndpoint().open, "news", ("GET",), body_max_bytes=10)
STREAMS = Streams([ROUTE], TransportOptions(trusted_proxies=("192.0.2.1",)), Wheel())

RawHeaders = list[tuple[bytes, bytes]]


def decide(method: str = "GET", headers: RawHeaders | None = None) -> Opening | Refused:
    return STREAMS.decide(ROUTE, method, b"a=1&a=2", headers or [], "192.0.2.1")


def test_a_path_is_exactly_this_one() -> None:
    assert STREAMS.route("/news") is ROUTE
    assert [STREAMS.route(path) for path in ("/news/", "/New", "/", "")] == [None] * 4


def test_the_client_behind_a_trusted_proxy() -> None:
    opening = decide(headers=[(b"x-forwarded-for", b"198.51.100.7")])
    assert isinstance(opening, Opening)
    assert opening.request == Request(
        "/news", {"a": "2"}, {"x-forwarded-for": "198.51.100.7"}, "198.51.100.7", "", "GET", b"a=1&a=2"
    )


@pytest.mark.parametrize(
    ("length", "status"),
    [("10", 200), ("11", 413), ("9" * 18, 413), ("9" * 5_000, 200), ("-1", 200), ("٣", 200), ("1e9", 200), ("", 200)],
)
def test_an_announced_length(length: str, status: int) -> None:
    """What is no number is for the parser of HTTP, which refuses it; a chunked body is counted as it comes."""
    verdict = decide(headers=[(b"content-length", length.encode())])
    assert (verdict.status if isinstance(verdict, Refused) else 200) == status
