"""How peers are had: from the registries and the system's packages, into build/. Nothing of them is committed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "benchmarks"
PEERS = HERE / "peers"
VENV = BUILD / "venv"
PYTHON = str(VENV / "bin" / "python")

SetUp = Callable[[], None]


class Missing(Exception):
    """A peer can't be had here, or fails; the table says so."""


def run(*command: str) -> str:
    """What it prints. Raises Missing, with the last line that it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise Missing(f"{Path(command[0]).name}: {said[-1] if said else 'failed'}") from error
    return done.stdout.strip()


def nothing() -> None:
    """For what is here already."""


def both(one: SetUp, other: SetUp) -> SetUp:
    def set_up() -> None:
        one()
        other()

    return set_up


def compiled(sources: list[Path], program: Path) -> SetUp:
    def set_up() -> None:
        BUILD.mkdir(parents=True, exist_ok=True)
        run("cc", "-O2", "-o", str(program), *map(str, sources))

    return set_up


def name_of(package: str) -> str:
    """Without the version that may follow it."""
    return package[0] + package[1:].partition("@")[0]


def npm(*packages: str) -> SetUp:
    def set_up() -> None:
        # Modules are looked up from where a program lies, so the programs are copied beside them.
        BUILD.mkdir(parents=True, exist_ok=True)
        for program in PEERS.glob("*.mjs"):
            (BUILD / program.name).write_bytes(program.read_bytes())
        missing = [package for package in packages if not (BUILD / "node_modules" / name_of(package)).exists()]
        if missing:
            run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(BUILD), *missing)

    return set_up


def pip(*packages: str) -> SetUp:
    def set_up() -> None:
        if not Path(PYTHON).exists():
            run(sys.executable, "-m", "venv", str(VENV))
        run(PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *packages)

    return set_up


def debian(package: str, there: Callable[[], object]) -> SetUp:
    def set_up() -> None:
        if not there():
            run(str(HERE.parent / "scripts" / "apt-install"), package)

    return set_up


def npm_version(*packages: str) -> Callable[[], str]:
    read = "".join(
        f'"{name} " + JSON.parse(fs.readFileSync("{BUILD}/node_modules/{name}/package.json")).version + ", " + '
        for name in packages
    )
    script = f'const fs = require("fs"); console.log({read}"node " + process.version)'
    return lambda: run("node", "-e", script)


def python_version(python: str, *packages: str) -> Callable[[], str]:
    script = f"from importlib.metadata import version; print(*(n + ' ' + version(n) for n in {packages!r}), sep=', ')"
    return lambda: run(python, "-c", script)
