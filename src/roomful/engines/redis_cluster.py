"""A Redis Cluster: which master has which slot at the moment, and everything that follows when that changes.

    MOVED, a master that is gone, a name taken away ──▶ refresh ──▶ sites come and go, names and calls move along

Pub/Sub is sharded: a message crosses only the master that has its channel, not the whole cluster.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from binascii import crc_hqx
from collections.abc import Iterable
from itertools import count
from typing import Any

from roomful.engines.redis_link import Link, Request
from roomful.engines.redis_listener import Listener
from roomful.engines.redis_servers import Setup, Site, always
from roomful.engines.redis_url import Address, RedisUrl, named
from roomful.engines.redis_wire import open_wire
from roomful.model.errors import InternalError

log = logging.getLogger("roomful.engines")

SLOTS = 16_384
REFRESH_S = 0.5
"""Between two looks at the cluster's map, as long as something is wrong with it."""
ASK_S = 2.0
"""How long one node of the cluster may take to show its map."""


def slot_of(tag: bytes) -> int:
    """The slot of names with this tag. Source: Redis Cluster specification, hash tags."""
    return crc_hqx(tag.partition(b"}")[0], 0) % SLOTS


def slot_of_name(name: bytes) -> int:
    """The slot of one of our names."""
    return slot_of(name.partition(b"{")[2])


def by_slot(names: list[bytes]) -> Iterable[list[bytes]]:
    """One command takes names of one slot only."""
    groups: dict[int, list[bytes]] = {}
    for name in names:
        groups.setdefault(slot_of_name(name), []).append(name)
    return groups.values()


