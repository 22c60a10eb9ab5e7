"""A redis-server (or valkey-server) of a test's own, on a free port of loopback, in the test's folder."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from roomful.engines.redis_wire import Login, Wire, open_wire
from roomful.model.errors import InternalError

START_S = 20.0

LOGIN = Login("", "", 0, "test")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


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
        self.process: asyncio.subprocess.Process | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when it answers."""
        basics = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory))
        quiet = ("--logfile", str(self.directory / "log"), "--save", "", "--appendonly", "no")
        self.process = await asyncio.create_subprocess_exec(
            self.program,
            *([self.config] if self.config else []),
            *basics,
            *(quiet if not self.config else quiet[:2]),
            *self.options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_S):
            while True:
                try:
                    await self.do("PING")
                    return
                except InternalError as refusal:
                    if "NOAUTH" in str(refusal):
                        return
                except OSError:
                    pass
                await asyncio.sleep(0.02)

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
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGCONT)
            os.kill(self.process.pid, how)
            try:
                await asyncio.wait_for(self.process.wait(), 10.0)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        self.process = None
