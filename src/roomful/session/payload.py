"""Payloads between clients (bytes) and the application (Python objects)."""

from __future__ import annotations

from typing import Any

import msgspec


def from_client(data: bytes) -> Any:
    """The object that the JSON text stands for; the bytes themselves when they aren't JSON; None when empty."""
    if not data:
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return data


def to_client(value: Any) -> bytes:
    """JSON text; bytes go as they are; empty for None. Raises TypeError for what JSON can't say."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    return msgspec.json.encode(value)
