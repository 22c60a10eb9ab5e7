"""Who is in which channel, in Redis. See `seams.engine.PresenceStore`.

A channel's presence is a hash: client → "<owner> <body of its leave>". An owner is one incarnation of a node, and lives
by its lease. Of an owner whose lease has ended any node takes the entries out and announces their leaves, in one step a
channel, so each once. A node that finds its own lease ended becomes another owner and enters its members anew, so that
what is being taken out is never what has just come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any

from roomful.engines.envelope import Join, Leave, decode, encode
from roomful.engines.redis_broker import RedisBroker
from roomful.engines.redis_names import NODES, Names
from roomful.engines.redis_scripts import LEASE, REAP
from roomful.engines.redis_servers import Servers
from roomful.model.client import ClientInfo
from roomful.model.errors import RoomfulError, WireError

log = logging.getLogger("roomful.engines")

LOOK_S = 1.0
"""How often the leases of all owners are looked at; it is one small read for a node."""
REAPING_MS = 10_000
"""Who takes a dead owner's entries out has this long before another node does."""
AT_ONCE = 200
"""Entries that are entered anew in one go."""


class RedisPresence:
    """lease_s: how long entries outlive their node; renew_s: how often the lease is renewed."""

    def __init__(
        self, broker: RedisBroker, servers: Servers, names: Names, lease_s: float = 45.0, renew_s: float = 15.0
    ) -> None:
        self._broker = broker
        self._servers = servers
        self._names = names
        self._lease_ms = int(lease_s * 1000)
        self._renew_s = renew_s
        self._node = ""
        self._incarnation = 0
        self._owner = ""
        self._renewed_at = float("-inf")
        self._living: frozenset[str] = frozenset()
        self._entries: dict[str, dict[str, ClientInfo]] = {}
        self._tending: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()
        self._reaping: set[asyncio.Task[None]] = set()

    # seams.engine.PresenceStore

    async def add(self, channel: str, info: ClientInfo) -> None:
        held = self._entries.get(channel)
        if held is None:
            held = self._entries[channel] = {}
        held[info.client] = info
        await self._enter(channel, info)

    async def remove(self, channel: str, client: str) -> None:
        held = self._entries.get(channel, {})
        held.pop(client, None)
        tag = self._names.tag(channel)
        calls = [self._servers.link(tag).call("HDEL", self._names.present(tag), client, again=True)]
        if not held and self._entries.pop(channel, None) is not None:
            calls.append(self._owned("SREM", channel))
        await asyncio.gather(*calls)

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        tag = self._names.tag(channel)
        reply = await self._servers.link(tag).call("HGETALL", self._names.present(tag), again=True)
        entries = [(client.decode(), *_split(value)) for client, value in zip(reply[::2], reply[1::2], strict=True)]
        if any(owner not in self._living for _, owner, _ in entries):
            await self._look()  # a new node, or one that is gone and left something behind
            for orphan in {owner for _, owner, _ in entries} - self._living:
                self._begin(self._reap_channel(channel, orphan))
        return {client: info for client, owner, info in entries if owner in self._living}

    async def counts(self, channel: str) -> tuple[int, int]:
        members = await self.members(channel)
        return len(members), len({info.user for info in members.values()})

    # Its life

    async def living_nodes(self) -> Collection[str]:
        """The ids of the nodes that hold a lease, read now."""
        await self._look()
        return {owner.rpartition("#")[0] for owner in self._living}

    async def start(self, node: str) -> None:
        self._node = node
        self._owner = f"{node}#{self._incarnation}"
        await self._lease(renew=True, begin=True)
        self._tending = asyncio.get_running_loop().create_task(self._tend())

    async def stop(self) -> None:
        """Takes this node's entries out."""
        tasks = [task for task in (self._tending, *self._reaping) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tending = None
        try:
            for channel in list(self._entries):
                await self._reap_channel(channel, self._owner)
            link = self._servers.link(NODES)
            await link.call("ZREM", self._names.leases, self._owner, again=True)
            held = self._names.held(self._owner)
            await self._servers.link(self._owner.encode()).call("DEL", held, again=True)
        except RoomfulError as error:
            log.warning("this node's members stay in presence until its lease ends: %s", error)
        self._entries.clear()

    def look_soon(self) -> None:
        """Redis was gone for a while: perhaps the lease is, too."""
        self._look_now.set()

    async def _tend(self) -> None:
        told = False
        while True:
            with suppress(TimeoutError):  # not wait_for, which in Python 3.11 may swallow a cancellation
                async with asyncio.timeout(LOOK_S):
                    await self._look_now.wait()
            self._look_now.clear()
            try:
                await self._look()
                told = False
            except RoomfulError as error:
                if not told:
                    log.warning("the leases of the nodes can't be looked at: %s", error)
                told = True

    async def _look(self) -> None:
        """Renews the own lease when it is time, and finds those that have ended."""
        due = asyncio.get_running_loop().time() >= self._renewed_at + self._renew_s
        owner = self._owner
        alive, ended = await self._lease(renew=due)
        if not alive and owner == self._owner:
            await self._begin_anew()
        for other in ended - {self._owner}:
            self._begin(self._reap(other))

    async def _lease(self, *, renew: bool, begin: bool = False) -> tuple[bool, set[str]]:
        """Whether the own lease was alive, and the owners whose lease has ended. begin: it needn't have been."""
        now = asyncio.get_running_loop().time()
        link = self._servers.link(NODES)
        reply = await link.run(
            LEASE, 1, self._names.leases, self._owner, self._lease_ms if renew else 0, int(begin), again=True
        )
        if renew:
            self._renewed_at = now
        owners = [owner.decode() for owner in reply[1:]]
        middle = owners.index("")
        self._living = frozenset(owners[:middle])
        return bool(reply[0]), set(owners[middle + 1 :])

    async def _begin_anew(self) -> None:
        """The lease was lost: others have announced, or will, that our members left. They come again."""
        log.warning("this node's lease was lost: its members are entered anew")
        self._incarnation += 1
        self._owner = f"{self._node}#{self._incarnation}"
        await self._lease(renew=True, begin=True)
        everybody = [(channel, info) for channel, held in self._entries.items() for info in held.values()]
        for begin in range(0, len(everybody), AT_ONCE):
            part = everybody[begin : begin + AT_ONCE]
            await asyncio.gather(*(self._come_again(channel, info) for channel, info in part))

    async def _come_again(self, channel: str, info: ClientInfo) -> None:
        if self._entries.get(channel, {}).get(info.client) is not info:
            return  # gone meanwhile
        await self._enter(channel, info)
        if self._entries.get(channel, {}).get(info.client) is info:
            await self._broker.tell(self._names.tag(channel), encode(Join(info)))
        else:
            await self.remove(channel, info.client)

    async def _enter(self, channel: str, info: ClientInfo) -> None:
        # Noted first: what a crash leaves behind is then found by its owner's name.
        noted = self._owned("SADD", channel)
        tag = self._names.tag(channel)
        value = b"%s %s" % (self._owner.encode(), encode(Leave(info)))
        entered = self._servers.link(tag).call("HSET", self._names.present(tag), info.client, value, again=True)
        await asyncio.gather(noted, entered)

    def _owned(self, command: str, channel: str) -> asyncio.Future[Any]:
        held = self._names.held(self._owner)
        return self._servers.link(self._owner.encode()).call(command, held, channel, again=True)

    async def _reap(self, owner: str) -> None:
        """Takes out everything of an owner whose lease has ended."""
        link = self._servers.link(owner.encode())
        claim = self._names.reaping(owner)
        if await link.call("SET", claim, self._owner, "NX", "PX", REAPING_MS, again=True) is None:
            return
        channels = [channel.decode() for channel in await link.call("SMEMBERS", self._names.held(owner), again=True)]
        log.info("the lease of %s has ended: its members leave %d channels", owner, len(channels))
        for begin in range(0, len(channels), AT_ONCE):
            part = channels[begin : begin + AT_ONCE]
            await asyncio.gather(*(self._reap_channel(channel, owner) for channel in part))
        await link.call("DEL", self._names.held(owner), again=True)
        await self._servers.link(NODES).call("ZREM", self._names.leases, owner, again=True)

    async def _reap_channel(self, channel: str, owner: str) -> None:
        tag = self._names.tag(channel)
        publish, name = self._servers.publish, self._names.pubsub(tag)
        await self._servers.link(tag).run(REAP, 1, self._names.present(tag), owner, publish, name, again=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Does it beside; an engine error is logged, and the next look tries again."""
        task = asyncio.get_running_loop().create_task(_logged(work))
        self._reaping.add(task)
        task.add_done_callback(self._reaping.discard)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except RoomfulError as error:
        log.warning("members of a node that is gone could not be taken out yet: %s", error)


def _split(value: bytes) -> tuple[str, ClientInfo]:
    """Owner and info of an entry."""
    owner, _, body = value.partition(b" ")
    try:
        message = decode(body)
    except WireError as error:
        log.error("an entry of presence can't be read: %s", error)
        return "", ClientInfo("", "")
    return owner.decode(), message.info if isinstance(message, Leave) else ClientInfo("", "")
