"""Which WebSocket extension a handshake agrees on: permessage-deflate, or none. Pure; RFC 7692 section 7.1."""

from __future__ import annotations

from roomful.wire.deflate import WINDOW_BITS

_NAME = "permessage-deflate"
_ANSWER = f"{_NAME}; server_no_context_takeover; client_no_context_takeover"
_WINDOW = "server_max_window_bits"


def choose_deflate(offered: str) -> str:
    """The `Sec-WebSocket-Extensions` of the answer, "" for none: the first offer that we can keep.

    Context takeover is refused in both directions, offered or not, which every offer allows us. Only a window smaller
    than ours can't be had, because all receivers share what is sent.
    """
    for offer in offered.split(","):
        name, *parts = (part.strip() for part in offer.split(";"))
        parameters = _parameters(parts)
        if name != _NAME or parameters is None:
            continue
        window = parameters.get(_WINDOW)
        if window is None:
            return _ANSWER
        if int(window) >= WINDOW_BITS:
            return f"{_ANSWER}; {_WINDOW}={WINDOW_BITS}"
    return ""


def _parameters(parts: list[str]) -> dict[str, str | None] | None:
    """By name; None when one is unknown, twice there, or has a value that it can't have."""
    parameters: dict[str, str | None] = {}
    for part in parts:
        name, given, text = (piece.strip() for piece in part.partition("="))
        value = text.removeprefix('"').removesuffix('"') if given else None
        if name in parameters or not _is_known(name, value):
            return None
        parameters[name] = value
    return parameters


def _is_known(name: str, value: str | None) -> bool:
    match name:
        case "server_no_context_takeover" | "client_no_context_takeover":
            return value is None
        case "client_max_window_bits":
            return value is None or value in _WINDOWS
        case "server_max_window_bits":
            return value in _WINDOWS
    return False


_WINDOWS = frozenset(str(bits) for bits in range(8, 16))
