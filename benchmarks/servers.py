"""Who is measured: how each peer is set up, started and stopped. Nothing of it is committed: it goes into build/."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "benchmarks"
PEERS = HERE / "peers"
LOAD = BUILD / "load"
VENV = BUILD / "venv"

SETTINGS = """
[server]
port = 0

[tokens]
anonymous = true

[namespaces.bench]
history_size = 100
history_ttl_s = 300
recover = true
presence = {presence}
subscribe = "client"
publish = "client"
"""


class Missing(Exception):
    """A peer can't be had here; the table says so."""


@dataclass(frozen=True)
class Peer:
    """command: what serves, printing its address in its first lines. protocol: the load generator's word. version: of
    what is measured, asked once it is set up."""

    name: str
    protocol: str
    command: list[str]
    set_up: Callable[[], None]
    version: Callable[[], str]


def run(*command: str) -> str:
    """Its output. Raises Missing, with the last line that it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise Missing(f"{Path(command[0]).name}: {said[-1] if said else 'failed'}") from error
    return done.stdout.strip()


def compile_load() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    run("cc", "-O2", "-o", str(LOAD), str(HERE / "load.c"))


def npm(package: str) -> Callable[[], None]:
    def set_up() -> None:
        # Modules are looked up from where a program lies, so the programs are copied beside them.
        BUILD.mkdir(parents=True, exist_ok=True)
        for program in PEERS.glob("*.mjs"):
            (BUILD / program.name).write_bytes(program.read_bytes())
        if not (BUILD / "node_modules" / package).exists():
            run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(BUILD), package)

    return set_up


def pip(*packages: str) -> Callable[[], None]:
    def set_up() -> None:
        python = VENV / "bin" / "python"
        if not python.exists():
            run(sys.executable, "-m", "venv", str(VENV))
        run(str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *packages)

    return set_up


def npm_version(package: str) -> Callable[[], str]:
    script = (
        f'console.log(JSON.parse(require("fs").readFileSync("{BUILD}/node_modules/{package}/package.json")).version)'
    )
    return lambda: f"{package} {run('node', '-e', script)}, node {run('node', '--version')}"


def python_version(python: str, *packages: str) -> Callable[[], str]:
    script = f"from importlib.metadata import version; print(*(n + ' ' + version(n) for n in {packages!r}), sep=', ')"
    return lambda: run(python, "-c", script)


def roomful(name: str, presence: bool) -> Peer:
    """The real server with everything on: rights, metrics, limits, a history of 100."""
    config = BUILD / f"roomful-{'with' if presence else 'without'}-presence.toml"

    def set_up() -> None:
        config.write_text(SETTINGS.format(presence=str(presence).lower()))

    command = [sys.executable, "-m", "roomful", "serve", "--config", str(config), "--data", str(BUILD / "data")]
    return Peer(name, "centrifuge", command, set_up, python_version(sys.executable, "roomful", "picows"))


def all_peers() -> list[Peer]:
    own, foreign = sys.executable, str(VENV / "bin" / "python")
    return [
        roomful("Roomful", presence=True),
        roomful("Roomful, presence off", presence=False),
        Peer(
            "bare picows",
            "bare",
            [own, str(PEERS / "bare_picows.py")],
            lambda: None,
            python_version(own, "picows", "uvloop"),
        ),
        Peer("node ws", "bare", ["node", str(BUILD / "node_ws.mjs")], npm("ws"), npm_version("ws")),
        Peer(
            "socket.io", "socketio", ["node", str(BUILD / "socket_io.mjs")], npm("socket.io"), npm_version("socket.io")
        ),
        Peer(
            "Starlette",
            "bare",
            [foreign, str(PEERS / "starlette_ws.py")],
            pip("starlette", "uvicorn[standard]"),
            python_version(foreign, "starlette", "uvicorn", "websockets"),
        ),
    ]


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
    log = BUILD / "server.log"
    with log.open("w") as errors:
        try:
            process = subprocess.Popen([*cores()[0], *peer.command], stdout=subprocess.PIPE, stderr=errors, text=True)
        except OSError as error:
            raise Missing(str(error)) from error
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
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
