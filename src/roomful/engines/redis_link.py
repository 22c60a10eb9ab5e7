"""Commands to one Redis server: all of a loop turn in one write, replies in order, each with a deadline.

    call ──▶ unanswered ──reply──▶ done
                 │ connection lost: what may be repeated waits for the next one, the rest fails
                 └ deadline: fails; a server that lets the first one of a queue pass its deadline is taken for gone

While there is no connection calls wait for one, until it has been missing for a whole deadline; then they fail at once,
so that whoever asks one thing after the other gets each answer in time.

Nothing is repeated unless its caller says that repeating is harmless, and then in the order in which it was called.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from roomful.engines import redis_scripts
from roomful.engines.redis_scripts import Script
from roomful.engines.redis_url import Address
from roomful.engines.redis_wire import Argument, Login, ReplyError, Wire, cannot, open_wire, pack
from roomful.model.errors import InternalError

log = logging.getLogger("roomful.engines")

SWEEP_S = 0.1
"""How often deadlines are looked at."""
AGAIN_S = 0.1
"""A server that can't answer yet (loading, failing over) is asked again after this long."""
PAUSES_S = (0.05, 5.0)
"""Between attempts to connect: at first, and at most; doubled each time, and a random part of it."""

NOT_YET = ("LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "BUSY")
"""Errors that say: not executed, ask again."""

Find = Callable[[], Awaitable[Address]]
"""Where the server is at the moment."""


class Request:
    """One command that isn't answered yet. script: called with the life of the server as its last argument."""

    __slots__ = ("again", "arguments", "deadline", "future", "script", "sent", "size")

    def __init__(
        self,
        arguments: tuple[Argument, ...],
        script: Script | None,
        again: bool,
        deadline: float,
        future: asyncio.Future[Any] | None,
    ) -> None:
        self.arguments = arguments
        self.script = script
        self.again = again
        self.deadline = deadline
        self.future = future
        self.size = 0
        self.sent = False

    def fail(self, message: str) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_exception(InternalError(message))


class Server:
    """What a server told about itself when we connected.

    life: changes whenever it may have lost something of its log. evicts: its policy for a full memory, if it has one.
    """

    __slots__ = ("evicts", "life", "replica")

    def __init__(self, info: bytes, config: Any, *, alone: bool) -> None:
        facts = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        self.replica = facts.get("role") not in (None, "master")
        self.life = facts["run_id"].encode()
        self.evicts = ""
        if isinstance(config, list):
            settings = dict(zip((key.decode() for key in config[::2]), (v.decode() for v in config[1::2]), strict=True))
            # A server that writes every append to its disk before it answers loses nothing by a restart. One that has
            # ever been a replica may have been promoted, and then lacks what hadn't come to it.
            never_replica = facts.get("second_repl_offset") == "-1"
            if (
                alone
                and never_replica
                and (settings.get("appendonly"), settings.get("appendfsync")) == ("yes", "always")
            ):
                self.life = b"durable"
            policy = settings.get("maxmemory-policy", "noeviction")
            if settings.get("maxmemory", "0") != "0" and policy != "noeviction":
                self.evicts = policy


class Link:
    """The connection for commands, kept up until `close`. alone: the server is nobody's replica and has no failover.

    on_connected: called after each connect. on_error: may take care of an error reply (True), as of a redirection.
    """

    def __init__(
        self,
        find: Find,
        login: Login,
        *,
        deadline_s: float,
        backlog_max_bytes: int,
        alone: bool,
        on_connected: Callable[[Server], None],
        on_error: Callable[[Request, str], bool] = lambda request, error: False,
    ) -> None:
        self._find = find
        self._login = login
        self._deadline_s = deadline_s
        self._backlog_max_bytes = backlog_max_bytes
        self._alone = alone
        self._on_connected = on_connected
        self._on_error = on_error
        self._wire: Wire | None = None
        self._lost = asyncio.Event()
        self._life = b""
        self._unanswered: deque[Request] = deque()
        self._bytes = 0
        self._out: list[bytes] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._gone_at = self._loop.time()  # while there is no connection: when the server was last there

    @property
    def connected(self) -> bool:
        return self._wire is not None

    async def open(self) -> Server:
        """Connects once, and keeps it up from then on. Raises InternalError when it can't."""
        server = await self._connect()
        self._keeper = self._loop.create_task(self._keep())
        return server

    def keep(self) -> None:
        """Connects as soon as it can, and keeps it up."""
        self._lost.set()
        self._keeper = self._loop.create_task(self._keep())

    async def close(self) -> None:
        """What isn't answered yet fails."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        if self._wire is not None:
            self._wire.abort()
            self._wire = None
        if self._sweeper is not None:
            self._sweeper.cancel()
        for request in self.take_unanswered():
            request.fail("the engine has stopped")

    def take_unanswered(self) -> list[Request]:
        """What waits, for another link to take over; forgotten here."""
        requests, self._bytes = list(self._unanswered), 0
        self._unanswered.clear()
        return requests

    def call(self, *arguments: Argument, again: bool) -> asyncio.Future[Any]:
        """The reply to a command. again: sending it twice is harmless. Raises InternalError, now or by the future."""
        return self._ask(arguments, None, again)

    def run(self, script: Script, keys: int, *arguments: Argument, again: bool) -> asyncio.Future[Any]:
        """The reply to a script. Raises InternalError, now or by the future."""
        return self._ask((b"EVALSHA", script.sha, keys, *arguments), script, again)

    def _ask(self, arguments: tuple[Argument, ...], script: Script | None, again: bool) -> asyncio.Future[Any]:
        now = self._loop.time()
        deadline = (now if self._wire is not None else self._gone_at) + self._deadline_s
        if deadline <= now:
            raise InternalError("Redis can't be reached")
        future = self._loop.create_future()
        self.put(Request(arguments, script, again, deadline, future))
        return future

    def put(self, request: Request) -> None:
        """Sends a request, or keeps it until there is a connection. Raises InternalError when too much waits."""
        packed = self._packed(request)
        request.size = len(packed)
        if self._bytes > self._backlog_max_bytes:
            raise InternalError(f"Redis doesn't keep up: {self._bytes} bytes wait for it")
        self._bytes += request.size
        self._unanswered.append(request)
        request.sent = self._wire is not None
        if request.sent:
            if not self._out:
                self._loop.call_soon(self._flush)
            self._out.append(packed)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def drop(self) -> None:
        """Ends the connection; the next one is made at once."""
        wire = self._wire
        if wire is not None:
            self._on_wire_lost(wire)
            wire.abort()

    def _packed(self, request: Request) -> bytes:
        # The life of the server at the moment of sending: what is sent again may reach another one.
        return pack(request.arguments if request.script is None else (*request.arguments, self._life))

    def _flush(self) -> None:
        if self._wire is not None and self._out:
            self._wire.write(b"".join(self._out))
        self._out.clear()

    def _on_reply(self, reply: Any) -> None:
        request = self._unanswered.popleft()
        self._bytes -= request.size
        future = request.future
        if isinstance(reply, ReplyError):
            self._refused(request, str(reply))
        elif future is not None and not future.done():
            future.set_result(reply)

    def _refused(self, request: Request, error: str) -> None:
        if error.startswith("NOSCRIPT"):
            for script in redis_scripts.ALL:
                self.put(Request((b"SCRIPT", b"LOAD", script.source), None, True, request.deadline, None))
            self.put(request)
        elif error.startswith(NOT_YET):
            self._loop.call_later(AGAIN_S, self._once_more, request, error)
        elif error.startswith("READONLY"):  # a master that has become a replica
            request.sent = False
            self._unanswered.appendleft(request)
            self._bytes += request.size
            self.drop()
        elif not self._on_error(request, error):
            request.fail(f"Redis answers: {error}")

    def _once_more(self, request: Request, error: str) -> None:
        if self._closed or self._loop.time() >= request.deadline:
            request.fail(f"Redis answers: {error}")
        else:
            self.put(request)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._loop.time()
        late = 0
        for request in self._unanswered:
            if now < request.deadline:
                break
            late += 1
        mute = late > 0 and self._wire is not None
        asked_at = self._unanswered[0].deadline - self._deadline_s if late else 0.0
        for _ in range(late):
            request = self._unanswered.popleft()
            self._bytes -= request.size
            request.fail("Redis doesn't answer in time" if mute else "Redis can't be reached")
        if mute:  # replies belong to requests by their order only, so nothing more may come on this connection
            log.warning("Redis doesn't answer in time: the connection is given up")
            self.drop()
            self._gone_at = asked_at
        if self._unanswered:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    async def _connect(self) -> Server:
        address: Address = ("the server that Sentinel names", 0)
        try:
            async with asyncio.timeout(2 * self._deadline_s):
                address = await self._find()
                wire = await open_wire(address, self._login, self._on_reply, self._on_wire_lost)
                try:
                    server = await self._greet(wire)
                    if wire.closed:  # between the last reply and this turn, when nobody would have noticed
                        raise OSError("the server closed the connection")
                except BaseException:
                    wire.abort()
                    raise
        except (OSError, TimeoutError, InternalError) as error:
            raise cannot(address, error) from None
        self._life = server.life
        self._lost.clear()
        self._wire = wire
        self._on_connected(server)
        self._resend(wire)
        return server

    async def _greet(self, wire: Wire) -> Server:
        greeting = self._login.commands()
        scripts = [("SCRIPT", "LOAD", script.source) for script in redis_scripts.ALL]
        replies = await wire.converse([*greeting, ("INFO", "server"), ("INFO", "replication"), *scripts])
        info = replies[len(greeting)] + replies[len(greeting) + 1]
        try:
            settings = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync")
            [config] = await wire.converse([("CONFIG", "GET", *settings)])
        except InternalError:  # hosted servers keep it to themselves
            config = None
        server = Server(info, config, alone=self._alone)
        if server.replica:
            raise InternalError("it is a replica")
        return server

    def _resend(self, wire: Wire) -> None:
        for request in self._unanswered:
            request.sent = True
        wire.write(b"".join(map(self._packed, self._unanswered)))

    def _on_wire_lost(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        self._wire = None
        self._gone_at = self._loop.time()
        self._out.clear()
        self._lost.set()
        waiting = self.take_unanswered()
        for request in waiting:
            if request.again or not request.sent:
                request.sent = False
                self._unanswered.append(request)
                self._bytes += request.size
            else:
                request.fail("the connection to Redis was lost, and whether it was done can't be said")

    async def _keep(self) -> None:
        pause_s, told = PAUSES_S[0], False
        while True:
            await self._lost.wait()
            await asyncio.sleep(PAUSES_S[0] * random.random())  # all nodes have lost it in the same moment
            try:
                await self._connect()
            except InternalError as error:
                if not told:
                    log.warning("no connection to Redis: %s; trying again", error)
                told = True
                await asyncio.sleep(pause_s * random.random())
                pause_s = min(2 * pause_s, PAUSES_S[1])
            else:
                if told:
                    log.info("Redis is back")
                pause_s, told = PAUSES_S[0], False
