"""A TCP proxy that misbehaves when told: cut (at once or at a byte), hole, delay, trickle, for one link or for all.

    async with FaultProxy(server_port) as proxy:
        ...connect to proxy.port instead of server_port...
        proxy.links[0].cut()                # both ends get a reset
        proxy.links[0].down.hole()          # what the server says no longer arrives; nothing is closed
        proxy.down.delay_s = 3.0            # on every link, also on those that come later
        proxy.links[0].down.cut_after = 100 # after so many more bytes both ends get a reset
        proxy.next_cuts = [0, 500]          # the next two links are cut so far into what the server says
        proxy.refusing = True               # new connections are reset

It lives in user space, so it needs no rights and works everywhere. *Up* is from client to server, *down* the way back.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

CHUNK_BYTES = 16_384
CHUNKS_UNDER_WAY = 64
"""How much a hole swallows before the sender feels it, beside what the kernel buffers."""

TRICKLE_STEP_S = 0.05

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with a linger time of zero: closing sends RST, and throws away what wasn't sent."""

Sleep = Callable[[float], Awaitable[None]]


class Stream(NamedTuple):
    """The proxy's two ends of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Faults:
    """What is wrong with one direction. delay_s: each byte arrives so much later. bytes_per_s: no faster than that.

    carried_bytes: what has been taken in so far, for tests of how much is sent.
    cut_after: so many bytes still pass, then the link is cut; of one link only.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.carried_bytes = 0
        self.cut_after: int | None = None
        self._passable = asyncio.Event()
        self._passable.set()

    def hole(self) -> None:
        """Nothing arrives any more, and nothing is closed. What is sent meanwhile waits for `heal`, as TCP would."""
        self._passable.clear()

    def heal(self) -> None:
        """Ends hole, delay and trickle."""
        self.delay_s = 0.0
        self.bytes_per_s = None
        self._passable.set()

    async def passable(self) -> None:
        """Returns when there is no hole."""
        await self._passable.wait()


class Link:
    """One client's connection through the proxy. `up` and `down` are its own faults, beside those of the proxy."""

    def __init__(self, proxy: FaultProxy, client: Stream, server: Stream) -> None:
        self.up = Faults()
        self.down = Faults()
        self._ends = (client.writer, server.writer)
        self._ways = (
            Way(client.reader, server.writer, (proxy.up, self.up), proxy.sleep),
            Way(server.reader, client.writer, (proxy.down, self.down), proxy.sleep),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def hole(self) -> None:
        """Both directions."""
        self.up.hole()
        self.down.hole()

    def heal(self) -> None:
        """Both directions."""
        self.up.heal()
        self.down.heal()

    def cut(self) -> None:
        """Resets both ends at once; what was under way is lost."""
        for end in self._ends:
            reset(end)
        for task in self._tasks:
            task.cancel()

    async def run(self) -> None:
        """Carries bytes until both directions have ended, one end was reset (so is the other), or the link was cut."""
        self._tasks = [asyncio.create_task(work) for way in self._ways for work in (way.take(), way.give())]
        _, unfinished = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        if unfinished:
            self.cut()
        for end in self._ends:
            end.close()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if outcome is not None and not isinstance(outcome, OSError | asyncio.CancelledError):
                raise outcome


class Way:
    """One direction of a link: `take` and `give` run side by side, so that a delay costs no throughput."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: tuple[Faults, Faults], sleep: Sleep
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._faults = faults
        self._own = faults[-1]
        self._sleep = sleep
        self._clock = asyncio.get_running_loop()
        self._under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_UNDER_WAY)

    async def take(self) -> None:
        """Reads until the end, and notes when each chunk is due on the other side."""
        chunk = b"more"
        while chunk:
            chunk = await self._reader.read(CHUNK_BYTES)
            for fault in self._faults:
                fault.carried_bytes += len(chunk)
            await self._under_way.put((self._clock.time() + sum(fault.delay_s for fault in self._faults), chunk))

    async def give(self) -> None:
        """Writes what was taken when it is due, and then the end."""
        while True:
            due, chunk = await self._under_way.get()
            if (early := due - self._clock.time()) > 0:
                await self._sleep(early)
            for fault in self._faults:
                await fault.passable()
            if not chunk:
                with suppress(OSError):  # it has been reset meanwhile, which its own reader finds out
                    self._refuse_closed()
                    self._writer.write_eof()
                return
            await self._trickle(chunk[: self._own.cut_after])
            if self._own.cut_after is not None:
                self._own.cut_after = max(0, self._own.cut_after - len(chunk))
                if not self._own.cut_after:
                    raise ConnectionAbortedError  # cuts the link

    async def _trickle(self, chunk: bytes) -> None:
        while chunk:
            rate = min((fault.bytes_per_s for fault in self._faults if fault.bytes_per_s is not None), default=None)
            step = len(chunk) if rate is None else max(1, int(rate * TRICKLE_STEP_S))
            if rate is not None:
                await self._sleep(step / rate)
            self._refuse_closed()
            self._writer.write(chunk[:step])
            await self._writer.drain()
            chunk = chunk[step:]

    def _refuse_closed(self) -> None:
        """asyncio's transport ignores what is written after its end, uvloop's raises RuntimeError."""
        if self._writer.is_closing():
            raise ConnectionResetError


class FaultProxy:
    """Listens on a free port of loopback (`port`) and carries each connection to `server_port` of `server_host`.

    up, down: faults of every link. links: the open ones, oldest first. refusing: new connections are reset. next_cuts:
    `down.cut_after` of links to come, the first one first.
    sleep: how to wait; a test of the proxy itself gives its own.
    """

    port: int
    refusing: bool = False

    def __init__(self, server_port: int, server_host: str = "127.0.0.1", *, sleep: Sleep = asyncio.sleep) -> None:
        self.up = Faults()
        self.down = Faults()
        self.links: list[Link] = []
        self.next_cuts: list[int | None] = []
        self.sleep = sleep
        self._server_address = server_host, server_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._cuts = 0

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.refusing = True
        self.cut()
        await asyncio.gather(*self._tasks)

    def hole(self) -> None:
        """Every link, both directions, also for links that come later."""
        self.up.hole()
        self.down.hole()

    def heal(self) -> None:
        """Ends what was set for every link (what one link has of its own stays), and `refusing`."""
        self.refusing = False
        self.up.heal()
        self.down.heal()

    def lead_to(self, server_port: int) -> None:
        """New connections go to another server."""
        self._server_address = self._server_address[0], server_port

    def cut(self) -> None:
        """Resets every link, also those that are just being made."""
        self._cuts += 1
        for link in self.links:
            link.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.refusing:
            reset(writer)
            return
        cuts = self._cuts
        try:
            server = Stream(*await asyncio.open_connection(*self._server_address))
        except OSError:
            reset(writer)
            return
        if self._cuts > cuts:
            reset(writer)
            reset(server.writer)
            return
        link = Link(self, Stream(reader, writer), server)
        if self.next_cuts:
            link.down.cut_after = self.next_cuts.pop(0)
        self.links.append(link)
        await link.run()
        self.links.remove(link)


def reset(end: asyncio.StreamWriter) -> None:
    """Closes with RST."""
    connection = end.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    end.transport.abort()
