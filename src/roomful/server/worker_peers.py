"""How the workers of one machine ask each other: one Unix socket each, a word in, bytes out.

Whoever asks any worker for `/ready` gets what all of them say: the one that was asked collects the answers of the
others. A worker that doesn't answer in time is missing, and that is told too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from roomful.model.errors import ConfigError

ASK_S = 0.3
"""How long a worker may take to answer another one."""

TOPIC_MAX_BYTES = 64
SOCKET_PATH_MAX = 100
"""The kernel takes 107 bytes."""

Answer = Callable[[], bytes]


class Peers:
    """One worker among `count`, numbered from 1. directory: where all of them have their sockets."""

    def __init__(self, directory: Path, number: int, count: int) -> None:
        self._directory = directory
        self.number = number
        self.count = count
        self._answers: dict[str, Answer] = {}
        self._server: asyncio.Server | None = None

    def answer(self, topic: str, answer: Answer) -> None:
        """What this worker says to the topic. Raises ValueError for one that is answered already."""
        if topic in self._answers:
            raise ValueError(f"{topic!r} has an answer")
        self._answers[topic] = answer

    async def start(self) -> None:
        """From now on it answers. Raises ConfigError when the socket can't be made."""
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = socket_path(self._directory, self.number)
        try:
            path.unlink(missing_ok=True)
            with _reachable(path) as name:
                bound.bind(name)
        except OSError as error:
            bound.close()
            raise ConfigError(f"{path}: {error.strerror}") from error
        self._server = await asyncio.start_unix_server(self._serve, sock=bound)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            socket_path(self._directory, self.number).unlink(missing_ok=True)

    async def ask(self, topic: str) -> dict[int, bytes | None]:
        """What each worker says, this one included, by number; None for one that doesn't answer within `ASK_S`."""
        numbers = range(1, self.count + 1)
        answers = await asyncio.gather(*(self._ask(number, topic) for number in numbers))
        return dict(zip(numbers, answers, strict=True))

    async def _ask(self, number: int, topic: str) -> bytes | None:
        return self._answers[topic]() if number == self.number else await ask_worker(self._directory, number, topic)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASK_S):
                answer = self._answers.get((await reader.read(TOPIC_MAX_BYTES)).decode(errors="replace").strip())
                if answer is not None:
                    writer.write(answer())
                    await writer.drain()
        except (TimeoutError, OSError):
            writer.transport.abort()
        finally:
            writer.close()


async def ask_worker(directory: Path, number: int, topic: str, timeout_s: float = ASK_S) -> bytes | None:
    """What that worker says to the topic; None if it doesn't in time."""
    try:
        async with asyncio.timeout(timeout_s):
            with _reachable(socket_path(directory, number)) as name:
                reader, writer = await asyncio.open_unix_connection(name)
            try:
                writer.write(f"{topic}\n".encode())
                return await reader.read(-1) or None
            finally:
                writer.close()
    except (TimeoutError, OSError):
        return None


def socket_path(directory: Path, number: int) -> Path:
    return directory / f"worker-{number}.sock"


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A name for the socket that the kernel takes: a long one is replaced by one that begins at an open folder."""
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        with contextlib.suppress(OSError):
            os.close(folder)
