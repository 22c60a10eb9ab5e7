"""Channels that are facets reach their kind; a room's own channel doesn't."""

from __future__ import annotations

import pytest

from roomful.model.client import ClientInfo
from roomful.model.errors import NotAvailable
from roomful.model.publication import Publication
from roomful.node.facets import Facets

ANN = ClientInfo("ann", "a1")


class Kind:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    async def snapshot(self, base: str) -> bytes:
        return f'"{base}"'.encode()

    async def publish(self, base: str, sender: ClientInfo, data: bytes) -> None:
        self.calls.append(("publish", base, sender, data))

    def hear(self, base: str, publication: Publication) -> bool:
        self.calls.append(("hear", base))
        return publication.data == b"mine"

    def left(self, base: str, client: str) -> None:
        self.calls.append(("left", base, client))

    def deserted(self, base: str) -> None:
        self.calls.append(("deserted", base))


async def test_a_facet() -> None:
    kind = Kind()
    facets = Facets({"typing": kind})
    assert await facets.snapshot("typing:chat:1") == b'"chat:1"'
    await facets.publish("typing:chat:1", ANN, b"1")
    assert facets.hear("typing:chat:1", Publication(b"mine"))
    assert not facets.hear("typing:chat:1", Publication(b"for all"))
    facets.deserted("typing:chat:1")
    facets.left("chat:1", "a1")
    heard = ("hear", "chat:1")
    assert kind.calls == [
        ("publish", "chat:1", ANN, b"1"),
        heard,
        heard,
        ("deserted", "chat:1"),
        ("left", "chat:1", "a1"),
    ]


async def test_a_rooms_own_channel() -> None:
    kind = Kind()
    facets = Facets({"typing": kind})
    assert await facets.snapshot("chat:1") == b""
    assert not facets.hear("chat:1", Publication(b"mine"))
    facets.deserted("chat:1")
    with pytest.raises(NotAvailable):
        await facets.publish("chat:1", ANN, b"1")
    assert kind.calls == []
