"""The supervisor over tiny processes that answer like workers. With real ones: tests/e2e/test_workers.py."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from roomful.model.errors import ConfigError
from roomful.server import supervisor
from roomful.server.config import ServerOptions
from roomful.server.supervisor import Supervisor, keep, only_one
from roomful.server.worker_peers import socket_path

WORKER = """
import os, signal, socket, sys
path, status = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: os._exit(status))
server = socket.socket(socket.AF_UNIX)
if os.path.exists(path): os.unlink(path)
server.bind(path); server.listen()
while True:
    link, _ = server.accept(); link.recv(64); link.send(b"true"); link.close()
"""


def supervised(folder: Path, count: int = 2, status: int = 0, script: str = WORKER) -> Supervisor:
    def command(number: int, _url: str | None) -> list[str]:
        return [sys.executable, "-S", "-c", script, str(socket_path(folder, number)), str(status)]

    return Supervisor(command, ServerOptions(workers=count, drain_s=1.0), folder, None)


async def listening(capsys: pytest.CaptureFixture[str]) -> None:
    async with asyncio.timeout(20):
        while "listens on" not in capsys.readouterr().out:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("status", [0, 3])
async def test_a_signal_ends_all_with_their_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals, status: int
) -> None:
    running = asyncio.create_task(supervised(tmp_path, status=status).run(["http://x"]))
    await listening(capsys)
    os.kill(os.getpid(), number)
    async with asyncio.timeout(20):
        assert await running == int(bool(status))


async def test_one_that_dies_before_it_listens_ends_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with asyncio.timeout(20):
        assert await supervised(tmp_path, script="raise SystemExit(1)").run(["http://x"]) == 1
    assert capsys.readouterr().out == ""


async def test_the_stubborn_are_killed(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(supervisor, "STOP_S", 0.0)
    script = WORKER.replace("lambda *_: os._exit(status)", "signal.SIG_IGN")
    running = asyncio.create_task(supervised(tmp_path, script=script).run(["http://x"]))
    await listening(capsys)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(20):
        assert await running == 1
    assert "process %d doesn't end; killing it" in {record.msg for record in caplog.records}


async def test_pauses_between_deaths_grow(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []
    starts = 0

    async def ended() -> int:
        return -9

    async def start() -> None:
        nonlocal starts
        starts += 1
        if starts == 12:
            raise asyncio.CancelledError

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await keep(ended, start, "it")
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 30.0
    assert "%s ended %s; starting it again in %g s" in {record.msg for record in caplog.records}


def test_a_folder_is_one_supervisors(tmp_path: Path) -> None:
    with only_one(tmp_path / "a" / "b"), pytest.raises(ConfigError, match="--data"), only_one(tmp_path / "a" / "b"):
        pass
    with only_one(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0
