"""The state of a room in the application's hands: `app.state("chat:1")`. What it changes is kept and told like a
client's change, before the call returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from roomful.node.state_rooms import StateRooms
from roomful.rooms.shared_state import SharedState, Shown

Open = Callable[[str], Awaitable[StateRooms]]


class RoomState:
    """Each call raises the RoomfulError that says why it can't: BadRequest for an operation that the object doesn't
    have, LimitExceeded for a full room, InternalError where the store fails."""

    __slots__ = ("_channel", "_open")

    def __init__(self, channel: str, open: Open) -> None:
        self._channel = channel
        self._open = open

    async def objects(self) -> dict[str, Shown]:
        """All objects by name: `type` and `value`."""
        shown: dict[str, Shown] = await (await self._open(self._channel)).read(self._channel, SharedState.shown)
        return shown

    async def value(self, name: str) -> Any:
        """An object's value as JSON has it (a set is a list); None where there is no such object."""
        shown = (await self.objects()).get(name)
        return None if shown is None else shown.value

    async def change(
        self, name: str, op: str, *, type: str | None = None, path: Sequence[Any] = (), **given: Any
    ) -> bool:
        """Performs an operation (docs/crdt.md has a table of them); whether it has changed anything.

        type: of the object; None: of the one that is there. path: `[key, type]` of each map on the way. given: its
        arguments; an `idempotency_key` too, with which it is done once.
        """
        change: dict[str, Any] = {"object": name, "op": op, **given}
        if type is not None:
            change["type"] = type
        if path:
            change["path"] = [list(step) for step in path]
        return await self.perform(change)

    async def perform(self, change: dict[str, Any]) -> bool:
        """The same, as a client says it. Deltas are for clients: the application has no replica of its own."""
        rooms = await self._open(self._channel)
        return await rooms.change(self._channel, lambda state: state.publish(change, ""))

    async def delete(self) -> bool:
        """Deletes everything that the room shares, for good; whether there was anything. Subscribers come back to an
        empty room: those of this node at once, those of others within seconds."""
        return await (await self._open(self._channel)).delete(self._channel)

    def counter(self, name: str) -> Counter:
        """A PNCounter, unless there is a GCounter of that name."""
        return Counter(self, name, "pncounter")

    def register(self, name: str) -> Register:
        """An LWWRegister, unless there is an MVRegister of that name."""
        return Register(self, name, "lww")

    def flag(self, name: str) -> Flag:
        """An EnableWinsFlag, unless there is a DisableWinsFlag of that name."""
        return Flag(self, name, "ewflag")

    def set(self, name: str) -> Elements:
        """An ORSet, unless there is another set of that name."""
        return Elements(self, name, "orset")


class _Object:
    """One object of a room, made by its first change if there is none."""

    __slots__ = ("_kind", "_name", "_room")

    def __init__(self, room: RoomState, name: str, kind: str) -> None:
        self._room = room
        self._name = name
        self._kind = kind

    async def value(self) -> Any:
        """None where nobody has made it yet."""
        return await self._room.value(self._name)

    async def _change(self, op: str, **given: Any) -> bool:
        rooms = await self._room._open(self._room._channel)

        def make(state: SharedState) -> dict[str, Any] | None:
            there = state.get(self._name)
            kind = self._kind if there is None else there.kind
            return state.publish({"object": self._name, "type": kind, "op": op, **given}, "")

        return await rooms.change(self._room._channel, make)


class Counter(_Object):
    """A number that many change at once."""

    __slots__ = ()

    async def increment(self, by: int = 1) -> bool:
        return await self._change("increment", by=by)

    async def decrement(self, by: int = 1) -> bool:
        return await self._change("decrement", by=by)


class Register(_Object):
    """A value that is replaced as a whole."""

    __slots__ = ()

    async def set(self, value: Any) -> bool:
        return await self._change("set", value=value)


class Flag(_Object):
    """On or off."""

    __slots__ = ()

    async def enable(self) -> bool:
        return await self._change("enable")

    async def disable(self) -> bool:
        return await self._change("disable")


class Elements(_Object):
    """A set."""

    __slots__ = ()

    async def add(self, element: Any) -> bool:
        return await self._change("add", element=element)

    async def remove(self, element: Any) -> bool:
        return await self._change("remove", element=element)
