"""`local://`: a Redis of our own for the processes of one machine, reached by a Unix socket, ended with us.

Nobody has to install, secure or watch a service: the program has to be there, no more. It keeps nothing on disk, so
when it ends, what was in the rooms is gone, and whoever comes back is told of a gap.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from roomful.model.errors import ConfigError

PROGRAMS = ("valkey-server", "redis-server")
PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/bin", "/usr/bin", "/usr/sbin"])

PATH_MAX = 90
START_S = 10.0
STOP_S = 3.0

_PR_SET_PDEATHSIG = 1


def program() -> str:
    """The path of the server. Raises ConfigError when none is installed."""
    for name in PROGRAMS:
        found = shutil.which(name, path=PLACES)
        if found is not None:
            return found
    raise ConfigError("engine.url: local:// runs a redis-server or valkey-server, and there is none: apt install redis")


def socket_url(directory: Path) -> str:
    """The engine's URL for those who use it."""
    return f"redis+unix://{directory / 'redis.sock'}"


class LocalEngine:
    """One server process. directory: for its socket and its log, which are its user's alone."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "redis.log"
        # The kernel takes 107 bytes for the path of a socket.
        too_long = len(os.fsencode(directory)) > PATH_MAX
        self._own = Path(tempfile.mkdtemp(prefix="roomful-")) if too_long else None
        self._directory = self._own or directory
        self._program = program()
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> str:
        """The URL, once it answers. Raises ConfigError when it doesn't."""
        await self.restart()
        return socket_url(self._directory)

    async def restart(self) -> None:
        """A new process in place of one that has ended. Raises ConfigError when it doesn't come up."""
        self._process = await asyncio.create_subprocess_exec(
            *(self._program, "--port", "0", "--unixsocket", "redis.sock", "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--logfile", str(self._log)),
            cwd=self._directory,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        for _ in range(int(START_S / 0.02)):
            if self._process.returncode is not None:
                break
            if await _answers(self._directory / "redis.sock"):
                return
            await asyncio.sleep(0.02)
        raise ConfigError(f"engine.url: {self._program} doesn't start; see {self._log}")

    async def ended(self) -> int:
        """Its status, once it has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Ends it. Idempotent."""
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)


def _end_with_parent() -> None:
    """Runs in the new process: it gets SIGTERM when we are gone, however we went."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _answers(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    return True
