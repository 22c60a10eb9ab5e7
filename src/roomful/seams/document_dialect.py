"""What a document session needs of a Yjs wire."""

from __future__ import annotations

from typing import Protocol

from roomful.model.document import FromClient, ToClient


class DocumentDialect(Protocol):
    """A *routing key* names a document on one socket: its name, or with it a session id; "" where there is only one.

    Instances are shared by all connections and compared by identity.
    """

    name: str
    """"y-websocket" …, for logs and metrics."""

    binary: bool
    """Always true: what a Yjs client would take a text frame for is an error."""

    joins: bool
    """Whether frames can be strung together; else each is one message, to be written by itself."""

    acknowledges: bool
    """Whether the wire has `SyncStatus`; without one the echo of an update says that it is stored."""

    def decode(self, data: bytes) -> list[tuple[str, FromClient]]:
        """Routing key and message, in order. Raises WireError where not even the key can be read."""
        ...

    def encode(self, key: str, message: ToClient) -> bytes:
        """One frame."""
        ...

    def join(self, frames: list[bytes]) -> bytes:
        """Frames, in order, as one piece for one `Transport.write`."""
        ...
