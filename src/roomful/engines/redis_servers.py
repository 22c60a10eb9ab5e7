"""Which Redis server has what: one server, one that Sentinel names, or the masters of a cluster (`redis_cluster.py`).

A site is one server as this node uses it: a link for commands, a listener, and a probe that proves every `PROBE_S` that
what is published there is heard here.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from roomful.engines.redis_link import Find, Link, Request, Server
from roomful.engines.redis_listener import Group, Listener, OnMessage, together
from roomful.engines.redis_url import Address, RedisUrl
from roomful.engines.redis_wire import Login, open_wire
from roomful.model.errors import InternalError

log = logging.getLogger("roomful.engines")

PROBE_S = 2.0
DEAF_S = 3.0
"""A probe that the server has taken but that isn't heard by then, while nothing else is: the listener is deaf."""


class Setup:
    """What all sites of an engine share: how to come in, limits, and whom to tell."""

    __slots__ = ("backlog_max_bytes", "deadline_s", "login", "on_lapse", "on_message", "on_server", "probe_name")

    def __init__(
        self,
        login: Login,
        deadline_s: float,
        backlog_max_bytes: int,
        on_server: Callable[[Server], None],
        on_message: OnMessage,
        on_lapse: Callable[[set[bytes]], None],
        probe_name: Callable[[bytes], bytes],
    ) -> None:
        self.login = login
        self.deadline_s = deadline_s
        self.backlog_max_bytes = backlog_max_bytes
        self.on_server = on_server
        self.on_message = on_message
        self.on_lapse = on_lapse
        self.probe_name = probe_name


class Site:
    """One server. probe_tag: a tag that this server has; alone: it has no failover."""

    def __init__(
        self,
        setup: Setup,
        find: Find,
        *,
        alone: bool,
        sharded: bool = False,
        group: Group = together,
        probe_tag: bytes = b"",
        on_error: Callable[[Request, str], bool] = lambda request, error: False,
        on_moved: Callable[[], None] | None = None,
    ) -> None:
        self._setup = setup
        self.probe_tag = probe_tag or b"probe." + secrets.token_hex(6).encode()
        self._probe = setup.probe_name(self.probe_tag)
        self._publish = b"SPUBLISH" if sharded else b"PUBLISH"
        self._probing: asyncio.Task[None] | None = None
        self._probed = 0
        self._heard = 0
        self._came = asyncio.Event()
        self._deaf = False
        self.link = Link(
            find,
            setup.login,
            deadline_s=setup.deadline_s,
            backlog_max_bytes=setup.backlog_max_bytes,
            alone=alone,
            on_connected=setup.on_server,
            on_error=on_error,
        )
        self.listener = Listener(
            find,
            setup.login,
            self._on_message,
            self._on_lapse,
            deadline_s=setup.deadline_s,
            sharded=sharded,
            group=group,
            on_moved=on_moved,
        )

    @property
    def ready(self) -> bool:
        return self.link.connected and self.listener.hears and not self._deaf

    async def open(self) -> None:
        """Raises InternalError when the server can't be used now."""
        await self.link.open()
        await self.listener.open()
        await self.listener.subscribe(self._probe)
        self._probing = asyncio.get_running_loop().create_task(self._probe_for_ever())

    async def open_later(self) -> None:
        """Connects as soon as the server can be used."""
        self.link.keep()
        self.listener.keep()
        with suppress(InternalError):  # not confirmed in time: the probe below finds that out, too
            await self.listener.subscribe(self._probe)
        self._probing = asyncio.get_running_loop().create_task(self._probe_for_ever())

    def probe_with(self, tag: bytes) -> None:
        """Another tag, when the server has lost the slot of the one it was probed with."""
        self.listener.unsubscribe(self._probe)
        self.probe_tag, self._probe = tag, self._setup.probe_name(tag)
        self.listener.adopt({self._probe}, set())

    async def close_later(self) -> None:
        """Lets calls that are under way end."""
        await asyncio.sleep(self._setup.deadline_s)
        await self.close()

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait((self._probing,))
        await self.listener.close()
        await self.link.close()

    def _on_message(self, name: bytes, data: bytes) -> None:
        if name == self._probe:
            self._heard, self._deaf = int(data), False
            self._came.set()
        else:
            self._setup.on_message(name, data)

    def _on_lapse(self, names: set[bytes]) -> None:
        self._setup.on_lapse(names - {self._probe})

    async def _probe_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PROBE_S)
            if not self.listener.hears:  # and knows it
                if self.listener.stuck(DEAF_S):
                    self.listener.drop()
                continue
            self._probed += 1
            losses = self.listener.losses
            try:
                await self.link.call(self._publish, self._probe, str(self._probed).encode(), again=False)
            except InternalError:
                continue  # the link knows that, and nothing is said about the listener
            if not await self._arrives(loop.time()) and self.listener.losses == losses:
                log.warning("the listener doesn't hear what Redis has published: its connection is given up")
                self._deaf = True
                self.listener.drop()

    async def _arrives(self, sent_at: float) -> bool:
        """Whether the probe is heard, unless nothing at all is for `DEAF_S`."""
        while self._heard < self._probed:
            left_s = max(sent_at, self.listener.heard_at) + DEAF_S - asyncio.get_running_loop().time()
            if left_s <= 0:
                return False
            self._came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._came.wait()
        return True


