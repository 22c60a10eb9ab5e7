"""What hub and session need of a dialect: a codec and a framing, so that one encoding serves all who speak it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from roomful.model.command import Command
from roomful.model.publication import Position
from roomful.model.push import Push
from roomful.model.reply import Failure, Result
from roomful.model.stream import Joined, Missing


class Dialect(Protocol):
    """A *frame* is a document as it goes to the transport, with its framing; frames can be joined and written at once.

    Instances are shared by all connections and compared by identity.
    """

    name: str
    """"centrifuge-json" …, for logs and metrics."""

    binary: bool
    """Which kind of WebSocket message it travels in."""

    json: bool
    """Whether payloads are JSON text for this client."""

    unidirectional: bool
    """The client says one thing, its connect, and then only listens: it sends no pongs, and hears of an error and of
    the end by a push."""

    joins: bool
    """Whether several frames may travel as one message."""

    def decode(self, data: bytes) -> list[Command]:
        """The commands of one message, in order; at least one. Raises WireError."""
        ...

    def reply(self, id: int, result: Result | Failure) -> bytes:
        """A frame. Raises Unencodable."""
        ...

    def push(self, push: Push) -> bytes:
        """A frame. Raises Unencodable."""
        ...

    def ping(self) -> bytes:
        """The frame of a server ping."""
        ...

    def join(self, frames: list[bytes]) -> bytes:
        """Frames, in order, as one piece for one `Transport.write`; where it joins."""
        ...


class StreamDialect(Dialect, Protocol):
    """The dialect of a stream that follows a fixed set of channels and tells its position in all of them.

    positions: in the order of the sorted channels, None for one that has none. All of these raise Unencodable.
    """

    def subscribed(self, channels: Mapping[str, Joined], positions: Iterable[Position | None]) -> bytes:
        """The first frame. channels: sorted. positions: before anything that follows."""
        ...

    def missing(self, missing: Missing, positions: Iterable[Position | None]) -> bytes:
        """A frame. positions: behind the gap."""
        ...

    def stamped(self, frame: bytes, positions: Iterable[Position | None]) -> bytes:
        """A frame of `push` with the positions that the client has when it has read it."""
        ...
