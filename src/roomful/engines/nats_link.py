"""The door of nats-py: one connection to a NATS server, made anew whenever it is lost.

The library does the handshake, TLS and reading. What it would do for each message (a queue, a task and an object for
each subscription, headers parsed line by line) is left out: handlers are called at once, in the order of arrival, and
what is sent in one turn of the loop leaves in one write. So a thousand requests are one round trip.

Lost means: the server closed it, or our own echo didn't come back in time. A link that is mute is cut by us.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import secrets
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import nats.errors
import nats.protocol.command as spelled
from nats.aio.client import Client

from roomful.model.errors import InternalError

log = logging.getLogger("roomful.engines.nats")

CONNECT_S = 2.0
PROBE_S = 2.0
"""Between two echoes. An echo that takes longer than `ECHO_S` ends the connection: so 5 s after a link fell mute."""
ECHO_S = 3.0
RETRY_S = 0.1
RETRY_MAX_S = 1.0
"""Between attempts to connect, growing, each multiplied by a random number of 0.5 … 1.5 so that nodes don't come at
once. Short, because a server that starts again is waited for by everybody."""

AGAIN_S = 0.02

IGNORED = "0"
"""The reply token of requests whose answer nobody waits for."""


class LinkDown(InternalError):
    """The connection isn't there, or ended before the answer came. Whether the server did it can't be said."""


class NotSent(LinkDown):
    """It never went out."""


class Reply:
    """A message that came in. headers: the raw block, b"" without."""

    __slots__ = ("_headers", "data")

    def __init__(self, data: bytes, headers: bytes) -> None:
        self.data = data
        self._headers = headers

    @property
    def status(self) -> int:
        """Of an answer by the server itself, such as 404; 0 for all else."""
        line = self._headers[8:12]
        return int(line) if line[:1] == b" " and line[1:].isdigit() else 0

    def header(self, name: str) -> str | None:
        """The header's value."""
        start = self._headers.find(b"\r\n%s:" % name.encode())
        if start < 0:
            return None
        start += len(name) + 3
        return self._headers[start : self._headers.index(b"\r\n", start)].decode().strip()


Handler = Callable[[Reply], None]


