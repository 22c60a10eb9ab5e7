"""The facets of this node's rooms: who is asked for the state of one, and who hears of changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from roomful.model.client import ClientInfo
from roomful.model.errors import NotAvailable
from roomful.model.facet import Facet, facet_of
from roomful.model.publication import Position, Publication
from roomful.node.hub import Hub
from roomful.rooms.recovery import Gap


class FacetState(NamedTuple):
    """data: the whole state, as JSON; empty for a room's own channel. position: exactly what it holds; None: at least
    all up to the log's head before it was asked for."""

    data: bytes
    position: Position | None = None


class FacetKind(Protocol):
    """One kind of facet, for all rooms of a node. base: the room's own channel."""

    async def snapshot(self, base: str) -> FacetState:
        """What a new subscriber gets."""
        ...

    async def publish(self, base: str, sender: ClientInfo, data: bytes) -> None:
        """What a client publishes to it. Raises BadRequest for what it doesn't understand, NotAvailable (108) if
        clients can't change it."""
        ...

    def hear(self, base: str, publication: Publication, epoch: str) -> bool:
        """Something was published, by this node or another one. True: subscribers hear of it from here, else as it is.
        Called only while this node has subscribers; numbered ones come in order. Never raises."""
        ...

    def miss(self, base: str) -> None:
        """Something was published that will never come. Never raises."""
        ...

    def left(self, base: str, client: str) -> None:
        """A client is in the room no more. Never raises."""
        ...

    def deserted(self, base: str) -> None:
        """The facet's last subscriber on this node has gone. Never raises."""
        ...


class Facets:
    """All kinds, by name, between what a node hears and its hub."""

    __slots__ = ("_hub", "_kinds")

    def __init__(self, hub: Hub, kinds: Mapping[str, FacetKind]) -> None:
        self._hub = hub
        self._kinds = dict(kinds)

    def add(self, name: str, kind: FacetKind) -> None:
        """One more, which needs what a node doesn't have."""
        self._kinds[name] = kind

    async def snapshot(self, channel: str) -> FacetState:
        """The state that a new subscriber gets."""
        facet = facet_of(channel)
        return FacetState(b"") if facet is None else await self._kind(facet).snapshot(facet.base)

    async def publish(self, channel: str, sender: ClientInfo, data: bytes) -> None:
        """What a client publishes to a facet. Raises NotAvailable for a room's own channel."""
        facet = facet_of(channel)
        if facet is None:
            raise NotAvailable("the channel isn't a facet")
        await self._kind(facet).publish(facet.base, sender, data)

    def broadcast(self, channel: str, publication: Publication, epoch: str) -> None:
        """What was published goes to the channel's subscribers, or to the facet, which deals with it."""
        facet = facet_of(channel)
        kind = None if facet is None else self._kinds.get(facet.kind)
        if facet is None or kind is None or not kind.hear(facet.base, publication, epoch):
            self._hub.broadcast(channel, publication, epoch)

    def miss(self, channel: str, head: Position, gap: Gap) -> None:
        """The node itself can't give back what lies before `head`."""
        facet = facet_of(channel)
        if facet is not None and facet.kind in self._kinds:
            self._kinds[facet.kind].miss(facet.base)
        self._hub.miss(channel, head, gap)

    def left(self, channel: str, client: str) -> None:
        """A client is subscribed to the channel no more."""
        for kind in self._kinds.values():
            kind.left(channel, client)

    def deserted(self, channel: str) -> None:
        """Nobody on this node is subscribed to the channel any more."""
        facet = facet_of(channel)
        if facet is not None and facet.kind in self._kinds:
            self._kinds[facet.kind].deserted(facet.base)

    def _kind(self, facet: Facet) -> FacetKind:
        """Raises NotAvailable for a kind that this node doesn't keep."""
        kind = self._kinds.get(facet.kind)
        if kind is None:
            raise NotAvailable("this server doesn't keep that facet")
        return kind
