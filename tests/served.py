"""`served`: Roomful as a user starts it, in a process of its own, on a free port of loopback.

    server = await served()                                     # roomful serve --dev
    server = await served("shop:app", dev=False, config="…")    # a module of the test's folder, a roomful.toml

The process works in the test's `tmp_path`. It is ended after the test; what it printed is shown when the test fails.
Tests that share a server use `serve` and `stop` themselves.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Protocol

import pytest

START_S = 30.0
STOP_S = 20.0

LISTENING = re.compile(r"https?://127\.0\.0\.1:(\d+)")


class Server:
    """A running server process. port, url: where it listens. log: what it printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._listening = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())
        self.log = ""
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    async def started(self) -> None:
        """Fails with the log when the process ends or is silent instead of listening."""
        await asyncio.wait({self._listening, self._reader}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if not self._listening.done():
            pytest.fail(f"the server doesn't listen; it printed:\n{self.log}")
        self.port = self._listening.result()

    async def stopped(self) -> int:
        """Waits for its end; its exit status."""
        status = await self._process.wait()
        await self._reader
        return status

    async def stop(self) -> int:
        """Asks it to end, as a service manager would; its exit status. Killed when it doesn't end in time."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_S)
            except TimeoutError:
                self._process.kill()
        status = await self._process.wait()
        await self._reader
        return status

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.log += line.decode(errors="replace")
            if not self._listening.done() and (found := LISTENING.search(self.log)):
                self._listening.set_result(int(found[1]))


class Serve(Protocol):
    def __call__(
        self, app: str = "", *, dev: bool = True, config: str = "", options: tuple[str, ...] = ()
    ) -> Awaitable[Server]:
        """app: `module:name`. config: the text of a roomful.toml. options: more of the command line."""
        ...


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serve]:
    servers: list[Server] = []

    async def start(app: str = "", *, dev: bool = True, config: str = "", options: tuple[str, ...] = ()) -> Server:
        servers.append(await serve(tmp_path, app, dev=dev, config=config, options=options))
        return servers[-1]

    yield start
    for server in servers:
        await server.stop()
        print(f"--- roomful serve, process {server.pid}\n{server.log}")


async def serve(
    directory: Path, app: str = "", *, dev: bool = True, config: str = "", options: tuple[str, ...] = ()
) -> Server:
    """`roomful serve` in that directory, listening. For the other arguments see `Serve`."""
    if config:
        (directory / "roomful.toml").write_text(config)
    roomful = str(Path(sys.executable).with_name("roomful"))
    flags = [*options, *(["--dev"] if dev else []), *([app] if app else [])]
    return await launch(directory, roomful, "serve", "--port", "0", *flags)


async def launch(directory: Path, *command: str) -> Server:
    """A server process in that directory, listening; it prints its URL like `roomful serve` and uvicorn do."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env={name: value for name, value in os.environ.items() if not name.startswith("ROOMFUL_")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    server = Server(process)
    try:
        await server.started()
    except BaseException:
        await server.stop()
        raise
    return server
