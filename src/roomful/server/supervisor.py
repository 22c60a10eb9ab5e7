"""Many processes that serve one port: started, watched, restarted, and ended together.

The first worker is started alone, so that what is wrong with all of them is said once; then the others. A worker that
dies later is started again, after a pause that grows while it keeps dying. SIGTERM, SIGINT and SIGHUP (reload) are
passed on, and the status is 0 if every worker's is. A worker whose supervisor is killed ends by itself: its standard
input closes.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from roomful.model.errors import ConfigError
from roomful.server.config import ServerOptions
from roomful.server.listen import bound_sockets, url_of
from roomful.server.local_engine import LocalEngine
from roomful.server.signals import SIGNALS
from roomful.server.worker_peers import ask_worker

log = logging.getLogger("roomful.server")

START_S = 30.0
"""A worker that doesn't listen by then is taken for broken."""
LOOK_S = 0.05
PAUSE_S, PAUSE_MAX_S = 0.1, 30.0
STEADY_S = 60.0
"""Who has lived so long is started again after the shortest pause."""
STOP_S = 20.0
"""Beyond `drain_s`: what a worker may need to end. Then it is killed."""

Command = Callable[[int, int, str | None], Sequence[str]]
"""The command line of a worker, from its number, the port and the engine's URL (None: as it is configured)."""


def supervise(command: Command, options: ServerOptions, directory: Path, local: bool) -> NoReturn:
    """Runs `options.workers` processes until SIGTERM or SIGINT; ends the process with their status.

    directory: for the workers' sockets, made if it isn't there. local: start a private Redis too, for all of them.
    Prints a line with the URL when all listen. Raises ConfigError when it can't begin.
    """
    with only_one(directory), bound_sockets(options, "first") as sockets:
        port = sockets[0].getsockname()[1]
        engine = LocalEngine(directory) if local else None
        urls = [url_of(each, options.tls_cert is not None) for each in sockets]
        supervisor = Supervisor(lambda number, url: command(number, port, url), options, directory, engine)
        status = asyncio.run(supervisor.run(urls))
    sys.exit(status)


class Supervisor:
    """The workers of one `roomful serve`."""

    def __init__(
        self,
        command: Callable[[int, str | None], Sequence[str]],
        options: ServerOptions,
        directory: Path,
        engine: LocalEngine | None,
    ) -> None:
        self._command = command
        self._options = options
        self._directory = directory
        self._engine = engine
        self._url: str | None = None
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self, urls: Sequence[str]) -> int:
        """The status to end with. urls: told once all listen."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._tell_all, signal.SIGHUP)
        try:
            if self._engine is not None:
                self._url = await self._engine.start()
            return await self._serve(urls)
        finally:
            if self._engine is not None:
                await self._engine.stop()

    async def _serve(self, urls: Sequence[str]) -> int:
        numbers = range(1, self._options.workers + 1)
        for group in (numbers[:1], numbers[1:]):
            for number in group:
                await self._start(number)
            if not all(await asyncio.gather(*(self._listens(number) for number in group))):
                return await self._end(0 if self._stopping.is_set() else 1)
        for url in urls:
            print(f"Roomful listens on {url}", flush=True)
        watching = [asyncio.create_task(self._keep(number)) for number in numbers]
        if self._engine is not None:
            watching.append(asyncio.create_task(keep(self._engine.ended, self._engine.restart, "the private Redis")))
        await self._stopping.wait()
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)
        return await self._end(0)

    def _on_signal(self) -> None:
        """The first one lets the workers drain; the next ones are passed on, and end them at once."""
        if self._stopping.is_set():
            self._tell_all(signal.SIGTERM)
        self._stopping.set()

    # One worker

    async def _start(self, number: int) -> None:
        self._processes[number] = await asyncio.create_subprocess_exec(
            *self._command(number, self._url),
            stdin=asyncio.subprocess.PIPE,  # closes with us
            start_new_session=True,  # Ctrl-C reaches us only, once
            preexec_fn=_ignore_hangup,
        )

    async def _listens(self, number: int) -> bool:
        """Whether it came to listening."""
        process, waited_s = self._processes[number], 0.0
        while process.returncode is None and not self._stopping.is_set() and waited_s < START_S:
            if await ask_worker(self._directory, number, "ready") is not None:
                return True
            await asyncio.sleep(LOOK_S)
            waited_s += LOOK_S
        return False

    async def _keep(self, number: int) -> None:
        await keep(lambda: self._processes[number].wait(), lambda: self._start(number), f"worker {number}")

    # The end

    async def _end(self, status: int) -> int:
        self._tell_all(signal.SIGTERM)
        processes = list(self._processes.values())
        waiting = [asyncio.create_task(process.wait()) for process in processes]
        if waiting:
            await asyncio.wait(waiting, timeout=self._options.drain_s + STOP_S)
        for process in processes:
            if process.returncode is None:
                log.error("process %d doesn't end; killing it", process.pid)
                process.kill()
                await process.wait()
        return status or int(any(process.returncode for process in processes))

    def _tell_all(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)


async def keep(ended: Callable[[], Awaitable[int]], start: Callable[[], Awaitable[None]], name: str) -> None:
    """Starts a process again whenever it has ended, until cancelled."""
    loop = asyncio.get_running_loop()
    pause_s, begun = PAUSE_S, loop.time()
    while True:
        status = await ended()
        if loop.time() - begun > STEADY_S:
            pause_s = PAUSE_S
        log.error("%s ended %s; starting it again in %g s", name, _how(status), pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)
        begun = loop.time()
        await start()


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Holds the directory for one supervisor. Raises ConfigError when another one has it, or it can't be made."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigError(
            f"{directory}: another roomful serve has its workers there; give each its own --data"
        ) from None
    try:
        yield
    finally:
        os.close(lock)


def end_with_supervisor() -> None:
    """Has this process end as soon as its standard input closes, which only its supervisor holds open."""
    loop = asyncio.get_running_loop()

    def on_input() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            signal.raise_signal(signal.SIGTERM)

    loop.add_reader(0, on_input)


def _ignore_hangup() -> None:
    """A worker that is told to reload before it can would end; it is just reading the settings anyway."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _how(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
