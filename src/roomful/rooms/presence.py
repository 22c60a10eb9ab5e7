"""Who is in which channel. Entries live by the lease of the node that added them.

Source: Centrifuge protocol, section 11.3.
"""

from __future__ import annotations

from collections.abc import Collection

from roomful.model.client import ClientInfo

Left = tuple[str, ClientInfo]
"""A channel, and who left it."""


class _Lease:
    """What one node has added, and until when that holds.

    channels: most have one member, which is kept without a dictionary of 200 bytes.
    """

    __slots__ = ("channels", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.channels: dict[str, ClientInfo | dict[str, ClientInfo]] = {}

    def add(self, channel: str, info: ClientInfo) -> None:
        members = self.channels.get(channel)
        if members is None:
            self.channels[channel] = info
        elif isinstance(members, dict):
            members[info.client] = info
        else:
            self.channels[channel] = {members.client: members, info.client: info}

    def remove(self, channel: str, client: str) -> ClientInfo | None:
        members = self.channels.get(channel)
        if isinstance(members, dict):
            info = members.pop(client, None)
            if not members:
                del self.channels[channel]
            return info
        if members is None or members.client != client:
            return None
        del self.channels[channel]
        return members

    def members(self, channel: str) -> Collection[ClientInfo]:
        members = self.channels.get(channel)
        if isinstance(members, dict):
            return members.values()
        return () if members is None else (members,)

    def everybody(self) -> list[Left]:
        return [(channel, info) for channel in self.channels for info in self.members(channel)]


class Presence:
    """The members of every channel, kept by node: one that dies takes its own entries with it, at the cost of these.

    A client is in a channel once, with the node that added it last. A channel without members takes no memory.
    Looking up and removing cost one dictionary access a node, counting one step a member.
    """

    __slots__ = ("_leases",)

    def __init__(self) -> None:
        self._leases: dict[str, _Lease] = {}

    def renew(self, node: str, until: float) -> bool:
        """Begins or prolongs a node's lease. False if it begins: the node has to add its entries (again)."""
        lease = self._leases.get(node)
        if lease is None:
            self._leases[node] = _Lease(until)
            return False
        lease.until = until
        return True

    def add(self, channel: str, info: ClientInfo, node: str) -> ClientInfo | None:
        """Adds the entry of `info.client`; the one it replaces, or None. KeyError for a node without a lease."""
        own = self._leases[node]
        replaced = self.remove(channel, info.client)
        own.add(channel, info)
        return replaced

    def remove(self, channel: str, client: str) -> ClientInfo | None:
        """Removes the entry; None if there is none."""
        for lease in self._leases.values():
            info = lease.remove(channel, client)
            if info is not None:
                return info
        return None

    def members(self, channel: str) -> dict[str, ClientInfo]:
        """By client id; a copy."""
        found: dict[str, ClientInfo] = {}
        for lease in self._leases.values():
            found.update((info.client, info) for info in lease.members(channel))
        return found

    def counts(self, channel: str) -> tuple[int, int]:
        """How many clients, and how many distinct users (all anonymous ones count as one)."""
        clients = 0
        users: set[str] = set()
        for lease in self._leases.values():
            members = lease.members(channel)
            clients += len(members)
            users.update(info.user for info in members)
        return clients, len(users)

    def drop(self, node: str) -> list[Left]:
        """Ends a node's lease; everybody whom it had added."""
        lease = self._leases.pop(node, None)
        return [] if lease is None else lease.everybody()

    def expire(self, now: float) -> list[Left]:
        """Ends the leases whose time is up; everybody who left with them."""
        ended = [node for node, lease in self._leases.items() if now >= lease.until]
        return [left for node in ended for left in self.drop(node)]

    def __len__(self) -> int:
        """How many channels have members, counted once for each node."""
        return sum(len(lease.channels) for lease in self._leases.values())
