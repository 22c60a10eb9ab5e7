"""Clients in a process of their own, which can be frozen: they stay connected and read nothing.

    async with ClientProcess("ws://127.0.0.1:8000/connection/websocket", {ledger.reader("bob"): ["chat:1"]}) as bob:
        bob.freeze()                                        # SIGSTOP: its sockets fill up, nobody answers pings
        ...publish...
        bob.thaw()                                          # SIGCONT
        await bob.until(lambda: bob.clients[0].reads == 100)

Each reader stands for one connection, which follows its channels. It does what an SDK does: it answers pings,
subscribes again when it is told to, and comes back with its position after each end that isn't final. What it reads is
noted with its reader, by the number `data["n"]` and, if there are several writers, `data["by"]`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from roomful.model.disconnects import Disconnect
from roomful.testing.ledger import Reader

TIMEOUT_S = 30.0
"""How long an expectation waits before it fails."""

AGAIN_S = 0.2
"""Whoever was refused, or lost the connection, tries again after about this long."""

RECEIVE_BUFFER_BYTES = 16_384
"""Of each socket: small, so that a server soon feels that nobody reads."""


class Job(msgspec.Struct):
    """What the process is told to do: its only line of input."""

    url: str
    channels: list[list[str]]
    connect: dict[str, Any]
    receive_buffer_bytes: int


class Told(msgspec.Struct, omit_defaults=True):
    """One thing that happened to one of its clients: a line of output.

    publications: of the channel. code, reason: of an end, of the connection or (with a channel) of a subscription.
    """

    client: int
    what: str
    channel: str = ""
    recovered: bool = False
    publications: list[dict[str, Any]] = []
    code: int = 0
    reason: str = ""


class Follower:
    """What is known of one of the clients.

    reads: publications that it got. newest: the data of the last one of each channel. gaps: how often it was told that
    something is missing. ends: codes of its connections' ends, 1006 for a cut. subscribed: to these channels now.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.reads = 0
        self.newest: dict[str, Any] = {}
        self.gaps = 0
        self.ends: list[int] = []
        self.subscribed: set[str] = set()
        self._known: set[str] = set()

    def hear(self, told: Told) -> None:
        channel = told.channel
        match told.what:
            case "subscribed":
                self.subscribed.add(channel)
                self.gaps += channel in self._known and not told.recovered
                self._known.add(channel)
                self.reader.subscribed(channel, recovered=told.recovered)
            case "unsubscribed":
                self._left(channel)
            case "closed":
                self.ends.append(told.code)
                for each in tuple(self.subscribed):
                    self._left(each)
        for publication in told.publications:
            self.reads += 1
            data = self.newest[channel] = publication["data"]
            self.reader.read(channel, data["n"], data.get("by", ""))

    def _left(self, channel: str) -> None:
        self.subscribed.discard(channel)
        self.reader.unsubscribed(channel)


