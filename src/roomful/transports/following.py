"""What `/events` and `/poll` are asked for: channels, and the position that the client has in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec

from roomful.model.errors import BadRequest, WireError
from roomful.model.publication import Position
from roomful.seams.transport import Request
from roomful.session.session import Context, OrderHandler
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


def of_followers(context: Context, orders: Mapping[type, OrderHandler]) -> Context:
    """For sessions whose clients can't say anything: no pings to be answered, no time to bring another token.

    orders: what differs from those of all sessions.
    """
    options = msgspec.structs.replace(context.options, ping_s=0.0, expired_grace_s=0.0)
    return dataclasses.replace(context, options=options, orders={**context.orders, **orders})
