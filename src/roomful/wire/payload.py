"""HOT Payloads of applications inside our own JSON: they go along as they came, without being parsed into objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from roomful.model.client import ClientInfo
from roomful.model.errors import Unencodable

T = TypeVar("T")

skip = msgspec.json.Decoder(Raw).decode
"""Checks a document, and returns it unread."""

# Half a surrogate pair: what JavaScript writes for a text that was cut within an emoji. Its own JSON.parse reads that,
# msgspec refuses it, and UTF-8 can't hold it. Whole pairs and other escapes are matched to be stepped over.
_SURROGATES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def mending(parse: Callable[[bytes], T], document: bytes) -> T:
    """What `parse` returns; if it can't read the document, U+FFFD stands for each half of a surrogate pair."""
    try:
        return parse(document)
    except msgspec.DecodeError:
        mended = _SURROGATES.sub(lambda match: rb"\ufffd" if match[1] else match[0], document)
        if mended == document:
            raise
        return parse(mended)


def raw_json(payload: bytes) -> Raw | None:
    """A payload that fits into a line, None for an empty one. Raises Unencodable if it isn't JSON.

    A line feed ends a document, and a carriage return would end a line of an SSE event; in JSON both can only be white
    space."""
    if not payload:
        return None
    try:
        payload.decode()  # msgspec doesn't look into the strings that it skips
        raw = mending(skip, payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unencodable(f"a payload isn't JSON: {error}") from error
    if b"\n" in payload or b"\r" in payload:
        return Raw(bytes(raw).translate(None, b"\r\n"))
    return raw


def client_info(info: ClientInfo) -> dict[str, Any]:
    """What others see of a connection. Raises Unencodable for an info that isn't JSON."""
    fields: dict[str, Any] = {"user": info.user, "client": info.client}
    if info.conn_info:
        fields["conn_info"] = raw_json(info.conn_info)
    if info.chan_info:
        fields["chan_info"] = raw_json(info.chan_info)
    return fields