class ClientProcess:
    """The process. url: of the server's WebSocket for rooms. connect: more fields of the connect command (`token`).

    readers: one for each client, with the channels that it follows. Entered, all of them are subscribed.
    """

    def __init__(
        self,
        url: str,
        readers: Mapping[Reader, Sequence[str]],
        *,
        connect: dict[str, Any] | None = None,
        receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES,
    ) -> None:
        self.clients = [Follower(reader) for reader in readers]
        self._job = Job(url, [list(channels) for channels in readers.values()], connect or {}, receive_buffer_bytes)
        self._heard = asyncio.Event()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        self._listening = asyncio.create_task(self._listen())
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(self._job) + b"\n")
        wanted = [set(channels) for channels in self._job.channels]
        await self.until(lambda: [client.subscribed for client in self.clients] == wanted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()  # a frozen one hears nothing else
        await self._process.wait()
        await self._listening

    def freeze(self) -> None:
        """From now on its clients read nothing and say nothing. The kernel takes in what fits into its buffers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """They go on where they were."""
        os.kill(self.pid, signal.SIGCONT)

    async def until(self, true: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Waits until what was heard from the process makes it true. Raises TimeoutError; EOFError if it has ended."""
        async with asyncio.timeout(timeout_s):
            while not true():
                if self._listening.done():
                    raise EOFError("the process of the clients has ended")
                self._heard.clear()
                await self._heard.wait()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        decoder = msgspec.json.Decoder(Told)
        async for line in self._process.stdout:
            told = decoder.decode(line)
            self.clients[told.client].hear(told)
            self._heard.set()
        self._heard.set()


# In that process


class _Client:
    def __init__(self, number: int, job: Job) -> None:
        self._number = number
        self._job = job
        self._channels = job.channels[number]
        self._positions: dict[str, dict[str, Any]] = {}
        self._ids: dict[int, str] = {}
        self._last_id = 1

    async def run(self) -> None:
        """Until an end that is final."""
        code = 0
        while code == 0 or Disconnect(code, "").reconnect:
            code = 1006
            with suppress(OSError, WebSocketException, TimeoutError):
                async with connect(self._job.url, sock=await _socket(self._job), max_size=None, proxy=None) as link:
                    await self._follow(link)
                    code = link.close_code or 1006
                    self._tell("closed", code=code, reason=link.close_reason or "")
            await asyncio.sleep(AGAIN_S * (0.5 + random.random()))

    async def _follow(self, link: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            await link.send(msgspec.json.encode({"id": 1, "connect": self._job.connect}), text=True)
            async for message in link:
                lines = message.encode().splitlines() if isinstance(message, str) else message.splitlines()
                for line in lines:
                    await self._take(link, msgspec.json.decode(line))

    async def _take(self, link: ClientConnection, said: dict[str, Any]) -> None:
        if not said:
            await link.send("{}")
        elif "connect" in said:
            for channel in self._channels:
                await self._subscribe(link, channel)
        elif "subscribe" in said:
            self._begin(self._ids.pop(said["id"]), said["subscribe"])
        elif "error" in said and said["id"] in self._ids:
            await asyncio.sleep(AGAIN_S)
            await self._subscribe(link, self._ids.pop(said["id"]))
        elif "pub" in said.get("push", {}):
            self._read(said["push"]["channel"], [said["push"]["pub"]])
        elif "unsubscribe" in said.get("push", {}):
            channel, end = said["push"]["channel"], said["push"]["unsubscribe"]
            self._tell("unsubscribed", channel=channel, code=end["code"], reason=end["reason"])
            if end["code"] >= 2500:
                await self._subscribe(link, channel)

    async def _subscribe(self, link: ClientConnection, channel: str) -> None:
        self._last_id += 1
        self._ids[self._last_id] = channel
        wanted = {"channel": channel, "recoverable": True, **self._positions.get(channel, {})}
        await link.send(msgspec.json.encode({"id": self._last_id, "subscribe": wanted}), text=True)

    def _begin(self, channel: str, result: dict[str, Any]) -> None:
        self._positions.pop(channel, None)
        if "epoch" in result:
            self._positions[channel] = {"recover": True, "epoch": result["epoch"], "offset": result.get("offset", 0)}
        self._tell("subscribed", channel=channel, recovered=result.get("recovered", False))
        self._read(channel, result.get("publications", []))

    def _read(self, channel: str, publications: list[dict[str, Any]]) -> None:
        if publications:
            if channel in self._positions and "offset" in publications[-1]:
                self._positions[channel]["offset"] = publications[-1]["offset"]
            self._tell("read", channel=channel, publications=[{"data": each["data"]} for each in publications])

    def _tell(self, what: str, **facts: Any) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(Told(self._number, what, **facts)) + b"\n")
        sys.stdout.buffer.flush()


async def _socket(job: Job) -> socket.socket:
    """Connected, with its small buffer from the first byte on."""
    address = urlsplit(job.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, job.receive_buffer_bytes)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (address.hostname, address.port or 80))
    return connection


async def _run() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    running = asyncio.gather(*(_Client(number, job).run() for number in range(len(job.channels))))
    # Whoever started us is gone: nobody else would ever end us.
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), running.cancel)
    with suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    asyncio.run(_run())
