"""A room's people, put together from what all nodes say of them.

Nodes tell each other *entries* through the facet's log, one for each person that they have connections of. Whoever puts
them together in the log's order comes to the same people, and what is said twice changes nothing. A person is online if
it is online on any node. Source: design, sections 3 and 7; docs/decisions (people).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Literal, TypeAlias

import msgspec

SHOWN_MAX = 100
"""A room of more people shows so many, and counts the others."""

Status: TypeAlias = Literal["online", "away", "gone"]


class Custom(msgspec.Struct, frozen=True):
    """What a person says of itself. value: JSON. at: when, seconds since 1970; the newest counts."""

    value: bytes
    at: float


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, tag="entry"):
    """What one node says of one person. Times are seconds since 1970.

    life: how often that node has begun anew; it does whenever the others may have taken it for dead. since: of this
    status. until: away, its grace ends then. seen: last sign of life of somebody away. info: JSON, empty for none.
    """

    node: str
    life: int
    user: str
    status: Status
    since: float
    until: float = 0.0
    seen: float = 0.0
    info: bytes = b""
    custom: Custom | None = None


class Buried(msgspec.Struct, frozen=True, tag="buried"):
    """A node is dead: what it said in this life and earlier ones holds no more, also if it comes late."""

    node: str
    life: int


Fact: TypeAlias = Entry | Buried


class Person(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person as everybody sees it. Times are seconds since 1970.

    since: of this status. last_seen: when away. info: as its token or a hook says. custom: what it says of itself.
    """

    user: str
    status: Status
    since: float = 0.0
    last_seen: float | msgspec.UnsetType = msgspec.UNSET
    info: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    custom: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Roster:
    """online, away: how many there are. Shows everybody, or `shown_max` of them: who goes makes place for another."""

    __slots__ = ("_buried", "_entries", "_holders", "_people", "_shown", "_shown_max", "away", "online")

    def __init__(self, entries: Iterable[Entry] = (), shown_max: int = SHOWN_MAX) -> None:
        self._shown_max = shown_max
        self._entries: dict[str, tuple[Entry, ...]] = {}
        self._people: dict[str, Person] = {}
        self._shown: dict[str, None] = {}
        self._holders: dict[str, int] = {}
        self._buried: dict[str, int] = {}
        self.online = self.away = 0
        self.apply(entries)

    def __len__(self) -> int:
        return len(self._people)

    @property
    def nodes(self) -> Iterable[str]:
        """Those that say something of anybody."""
        return self._holders.keys()

    def people(self) -> list[Person]:
        """Whom it shows."""
        return [self._people[user] for user in self._shown]

    def some(self, limit: int | None) -> list[Person]:
        """So many at most, whether it shows them or not; everybody for None."""
        return list(islice(self._people.values(), limit))

    def of(self, node: str) -> list[Entry]:
        """What one node says."""
        return [entry for entries in self._entries.values() for entry in entries if entry.node == node]

    def custom(self, user: str) -> Custom | None:
        """What a person has said of itself last, as far as any node knows."""
        return _newest_custom(self._entries.get(user, ()))

    def apply(self, facts: Iterable[Fact]) -> list[Person]:
        """Whose change those who look have to be told: each person once, however much is said of it."""
        touched: dict[str, None] = {}
        for fact in facts:
            if isinstance(fact, Buried):
                self._bury(fact, touched)
            elif fact.life > self._buried.get(fact.node, 0):
                self._put(fact)
                touched[fact.user] = None
        changes = [change for user in touched for change in self._settle(user)]
        return changes + self._fill()

    def _bury(self, fact: Buried, touched: dict[str, None]) -> None:
        self._buried[fact.node] = max(fact.life, self._buried.get(fact.node, 0))
        for entry in self.of(fact.node):
            if entry.life <= fact.life:
                self._drop(entry)
                touched[entry.user] = None

    def _put(self, entry: Entry) -> None:
        for other in self._entries.get(entry.user, ()):
            if other.node == entry.node:
                if other.life > entry.life:
                    return
                self._drop(other)
        if entry.status != "gone":
            self._entries[entry.user] = (*self._entries.get(entry.user, ()), entry)
            self._holders[entry.node] = self._holders.get(entry.node, 0) + 1

    def _drop(self, entry: Entry) -> None:
        left = tuple(other for other in self._entries[entry.user] if other is not entry)
        if left:
            self._entries[entry.user] = left
        else:
            del self._entries[entry.user]
        self._holders[entry.node] -= 1
        if not self._holders[entry.node]:
            del self._holders[entry.node]

    def _settle(self, user: str) -> list[Person]:
        """The person as it is now, and the change if those who look have to be told of one."""
        before, after = self._people.get(user), merged(self._entries.get(user, ()))
        if before == after:
            return []
        self._count(before, -1)
        self._count(after, 1)
        if after is not None:
            self._people[user] = after
            if before is not None and _looks(before) == _looks(after):
                return []
            return [after] if user in self._shown else []
        del self._people[user]
        if user not in self._shown:
            return []
        del self._shown[user]
        return [Person(user, "gone")]

    def _count(self, person: Person | None, step: int) -> None:
        if person is None:
            return
        if person.status == "online":
            self.online += step
        else:
            self.away += step

    def _fill(self) -> list[Person]:
        """Who is shown from now on, because there is place."""
        found: list[Person] = []
        if len(self._shown) == len(self._people):
            return found
        # The first ones are those that are shown already, more or less: it looks at little more than it shows.
        for user, person in self._people.items():
            if len(self._shown) >= self._shown_max:
                break
            if user not in self._shown:
                self._shown[user] = None
                found.append(person)
        return found


def merged(entries: Iterable[Entry]) -> Person | None:
    """One person from what all nodes say: online if it is anywhere. None: it is nowhere."""
    found = [entry for entry in entries if entry.status != "gone"]
    if not found:
        return None
    online = [entry for entry in found if entry.status == "online"]
    newest = max(online or found, key=lambda entry: (entry.since, entry.node))
    said = _newest_custom(found)
    return Person(
        user=newest.user,
        status="online" if online else "away",
        since=min(entry.since for entry in online) if online else newest.since,
        last_seen=msgspec.UNSET if online else max(entry.seen for entry in found),
        info=msgspec.Raw(newest.info) if newest.info else msgspec.UNSET,
        custom=msgspec.UNSET if said is None or said.value == b"null" else msgspec.Raw(said.value),
    )


def _newest_custom(entries: Iterable[Entry]) -> Custom | None:
    said = (entry.custom for entry in entries if entry.custom is not None)
    return max(said, key=lambda custom: custom.at, default=None)


def _looks(person: Person) -> tuple[object, ...]:
    """What has to change for anybody to be told."""
    return person.status, person.info, person.custom
