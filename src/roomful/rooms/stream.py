"""One life of a channel's history: the newest publications, numbered from 1 within an epoch.

Whoever keeps streams asks `is_over` before each use and replaces a stream that is over by one with another epoch.
Source: Centrifuge protocol, section 10.1.
"""

from __future__ import annotations

from roomful.model.publication import Draft, HistoryFilter, Page, Position, Publication, Retention


class Stream:
    """Bounded by size (how many) and by time (how long after the last one). Times are seconds of the caller's clock.

    A ring, so that appending is one assignment and a page is one or two slices: offsets are contiguous, so a
    publication's place follows from its offset.

    looked_at: its keeper's own note, when it looks at the stream next.
    """

    __slots__ = ("_ends_at", "_expires_at", "_ring", "_start", "epoch", "looked_at", "top")

    def __init__(self, epoch: str) -> None:
        """An empty one. It is over at once unless it is published to or read from."""
        self.epoch = epoch
        self.top = 0
        """The newest publication's offset; 0 before the first one."""
        self._ring: list[Publication] | tuple[()] = ()
        self._start = 0
        """Where in the ring the oldest one lies."""
        self._expires_at = 0.0
        self._ends_at = 0.0
        self.looked_at = 0.0

    @property
    def held(self) -> int:
        """How many publications it holds, those included whose time is up but that nobody has dropped yet."""
        return len(self._ring)

    @property
    def head(self) -> Position:
        return Position(self.epoch, self.top)

    @property
    def due(self) -> float:
        """When time changes it next: `expire` drops its publications, or it is over."""
        return self._expires_at if self._ring else self._ends_at

    def is_over(self, now: float) -> bool:
        """Whether epoch and top offset are no longer remembered either."""
        return now >= self._ends_at

    def append(self, draft: Draft, keep: Retention, now: float) -> Publication:
        """The draft with the next offset; the oldest ones beyond `keep.size` are dropped."""
        if now >= self._expires_at:
            self.remove()
        self.top += 1
        publication = Publication(draft.data, self.top, draft.info, draft.tags, draft.exclude)
        ring, size = self._ring, keep.size
        if not ring:
            self._ring = [publication]
        elif len(ring) != size:
            self._resize(ring, size)
            ring.append(publication)
        else:
            ring[self._start] = publication
            self._start = (self._start + 1) % size
        self._expires_at = now + keep.ttl_s
        self._ends_at = self._expires_at + keep.meta_ttl_s
        return publication

    def page(self, wanted: HistoryFilter, keep: Retention, now: float) -> Page:
        """The publications that are asked for, and the head; reading prolongs the life of epoch and top offset."""
        self.expire(now)
        self.prolong(keep, now)
        if wanted.limit == 0 or not self._ring:
            return Page([], self.head)
        begin, end = self._bounds(wanted)
        publications = self._slice(self._ring, begin, end)
        if wanted.reverse:
            publications.reverse()
        if wanted.max_bytes is not None:
            publications = _within(publications, wanted.max_bytes)
        return Page(publications, self.head)

    def prolong(self, keep: Retention, now: float) -> None:
        """Has epoch and top offset remembered from now on as after the end of the last publication."""
        self._ends_at = max(self._ends_at, now + keep.meta_ttl_s)

    def expire(self, now: float) -> None:
        """Drops the publications if their time is up."""
        if now >= self._expires_at:
            self.remove()

    def remove(self) -> None:
        """Drops all publications; epoch and top offset stay."""
        if self._ring:
            self._ring = ()
            self._start = 0

    def _bounds(self, wanted: HistoryFilter) -> tuple[int, int]:
        """Which ones, counted from the oldest: from the first up to but without the second."""
        count = len(self._ring)
        limit = count if wanted.limit is None else wanted.limit
        oldest = self.top - count + 1
        if wanted.reverse:
            end = count if wanted.since is None else min(max(wanted.since.offset - oldest, 0), count)
            return max(end - limit, 0), end
        begin = 0 if wanted.since is None else min(max(wanted.since.offset + 1 - oldest, 0), count)
        return begin, min(begin + limit, count)

    def _slice(self, ring: list[Publication], begin: int, end: int) -> list[Publication]:
        count = len(ring)
        first, last = self._start + begin, self._start + end
        if last <= count:
            return ring[first:last]
        if first > count:
            return ring[first - count : last - count]
        return ring[first:] + ring[: last - count]

    def _resize(self, ring: list[Publication], size: int) -> None:
        """Makes room for one more where the ring isn't full, or was filled under another size."""
        surplus = len(ring) - (size - 1)
        if self._start or surplus > 0:
            ring[:] = self._slice(ring, max(surplus, 0), len(ring))
            self._start = 0


def _within(publications: list[Publication], max_bytes: int) -> list[Publication]:
    """As many of the first ones as fit, at least one."""
    total = 0
    for index, publication in enumerate(publications):
        total += len(publication.data)
        if total > max_bytes and index:
            return publications[:index]
    return publications
