"""Which channels' publications, and which channels altogether, the server may drop by now.

JetStream knows one age for a whole stream, and each channel has its own. So the node that wrote last to a channel has
its records purged: those before the newest when the publications expire, all when the epoch ends. A purge names the
sequence up to which it goes, so what another node writes meanwhile stays. What a node that died leaves behind goes by
the age of the stream.
"""

from __future__ import annotations

import heapq

from roomful.engines.nats_jetstream import JetStream
from roomful.engines.nats_link import LinkDown
from roomful.engines.nats_names import Names
from roomful.engines.nats_record import Record

EACH_TIDY = 500
"""Purges asked for at once."""


class Expiry:
    """An agenda with one entry a channel: the record that this node wrote last."""

    __slots__ = ("_heap", "_js", "_names", "_records")

    def __init__(self, jetstream: JetStream, names: Names) -> None:
        self._js = jetstream
        self._names = names
        self._records: dict[str, Record] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._records)

    def note(self, channel: str, record: Record) -> None:
        """The newest record of a channel, as far as this node knows. Deadlines only move on, so the entry that is
        there already comes up in time."""
        if channel not in self._records:
            heapq.heappush(self._heap, (_due(record, 0), channel))
        self._records[channel] = record

    def tidy(self, now_ms: int) -> None:
        """Has purged what is due, `EACH_TIDY` channels at most; nothing while the server is away."""
        for _ in range(EACH_TIDY):
            if not self._heap or self._heap[0][0] > now_ms:
                return
            at, channel = heapq.heappop(self._heap)
            record = self._records[channel]
            try:
                if now_ms >= record.ends_ms:
                    self._purge(channel, record.sequence + 1)
                elif now_ms >= record.expires_ms:
                    self._purge(channel, record.sequence)
            except LinkDown:
                heapq.heappush(self._heap, (at, channel))
                return
            if now_ms >= record.ends_ms:
                del self._records[channel]
            else:
                heapq.heappush(self._heap, (_due(record, now_ms), channel))

    def _purge(self, channel: str, before: int) -> None:
        self._js.purge_soon(self._names.log_stream, filter=self._names.log(channel), seq=before)


def _due(record: Record, now_ms: int) -> int:
    return record.expires_ms if record.expires_ms > now_ms else record.ends_ms
