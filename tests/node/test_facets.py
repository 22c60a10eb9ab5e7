"""Channels that are facets reach their kind; a room's own channel doesn't."""

from __future__ import annotations

import pytest

from roomful.model.client import ClientInfo
from roomful.model.errors import NotAvailable
from roomful.model.publication import Position, Publication
from roomful.node.facets import Facets, FacetState
from roomful.node.hub import Hub
from roomful.rooms.recovery import Gap

ANN = ClientInfo("ann", "a1")


class Kind:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    async def snapshot(self, base: str) -> FacetState:
        return FacetState(f'"{base}"'.encode())

    async def publish(self, base: str, sender: ClientInfo, data: bytes) -> None:
        self.calls.append(("publish", base, sender, data))

    def hear(self, base: str, publication: Publication, epoch: str) -> bool:
        self.calls.append(("hear", base, epoch))
        return publication.data == b"mine"

    def miss(self, base: str) -> None:
        self.calls.append(("miss", base))

    def left(self, base: str, client: str) -> None:
        self.calls.append(("left", base, client))

    def deserted(self, base: str) -> None:
        self.calls.append(("deserted", base))


class Heard(Hub):
    """What reaches the subscribers as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    def broadcast(self, channel: str, publication: Publication, epoch: str) -> None:
        self.told.append((channel, publication.data, epoch))

    def miss(self, channel: str, head: Position, gap: Gap) -> None:
        self.told.append((channel, head, gap))


async def test_a_facet() -> None:
    kind, hub = Kind(), Heard()
    facets = Facets(hub, {"typing": kind})
    assert (await facets.snapshot("typing:chat:1")).data == b'"chat:1"'
    await facets.publish("typing:chat:1", ANN, b"1")
    facets.broadcast("typing:chat:1", Publication(b"mine"), "e")
    facets.broadcast("typing:chat:1", Publication(b"for all"), "e")
    facets.miss("typing:chat:1", Position("e", 3), Gap.TRIMMED)
    assert hub.told == [
        ("typing:chat:1", b"for all", "e"),
        ("typing:chat:1", Position("e", 3), Gap.TRIMMED),
    ]
    facets.deserted("typing:chat:1")
    facets.left("chat:1", "a1")
    heard = ("hear", "chat:1", "e")
    assert kind.calls == [
        ("publish", "chat:1", ANN, b"1"),
        heard,
        heard,
        ("miss", "chat:1"),
        ("deserted", "chat:1"),
        ("left", "chat:1", "a1"),
    ]


async def test_a_rooms_own_channel() -> None:
    kind, hub = Kind(), Heard()
    facets = Facets(hub, {"typing": kind})
    assert (await facets.snapshot("chat:1")).data == b""
    facets.broadcast("chat:1", Publication(b"mine"), "")
    facets.miss("chat:1", Position("e", 3), Gap.TRIMMED)
    assert len(hub.told) == 2
    facets.deserted("chat:1")
    with pytest.raises(NotAvailable):
        await facets.publish("chat:1", ANN, b"1")
    assert kind.calls == []