class _Connection(Client):
    """nats-py's client for one connection. Messages go to `on_message`, commands leave together."""

    def __init__(self, backlog_max_bytes: int, on_message: Callable[[int, bytes, bytes, bytes], None]) -> None:
        super().__init__()
        self._backlog_max_bytes = backlog_max_bytes
        self._on_message = on_message

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._on_message(sid, subject, data, headers or b"")

    def send(self, command: bytes) -> None:
        """Raises LinkDown when it can't go out."""
        if not self.is_connected:
            raise NotSent("NATS isn't connected")
        if self._pending_data_size + len(command) > self._backlog_max_bytes:
            raise NotSent("NATS doesn't take what we send")
        self._pending.append(command)
        self._pending_data_size += len(command)
        queue = self._flush_queue
        if queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    async def _process_op_err(self, e: Exception) -> None:
        # The library would write what waits, uvloop's closed transport raises at that, and nobody hears of the loss.
        self._pending, self._pending_data_size = [], 0
        await super()._process_op_err(e)

    def abort(self) -> None:
        """Ends it without waiting for anything that is still to be sent."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


class Link:
    """The connection of one node.

    urls: servers, one of them is taken at random. backlog_max_bytes: what may wait to be sent.
    on_up: called whenever a connection is there, before anybody else may use it, with everything subscribed; if it
    raises, that connection is given up. on_down: called when it is lost.
    """

    def __init__(
        self,
        urls: list[str],
        name: str,
        backlog_max_bytes: int,
        on_up: Callable[[], Awaitable[None]],
        on_down: Callable[[], None],
    ) -> None:
        self._urls = urls
        self._name = name
        self._backlog_max_bytes = backlog_max_bytes
        self._on_up = on_up
        self._on_down = on_down
        self._connection: _Connection | None = None
        self._lost: asyncio.Event = asyncio.Event()
        self._open = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._stopping = False
        # True in the task that prepares a connection, and in those that it starts.
        self._preparing = ContextVar("preparing", default=False)
        self._inbox = f"_INBOX.{secrets.token_hex(8)}"
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, asyncio.Future[Reply]] = {}
        self._handlers: dict[int, tuple[str, Handler]] = {}
        self._echo: asyncio.Future[Reply] | None = None
        self._there_at = 0.0
        self.max_payload = 1024 * 1024
        self.server = ""
        """Version of the server."""

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def away_s(self) -> float:
        """How long the server hasn't been there; 0 while there is a connection that the caller may use."""
        return 0.0 if self._may_send else asyncio.get_running_loop().time() - self._there_at

    @property
    def _may_send(self) -> bool:
        return self._connection is not None and (self.is_open or self._preparing.get())

    async def start(self) -> None:
        """The first connection. Raises InternalError with one sentence when there can't be one."""
        try:
            await self._connect()
        except InternalError:
            self._cut()
            raise
        self._stopping = False
        self._life = asyncio.create_task(self._live())

    async def stop(self) -> None:
        self._stopping = True
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait({self._life})
            self._life = None
        connection = self._connection
        self._down()
        if connection is not None:
            try:
                async with asyncio.timeout(1.0):
                    await connection.close()
            except TimeoutError:
                connection.abort()

    def renew(self) -> None:
        """Gives this connection up for a new one: what `on_up` had found on the server isn't there any more."""
        if self._connection is not None:
            self._connection.abort()

    async def opened(self) -> None:
        """Waits until it makes sense to try again: there is a connection, perhaps the one that has just failed."""
        await asyncio.sleep(AGAIN_S)
        await self._open.wait()

    # Sending

    def tell(self, subject: str, payload: bytes = b"") -> None:
        """Sends without waiting; `confirm` tells when the server has it. Raises LinkDown."""
        self._send(spelled.pub_cmd(subject, "", payload), len(payload))

    def post(self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> asyncio.Future[Reply]:
        """Sends a request; the answer to come, or LinkDown. Raises LinkDown."""
        number = b"%d" % next(self._numbers)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._post(subject, payload, headers, number.decode())
        self._waiting[number] = answer
        answer.add_done_callback(lambda _: self._waiting.pop(number, None))
        return answer

    def post_and_forget(self, subject: str, payload: bytes) -> None:
        """Sends a request that matters to nobody but the server. Raises LinkDown."""
        self._post(subject, payload, None, IGNORED)

    async def request(
        self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None, timeout_s: float = ECHO_S
    ) -> Reply:
        """The answer. Raises LinkDown when there is none in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self.post(subject, payload, headers)
        except TimeoutError:
            raise LinkDown(f"NATS didn't answer within {timeout_s:g} s") from None

    async def confirm(self) -> None:
        """Returns when the server has everything that was sent up to now. Raises LinkDown."""
        echo = self._echo
        if echo is None or echo.done():
            # One for all who ask in this turn; it goes out behind what they have sent.
            echo = self._echo = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self._send_echo, echo)
        try:
            async with asyncio.timeout(ECHO_S):
                await asyncio.shield(echo)
        except TimeoutError:
            raise LinkDown(f"NATS didn't answer within {ECHO_S:g} s") from None

    def _send_echo(self, echo: asyncio.Future[Reply]) -> None:
        """A message to ourselves: the server gives it back after all that came before."""
        self._echo = None
        number = b"%d" % next(self._numbers)
        try:
            if self._connection is None:
                raise NotSent("NATS isn't connected")
            self._connection.send(spelled.pub_cmd(f"{self._inbox}.{number.decode()}", "", b""))
        except LinkDown as error:
            echo.set_exception(error)
            echo.exception()  # whoever waits gets it; nobody may wait any more
            return
        self._waiting[number] = echo
        echo.add_done_callback(lambda _: self._waiting.pop(number, None))

    def _post(self, subject: str, payload: bytes, headers: dict[str, str] | None, number: str) -> None:
        reply = f"{self._inbox}.{number}"
        if headers is None:
            self._send(spelled.pub_cmd(subject, reply, payload), len(payload))
        else:
            block = "".join(["NATS/1.0\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"])
            self._send(spelled.hpub_cmd(subject, reply, block.encode(), payload), len(payload))

    def _send(self, command: bytes, size: int) -> None:
        if size > self.max_payload:
            raise InternalError(f"NATS takes messages of at most {self.max_payload} bytes, this one has {size}")
        if self._connection is None or not self._may_send:
            raise NotSent("NATS isn't connected")
        self._connection.send(command)

    # Listening

    def listen(self, subject: str, handler: Handler) -> int:
        """The handler gets the subject's messages, now (as soon as the server has confirmed) and after every new
        connection. The number is for `silence`. While there is no connection nothing is sent."""
        number = next(self._numbers)
        self._handlers[number] = (subject, handler)
        if self._connection is not None:
            try:
                self._connection.send(spelled.sub_cmd(subject, "", number))
            except LinkDown:
                del self._handlers[number]
                raise
        return number

    def silence(self, number: int) -> None:
        """Ends a `listen`. One that can't go out costs no more than messages that nobody wants."""
        if self._handlers.pop(number, None) is not None and self._connection is not None:
            with contextlib.suppress(LinkDown):
                self._connection.send(spelled.unsub_cmd(number, 0))

    def _on_message(self, number: int, subject: bytes, data: bytes, headers: bytes) -> None:
        if number == 0:
            answer = self._waiting.get(subject.rpartition(b".")[2])
            if answer is not None and not answer.done():
                answer.set_result(Reply(data, headers))
            return
        found = self._handlers.get(number)
        if found is not None:
            try:
                found[1](Reply(data, headers))
            except Exception:
                log.exception("a message on %s was not understood; going on with the next", found[0])

    # Its life

    async def _live(self) -> None:
        """Probes the connection while it is there; makes a new one when it is lost.

        A cancellation isn't enough to end it: `asyncio.wait_for`, by which the library connects, loses one that comes
        together with what it waits for (Python before 3.12).
        """
        while not self._stopping:
            await self._until_lost()
            self._down()
            wait_s = RETRY_S
            while True:
                try:
                    await self._connect()
                    break
                except InternalError as error:
                    log.warning("no connection to NATS: %s", error)
                except Exception:  # whatever it was, a node that stays deaf for ever is worse
                    log.exception("a new connection to NATS could not be used; trying again")
                self._cut()
                if self._stopping:
                    return
                await asyncio.sleep(wait_s * (0.5 + random.random()))
                wait_s = min(2 * wait_s, RETRY_MAX_S)

    async def _until_lost(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._there_at = loop.time()
            try:
                async with asyncio.timeout(PROBE_S):
                    await self._lost.wait()
            except TimeoutError:
                try:
                    await self.confirm()
                except InternalError as error:
                    log.warning("the link to NATS is mute: %s", error)
                    return
            if self._lost.is_set():
                self._there_at = loop.time()
                return

    async def _connect(self) -> None:
        failures: list[Exception] = []
        lost = self._lost = asyncio.Event()
        connection = _Connection(self._backlog_max_bytes, self._on_message)

        async def note(error: Exception) -> None:
            failures.append(error)

        async def closed() -> None:
            lost.set()

        url = random.choice(self._urls)
        options: dict[str, Any] = {
            "servers": [url],
            "name": self._name,
            "error_cb": note,
            "closed_cb": closed,
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0.05,
            "connect_timeout": CONNECT_S,
            "flush_timeout": ECHO_S,
            "pending_size": self._backlog_max_bytes,
        }
        try:
            async with asyncio.timeout(2 * CONNECT_S):
                await connection.connect(**options)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            connection.abort()
            raise InternalError(f"can't reach NATS at {shown(url)}: {_why([*failures, error])}") from error
        self._connection = connection
        self.max_payload = connection.max_payload
        self.server = str(connection.connected_server_version).removeprefix("<nats server v").removesuffix(">")
        connection.send(spelled.sub_cmd(f"{self._inbox}.*", "", 0))
        for number, (subject, _) in self._handlers.items():
            connection.send(spelled.sub_cmd(subject, "", number))
        prepares = self._preparing.set(True)
        try:
            await self._on_up()
        finally:
            self._preparing.reset(prepares)
        self._open.set()

    def _cut(self) -> None:
        """Ends a connection that isn't good."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self._fail_waiting()

    def _down(self) -> None:
        was_open = self.is_open
        self._open.clear()
        self._cut()
        if was_open:
            self._on_down()

    def _fail_waiting(self) -> None:
        waiting = list(self._waiting.values())
        self._waiting.clear()
        for answer in waiting:
            if not answer.done():
                answer.set_exception(LinkDown("the connection to NATS was lost"))
                answer.exception()  # whoever waits gets it; one that gave up mustn't make a line in the log


def shown(url: str) -> str:
    """The URL without what is secret in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _why(failures: list[Exception]) -> str:
    """The most telling of what went wrong."""
    for failure in failures:
        if isinstance(failure, OSError) and failure.errno:
            return os.strerror(failure.errno)
    telling = [str(failure).removeprefix("nats: ") for failure in failures if str(failure)]
    return telling[0] if telling else f"no answer within {2 * CONNECT_S:g} s"
