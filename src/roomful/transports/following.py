"""What `/events` and `/poll` are asked for: channels, and the position that the client has in them. Pure."""

from __future__ import annotations

from urllib.parse import parse_qsl

from roomful.model.errors import BadRequest, WireError
from roomful.model.publication import Position
from roomful.seams.transport import Request
from roomful.wire.stream_id import parse

PARAMETERS_MAX = 256


def parameters(request: Request) -> dict[str, list[str]]:
    """All values of each parameter, in order. Raises BadRequest."""
    try:
        text = request.query_string.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise BadRequest("the query isn't percent-encoded UTF-8, or too long") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def positions(channels: list[str], since: str) -> dict[str, Position | None]:
    """The position in each channel, in the order of the sorted names. since: of the whole stream, "" for none.

    Raises BadRequest: no channel, an empty one, a position that isn't one of these channels.
    """
    names = sorted(set(channels))
    if not names or not names[0]:
        raise BadRequest("name at least one channel: ?channel=…")
    if not since:
        return dict.fromkeys(names)
    try:
        return dict(zip(names, parse(since, len(names)), strict=True))
    except WireError as error:
        raise BadRequest(str(error)) from None
