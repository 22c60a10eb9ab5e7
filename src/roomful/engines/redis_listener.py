"""What one Redis server publishes: one connection, subscribed to exactly the names that somebody here listens to.

Names that are asked for in one loop turn go out as one command. When the connection is lost, all names are subscribed
again on the next one, and only when the server has confirmed each of them the lapse is over and reported.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from roomful.engines.redis_link import PAUSES_S, SWEEP_S, Find
from roomful.engines.redis_url import Address
from roomful.engines.redis_wire import Login, ReplyError, Wire, cannot, open_wire, pack
from roomful.model.errors import InternalError

log = logging.getLogger("roomful.engines")

NAMES_EACH = 500
"""Names in one command."""

OnMessage = Callable[[bytes, bytes], None]
Group = Callable[[list[bytes]], Iterable[list[bytes]]]
"""Splits names into those that one command may take together."""


def together(names: list[bytes]) -> Iterator[list[bytes]]:
    """Any names may stand in one command."""
    iterator = iter(names)
    while part := list(islice(iterator, NAMES_EACH)):
        yield part


class Waiter:
    """Somebody waits until the server has confirmed a name. wanted: subscribed, or no longer."""

    __slots__ = ("deadline", "future", "name", "wanted")

    def __init__(self, name: bytes, wanted: bool, deadline: float, future: asyncio.Future[None]) -> None:
        self.name = name
        self.wanted = wanted
        self.deadline = deadline
        self.future = future


class Listener:
    """sharded: names belong to slots, as in a cluster; group: which may go together. on_message: name and data.

    on_lapse: called with all names once they are heard again after a loss. on_moved: called when the server
    doesn't have some name, which is then for `hand_over` or `ask_again`; without it the connection is made anew.
    """

    def __init__(
        self,
        find: Find,
        login: Login,
        on_message: OnMessage,
        on_lapse: Callable[[set[bytes]], None],
        *,
        deadline_s: float,
        sharded: bool = False,
        group: Group = together,
        on_moved: Callable[[], None] | None = None,
    ) -> None:
        self._find = find
        self._login = login
        self._on_message = on_message
        self._on_lapse = on_lapse
        self._deadline_s = deadline_s
        self._group = group
        self._on_moved = on_moved
        prefix = b"S" if sharded else b""
        self._subscribe, self._unsubscribe = prefix + b"SUBSCRIBE", prefix + b"UNSUBSCRIBE"
        self._message = b"smessage" if sharded else b"message"
        self._confirms = {self._subscribe.lower(): True, self._unsubscribe.lower(): False}
        self._names: set[bytes] = set()
        self._unconfirmed: set[bytes] = set()
        self._lapsed: set[bytes] = set()
        self._unheard: set[bytes] = set()
        self._by_deadline: deque[Waiter] = deque()
        self._waiters: dict[tuple[bytes, bool], deque[Waiter]] = {}
        self._changes: list[tuple[bool, list[bytes]]] = []
        self._wire: Wire | None = None
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.heard_at = 0.0
        """When something arrived last, or a connection was made, by the loop's clock."""
        self.losses = 0
        """How many connections have been lost."""

    @property
    def hears(self) -> bool:
        """Whether every name is subscribed, as far as this end can know."""
        return self._wire is not None and not self._unheard

    def stuck(self, seconds: float) -> bool:
        """Whether names wait for their confirmation on a connection that has brought nothing for so long."""
        return self._wire is not None and not self.hears and self._loop.time() - self.heard_at > seconds

    async def open(self) -> None:
        """Connects once, and keeps it up from then on. Raises InternalError when it can't."""
        await self._connect()
        self._keeper = self._loop.create_task(self._keep())

    def keep(self) -> None:
        """Connects as soon as it can, and keeps it up."""
        self._lost.set()
        self._keeper = self._loop.create_task(self._keep())

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for waiter in self._by_deadline:
            if waiter.future.done():
                continue
            if waiter.wanted:
                waiter.future.set_exception(InternalError("the engine has stopped"))
            else:
                waiter.future.set_result(None)
        self._names.clear()

    def subscribe(self, name: bytes) -> asyncio.Future[None]:
        """Done when the server has confirmed it. Fails with InternalError at the deadline, and then it isn't wanted."""
        if name in self._names and name not in self._unconfirmed and self._wire is not None:
            done = self._loop.create_future()
            done.set_result(None)
            return done
        self._names.add(name)
        self._unconfirmed.add(name)
        self._change(True, name)
        return self._wait_for(name, True)

    def unsubscribe(self, name: bytes) -> asyncio.Future[None] | None:
        """Done when the server has confirmed it; None when there is nothing to wait for."""
        if name not in self._names:
            return None
        self._names.discard(name)
        self._unconfirmed.discard(name)
        self._lapsed.discard(name)
        self._heard(name)
        if self._wire is None:
            return None
        self._change(False, name)
        return self._wait_for(name, False)

    @property
    def names(self) -> frozenset[bytes]:
        """What is wanted now; a copy."""
        return frozenset(self._names)

    def hand_over(self, names: set[bytes], to: Listener) -> None:
        """These names belong to another server now: they are heard there, and what was missed is reported."""
        waiting = [w for w in self._by_deadline if w.name in names and w.wanted and not w.future.done()]
        new = self._unconfirmed & names - self._lapsed
        for name in names:
            self._waiters.pop((name, True), None)
            self.unsubscribe(name)
        self._by_deadline = deque(w for w in self._by_deadline if w not in waiting)
        to.adopt(names, names - new)
        for waiter in waiting:
            to.wait(waiter)

    def adopt(self, names: set[bytes], lapsed: set[bytes]) -> None:
        """More names; those lapsed were heard elsewhere until a moment ago."""
        self._names |= names
        self._unconfirmed |= names
        self._lapsed |= lapsed
        self._unheard |= lapsed
        for name in names:
            self._change(True, name)

    def ask_again(self) -> None:
        """Subscribes once more what the server hasn't confirmed."""
        for name in self._unconfirmed:
            self._change(True, name)

    def wait(self, waiter: Waiter) -> None:
        """Lets somebody wait until a name is confirmed."""
        self._by_deadline.append(waiter)
        self._waiters.setdefault((waiter.name, waiter.wanted), deque()).append(waiter)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def drop(self) -> None:
        """Ends the connection; the next one is made at once."""
        wire = self._wire
        if wire is not None:
            self._on_wire_lost(wire)
            wire.abort()

    def _change(self, wanted: bool, name: bytes) -> None:
        if self._wire is None:
            return
        if not self._changes:
            self._loop.call_soon(self._flush)
        if self._changes and self._changes[-1][0] is wanted:
            self._changes[-1][1].append(name)
        else:
            self._changes.append((wanted, [name]))

    def _flush(self) -> None:
        changes, self._changes = self._changes, []
        if self._wire is not None:
            for wanted, names in changes:
                self._wire.write(self._command(wanted, names))

    def _command(self, wanted: bool, names: list[bytes]) -> bytes:
        command = self._subscribe if wanted else self._unsubscribe
        return b"".join(pack((command, *part)) for part in self._group(names))

    def _wait_for(self, name: bytes, wanted: bool) -> asyncio.Future[None]:
        waiter = Waiter(name, wanted, self._loop.time() + self._deadline_s, self._loop.create_future())
        self.wait(waiter)
        return waiter.future

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._loop.time()
        while self._by_deadline and (self._by_deadline[0].future.done() or self._by_deadline[0].deadline <= now):
            waiter = self._by_deadline.popleft()
            if waiter.future.done():
                continue
            if waiter.wanted:
                waiter.future.set_exception(InternalError("Redis doesn't confirm a subscription in time"))
                self.unsubscribe(waiter.name)
            self._confirm(waiter.name, waiter.wanted)
        if self._by_deadline:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _on_reply(self, reply: Any) -> None:
        self.heard_at = self._loop.time()
        if isinstance(reply, ReplyError):
            if not str(reply).startswith("MOVED"):
                log.warning("Redis refuses a subscription: %s", reply)
            self._refused()
        elif reply[0] == self._message:
            self._on_message(reply[1], reply[2])
        elif (wanted := self._confirms.get(reply[0])) is not None and reply[1] is not None:
            self._on_confirmed(reply[1], wanted)

    def _on_confirmed(self, name: bytes, wanted: bool) -> None:
        leaving = (name, False) in self._waiters
        if wanted:
            self._confirm(name, True, all=not leaving)
            if not leaving:
                self._unconfirmed.discard(name)
                self._heard(name)
        elif leaving:
            self._confirm(name, False)
        elif name in self._names:
            for names in (self._unconfirmed, self._lapsed, self._unheard):
                names.add(name)
            self._refused()  # the server took it away: its slot has moved

    def _refused(self) -> None:
        if self._on_moved is None:
            self.drop()
        else:
            self._on_moved()

    def _confirm(self, name: bytes, wanted: bool, *, all: bool = False) -> None:
        """The first one who waits for it waits no longer, or nobody does."""
        waiters = self._waiters.get((name, wanted))
        while waiters:
            waiter = waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_result(None)
            if not all:
                break
        if not waiters:
            self._waiters.pop((name, wanted), None)

    def _heard(self, name: bytes) -> None:
        self._unheard.discard(name)
        if self._lapsed and not self._unheard:
            self._report_lapse()

    def _report_lapse(self) -> None:
        names, self._lapsed = self._lapsed, set()
        log.warning("Redis was not heard for a while; %d names are heard again", len(names))
        self._on_lapse(names)

    async def _connect(self) -> None:
        address: Address = ("the server that Sentinel names", 0)
        try:
            async with asyncio.timeout(2 * self._deadline_s):
                address = await self._find()
                wire = await open_wire(address, self._login, self._on_reply, self._on_wire_lost)
                try:
                    await wire.converse(self._login.commands())
                    if wire.closed:  # between the last reply and this turn, when nobody would have noticed
                        raise OSError("the server closed the connection")
                except BaseException:
                    wire.abort()
                    raise
        except (OSError, TimeoutError, InternalError) as error:
            raise cannot(address, error) from None
        self._lost.clear()
        self._wire = wire
        self._changes.clear()
        self.heard_at = self._loop.time()
        if self._names:
            wire.write(self._command(True, list(self._names)))

    def _on_wire_lost(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        self._wire = None
        self.losses += 1
        for name, wanted in list(self._waiters):
            if not wanted:  # it has ended with the connection
                self._confirm(name, False, all=True)
        self._lapsed |= self._names - self._unconfirmed
        self._unheard = set(self._lapsed)
        self._unconfirmed = set(self._names)
        self._lost.set()

    async def _keep(self) -> None:
        pause_s = PAUSES_S[0]
        while True:
            await self._lost.wait()
            await asyncio.sleep(pause_s * random.random())
            try:
                await self._connect()
            except InternalError as error:
                if pause_s == PAUSES_S[0]:
                    log.warning("the listener is deaf: %s; trying again", error)
                pause_s = min(2 * pause_s, PAUSES_S[1])
            else:
                pause_s = PAUSES_S[0]
