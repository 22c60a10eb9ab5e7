"""The door of hiredis: a connection to one Redis server, commands packed and replies parsed by its C code.

Not redis-py: a client of our own shape keeps order, deadlines and retries in its hands (a publish must not be sent
twice unless it carries a key), and one write for all commands of a loop turn is five times as fast: docs/decisions.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import hiredis
import msgspec

from roomful.engines.redis_url import Address, named
from roomful.model.errors import InternalError

Argument: TypeAlias = bytes | str | int | float

pack = cast("Callable[[tuple[Argument, ...]], bytes]", hiredis.pack_command)
"""A command as bytes."""

ReplyError = hiredis.ReplyError
"""What the server answers in place of a result; it stands where the result would."""


class Login(msgspec.Struct, frozen=True):
    """How to come in: credentials, database, name of the connection; tls: None for none."""

    user: str
    password: str
    database: int
    name: str
    tls: ssl.SSLContext | None = None

    def commands(self) -> list[tuple[Argument, ...]]:
        """What has to be said first on a connection."""
        commands: list[tuple[Argument, ...]] = []
        if self.password:
            commands.append(("AUTH", self.user, self.password) if self.user else ("AUTH", self.password))
        if self.database:
            commands.append(("SELECT", self.database))
        commands.append(("CLIENT", "SETNAME", self.name))
        return commands


class Wire(asyncio.Protocol):
    """One open connection. on_reply: called for each reply, in order. on_lost: called once, when it is over."""

    def __init__(self, on_reply: Callable[[Any], None], on_lost: Callable[[Wire], None]) -> None:
        self.on_reply = on_reply
        self._on_lost = on_lost
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._answers: asyncio.Queue[Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape only

    def data_received(self, data: bytes) -> None:
        feed, gets = self._reader.feed, self._reader.gets
        feed(data)
        try:
            while (reply := gets()) is not False:
                if self._answers is None:
                    self.on_reply(reply)
                else:
                    self._answers.put_nowait(reply)
        except hiredis.ProtocolError:
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._answers is not None:
            self._answers.put_nowait(error or ConnectionResetError("the server closed the connection"))
        self._on_lost(self)

    @property
    def closed(self) -> bool:
        return self._transport is None

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Ends it at once; not even what has been read already is passed on."""
        self.on_reply = _ignore
        if self._transport is not None:
            self._transport.abort()

    async def converse(self, commands: list[tuple[Argument, ...]]) -> list[Any]:
        """Sends commands and waits for their replies, before `on_reply` gets any. Raises InternalError for an error
        among them, OSError when the connection ends."""
        self._answers = asyncio.Queue()
        self.write(b"".join(map(pack, commands)))
        replies = []
        for command in commands:
            reply = await self._answers.get()
            if isinstance(reply, ReplyError):
                raise InternalError(f"Redis answers {command[0]!s} with: {reply}")
            if isinstance(reply, Exception):
                raise OSError(str(reply))
            replies.append(reply)
        self._answers = None
        return replies


def _ignore(reply: Any) -> None:
    pass


async def open_wire(
    address: Address,
    login: Login,
    on_reply: Callable[[Any], None],
    on_lost: Callable[[Wire], None],
) -> Wire:
    """Connects. Raises OSError when it can't."""
    loop = asyncio.get_running_loop()
    host, port = address

    def make() -> Wire:
        return Wire(on_reply, on_lost)

    if port:
        _, wire = await loop.create_connection(make, host, port, ssl=login.tls)
    else:
        _, wire = await loop.create_unix_connection(make, host)
    return wire


def cannot(address: Address, error: BaseException) -> InternalError:
    """The one sentence about a server that can't be reached."""
    why = "it doesn't answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return InternalError(f"Redis at {named(address)} can't be used: {why}")
