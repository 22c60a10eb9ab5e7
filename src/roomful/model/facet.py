"""Facets of a room: channels named after it that the server fills. `typing:chat:1` is who types in `chat:1`.

Every client on every transport can subscribe to one; it gets the whole state as `data`, then changes as publications.
"""

from __future__ import annotations

from typing import NamedTuple

from roomful.model.channel import RESERVED_NAMESPACES, ChannelOptions, Right


class Facet(NamedTuple):
    """kind: "typing" …; base: the room's own channel."""

    kind: str
    base: str


_SHORT_LOG = ChannelOptions(
    history_size=64,
    history_ttl_s=60.0,
    history_meta_ttl_s=600.0,
    position=True,
    history=Right.NOBODY,
    see_presence=Right.NOBODY,
)
"""So that a hole is noticed; nobody recovers from it: who comes back gets the whole state. Nobody's position outlives
its connection, so neither need that of the log: rooms that come and go leave nothing behind."""

OPTIONS = {
    # No log: what is said there is stale a few seconds later; of a slow reader's backlog the newest for each client.
    "typing": ChannelOptions(slow="latest", history=Right.NOBODY, see_presence=Right.NOBODY),
    "state": _SHORT_LOG,
    "people": _SHORT_LOG,
}
"""What each kind of facet is as a channel. Rights aren't here: they are those of the base."""


BETWEEN_NODES = frozenset({"people"})
"""Kinds whose log holds what nodes tell each other: subscribers get what each node makes of it, and never read it.
Clients can't publish to them."""


def is_between_nodes(channel: str) -> bool:
    """Whether the channel's log isn't for clients."""
    facet = facet_of(channel)
    return facet is not None and facet.kind in BETWEEN_NODES


def facet_of(channel: str) -> Facet | None:
    """Which facet of which room the channel is; None for a room's own channel."""
    kind, colon, base = channel.partition(":")
    return Facet(kind, base) if colon and kind in RESERVED_NAMESPACES else None


def facets_of(base: str) -> list[str]:
    """The channels of all facets that a room has."""
    return [f"{kind}:{base}" for kind in OPTIONS]
