"""Publications, and where they stand in a channel's stream."""

from __future__ import annotations

import msgspec

from roomful.model.client import ClientInfo


class Position(msgspec.Struct, frozen=True):
    """A place in a channel's stream.

    offset: how many publications the stream had ever seen when it was here; the first has offset 1.
    epoch: names one life of the stream. Two positions compare by offset only within one epoch: after the log
    was lost, offset 5 is another publication than it was before.
    """

    epoch: str
    offset: int


class Publication(msgspec.Struct, frozen=True):
    """What was published, as every subscriber gets it.

    data: the payload, JSON text for JSON clients. offset: its place, 0 in a channel without history.
    info: who published it, None when the application did. exclude: ids of clients that do not get it, live
    or by recovery; their positions move on all the same.
    """

    data: bytes
    offset: int = 0
    info: ClientInfo | None = None
    tags: dict[str, str] | None = None
    exclude: frozenset[str] = frozenset()


class DeltaPublication(msgspec.Struct, frozen=True):
    """A publication for a subscription with delta compression.

    base: the payload that its client got before this one, from which its own may be made; None: it has to come whole.
    """

    publication: Publication
    base: bytes | None = None


class Draft(msgspec.Struct, frozen=True):
    """A publication before the engine has numbered it.

    key: idempotency key; the same key in the same channel within `idempotency_ttl_s` publishes nothing and
    answers with the first one's position. Empty: none.
    """

    data: bytes
    info: ClientInfo | None = None
    tags: dict[str, str] | None = None
    exclude: frozenset[str] = frozenset()
    key: str = ""
    idempotency_ttl_s: float = 300.0


class Retention(msgspec.Struct, frozen=True):
    """How much of a channel's stream is kept.

    size: newest publications kept; 0 means that the channel has no history at all.
    ttl_s: they are dropped this long after the last one. meta_ttl_s: epoch and top offset outlive them by this.
    """

    size: int = 0
    ttl_s: float = 0.0
    meta_ttl_s: float = 30 * 86400.0

    @property
    def keeps(self) -> bool:
        """Whether the channel has a stream."""
        return self.size > 0 and self.ttl_s > 0


class HistoryFilter(msgspec.Struct, frozen=True):
    """Which part of a stream is asked for.

    limit: at most so many publications; 0 for the position alone, None for all. max_bytes: stop before their
    payloads exceed this, but give at least one. since: forward, those after it (from the oldest kept if its
    place is gone); reverse, those before it. reverse: newest first. `since.epoch` is not compared here.
    """

    limit: int | None = 0
    since: Position | None = None
    reverse: bool = False
    max_bytes: int | None = None


class Page(msgspec.Struct, frozen=True):
    """Part of a stream, and its head at the moment of that same read."""

    publications: list[Publication]
    head: Position


class Look(msgspec.Struct, frozen=True):
    """A look at a stream's head. known: how far whoever looks has come; an empty epoch if nothing is known."""

    channel: str
    keep: Retention
    known: Position = Position("", 0)


class Published(msgspec.Struct, frozen=True):
    """What the engine answers to a publish. position: None without history. repeated: the key had been seen."""

    position: Position | None = None
    repeated: bool = False
