"""What hub and session need of a dialect: a codec and a framing, so that one encoding serves all who speak it."""

from __future__ import annotations

from typing import Protocol

from roomful.model.command import Command
from roomful.model.push import Push
from roomful.model.reply import Failure, Result


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
        """Frames, in order, as one piece for one `Transport.write`."""
        ...