class Servers(Protocol):
    """All servers of one engine. A tag decides which one has a key or a name: the text in its braces."""

    publish: bytes
    """The command that publishes: PUBLISH, or SPUBLISH in a cluster."""

    @property
    def ready(self) -> bool: ...

    async def start(self, setup: Setup) -> None:
        """Raises InternalError with one sentence when it can't."""
        ...

    async def stop(self) -> None: ...

    def link(self, tag: bytes) -> Link: ...

    def listener(self, tag: bytes) -> Listener: ...

    def together(self, tags: list[bytes]) -> Iterable[list[int]]:
        """Splits tags, by their index, into those that one script may touch together."""
        ...


class OneServer:
    """All in one place."""

    publish = b"PUBLISH"

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._site: Site | None = None

    @property
    def site(self) -> Site:
        if self._site is None:
            raise InternalError("the engine isn't running")
        return self._site

    @property
    def ready(self) -> bool:
        return self._site is not None and self._site.ready

    async def start(self, setup: Setup) -> None:
        sentinel = self._url.kind == "sentinel"
        find = _by_sentinel(self._url, setup) if sentinel else always(self._url.addresses[0])
        self._site = Site(setup, find, alone=not sentinel)
        try:
            await self._site.open()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        site, self._site = self._site, None
        if site is not None:
            await site.close()

    def link(self, tag: bytes) -> Link:
        return self.site.link

    def listener(self, tag: bytes) -> Listener:
        return self.site.listener

    def together(self, tags: list[bytes]) -> Iterable[list[int]]:
        return [list(range(len(tags)))] if tags else []


def always(address: Address) -> Find:
    async def find() -> Address:
        return address

    return find


def _by_sentinel(url: RedisUrl, setup: Setup) -> Find:
    """Asks the sentinels, one after the other, who the master is."""
    login = Login("", "", 0, setup.login.name, setup.login.tls)

    async def find() -> Address:
        problems = []
        for sentinel in url.addresses:
            try:
                async with asyncio.timeout(1.0):
                    wire = await open_wire(sentinel, login, lambda reply: None, lambda wire: None)
                    try:
                        [found] = await wire.converse([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.service)])
                    finally:
                        wire.abort()
            except (OSError, TimeoutError, InternalError) as error:
                problems.append(f"{sentinel[0]}:{sentinel[1]}: {error or 'no answer'}")
                continue
            if found is not None:
                return found[0].decode(), int(found[1])
            problems.append(f"{sentinel[0]}:{sentinel[1]} doesn't know {url.service!r}")
        raise InternalError(f"no sentinel names a master ({'; '.join(problems)})")

    return find
