"""HOT. Frames of one connection that wait for the end of the loop turn, bounded in bytes.

While the transport is writable, everything queued in a turn leaves in one write. While it is paused (the client reads
too slowly) frames wait here, `max_bytes` at most; whoever offers a frame that doesn't fit is told so, and decides. What
waits for longer than a turn is owed, and counts in the backlog of the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from roomful.node.backlog import Backlog
from roomful.node.flusher import Flusher
from roomful.node.stats import Stats
from roomful.seams.transport import Transport

PIECE_BYTES = 262_144
"""A backlog leaves in pieces of this size, so that a client that stalls again leaves no more than one of them in the
transport's buffer."""


class Joiner(Protocol):
    """What an outbox needs of a dialect."""

    binary: bool

    def join(self, frames: list[bytes]) -> bytes: ...


class Outbox:
    """What one connection is about to be sent, in order.

    on_room: called once after a flush that leaves room; set it when something waits for that (catch-up). `latest`:
    frames by key that wait behind all others.
    """

    __slots__ = (
        "_backlog",
        "_binary",
        "_dialect",
        "_flusher",
        "_frames",
        "_latest",
        "_latest_bytes",
        "_stats",
        "_transport",
        "bytes",
        "max_bytes",
        "on_room",
        "owed",
    )

    def __init__(
        self,
        transport: Transport,
        dialect: Joiner,
        flusher: Flusher,
        stats: Stats,
        max_bytes: int,
        backlog: Backlog,
    ) -> None:
        self._transport = transport
        self._dialect = dialect
        self._binary = dialect.binary
        self._flusher = flusher
        self._stats = stats
        self._backlog = backlog
        self.max_bytes = max_bytes
        self._frames: list[bytes] | None = None
        self._latest: dict[tuple[str, str], bytes] | None = None
        self._latest_bytes = 0
        self.bytes = 0
        self.owed = 0
        self.on_room: Callable[[], None] | None = None

    @property
    def has_room(self) -> bool:
        """Whether a catch-up may fill it: the client reads, and less than a quarter is taken."""
        return self.bytes * 4 < self.max_bytes and not self._transport.paused

    @property
    def queued_bytes(self) -> int:
        """All that waits."""
        return self.bytes + self._latest_bytes

    def put(self, frame: bytes) -> bool:
        """Queues a frame for the end of this turn. False: it doesn't fit, and nothing has happened."""
        size = self.bytes + len(frame)
        if size > self.max_bytes:
            if not self._make_room(len(frame)):
                return False
            size = self.bytes + len(frame)
        if self._frames is None:
            self._frames = [frame]
            self._flusher.mark(self)
        elif self.owed and not self._backlog.admit(self, len(frame)):
            return False
        else:
            self._frames.append(frame)
        self.bytes = size
        return True

    def force(self, frame: bytes) -> None:
        """Queues a frame whatever the budget says: for the few small ones that tell what is missing."""
        if self._frames is None:
            self._frames = [frame]
            self._flusher.mark(self)
        else:
            self._frames.append(frame)
        self.bytes += len(frame)
        if self.owed:
            self._backlog.settle(self, self.queued_bytes)

    def put_latest(self, key: tuple[str, str], frame: bytes) -> bool:
        """Like `put`, but a frame that doesn't fit waits as the newest of its key, in place of the one before.

        False: also those are at the budget.
        """
        if self._latest is None:
            if self.put(frame):
                return True
            self._latest = {}
        replaced = self._latest.get(key)
        size = self._latest_bytes + len(frame) - len(replaced or b"")
        if size > self.max_bytes:
            return False
        if self.owed and not self._backlog.admit(self, size - self._latest_bytes):
            return False
        self._stats.replaced += replaced is not None
        self._latest[key] = frame
        self._latest_bytes = size
        return True

    def forget_latest(self, channel: str) -> None:
        """What waits of the channel as the newest of its key isn't wanted any more."""
        if self._latest is None:
            return
        for key in [key for key in self._latest if key[0] == channel]:
            self._latest_bytes -= len(self._latest.pop(key))
        if self.owed:
            self._backlog.settle(self, self.queued_bytes)

    def flush(self) -> None:
        """Writes what waits, unless the transport is paused; `on_writable` of the session calls it then."""
        transport = self._transport
        if transport.paused:
            self._backlog.settle(self, self.queued_bytes)
            return
        frames = self._frames
        if self.bytes > PIECE_BYTES:
            self._flush_pieces()
            self._backlog.settle(self, self.queued_bytes)
        elif frames:
            self._frames = None
            self.bytes = 0
            data = frames[0] if len(frames) == 1 else self._dialect.join(frames)
            stats = self._stats
            stats.writes += 1
            stats.bytes_out += len(data)
            transport.write(data, self._binary)
        if self.owed or self._latest is not None or self.on_room is not None:
            self._after_flush()

    def _after_flush(self) -> None:
        """What a connection that reads slowly has waiting behind its frames."""
        if self._latest is not None and not self._frames and not self._transport.paused:
            waiting, self._latest, self._latest_bytes = list(self._latest.values()), None, 0
            if waiting:
                self._write(waiting)
        if self.owed:
            self._backlog.settle(self, self.queued_bytes)
        if self.on_room is not None and self.has_room:
            self.on_room()

    def clear(self) -> None:
        """Forgets everything; for a connection that is gone."""
        self._stats.unsent += len(self._frames or ()) + len(self._latest or ())
        self._frames = None
        self._latest = None
        self.bytes = self._latest_bytes = 0
        self.on_room = None
        self._backlog.settle(self, 0)

    def _write(self, frames: list[bytes]) -> None:
        data = frames[0] if len(frames) == 1 else self._dialect.join(frames)
        self._stats.writes += 1
        self._stats.bytes_out += len(data)
        self._transport.write(data, self._dialect.binary)

    def _flush_pieces(self) -> None:
        frames, start = self._frames or [], 0
        while start < len(frames) and not self._transport.paused:
            end, size = start, 0
            while end < len(frames) and (end == start or size + len(frames[end]) <= PIECE_BYTES):
                size += len(frames[end])
                end += 1
            self._write(frames[start:end])
            self.bytes -= size
            start = end
        self._frames = frames[start:] or None

    def _make_room(self, size: int) -> bool:
        """A burst of one turn can exceed the budget of a client that reads well: write early, then look again."""
        if self._frames is not None and not self._transport.paused:
            self._flush_pieces()
        return self.bytes + size <= self.max_bytes or self._frames is None


class SingleMessages(Outbox):
    """For dialects that don't join, on transports where each write is a message: one frame is written at a time."""

    __slots__ = ()

    def flush(self) -> None:
        if not self._transport.paused:
            self._flush_pieces()
        self._backlog.settle(self, self.queued_bytes)
        if not self._transport.paused and (self._latest is not None or self.on_room is not None):
            self._after_flush()

    def _write(self, frames: list[bytes]) -> None:
        for frame in frames:
            super()._write([frame])
