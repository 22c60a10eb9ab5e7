"""A redis-server (or valkey-server) of a test's own, on a free port of loopback, in the test's folder."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from roomful.engines.redis_wire import Login, Wire, open_wire
from roomful.model.errors import InternalError

START_S = 20.0

LOGIN = Login("", "", 0, "test")


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(number: int) -> list[int]:
    """Different ones."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in found]


async def eventually(condition: Callable[[], bool | Awaitable[object]], seconds: float = 15.0) -> None:
    """Waits for something that nobody announces. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if holds is True or (not isinstance(holds, bool) and await holds):
                return
            await asyncio.sleep(0.01)


class RedisServer:
    """One server process. options: more of its command line. config: a file of its own to begin with."""

    def __init__(self, program: str, directory: Path, *options: str, port: int = 0, config: str = "") -> None:
        self.program = program
        self.directory = directory
        self.options = options
        self.config = config
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None  # not asyncio's: it outlives the loop of a test
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when it answers."""
        basics = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory))
        quiet = ("--logfile", str(self.directory / "log"), "--save", "", "--appendonly", "no")
        quick = ("--repl-diskless-sync-delay", "0")
        config = [self.config] if self.config else []
        self.process = subprocess.Popen(  # noqa: ASYNC220  it returns at once
            [
                self.program,
                *config,
                *basics,
                *(quiet if not self.config else quiet[:2]),
                *(() if self.config else quick),
                *self.options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_S):
            while True:
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.program} ended: {(self.directory / 'log').read_text()}")
                try:
                    await self.do("PING")
                    return
                except InternalError as refusal:
                    if "NOAUTH" in str(refusal):
                        return
                except OSError:
                    pass
                await asyncio.sleep(0.02)

    async def tells(self, command: tuple[str, ...], text: bytes) -> bool:
        """Whether the reply to a command holds that text."""
        reply = await self.do(*command)
        return text in (reply if isinstance(reply, bytes) else b" ".join(map(bytes, reply)))

    async def kill(self) -> None:
        """As a crash: nothing is saved."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    async def do(self, *command: str | bytes | int) -> Any:
        """The reply to one command."""
        wire: Wire = await open_wire(("127.0.0.1", self.port), LOGIN, lambda reply: None, lambda wire: None)
        try:
            [reply] = await wire.converse([command])
        finally:
            wire.abort()
        return reply

    async def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            await eventually(lambda: process.poll() is not None)
        except TimeoutError:
            process.kill()
            raise


class RedisCluster:
    """Three masters, and a replica of the first one if wanted."""

    def __init__(self, program: str, directory: Path, *, replica: bool = False) -> None:
        ports = free_ports(2 * (3 + replica))
        self.buses = ports[::2]
        self.nodes = [
            RedisServer(
                program,
                directory / f"node-{number}",
                *("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000"),
                *("--cluster-replica-validity-factor", "0"),
                port=port,
            )
            for number, (bus, port) in enumerate(zip(ports[::2], ports[1::2], strict=True))
        ]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    async def start(self) -> None:
        """Returns when all nodes agree that all slots have a master."""
        await asyncio.gather(*(node.start() for node in self.nodes))
        first, *others = self.nodes
        ranges = ((0, 5460), (5461, 10922), (10923, 16383))
        for node, (begin, end) in zip(self.nodes, ranges, strict=False):
            await node.do("CLUSTER", "ADDSLOTSRANGE", begin, end)
        for number, node in enumerate(others):
            await first.do("CLUSTER", "MEET", "127.0.0.1", node.port, self.buses[1 + number])
        if others[2:]:
            name = await first.do("CLUSTER", "MYID")
            await eventually(lambda: self._replicates(others[2], name))
            await eventually(lambda: others[2].tells(("INFO", "replication"), b"master_link_status:up"))
        for node in self.nodes:
            await eventually(lambda node=node: node.tells(("CLUSTER", "INFO"), b"cluster_state:ok"))  # type: ignore[misc]

    async def _replicates(self, node: RedisServer, master: bytes) -> bool:
        try:
            await node.do("CLUSTER", "REPLICATE", master)
        except InternalError:  # it hasn't heard of it yet
            return False
        return True

    async def kill(self) -> None:
        await asyncio.gather(*(node.kill() for node in self.nodes))
