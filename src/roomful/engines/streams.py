"""The streams of one process: begun at first use, put to rest when their publications expire, forgotten in time.

However many channels come and go, nothing grows for ever, and each call frees only a few of those that went.
"""

from __future__ import annotations

import math
import secrets
from heapq import heapify, heappop, heappush

from roomful.model.publication import Retention
from roomful.rooms.stream import Stream

LOOKS = 100
"""How many streams one call looks at to find one that may be forgotten; if all of them are read again and again, there
is one too many until the next call."""


class _Agenda:
    """Streams by channel, and which of them has to be looked at first.

    A heap of times, one for each stream. Whoever finds that a stream which comes up is due later puts it back, so what
    only prolongs its life leaves the heap alone. The entry of one that was taken out, or has to be looked at earlier,
    stays until it comes up, or until such entries are the greater part.
    """

    __slots__ = ("_heap", "_streams")

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, channel: str) -> Stream | None:
        return self._streams.get(channel)

    def put(self, channel: str, stream: Stream, at: float) -> None:
        """Keeps the stream, and has it looked at by then."""
        if self._streams.get(channel) is stream and stream.looked_at <= at:
            return
        self._streams[channel] = stream
        stream.looked_at = at
        heappush(self._heap, (at, channel))
        if len(self._heap) > 2 * len(self._streams) + 64:
            self._heap = [(stream.looked_at, channel) for channel, stream in self._streams.items()]
            heapify(self._heap)

    def take(self, channel: str) -> Stream | None:
        return self._streams.pop(channel, None)

    def take_due(self, now: float) -> tuple[str, Stream] | None:
        """The next one whose time has come, None if there is none."""
        while self._heap and self._heap[0][0] <= now:
            at, channel = heappop(self._heap)
            stream = self._streams.get(channel)
            if stream is not None and stream.looked_at == at:
                del self._streams[channel]
                return channel, stream
        return None


class Streams:
    """All streams of the process: the *full* ones with publications, the *idle* ones with only an epoch and an offset.

    A full one that comes up before its publications expire, because it was published to again, is put back: so a
    publish leaves the agenda alone. Idle ones are forgotten when their time is up, or when they are too many.
    """

    __slots__ = ("_epoch", "_full", "_idle", "_idle_max")

    def __init__(self, idle_max: int) -> None:
        self._full = _Agenda()
        self._idle = _Agenda()
        self._idle_max = idle_max
        # Shared by all streams that begin now: 60 bytes and a random number less for each. It is drawn anew whenever
        # a stream that had publications is forgotten, so no channel ever gets the same epoch for two lives.
        self._epoch = secrets.token_hex(6)

    def to_write(self, channel: str, keep: Retention, now: float) -> Stream:
        """The channel's stream, begun if there is none; it has to be appended to."""
        stream = self._full.get(channel)
        if stream is None or stream.is_over(now):
            stream = self._living(self._idle.take(channel) if stream is None else stream, now)
            self._full.put(channel, stream, now + keep.ttl_s)
        return stream

    def to_read(self, channel: str, keep: Retention, now: float) -> Stream:
        """The channel's stream, begun if there is none; it has to be read from."""
        stream = self._full.get(channel)
        if stream is None or stream.is_over(now):
            stream = self._living(self._idle.get(channel) if stream is None else self._full.take(channel), now)
            stream.prolong(keep, now)
            self._rest(channel, stream)
        return stream

    def renew(self, channel: str, keep: Retention, now: float) -> Stream:
        """The channel's stream under a new epoch: it isn't the one that somebody knows."""
        stream = self.to_read(channel, keep, now)
        self._epoch = stream.epoch = secrets.token_hex(6)
        return stream

    def remove(self, channel: str) -> None:
        """Drops the channel's publications."""
        stream = self._full.get(channel)
        if stream is not None:
            stream.remove()

    def tidy(self, now: float, limit: int) -> bool:
        """Frees what has expired, at most `limit` streams of each kind; whether there may be more."""
        more = False
        for agenda in (self._full, self._idle):
            for _ in range(limit):
                due = agenda.take_due(now)
                if due is None:
                    break
                self._settle(*due, now)
            else:
                more = True
        return more

    def sizes(self) -> tuple[int, int]:
        """How many are full, and how many idle."""
        return len(self._full), len(self._idle)

    def _living(self, stream: Stream | None, now: float) -> Stream:
        """The stream, or a new one in its place if it is over."""
        if stream is not None:
            if not stream.is_over(now):
                return stream
            self._mourn(stream)
        return Stream(self._epoch)

    def _mourn(self, stream: Stream) -> None:
        """Whoever knows a position in a forgotten stream must not take a later one for it. Without a publication yet,
        there is nothing that one could miss or mistake."""
        if stream.top:
            self._epoch = secrets.token_hex(6)

    def _settle(self, channel: str, stream: Stream, now: float) -> None:
        """Puts a stream where it belongs now that something about it may have expired."""
        stream.expire(now)
        if stream.held:
            self._full.put(channel, stream, stream.due)
        elif stream.is_over(now):
            self._mourn(stream)
        else:
            self._rest(channel, stream)

    def _rest(self, channel: str, stream: Stream) -> None:
        """Idle until its end, unless there are too many: the one nearest to its end is forgotten."""
        self._idle.put(channel, stream, stream.due)
        for _ in range(LOOKS):
            if len(self._idle) <= self._idle_max or (first := self._idle.take_due(math.inf)) is None:
                return
            channel, stream = first
            if stream.due > stream.looked_at:
                self._idle.put(channel, stream, stream.due)
            else:
                self._mourn(stream)
