"""Who may come to the door: handshakes of one process, and connections of one address that haven't said who they are.

Asked before anything else is done for a client: no token is checked, no hook called and no engine asked before.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

from roomful.node.stats import Stats
from roomful.rooms.rate import Buckets, Rate

RETRY_MIN_S, RETRY_MAX_S = 1, 30
"""Who is sent away comes back within this time; spread, as far as the handshakes that were sent away need it."""

_IPV6_BITS = 64
"""An IPv6 network of this size is one household or one server, which has all its addresses to choose from."""

_ALL = ""


class SentAway(NamedTuple):
    """crowded: too many of its own address; else the process has too much to do."""

    crowded: bool
    retry_after_s: int


class Admission:
    """handshakes_per_s: of the process, as many at once. per_address_max: connections of an address that aren't
    settled. 0: no limit. now: a monotonic clock."""

    __slots__ = ("_buckets", "_latest", "_max", "_now", "_queue", "_stats", "_unsettled")

    def __init__(
        self, stats: Stats, now: Callable[[], float], *, handshakes_per_s: float = 0.0, per_address_max: int = 0
    ) -> None:
        self._stats = stats
        self._now = now
        self._buckets: Buckets | None = None
        self.limit(handshakes_per_s=handshakes_per_s, per_address_max=per_address_max)
        self._unsettled: dict[str, int] = {}
        self._queue = 0.0  # who was sent away and hasn't had its time yet
        self._latest = 0.0

    def limit(self, *, handshakes_per_s: float, per_address_max: int) -> None:
        """From now on so many."""
        self._max = per_address_max
        self._buckets = Buckets(Rate(handshakes_per_s, handshakes_per_s)) if handshakes_per_s > 0 else None

    def ask(self, address: str) -> SentAway | None:
        """None: the client may come in. address: "" on a Unix socket, where all clients are alike."""
        if self._max and address and self._unsettled.get(neighbourhood(address), 0) >= self._max:
            self._stats.count_limited("unauthenticated_per_address_max")
            return SentAway(True, RETRY_MIN_S)
        return self.spend()

    def spend(self) -> SentAway | None:
        """None: there was a handshake left, and it has been taken."""
        if self._buckets is None:
            return None
        now = self._now()
        if self._buckets.wait_s(_ALL, now) > 0:
            self._stats.count_limited("handshakes_per_s")
            return SentAway(False, self._spread(now, self._buckets.rate.per_s))
        self._buckets.spend(_ALL, now)
        return None

    def arrived(self, address: str) -> None:
        """A connection is open that hasn't said who it is."""
        if address:
            key = neighbourhood(address)
            self._unsettled[key] = self._unsettled.get(key, 0) + 1

    def settled(self, address: str) -> None:
        """It has, or it has gone. Once for each `arrived`."""
        if address:
            key = neighbourhood(address)
            self._unsettled[key] -= 1
            if not self._unsettled[key]:
                del self._unsettled[key]

    def _spread(self, now: float, per_s: float) -> int:
        """Later for each one that waits already, so that they don't come back all at once."""
        self._queue = max(0.0, self._queue - (now - self._latest) * per_s) + 1
        self._latest = now
        return min(RETRY_MAX_S, RETRY_MIN_S + int(self._queue / per_s))


def neighbourhood(address: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of 64 bits."""
    if ":" not in address:
        return address
    parsed = ip_address(address)
    return str(ip_network((parsed, _IPV6_BITS), strict=False)) if isinstance(parsed, IPv6Address) else address
