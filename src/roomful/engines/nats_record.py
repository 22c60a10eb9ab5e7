"""What a record of a channel's log says beside the publication: the state of the stream from here on, as one header.

Every record tells the whole of it, so the newest one of a channel is all that a publish or a look at the head reads.
Pure: times are arguments, in milliseconds since 1970 by the server's clock.
"""

from __future__ import annotations

from operator import sub

import msgspec

from roomful.model.errors import WireError
from roomful.model.publication import Position, Retention

HEADER = "Roomful"

PUBLICATION, OPENED, TOUCHED, CUT = "p", "o", "t", "c"
"""Kinds: a publication; an epoch begins; a reader prolonged its life; the publications up to here were removed."""

TRAIL_MAX = 32
"""Places of earlier publications that a record carries. A page of 300 is read in ten round trips, a header grows by
about 100 bytes."""


class Record(msgspec.Struct, frozen=True):
    """One record. offset: of the newest publication here. floor: those up to it are gone, whatever the log still holds.

    expires_ms: then the publications are gone; ends_ms: then epoch and offset are. by: names the attempt that wrote it.
    trail: sequences of the publications before it, newest first, without gaps. sequence: its own; 0 before it has one.
    """

    kind: str
    epoch: str
    offset: int
    floor: int
    expires_ms: int
    ends_ms: int
    by: str
    trail: tuple[int, ...] = ()
    sequence: int = 0

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset)

    def is_over(self, now_ms: int, life: str) -> bool:
        """Whether the epoch has ended: its time is up, or the server has lost data since."""
        return now_ms >= self.ends_ms or not self.epoch.startswith(life)

    def oldest(self, now_ms: int) -> int:
        """The offset of the oldest publication that may be given."""
        return (self.offset if now_ms >= self.expires_ms else self.floor) + 1

    def places(self) -> dict[int, int]:
        """Offset → sequence, of this publication and of those that it tells of."""
        return {self.offset - back: sequence for back, sequence in enumerate(self._newest)}

    @property
    def _newest(self) -> tuple[int, ...]:
        """Sequences of the publications up to here, newest first."""
        return (self.sequence, *self.trail) if self.kind == PUBLICATION else self.trail

    def followed(self, kind: str, by: str, **changes: object) -> Record:
        """The next record, the state being the same but for the changes."""
        trail = self._newest[:TRAIL_MAX]
        return msgspec.structs.replace(self, kind=kind, by=by, trail=trail, sequence=0, **changes)

    def header(self) -> str:
        """As text: the trail's first sequence whole, the others as distances."""
        steps = *self.trail[:1], *map(sub, self.trail, self.trail[1:])
        trail = ",".join(map("%x".__mod__, steps)) or "-"
        return f"{self.kind} {self.epoch} {self.offset} {self.floor} {self.expires_ms} {self.ends_ms} {self.by} {trail}"


def opened(epoch: str, keep: Retention, now_ms: int, by: str) -> Record:
    """An epoch without publications."""
    return Record(OPENED, epoch, 0, 0, now_ms, now_ms + _ms(keep.meta_ttl_s), by)


def published(before: Record, keep: Retention, now_ms: int, by: str) -> Record:
    """The record of one more publication."""
    offset = before.offset + 1
    expires_ms = now_ms + _ms(keep.ttl_s)
    return before.followed(
        PUBLICATION,
        by,
        offset=offset,
        floor=max(before.oldest(now_ms) - 1, offset - keep.size),
        expires_ms=expires_ms,
        ends_ms=expires_ms + _ms(keep.meta_ttl_s),
    )


def touched(before: Record, keep: Retention, now_ms: int, by: str) -> Record | None:
    """The record that prolongs the life of epoch and offset; None while more than half of it is left anyway."""
    whole_ms = _ms(keep.meta_ttl_s)
    if before.ends_ms - now_ms > whole_ms // 2:
        return None
    return before.followed(TOUCHED, by, ends_ms=now_ms + whole_ms)


def cut(before: Record, by: str) -> Record:
    """The record that removes all publications."""
    return before.followed(CUT, by, floor=before.offset)


def parse(header: str, sequence: int) -> Record:
    """A record from its header. Raises WireError."""
    try:
        kind, epoch, offset, floor, expires_ms, ends_ms, by, steps = header.split(" ")
        trail: list[int] = []
        for step in () if steps == "-" else steps.split(","):
            trail.append(trail[-1] - int(step, 16) if trail else int(step, 16))
        return Record(kind, epoch, int(offset), int(floor), int(expires_ms), int(ends_ms), by, tuple(trail), sequence)
    except ValueError:
        raise WireError(f"not the header of a record: {header[:80]!r}") from None


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
