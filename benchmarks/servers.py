"""A server that is measured: how it is started, pinned to a core, found and stopped."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from install import BUILD, PEERS, Missing, SetUp

PORT, DIRECTORY = "PORT", "DIRECTORY"
"""In a command: a free port, for servers that can't choose and say one themselves; an empty directory."""


@dataclass(frozen=True)
class Peer:
    """command: what serves, printing its address in its first lines; or what gives it, once it is set up. protocol:
    the load generator's word. version: of what is measured, asked once it is set up. family: what its members are,
    websocket, events or documents. modes: what it can be asked for.
    slowness: it is measured for so many times fewer rounds."""

    name: str
    protocol: str
    command: list[str] | Callable[[], list[str]]
    set_up: SetUp
    version: Callable[[], str]
    family: str = "websocket"
    modes: frozenset[str] = frozenset({"fanout"})
    slowness: int = 1

    def started(self, directory: str) -> list[str]:
        command = self.command if isinstance(self.command, list) else self.command()
        return [str(free_port()) if word == PORT else directory if word == DIRECTORY else word for word in command]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def cores() -> tuple[list[str], list[str]]:
    """How to pin the server and the load: to one core each, where there are two."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return [], []
    return ["taskset", "-c", str(allowed[0])], ["taskset", "-c", str(allowed[1])]


def raise_open_files() -> int:
    """As many as we may have; children inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


@contextmanager
def serving(peer: Peer) -> Iterator[tuple[int, int]]:
    """Port and process id of the peer while it serves. Raises Missing."""
    with tempfile.TemporaryDirectory() as directory, running([*cores()[0], *peer.started(directory)]) as found:
        yield found


@contextmanager
def running(command: list[str]) -> Iterator[tuple[int, int]]:
    log, environment = BUILD / "server.log", os.environ | {"PYTHONPATH": python_path()}
    with log.open("w") as errors:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        except OSError as error:
            raise Missing(str(error)) from error
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                wait_for(int(found[1]))
                yield int(found[1]), process.pid
                break
        else:
            said = log.read_text().strip().splitlines()
            raise Missing(f"did not start: {said[-1] if said else 'no output'}")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def python_path() -> str:
    """With Roomful's application in it."""
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(PEERS)]))


def wait_for(port: int) -> None:
    """Until somebody listens there: not every server prints its address after it does. Raises Missing after 10 s."""
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Missing("nobody listens after 10 s")
