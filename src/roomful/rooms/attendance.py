"""A room's people on one node: who has connections here, and what of them the other nodes have to be told.

A person is online as long as one of its connections is here, and away for a grace after the last one was lost. What
happens within a tick is told at once, and what is over before that is never told. Source: design, sections 3 and 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from roomful.model.client import ClientInfo, person_of
from roomful.rooms.people import Custom, Entry, Status

GRACE_S = 75.0
"""Who was lost is gone this long after the last sign of life. Source: design, section 7."""
TICK_S = 0.25
"""What happens within this time is told in one go."""
LARGE_TICK_S = 1.0
"""The same in a large room; and how long a loss isn't told anywhere, so that a page that reloads isn't seen to flap."""
LARGE = 100
"""A room with more people here is large."""


class Taken(NamedTuple):
    """entries: what is to be told. left: who isn't here any more, told or not."""

    entries: list[Entry]
    left: list[str]


class _Own:
    """One person. clients: its connections; none: away until `until`. told: what the others know. entered: they were
    ever told anything, so they have to be told the end."""

    __slots__ = ("clients", "custom", "entered", "info", "seen", "since", "told", "until")

    def __init__(self, since: float) -> None:
        self.clients: tuple[str, ...] = ()
        self.info = b""
        self.custom: Custom | None = None
        self.since = since
        self.seen = 0.0
        self.until = 0.0
        self.told: Entry | None = None
        self.entered = False


class Attendance:
    """Every call takes the time, in seconds since 1970.

    A method that changes something returns when `take` is to be called for it; None: no earlier than before.
    """

    __slots__ = ("_due", "_grace_s", "_node", "_origin", "_people")

    def __init__(self, node: str, grace_s: float = GRACE_S) -> None:
        self._node = node
        self._grace_s = grace_s
        self._people: dict[str, _Own] = {}
        self._due: dict[str, float] = {}
        self._origin: float | None = None

    def __len__(self) -> int:
        return len(self._people)

    def __contains__(self, user: str) -> bool:
        return user in self._people

    def join(self, info: ClientInfo, shown: bytes, now: float) -> float | None:
        """A connection came into the room. shown: JSON that others see of the person, empty for none."""
        user = person_of(info)
        own = self._people.get(user)
        if own is None:
            own = self._people[user] = _Own(now)
        elif not own.clients:
            never_away = own.told is not None and own.told.status == "online"
            own.since = own.told.since if own.told is not None and never_away else now
        if info.client not in own.clients:
            own.clients += (info.client,)
        own.info = shown
        return self._mark(user, self._tick(now))

    def leave(self, info: ClientInfo, clean: bool, seen: float, now: float) -> float | None:
        """A connection has left. clean: it won't come back by itself. seen: its last sign of life.

        Nobody can come back as the same anonymous person, so that one is gone at once.
        """
        user = person_of(info)
        own = self._people.get(user)
        if own is None or info.client not in own.clients:
            return None
        own.clients = tuple(client for client in own.clients if client != info.client)
        if own.clients:
            return None
        own.since, own.seen = now, seen
        own.until = now if clean or not info.user else seen + self._grace_s
        return self._mark(user, self._tick(now if own.until <= now else now + LARGE_TICK_S))

    def adopt(self, lost: Entry, seen: float, until: float, now: float) -> float | None:
        """Somebody whose node is dead is away until its grace is over, unless it is here as well."""
        own = self._people.get(lost.user)
        if until <= now or (own is not None and (own.clients or own.until >= until)):
            return None
        if own is None:
            own = self._people[lost.user] = _Own(now)
            own.info, own.custom = lost.info, lost.custom
        own.seen, own.until = seen, until
        return self._mark(lost.user, now)

    def customize(self, user: str, custom: Custom, now: float) -> float | None:
        """What a person says of itself. Nothing happens for who isn't here, or has said something newer."""
        own = self._people.get(user)
        if own is None or (own.custom is not None and own.custom.at >= custom.at):
            return None
        own.custom = custom
        return self._mark(user, self._tick(now))

    def again(self, now: float) -> None:
        """Everybody has to be told anew, now."""
        for user, own in self._people.items():
            own.told = None
            self._mark(user, now)

    def hurry(self, now: float) -> None:
        """What waits for a tick is due now; a grace isn't over before its time."""
        for user, due in self._due.items():
            self._due[user] = min(due, now)

    def take(self, life: int, now: float) -> Taken:
        """What is due and nobody has been told yet."""
        taken = Taken([], [])
        for user in [user for user, due in self._due.items() if due <= now]:
            own = self._people[user]
            entry = self._entry(user, own, life, now)
            if own.clients:
                del self._due[user]
            elif entry.status == "away":
                self._due[user] = own.until
            else:
                del self._due[user], self._people[user]
                taken.left.append(user)
            news = own.told is None or _said(own.told) != _said(entry)
            if news and (own.entered or entry.status != "gone"):
                taken.entries.append(entry)
                own.told, own.entered = entry, True
        return taken

    def told(self) -> list[Entry]:
        """What the others know of this node's people."""
        return [own.told for own in self._people.values() if own.told is not None]

    def entry(self, user: str, life: int, now: float) -> Entry | None:
        """What there is to say of a person; None for who isn't here."""
        own = self._people.get(user)
        return None if own is None else self._entry(user, own, life, now)

    def users(self) -> Iterable[str]:
        return self._people.keys()

    def next_at(self) -> float | None:
        """When something is due; takes a look at everybody for whom something will be."""
        return min(self._due.values(), default=None)

    def _entry(self, user: str, own: _Own, life: int, now: float) -> Entry:
        if own.clients:
            return Entry(self._node, life, user, "online", own.since, info=own.info, custom=own.custom)
        status: Status = "away" if now < own.until else "gone"
        return Entry(self._node, life, user, status, own.since, own.until, own.seen, own.info, own.custom)

    def _tick(self, after: float) -> float:
        """The first one after that time, counted from when somebody first came: all that lies between two is due at
        once."""
        tick_s = TICK_S if len(self._people) <= LARGE else LARGE_TICK_S
        if self._origin is None:
            self._origin = after
        return self._origin + (math.floor((after - self._origin) / tick_s) + 1) * tick_s

    def _mark(self, user: str, at: float) -> float | None:
        due = self._due.get(user)
        if due is not None and due <= at:
            return None
        self._due[user] = at
        return at


def _said(entry: Entry) -> tuple[object, ...]:
    return entry.status, entry.info, entry.custom, entry.until, entry.life
