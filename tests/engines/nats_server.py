"""A real nats-server with JetStream on a free port of loopback, which a test may kill and start again; its engines."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from roomful.engines.nats import NatsEngine
from roomful.engines.options import EngineOptions

START_S = 10.0


Component = Callable[[str], str]
CHANNEL = "chat:1"


def engine_at(url: str, storage: Literal["file", "memory"] = "file", **options: object) -> NatsEngine:
    """A node's engine. options: of EngineOptions."""
    return NatsEngine(EngineOptions(url=url, nats_storage=storage, **options))  # type: ignore[arg-type]


async def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Waits for what nothing announces."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class NatsServer:
    """One server process over its life. directory: where it keeps file storage."""

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Returns when it answers."""
        self._process = await asyncio.create_subprocess_exec(
            *(self._program, "-js", "-a", "127.0.0.1", "-p", str(self.port)),
            *("-sd", str(self._directory), "-l", str(self._directory / "log")),
            stdin=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_S):
            while not await answers(self.port):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def freeze(self) -> None:
        """SIGSTOP; returns when all its threads have stopped, which takes a moment on a busy machine."""
        os.kill(self.pid, signal.SIGSTOP)
        await until(lambda: all(_is_stopped(stat) for stat in Path(f"/proc/{self.pid}/task").glob("*/stat")))

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """`kill -9`: nothing is flushed or said."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def restart(self) -> None:
        await self.kill()
        await self.start()


def _is_stopped(stat: Path) -> bool:
    return stat.read_text().rpartition(")")[2].split()[0] == "T"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def answers(port: int) -> bool:
    """Whether a NATS server listens there."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        return (await reader.readline()).startswith(b"INFO")
    finally:
        writer.close()
