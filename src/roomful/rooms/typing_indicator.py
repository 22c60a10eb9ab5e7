"""Who is typing in a room: as its own clients say it to a node (`Keystrokes`), and as all nodes tell it (`Typists`).

A client's keystrokes are valid for `SILENCE_S`; the node that it is connected to tells the others at most one thing a
second about it. What a node heard of is valid for `HEARD_S` by its own clock, so that it ends also where the node that
told it has crashed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from roomful.model.client import ClientInfo, person_of

SILENCE_S = 5.0
HEARD_S = 6.0
EVENT_S = 1.0
"""No more than one event in this time for a client, but for its leave."""


class Told(NamedTuple):
    """Somebody began to type, goes on typing, or stopped."""

    info: ClientInfo
    typing: bool


class _Own:
    __slots__ = ("info", "news", "said", "said_at", "until")

    def __init__(self, info: ClientInfo) -> None:
        self.info = info
        self.until = 0.0
        self.said = False
        self.said_at = -EVENT_S
        self.news = False
        """Keys were struck since `said_at`."""

    def due_at(self, now: float) -> float:
        """When there is something to tell, or to forget."""
        changed = (self.until > now) != self.said
        return self.said_at + EVENT_S if changed or self.news or not self.said else self.until


class Keystrokes:
    """The clients of one node that type in one room."""

    __slots__ = ("_own",)

    def __init__(self) -> None:
        self._own: dict[str, _Own] = {}

    def __len__(self) -> int:
        return len(self._own)

    def press(self, info: ClientInfo, typing: bool, now: float) -> None:
        """The client says that it types, or doesn't any more."""
        own = self._own.get(info.client)
        if own is None:
            if not typing:
                return
            own = self._own[info.client] = _Own(info)
        own.info = info
        own.until = now + SILENCE_S if typing else now
        own.news = typing

    def leave(self, client: str) -> Told | None:
        """It has left the room; what to tell, at once."""
        own = self._own.pop(client, None)
        return Told(own.info, False) if own is not None and own.said else None

    def due(self, now: float) -> list[Told]:
        """What is to be told now; who has been silent for long is forgotten."""
        told = []
        for client, own in tuple(self._own.items()):
            if own.due_at(now) > now:
                continue
            typing = own.until > now
            if typing or own.said:
                told.append(Told(own.info, typing))
                own.said, own.said_at, own.news = typing, now, False
            else:
                del self._own[client]
        return told

    def next_at(self, now: float) -> float | None:
        """When `due` is to be asked again."""
        return min((own.due_at(now) for own in self._own.values()), default=None)

    def typing(self) -> Iterator[ClientInfo]:
        """Clients of which it was told that they type."""
        return (own.info for own in self._own.values() if own.said)


class _Person:
    __slots__ = ("clients", "info", "shown_at")

    def __init__(self, info: ClientInfo, now: float) -> None:
        self.info = info
        self.shown_at = now
        self.clients: dict[str, float] = {}
        """Client → until when."""


class Typists:
    """The people who type in one room, merged over their clients, as one node has heard of them."""

    __slots__ = ("_people",)

    def __init__(self) -> None:
        self._people: dict[str, _Person] = {}

    def __len__(self) -> int:
        return len(self._people)

    def hear(self, told: Told, now: float) -> Told | None:
        """A node tells of a client; what the room's subscribers are to be told of the person, if anything."""
        name = person_of(told.info)
        person = self._people.get(name)
        if told.typing:
            begins = person is None
            if person is None:
                person = self._people[name] = _Person(told.info, now)
            person.info = told.info
            person.clients[told.info.client] = now + HEARD_S
            # Several tabs of a person tell as often as several people would.
            if not begins and now - person.shown_at < EVENT_S:
                return None
            person.shown_at = now
            return told
        if person is None or person.clients.pop(told.info.client, None) is None or person.clients:
            return None
        del self._people[name]
        return told

    def expire(self, now: float) -> list[Told]:
        """Those of whom nothing was heard for too long have stopped."""
        stopped = []
        for name, person in tuple(self._people.items()):
            person.clients = {client: until for client, until in person.clients.items() if until > now}
            if not person.clients:
                del self._people[name]
                stopped.append(Told(person.info, False))
        return stopped

    def next_at(self) -> float | None:
        """When `expire` is to be asked again."""
        return min((until for person in self._people.values() for until in person.clients.values()), default=None)

    def people(self) -> list[ClientInfo]:
        """Each of them once, by the client that was heard of last."""
        return [person.info for person in self._people.values()]
