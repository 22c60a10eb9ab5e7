"""A PostgreSQL server of the tests' own, on a free port of loopback. Where the tests run as root it runs as nobody."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_S = 60.0


class PostgresServer:
    """program: the path of `postgres`. Its folder is made, and removed when it stops."""

    def __init__(self, program: str) -> None:
        self._bin = Path(program).resolve().parent
        self._user = "nobody" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="roomful-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])

    @property
    def url(self) -> str:
        return f"postgresql://roomful@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Makes a cluster where there is none, and returns when the server answers."""
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        data = self._folder / "data"
        if not data.exists():
            made = self._run(
                "initdb", "-D", str(data), "-U", "roomful", "-A", "trust", "-N", "--locale=C", "-E", "UTF8"
            )
            if made.wait(START_S):
                raise RuntimeError(f"initdb failed: {(self._folder / 'log').read_text()}")
        options = ("-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}")
        self._process = self._run("postgres", "-D", str(data), *options)
        deadline = time.monotonic() + START_S
        while self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)).wait():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL doesn't start: {(self._folder / 'log').read_text()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """As a crash of all its processes: nothing is flushed that wasn't."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        self._end(signal.SIGINT)
        shutil.rmtree(self._folder)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._bin / name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                user=self._user,
                env={**os.environ, "LC_ALL": "C"},
            )
