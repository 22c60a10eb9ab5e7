from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roomful.model.errors import ConfigError
from roomful.server.config import ServerOptions
from roomful.server.serve import serve
from roomful.testing.raw_websocket import (
    CLOSE,
    TEXT,
    Address,
    HandshakeRefused,
    RawWebSocket,
    close_payload,
    frame,
)
from tests.server.tiny import Tiny
from tests.transports.certificates import localhost_certificate

WAIT_S = 20.0
"""Generous, for a busy machine; a hang would be 3,600 s."""


class Process:
    """tests/server/tiny.py. Its lines of stdout are read as they are asked for."""

    def __init__(self, options: dict[str, Any], faults: tuple[str, ...]) -> None:
        command = [
            sys.executable,
            "-m",
            "tests.server.tiny",
            json.dumps({"port": 0, "drain_s": 1.0, **options}),
            *faults,
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = ""

    def reads(self, line: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().rstrip("\n") == line

    def started(self) -> Process:
        self.reads("serving")
        self.reads("start")
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("Roomful listens on "), line
        self.url = line.split()[-1]
        return self

    @property
    def address(self) -> Address:
        return (
            self.url.removeprefix("unix:")
            if self.url.startswith("unix:")
            else ("127.0.0.1", int(self.url.split(":")[2]))
        )

    def told(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def ends(self) -> tuple[int, list[str], str]:
        """The status, the rest of stdout in lines, and stderr."""
        out, err = self._process.communicate(timeout=WAIT_S)
        return self._process.returncode, out.splitlines(), err

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


Run = Callable[..., Process]


@pytest.fixture
def run() -> Iterator[Run]:
    processes: list[Process] = []

    def start(*faults: str, **options: Any) -> Process:
        processes.append(Process(options, faults))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def get(address: Address, path: str, tls: ssl.SSLContext | None = None) -> bytes:
    with RawWebSocket(address, tls=tls) as client, pytest.raises(HandshakeRefused) as answer:
        client.request(f"GET {path} HTTP/1.1", {"Host": "localhost", "X-Forwarded-For": "203.0.113.9"})
    return answer.value.body


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_both_on_one_port_and_says_goodbye(run: Run, number: signal.Signals) -> None:
    process = run().started()
    assert get(process.address, "/") == b"127.0.0.1 http"  # whoever claims to come from elsewhere
    with RawWebSocket(process.address) as client:
        client.open("/echo").send(frame(TEXT, b"hello"))
        assert client.receive() == (TEXT, b"hello")
        process.told(number)
        assert client.receive() == (CLOSE, close_payload(3001, b"shutdown"))
        client.send(frame(CLOSE, close_payload(3001)))
        client.receive_end()
    assert process.ends() == (0, ["drain", "stop"], "")


def test_while_it_drains_it_answers_but_lets_nobody_in(run: Run) -> None:
    process = run("waits for go", drain_s=10.0).started()
    with RawWebSocket(process.address) as client:
        client.open("/echo")
        process.told()
        client.receive()  # the close frame: it drains
        with RawWebSocket(process.address) as late, pytest.raises(HandshakeRefused) as refused:
            late.open("/echo")
    assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "1")
    get(process.address, "/go")
    assert process.ends() == (0, ["drain", "stop"], "")


def test_clients_that_do_nothing_do_not_keep_it(run: Run) -> None:
    process = run().started()
    with RawWebSocket(process.address) as silent, RawWebSocket(process.address) as stuck, RawWebSocket(process.address):
        silent.open("/echo")
        stuck.open("/echo").socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            stuck.send(*[frame(TEXT, b"*" * 60_000)] * 1000)  # it never reads, so the echo stops reading, too
        process.told()
        assert process.ends() == (0, ["drain", "stop"], "")


def test_a_request_under_way_does_not_keep_it(run: Run) -> None:
    process = run().started()
    with RawWebSocket(process.address) as client:
        client.send(b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
        process.reads("hanging")
        process.told()
        status, out, _ = process.ends()
    assert (status, out) == (0, ["drain", "stop"])


def test_a_thread_that_hangs_does_not_keep_it(run: Run) -> None:
    process = run().started()
    get(process.address, "/thread")
    process.told()
    assert process.ends() == (0, ["drain", "stop"], "")


@pytest.mark.parametrize(
    ("fault", "complaint", "rest"),
    [
        (
            "drains for ever",
            "draining takes longer than 1.1 s; going on without it",
            ["drain", "not cancelled", "stop"],
        ),
        ("drain fails", "draining failed; going on without it", ["drain", "stop"]),
        ("stops for ever", "stopping takes longer than 5 s; going on without it", ["drain", "stop"]),
    ],
)
def test_a_step_that_fails_is_told_and_the_next_has_its_turn(
    run: Run, fault: str, complaint: str, rest: list[str]
) -> None:
    process = run(fault, drain_s=0.1).started()
    process.told()
    status, out, err = process.ends()
    assert (status, [line for line in out if line in rest]) == (1, out)
    assert out[: len(rest)] == rest
    assert [line for line in err.splitlines() if line.startswith("ERROR")] == [f"ERROR:roomful.server:{complaint}"]
    assert ("a bug in drain" in err) == (fault == "drain fails")


def test_a_second_signal_ends_it_at_once(run: Run) -> None:
    process = run("drains for ever", drain_s=3600.0).started()
    process.told()
    process.reads("drain")
    process.told()
    assert process.ends()[0] == 1


def test_a_second_signal_ends_it_also_when_the_loop_is_blocked(run: Run) -> None:
    process = run().started()
    with RawWebSocket(process.address) as client:
        client.send(b"GET /block HTTP/1.1\r\nHost: localhost\r\n\r\n")
        process.reads("blocked")
        process.told(signal.SIGINT)
        process.told(signal.SIGTERM)
        assert process.ends()[0] == 1


def test_what_start_raises_is_raised(run: Run) -> None:
    status, out, err = run("start fails").ends()
    assert (status, out) == (1, ["serving", "start"])
    assert "engine.url: nobody is there" in err


def test_on_a_unix_socket(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "roomful.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))  # as a killed server leaves it
    process = run(uds=str(path)).started()
    assert process.url == f"unix:{path}"
    assert get(process.address, "/") == b"None http"
    with RawWebSocket(process.address) as client:
        client.open("/echo").close()
    process.told()
    assert process.ends() == (0, ["drain", "stop"], "")
    assert not path.exists()


def test_over_tls(run: Run, tmp_path: Path) -> None:
    certificate = localhost_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificate))
    process = run(tls_cert=str(certificate)).started()
    assert process.url.startswith("https://127.0.0.1:")
    assert get(process.address, "/", trust) == b"127.0.0.1 https"
    with RawWebSocket(process.address, tls=trust) as client:
        client.open("/echo").close()
    process.told()
    assert process.ends() == (0, ["drain", "stop"], "")


@pytest.mark.parametrize(
    ("cert", "key", "why"),
    [
        ("missing.pem", None, "No such file"),
        ("nonsense.pem", None, "PEM"),
        (None, "nonsense.pem", "tls_key alone is no use"),
    ],
)
def test_tls_files_that_cannot_be_used(tmp_path: Path, cert: str | None, key: str | None, why: str) -> None:
    (tmp_path / "nonsense.pem").write_text("nonsense")
    cert, key = (None if name is None else str(tmp_path / name) for name in (cert, key))
    with pytest.raises(ConfigError, match=r"^server\.tls_cert") as refused:
        serve(Tiny(set()), ServerOptions(port=0, tls_cert=cert, tls_key=key))
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"can't listen on 127\.0\.0\.1:{port}: Address already in use"):
            serve(Tiny(set()), ServerOptions(port=port))