class ClusterServers:
    """The masters. Every slot has one, or the engine isn't ready."""

    publish = b"SPUBLISH"

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._setup: Setup | None = None
        self._sites: dict[Address, Site] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self._wrong = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        return bool(self._sites) and None not in self._owners and all(site.ready for site in self._sites.values())

    async def start(self, setup: Setup) -> None:
        self._setup = setup
        owners = await self._map(self._url.addresses)
        if None in owners:
            raise InternalError(
                f"the cluster at {self._url.places} is not complete: {owners.count(None)} slots are free"
            )
        self._owners = owners
        for address in dict.fromkeys(self._owners):
            assert address is not None
            self._sites[address] = self._site(address)
        try:
            await asyncio.gather(*(site.open() for site in self._sites.values()))
        except BaseException:
            await self.stop()
            raise
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        tasks = [task for task in (self._keeper, *self._beside) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        sites, self._sites = self._sites, {}
        await asyncio.gather(*(site.close() for site in sites.values()))

    def link(self, tag: bytes) -> Link:
        return self._at(slot_of(tag)).link

    def listener(self, tag: bytes) -> Listener:
        return self._at(slot_of(tag)).listener

    def together(self, tags: list[bytes]) -> Iterable[list[int]]:
        groups: dict[int, list[int]] = {}
        for index, tag in enumerate(tags):
            groups.setdefault(slot_of(tag), []).append(index)
        return groups.values()

    def _at(self, slot: int) -> Site:
        owner = self._owners[slot]
        site = None if owner is None else self._sites.get(owner)
        if site is None:
            self._wrong.set()
            raise InternalError("no master of the Redis Cluster has that slot at the moment")
        return site

    def _site(self, address: Address) -> Site:
        assert self._setup is not None
        return Site(
            self._setup,
            always(address),
            alone=False,
            sharded=True,
            group=by_slot,
            probe_tag=self._probe_tag(address),
            on_error=self._redirect,
            on_moved=self._wrong.set,
        )

    def _probe_tag(self, address: Address) -> bytes:
        """A tag of a slot that this master has."""
        prefix = b"probe." + secrets.token_hex(6).encode() + b"."
        return next(tag for n in count() if self._owners[slot_of(tag := prefix + b"%d" % n)] == address)

    def _redirect(self, request: Request, error: str) -> bool:
        """Sends a request on to where the cluster says it belongs."""
        kind, _, rest = error.partition(" ")
        if kind not in ("MOVED", "ASK"):
            return False
        host, _, port = rest.partition(" ")[2].rpartition(":")
        site = self._sites.get((host, int(port)))
        if kind == "ASK" and site is not None:  # the slot is on its way there
            site.link.put(Request((b"ASKING",), None, False, request.deadline, None))
        if kind == "MOVED" or site is None:
            self._wrong.set()
        if site is None:
            self._begin(self._once_more(request))
        else:
            _put(site.link, request)
        return True

    async def _once_more(self, request: Request) -> None:
        """A request whose master isn't known yet."""
        await asyncio.sleep(REFRESH_S)
        try:
            _put(self._at(_slot_of_request(request)).link, request)
        except InternalError as error:
            request.fail(error.message)

    async def _keep(self) -> None:
        """Looks at the map whenever something seems wrong with it, until it is right."""
        while True:
            try:
                async with asyncio.timeout(REFRESH_S * (0.5 + random.random())):
                    await self._wrong.wait()
            except TimeoutError:
                if all(site.link.connected and site.listener.hears for site in self._sites.values()):
                    continue
            self._wrong.clear()
            try:
                self._follow(await self._map([*self._sites, *self._url.addresses]))
            except InternalError as error:
                log.warning("the map of the Redis Cluster can't be had: %s", error)
                await asyncio.sleep(REFRESH_S)

    def _follow(self, owners: list[Address | None]) -> None:
        """Makes the sites what the map says, and moves what belongs elsewhere."""
        self._owners = owners
        for address in {owner for owner in owners if owner is not None} - self._sites.keys():
            log.info("the Redis Cluster has a new master at %s", named(address))
            site = self._sites[address] = self._site(address)
            self._begin(site.open_later())
        gone = [address for address in self._sites if address not in owners]
        for address, site in list(self._sites.items()):
            self._move_names(address, site)
            if address in gone:
                log.info("the Redis Cluster has no master at %s any more", named(address))
                del self._sites[address]
                if not site.link.connected:
                    for request in site.link.take_unanswered():
                        self._begin(self._once_more(request))
                self._begin(site.close_later())
                continue
            if owners[slot_of(site.probe_tag)] != address:
                site.probe_with(self._probe_tag(address))
            site.listener.ask_again()

    def _move_names(self, address: Address, site: Site) -> None:
        elsewhere: dict[Address, set[bytes]] = {}
        for name in site.listener.names:
            owner = self._owners[slot_of_name(name)]
            if owner is not None and owner != address:
                elsewhere.setdefault(owner, set()).add(name)
        for owner, names in elsewhere.items():
            site.listener.hand_over(names, self._sites[owner].listener)

    async def _map(self, addresses: Iterable[Address]) -> list[Address | None]:
        """Which master has which slot, as the first node says that can be asked. Raises InternalError."""
        assert self._setup is not None
        login, problems = self._setup.login, []
        for address in addresses:
            try:
                async with asyncio.timeout(ASK_S):
                    wire = await open_wire(address, login, lambda reply: None, lambda wire: None)
                    try:
                        *_, ranges = await wire.converse([*login.commands(), ("CLUSTER", "SLOTS")])
                    finally:
                        wire.abort()
            except (OSError, TimeoutError, InternalError) as error:
                problems.append(f"{named(address)}: {error or 'no answer'}")
                continue
            return _owners(ranges, address)
        raise InternalError(f"no node of the Redis Cluster can be asked ({'; '.join(problems)})")

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)


def _owners(ranges: Any, asked: Address) -> list[Address | None]:
    owners: list[Address | None] = [None] * SLOTS
    for first, last, master, *_ in ranges:
        host = (master[0] or b"").decode()
        address = (asked[0] if host in ("", "?") else host, int(master[1]))
        owners[first : last + 1] = [address] * (last + 1 - first)
    return owners


def _slot_of_request(request: Request) -> int:
    name = request.arguments[3 if request.script is not None else 1]
    assert isinstance(name, bytes)
    return slot_of_name(name)


def _put(link: Link, request: Request) -> None:
    try:
        link.put(request)
    except InternalError as error:
        request.fail(error.message)
