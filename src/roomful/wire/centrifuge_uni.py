"""HOT The one-way half of the Centrifuge protocol, in JSON: one request in, bare pushes out.

Source: Centrifuge protocol, section 20.
"""

from __future__ import annotations

from roomful.model.command import Command
from roomful.model.push import Push
from roomful.model.reply import ConnectResult, Failure, Result
from roomful.wire.centrifuge_json import connect_result, push_document, read_connect, written


class CentrifugeUni:
    """What a client that only listens gets: each document is a push; the first one is its connect result."""

    name = "centrifuge-uni-json"
    binary = False
    json = True
    unidirectional = True
    joins = False

    def decode(self, data: bytes) -> list[Command]:
        """The one thing that such a client says: a connect request without a command around it; nothing stands for one
        without fields. Raises WireError."""
        return [read_connect(data or b"{}")]

    def reply(self, id: int, result: Result | Failure) -> bytes:
        """The connect push. Raises TypeError for another result: nothing else is asked, and errors end it."""
        if not isinstance(result, ConnectResult):
            raise TypeError(f"no such result on a one-way connection: {type(result).__name__}")
        return written({"connect": connect_result(result)})

    def push(self, push: Push) -> bytes:
        """A document. Raises Unencodable."""
        return written(push_document(push))

    def ping(self) -> bytes:
        return b"{}"

    def join(self, frames: list[bytes]) -> bytes:
        return b"\n".join(frames)
