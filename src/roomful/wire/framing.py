"""HOT Framing: what stands around a message on each way of travelling."""

from __future__ import annotations

_TEXT = 0x81  # FIN and opcode text, RFC 6455 section 5.2
_BINARY = 0x82


def websocket_frame(payload: bytes, binary: bool) -> bytes:
    """One unmasked final server frame: header and payload, ready to be joined with others into one write.

    Source: RFC 6455 section 5.2.
    """
    first = _BINARY if binary else _TEXT
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126, size >> 8, size & 0xFF)) + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload
