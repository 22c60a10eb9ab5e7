"""What `/events` and `/poll` say beyond the pushes of the Centrifuge protocol."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from roomful.model.errors import BadRequest
from roomful.model.publication import Position

CHANNELS_MAX = 32
"""Of one stream or poll: each event carries the positions of them all."""

EVENT_TAG = "event"
"""The tag that names the event of a publication on `/events`."""

RESERVED_EVENTS = frozenset({"message", "subscribed", "join", "leave", "gap", "expired", "drain", "open", "error"})
"""Ours, and the two that an EventSource fires by itself: a page that listens for one must never get a publication."""


class Joined(msgspec.Struct, frozen=True):
    """How a channel of a stream begins. position: of what follows, None without history. recovered: nothing is missing
    since the position that the client came with. data: what grant or facet give along, JSON text."""

    position: Position | None = None
    recovered: bool = False
    data: bytes = b""


class Missing(msgspec.Struct, frozen=True):
    """What a client doesn't get: everything after `since`, up to and including `to`; both None without history.

    reason: "trimmed", "epoch", "expired" or "deaf". Where the epochs differ, how much it was can't be told.
    """

    channel: str
    since: Position | None
    to: Position | None
    reason: str


def check_event_name(tags: Mapping[str, str] | None) -> None:
    """Raises BadRequest for a tag `event` that would be taken for one of ours, or that breaks out of its line."""
    name = (tags or {}).get(EVENT_TAG)
    if name is None:
        return
    if name in RESERVED_EVENTS:
        raise BadRequest(f"a publication can't be the event {name!r}")
    if not name or not name.isprintable():
        raise BadRequest("the tag `event` is one line of text")
