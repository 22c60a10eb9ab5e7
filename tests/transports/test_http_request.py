from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from roomful.transports.http_request import check_request, read_body
from roomful.transports.negotiate import Refused, TransportOptions

OPTIONS = TransportOptions(allowed_origins=("https://example.com",))


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, None),
        ("POST", {"origin": "https://example.com", "content-length": "10", "content-encoding": "identity"}, None),
        ("GET", {}, 405),
        ("HEAD", {}, 405),
        ("POST", {"origin": "https://evil.test"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"content-encoding": "gzip"}, 415),
        ("POST", {"content-length": "11"}, 413),
        ("POST", {"content-length": "9" * 18}, 413),
        ("POST", {"content-length": "9" * 5_000}, None),
        ("POST", {"content-length": "-1"}, None),
        ("POST", {"content-length": "٣"}, None),
    ],
)
def test_the_head(method: str, headers: dict[str, str], status: int | None) -> None:
    """A length that is no number is for the server, which refuses it."""
    refused = check_request(method, headers, ("POST",), 10, OPTIONS)
    assert (refused and refused.status) == status


class Host:
    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)

    async def receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def read(*messages: Message) -> bytes | int | None:
    read = await read_body(Host(*messages).receive, 4, 0.05)
    return read.status if isinstance(read, Refused) else read


async def test_the_body() -> None:
    assert await read(piece(b"ab"), piece(b""), piece(b"cd", more=False)) == b"abcd"
    assert await read({"type": "http.request"}) == b""
    assert await read(piece(b"abcd"), piece(b"e")) == 413
    assert await read(piece(b"abcde"), piece(b"f"), piece(b"g", more=False)) == 413
    assert await read(piece(b"ab")) == 408
    assert await read(piece(b"ab"), {"type": "http.disconnect"}) is None
