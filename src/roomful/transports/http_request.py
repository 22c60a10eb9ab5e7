"""Requests over plain HTTP: what is wrong with their head, their body within its limits, an answer to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.types import Receive, Send

from roomful.transports.negotiate import FOREIGN_ORIGIN, Refused, TransportOptions, origin_allowed

_BAD_REQUEST = 107

DISCARD_MAX_BYTES = 4 * 1024 * 1024
"""So much of a body that is too large is read and thrown away: its sender, who reads our answer only when all is sent,
would find a reset connection instead of it. Beyond, the connection is cut."""


def check_request(
    method: str, headers: dict[str, str], methods: Sequence[str], body_max_bytes: int, options: TransportOptions
) -> Refused | None:
    """What is wrong with a request whose body hasn't been read.

    headers: names in lower case. methods: those allowed.
    """
    if method not in methods:
        allowed = ", ".join((*methods, "OPTIONS"))
        return Refused(405, _BAD_REQUEST, f"only {' and '.join(methods)} here", {"Allow": allowed})
    if not origin_allowed(headers.get("origin"), options):
        return FOREIGN_ORIGIN
    if headers.get("content-encoding", "identity").lower() != "identity":
        return Refused(415, _BAD_REQUEST, "a request body has to come as it is, without Content-Encoding")
    if _announced_bytes(headers) > body_max_bytes:
        return too_large(body_max_bytes)
    return None


def too_large(body_max_bytes: int) -> Refused:
    return Refused(413, _BAD_REQUEST, f"the body may have {body_max_bytes} bytes")


async def read_body(receive: Receive, body_max_bytes: int, timeout_s: float) -> bytes | Refused | None:
    """The whole body; what is wrong with it; None: the client has gone."""
    body, more, total = bytearray(), True, 0
    try:
        async with asyncio.timeout(timeout_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                more, total = message.get("more_body", False), total + len(message.get("body", b""))
                if total <= body_max_bytes:
                    body += message.get("body", b"")
                elif total > body_max_bytes + DISCARD_MAX_BYTES:
                    break
    except TimeoutError:
        if total <= body_max_bytes:
            return Refused(408, _BAD_REQUEST, "the request took too long to arrive", {"Connection": "close"})
    return bytes(body) if total <= body_max_bytes else too_large(body_max_bytes)


async def answer(send: Send, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    """A whole response over ASGI."""
    await send({"type": "http.response.start", "status": status, "headers": encoded(headers)})
    await send({"type": "http.response.body", "body": body})


def encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """As ASGI has them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _announced_bytes(headers: dict[str, str]) -> int:
    """What is no number is for the server, which refuses it; a chunked body is counted as it comes."""
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 19 else 0
