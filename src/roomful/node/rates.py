"""How often clients may do what: token buckets by connection, user, address and room, for each command.

A node counts for itself. What the application publishes isn't counted: a flood of clients never refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from roomful.model.errors import TooManyRequests
from roomful.node.admission import neighbourhood
from roomful.node.rate_options import RateOptions
from roomful.node.stats import Stats
from roomful.rooms.rate import Buckets, Rate

ROOM = "room"
NO_RATES = RateOptions()


class _Charge(NamedTuple):
    by: str
    buckets: Buckets
    key: str


class Rates:
    """The buckets of one node. now: a monotonic clock. Raises ValueError for a rate that is none."""

    __slots__ = ("_now", "_of_clients", "_of_rooms", "_stats")

    def __init__(self, stats: Stats, now: Callable[[], float], options: RateOptions = NO_RATES) -> None:
        self._stats = stats
        self._now = now
        self._of_clients: dict[str, dict[str, Buckets]] = {}
        self._of_rooms: dict[str, Buckets] = {}
        self.take_over(options)

    def take_over(self, options: RateOptions) -> None:
        """From now on these, with full buckets; a connection of before that had none has none still."""
        of_clients: dict[str, dict[str, Buckets]] = {}
        of_rooms: dict[str, Buckets] = {}
        for by, command, rate in options.configured():
            if by == ROOM:
                of_rooms[command] = Buckets(Rate.parse(rate))
            else:
                of_clients.setdefault(command, {})[by] = Buckets(Rate.parse(rate))
        self._of_clients, self._of_rooms = of_clients, of_rooms

    def allowance(self, client: str, address: str) -> Allowance | None:
        """Of a new connection; None where nothing is limited. address: "" on a Unix socket, where it counts nothing."""
        if not self._of_clients and not self._of_rooms:
            return None
        return Allowance(self, client, neighbourhood(address))

    def of_client(self, command: str, keys: dict[str, str]) -> list[_Charge]:
        """keys: by whom → who; an empty one isn't known, or isn't asked."""
        known = self._of_clients.get(command, {})
        return [_Charge(by, buckets, key) for by, buckets in known.items() if (key := keys.get(by))]

    def of_rooms(self, command: str, rooms: Iterable[str]) -> list[_Charge]:
        buckets = self._of_rooms.get(command)
        return [] if buckets is None else [_Charge(ROOM, buckets, room) for room in rooms]

    def take(self, command: str, charges: Sequence[_Charge]) -> None:
        """All of them or none. Raises TooManyRequests."""
        if not charges:
            return
        now = self._now()
        wait_s, by = max((charge.buckets.wait_s(charge.key, now), charge.by) for charge in charges)
        if wait_s > 0:
            self._stats.count_rate_limited(by, command)
            shown = math.ceil(wait_s * 100) / 100
            raise TooManyRequests(f"too many of {command} by this {by}, retry after {shown:g} s", retry_after_s=wait_s)
        for charge in charges:
            charge.buckets.spend(charge.key, now)


class Allowance:
    """One connection's part in the buckets. Its address pays before its user is known, rooms when its right is proved:
    who may not come in, or not say anything, uses up nothing of those who may."""

    __slots__ = ("_address", "_client", "_person", "_rates")

    def __init__(self, rates: Rates, client: str, address: str) -> None:
        self._rates = rates
        self._client = client
        self._address = address
        self._person = ""

    def spend(self, command: str) -> None:
        """One more of these, by connection, user and address. Raises TooManyRequests."""
        keys = {"connection": self._client, "user": self._person, "address": self._address}
        self._rates.take(command, self._rates.of_client(command, keys))

    def belongs_to(self, person: str, command: str) -> None:
        """It is known whose connection it is; that person does what the command says. Raises TooManyRequests."""
        if person != self._person:
            self._person = person
            self._rates.take(command, self._rates.of_client(command, {"user": person}))

    def spend_rooms(self, command: str, rooms: Iterable[str]) -> None:
        """One more of these in each of the rooms, or in none. Raises TooManyRequests."""
        self._rates.take(command, self._rates.of_rooms(command, rooms))
