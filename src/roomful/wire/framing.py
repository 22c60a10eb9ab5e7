"""HOT Framing: what stands around a message on each way of travelling."""

from __future__ import annotations

from roomful.wire.deflate import deflated

DEFLATE_FROM_BYTES = 128
"""Shorter ones gain next to nothing: a push of 145 bytes becomes one of 115."""

_COMPRESSED = 0x40  # RSV1, RFC 7692 section 6
_TEXT = 0x81  # FIN and opcode text, RFC 6455 section 5.2
_BINARY = 0x82


def websocket_frame(payload: bytes, binary: bool) -> bytes:
    """One unmasked final server frame: header and payload, ready to be joined with others into one write.

    Source: RFC 6455 section 5.2.
    """
    return _frame(_BINARY if binary else _TEXT, payload)


def deflated_frame(payload: bytes, binary: bool) -> bytes:
    """The same for a client that permessage-deflate was agreed on with; compressed if that makes it shorter."""
    first = _BINARY if binary else _TEXT
    if len(payload) >= DEFLATE_FROM_BYTES:
        compressed = deflated(payload)
        if len(compressed) < len(payload):
            return _frame(first | _COMPRESSED, compressed)
    return _frame(first, payload)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126, size >> 8, size & 0xFF)) + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def sse_event(payload: bytes, binary: bool) -> bytes:
    """One event of an EventSource without a name of its own. payload: text without a line feed.

    Source: HTML standard, section 9.2.6.
    """
    return b"data: " + payload + b"\n\n"


def line(payload: bytes, binary: bool) -> bytes:
    """One line of a streamed body. payload: text without a line feed."""
    return payload + b"\n"
