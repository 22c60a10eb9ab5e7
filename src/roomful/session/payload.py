"""Payloads between clients (bytes) and the application (Python objects)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from roomful.model.errors import BadRequest


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


def check_payload(data: bytes, data_format: Literal["json", "json_object", "binary"]) -> None:
    """Raises BadRequest for a payload that a namespace of that `data_format` doesn't take.

    A payload that isn't JSON would end every JSON client in the channel with 3506: it has to cost its sender alone.
    """
    if data_format == "binary":
        return
    if not data:
        raise BadRequest("a publication needs data")
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise BadRequest("the data isn't JSON") from None
    if data_format == "json_object" and not isinstance(value, dict):
        raise BadRequest("the data isn't a JSON object")
