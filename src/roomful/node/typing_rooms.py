"""The facet `typing:`: nodes exchange what their clients say, each one shows its subscribers people.

A room takes memory only while somebody types in it or was heard of. Source: design, section 3.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from roomful.model.client import ClientInfo, person_of
from roomful.model.errors import BadRequest, RoomfulError
from roomful.model.publication import Draft, Publication, Retention
from roomful.node import eager
from roomful.node.facets import FacetState
from roomful.node.hub import Hub
from roomful.node.wheel import Wheel
from roomful.rooms.typing_indicator import Keystrokes, Told, Typists
from roomful.seams.engine import Broker

log = logging.getLogger("roomful.node")

NOT_KEPT = Retention()

SHOWN_MAX = 100
"""No snapshot names more people: nobody reads on."""


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client publishes, and what nodes tell each other."""

    typing: bool


class TypingRooms:
    """Who types in which room, as this node knows it (`node.facets.FacetKind`)."""

    __slots__ = ("_broker", "_hub", "_rooms", "_wheel")

    def __init__(self, broker: Broker, hub: Hub, wheel: Wheel) -> None:
        self._broker = broker
        self._hub = hub
        self._wheel = wheel
        self._rooms: dict[str, _Room] = {}

    def __len__(self) -> int:
        """Rooms in which somebody types."""
        return len(self._rooms)

    async def snapshot(self, base: str) -> FacetState:
        """`{"typing": [{"user", "info"?}]}`: everybody who types, a hundred at most."""
        room = self._rooms.get(base)
        if room is None:
            return FacetState(msgspec.json.encode({"typing": []}))
        for info in room.keystrokes.typing():
            # Nobody heard of it while nobody listened here, and whoever is shown has to be shown to stop.
            self._show(base, room.typists.hear(Told(info, True), self._wheel.now()))
        self._settle(room)
        return FacetState(msgspec.json.encode({"typing": list(map(_shown, room.people()))}))

    async def publish(self, base: str, sender: ClientInfo, data: bytes) -> None:
        try:
            keys = msgspec.json.decode(data, type=Keys)
        except msgspec.MsgspecError:
            raise BadRequest('what is published here is {"typing": true} or {"typing": false}') from None
        room = self._room(base)
        room.keystrokes.press(sender, keys.typing, self._wheel.now())
        await self._publish(base, room.due(self._wheel.now()))
        self._settle(room)

    def hear(self, base: str, publication: Publication, epoch: str) -> bool:
        try:
            keys = msgspec.json.decode(publication.data, type=Keys)
        except msgspec.MsgspecError as error:
            log.warning("another node says of the typing in %r what this version doesn't know: %s", base, error)
            return True
        if publication.info is not None:
            room = self._room(base)
            self._show(base, room.typists.hear(Told(publication.info, keys.typing), self._wheel.now()))
            self._settle(room)
        return True

    def miss(self, base: str) -> None:
        """There is no log in which anything could be missed."""

    def left(self, base: str, client: str) -> None:
        room = self._rooms.get(base)
        if room is None:
            return
        told = room.keystrokes.leave(client)
        if told is not None:
            eager.later(self._tell(base, [told]))

    def deserted(self, base: str) -> None:
        room = self._rooms.get(base)
        if room is not None:
            room.typists = Typists()
            self._settle(room)

    def on_due(self, room: _Room, now: float) -> float | None:
        """What the clock brings: silence, and the end of who wasn't heard of any more."""
        for told in room.typists.expire(now):
            self._show(room.base, told)
        due = room.due(now)
        if due:
            eager.start(self._tell(room.base, due))
        if room.empty:
            self._rooms.pop(room.base, None)
        return room.next_at(now)

    def _room(self, base: str) -> _Room:
        room = self._rooms.get(base)
        if room is None:
            room = self._rooms[base] = _Room(base, self)
        return room

    def _settle(self, room: _Room) -> None:
        """Something has changed: when to look again."""
        if room.empty:
            self._rooms.pop(room.base, None)
        else:
            self._wheel.schedule(room, room.next_at(self._wheel.now()))

    async def _tell(self, base: str, told: Iterable[Told]) -> None:
        try:
            await self._publish(base, told)
        except RoomfulError as error:  # the others forget who isn't heard of
            log.warning("the typing in %r was not told: %s", base, error)

    async def _publish(self, base: str, told: Iterable[Told]) -> None:
        for info, typing in told:
            draft = Draft(msgspec.json.encode(Keys(typing)), info)
            await self._broker.publish(f"typing:{base}", draft, NOT_KEPT)

    def _show(self, base: str, told: Told | None) -> None:
        """To this node's subscribers."""
        if told is not None:
            data = msgspec.json.encode({"user": person_of(told.info), "typing": told.typing})
            self._hub.broadcast(f"typing:{base}", Publication(data, info=told.info), "")


class _Room:
    """One room (`node.wheel.Timed`)."""

    __slots__ = ("_rooms", "base", "keystrokes", "typists", "wheel_slot")

    def __init__(self, base: str, rooms: TypingRooms) -> None:
        self.base = base
        self.keystrokes = Keystrokes()
        self.typists = Typists()
        self.wheel_slot = 0
        self._rooms = rooms

    @property
    def empty(self) -> bool:
        return not self.keystrokes and not self.typists

    def due(self, now: float) -> list[Told]:
        return self.keystrokes.due(now)

    def people(self) -> list[ClientInfo]:
        """Whom this node has heard of."""
        return self.typists.people()[:SHOWN_MAX]

    def next_at(self, now: float) -> float | None:
        times = (self.keystrokes.next_at(now), self.typists.next_at())
        return min((at for at in times if at is not None), default=None)

    def on_due(self, now: float) -> float | None:
        return self._rooms.on_due(self, now)


def _shown(info: ClientInfo) -> dict[str, Any]:
    shown: dict[str, Any] = {"user": person_of(info)}
    if info.conn_info:
        shown["info"] = msgspec.Raw(info.conn_info)
    return shown
