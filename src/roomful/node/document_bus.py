"""How the nodes that have a document open reach each other: what was stored, who is there, what was said.

Messages are hints and may be lost: the log in the store is the truth, and every node compares itself with it. Awareness
is renewed by its clients every 15 s and expires otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

from roomful.model.document import AwarenessEntry
from roomful.model.errors import RoomfulError
from roomful.model.publication import Draft, Publication
from roomful.node import eager
from roomful.node.node import Node, Tap

log = logging.getLogger("roomful.documents")

PREFIX = "~document:"
"""No namespace can have this name, so no client reaches these channels."""

POINTER_BYTES = 65_536
"""Larger updates are read from the log instead of being sent."""


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """Entries `first` to `last` are in the log. updates: what they hold; None: to be read there."""

    node: str
    store: str
    first: int
    last: int
    updates: list[bytes] | None


class Shown(msgspec.Struct, frozen=True, tag="shown"):
    """What one user's clients on that node show now. answer: to `Asked`."""

    node: str
    store: str
    user: str
    entries: list[AwarenessEntry]
    answer: bool = False


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """That node has just opened the document: who is there?"""

    node: str
    store: str


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A stateless message to all clients of the document."""

    node: str
    store: str
    payload: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The document was deleted, or got another history: nobody may go on with it."""

    node: str
    store: str
    code: int
    reason: str


Message: TypeAlias = Stored | Shown | Asked | Said | Ended

_decoder = msgspec.msgpack.Decoder(Message)
_encoder = msgspec.msgpack.Encoder()


class DocumentBus:
    """Over the engine of a node. alone: there can't be another node, so nothing is sent."""

    def __init__(self, node: Node, *, alone: bool) -> None:
        self.node = node.id
        self.alone = alone
        self._node = node

    async def join(
        self, name: str, on_message: Callable[[Message], None], on_lapse: Callable[[], None]
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        """From now on messages of other nodes about the document come; calling what is returned ends that.

        on_lapse: some may have been lost.
        """
        if self.alone:
            return _nothing

        def take(publication: Publication) -> None:
            try:
                message: Message = _decoder.decode(publication.data)
            except msgspec.DecodeError as error:
                log.error("a message about document %r can't be read: %s", name, error)
                return
            if message.node != self.node:
                on_message(message)

        channel, tap = channel_of(name), Tap(take, on_lapse)
        await self._node.tap(channel, tap)
        return lambda: self._leave(channel, tap)

    async def _leave(self, channel: str, tap: Tap) -> None:
        try:
            await self._node.untap(channel, tap)
        except RoomfulError as error:
            log.warning("a channel of a document that is closed could not be left: %s", error)

    def send(self, name: str, message: Message) -> None:
        """Tells the others, soon; one that doesn't arrive is made good for by the log."""
        if not self.alone:
            eager.start(self._send(name, message))

    async def _send(self, name: str, message: Any) -> None:
        try:
            await self._node.publish_internal(channel_of(name), Draft(_encoder.encode(message)))
        except RoomfulError as error:
            log.warning("other nodes were not told about document %r: %s", name, error)


async def _nothing() -> None:
    """There was nothing to join."""


def channel_of(name: str) -> str:
    """The channel of a document between nodes. Of fixed length and letters, whatever the name is."""
    return PREFIX + blake2b(name.encode(), digest_size=20).hexdigest()
