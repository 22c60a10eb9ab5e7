"""The command line: what it prints, its exit status, and that a user's mistake is a line, not a traceback."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import TokenAuthenticator
from roomful.model.document import Rights
from roomful.server import cli, local_engine
from roomful.server.app import Roomful
from roomful.server.config import ApiOptions, Config
from roomful.session.document_access import claimed_rights

SECRET = "swordfish-swordfish-swordfish-42"
COMMAND = [str(Path(sys.executable).with_name("roomful"))]
WAIT_S = 60
"""Generous: starting Python takes a second on an idle machine."""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory, without settings in the environment; modules made in it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in os.environ:
        if name.startswith("ROOMFUL_"):
            monkeypatch.delenv(name)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


class Said:
    """What a command did: its exit status, and the lines on stdout and stderr."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out.splitlines()
        self.err = err.splitlines()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in this process; `serve` only as far as it refuses."""

    def run(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        code = end.value.code
        return Said(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


def run(*arguments: str, command: list[str] = COMMAND, **environ: str) -> Said:
    """Runs the real command in a process of its own."""
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env={**os.environ, **environ},
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


# The command itself


def test_the_script_and_the_module_are_the_same() -> None:
    script, module = run("version"), run("version", command=[sys.executable, "-m", "roomful"])
    assert script.status == module.status == 0
    assert script.out == module.out
    assert script.out[0].startswith("roomful ")
    assert script.err == module.err == []


@pytest.mark.parametrize("command", [[], ["serve"], ["token"], ["check"], ["version"]])
def test_help_teaches(say: Any, command: list[str]) -> None:
    said = say(*command, "--help")
    assert said.status == 0
    assert said.err == []
    text = "\n".join(said.out)
    assert command == ["version"] or f"  roomful {' '.join(command)}" in text
    assert max(map(len, said.out)) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ("srve",),
        ("serve", "--prot", "1"),
        ("serve", "--port", "high"),
        ("token",),
        ("token", "--user", "ann", "--ttl", "1w"),
        ("token", "--user", "ann", "--ttl", ""),
        ("token", "--user", "ann", "--info", "{"),
        ("token", "--user", "ann", "--info", "[" * 10_000),
        ("token", "--user", "ann", "--channel", "a", "--subscribe", "b"),
        ("token", "--user", "ann", "--channel", "a", "--document", "b=read"),
        ("token", "--user", "ann", "--document", "notes"),
        ("token", "--user", "ann", "--document", "notes=all"),
        ("token", "--user", "ann", "--document", "=read"),
    ],
)
def test_a_wrong_use_is_refused_with_status_2(say: Any, arguments: tuple[str, ...]) -> None:
    said = say(*arguments)
    assert said.status == 2
    assert said.out == []
    assert "Traceback" not in "".join(said.err)


# token


@pytest.fixture
def secret(directory: Path) -> TokenOptions:
    (directory / "roomful.toml").write_text(f'[tokens]\nhmac_secret = "{SECRET}"\naudience = "us"\n')
    return TokenOptions(hmac_secret=SECRET, audience="us")


def made(said: Said) -> str:
    assert (said.status, said.err) == (0, [])
    (token,) = said.out
    return token


async def test_a_token_for_connecting(say: Any, secret: TokenOptions) -> None:
    info = '{"name":"Ann"}'
    token = made(say("token", "--user", "ann", "--info", info, "--subscribe", "news", "--subscribe", "chat:1"))
    who = await TokenAuthenticator(secret).connection(token)
    assert (who.user, who.info, list(who.subs)) == ("ann", info.encode(), ["news", "chat:1"])
    assert who.claims["exp"] - who.claims["iat"] == 3600


async def test_a_token_for_documents(say: Any, secret: TokenOptions) -> None:
    token = made(say("token", "--user", "ann", "--document", "a=b=write", "--document", "wiki/*=read"))
    who = await TokenAuthenticator(secret).connection(token)
    rights = [claimed_rights(who.claims, name) for name in ("a=b", "wiki/home", "other")]
    assert rights == [Rights.WRITE, Rights.READ, None]


async def test_a_token_for_subscribing(say: Any, secret: TokenOptions) -> None:
    token = made(say("token", "--user", "", "--channel", "$chat:1", "--ttl", "never"))
    said = await TokenAuthenticator(secret).subscription(token)
    assert (said.user, said.channel, said.grant.expires_at) == ("", "$chat:1", None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("7d", 604_800), ("0.5h", 1800), ("0s", 0), ("never", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert cli.seconds(text) == seconds


def test_a_short_secret_makes_a_token_without_noise(say: Any, directory: Path) -> None:
    (directory / "roomful.toml").write_text('[tokens]\nhmac_secret = "secret"')
    token = made(say("token", "--user", "ann"))
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == "ann"


def test_a_token_needs_the_secret() -> None:
    """In a process of its own: nothing but the line may be printed there."""
    said = run("token", "--user", "ann")
    assert (said.status, said.out) == (1, [])
    assert said.err == [
        "roomful: signing a token needs [tokens] hmac_secret; other keys are in your application's hands"
    ]


# check


def test_check_explains(say: Any, secret: TokenOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMFUL_NAMESPACES__CHAT__PRESENCE", "true")
    monkeypatch.setenv("ROOMFUL_SERVER_PORT", "1")
    said = say("check")
    assert (said.status, said.err) == (0, [])
    assert said.out[0].split() == ["Read", "from", "roomful.toml,", "ROOMFUL_NAMESPACES__CHAT__PRESENCE"]
    assert "[namespaces.chat] channels chat:…" in said.out
    assert said.out[-1].startswith("Warning: ROOMFUL_SERVER_PORT is not read")
    assert SECRET not in "\n".join(said.out)


def test_check_without_settings(say: Any) -> None:
    said = say("check")
    assert said.status == 0
    assert "all defaults" in said.out[0]


def test_check_tells_every_mistake_in_a_line(directory: Path) -> None:
    (directory / "own.toml").write_text(f'[tokens]\nhmac_secrt = "{SECRET}"\n[namespaces.chat]\nrecover = 1\nx = 1')
    said = run("check", "--config", "own.toml", ROOMFUL_SERVER__PORT="x")
    assert (said.status, said.out[1:]) == (1, [])
    assert [line.split(": ")[:3] for line in said.err] == [
        ["roomful", "own.toml", "tokens.hmac_secrt"],
        ["roomful", "own.toml", "namespaces.chat.x"],
        ["roomful", "ROOMFUL_SERVER__PORT", "server.port"],
    ]
    assert SECRET not in "\n".join(said.err)


def test_check_knows_whether_the_private_redis_can_run(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMFUL_ENGINE__URL", "local")
    monkeypatch.setenv("ROOMFUL_SERVER__WORKERS", "4")
    monkeypatch.setattr(local_engine, "PROGRAMS", ("no-such-server",))
    said = say("check")
    assert said.status == 1
    (line,) = said.err
    assert "apt install redis" in line
    monkeypatch.setattr(local_engine, "PROGRAMS", ("true",))
    said = say("check")
    assert said.status == 0
    assert any(line.split() == ["Engine", "local"] for line in said.out)


def test_check_knows_which_engines_there_are(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMFUL_ENGINE__URL", "carrier-pigeon://")
    said = say("check")
    assert said.status == 1
    (line,) = said.err
    assert line.startswith("roomful: engine.url: ")


# serve: what it refuses


MODULES = {
    "chat.py": "from roomful import Roomful\napp = Roomful()\nother = 1\n",
    "own.py": (
        "from roomful import ChannelOptions, Config, Roomful\n"
        "app = Roomful(Config(namespaces={'chat': ChannelOptions(presence=True)}))\n"
    ),
    "mistake.py": "from roomful import ConfigError\nraise ConfigError('two hooks on one event')\n",
    "broken.py": "import json\njson.loads('{')\n",
    "missing.py": "import no_such_library\n",
    "inner/__init__.py": "",
    "inner/chat.py": "from roomful import Roomful\napp = Roomful()\n",
}


@pytest.fixture
def modules(directory: Path) -> None:
    (directory / "inner").mkdir()
    for name, text in MODULES.items():
        (directory / name).write_text(text)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nothing:app",), "there is no module 'nothing', neither in "),
        (("inner.nothing:app",), "there is no module 'inner.nothing', neither in "),
        (("chat.py:app",), "there is no module 'chat.py', neither in "),
        (("chat",), "chat: say module:name, such as chat:app"),
        (("./chat.py",), "./chat.py: say module:name"),
        ((":app",), ":app: say module:name"),
        (("chat:ap",), "chat:ap: the module has no 'ap'; there is chat:app"),
        (("inner:app",), "inner:app: the module has no 'app'"),
        (("chat:other",), "chat:other is no Roomful but int; what mounts"),
        (("mistake:app",), "two hooks on one event"),
        (
            ("own:app", "--config", "roomful.toml"),
            "own:app has a Config of its own, so --config roomful.toml would not",
        ),
        (("own:app", "--port", "70000"), "--port: server.port: lies in 0–65535, not 70000"),
        (("--config", "nowhere.toml"), "nowhere.toml: No such file or directory"),
        (("--workers", "2"), "--workers: server.workers: the memory engine lives in one process"),
        (("--workers", "2", "--engine", "local", "--uds", "s"), "--workers: server.workers: workers share a port"),
        (
            ("--dev", "--host", "0.0.0.0"),
            "server.host: --dev opens everything, so it listens on a loopback address only",
        ),
        (("chat:app", "--dev", "--uds", "s"), "server.uds: --dev opens everything"),
        (("--engine", "carrier-pigeon://"), "engine.url: "),
    ],
)
def test_serve_refuses_in_a_line(say: Any, arguments: tuple[str, ...], line: str) -> None:
    said = say("serve", *arguments)
    assert said.status == 1
    assert said.out == []
    told = [text for text in said.err if text.startswith("roomful: ")]
    assert len(told) == 1
    assert told[0].startswith(f"roomful: {line}")
    assert "Traceback" not in "".join(said.err)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(("target", "error"), [("broken:app", "JSONDecodeError"), ("missing:app", "no_such_library")])
def test_what_fails_in_the_users_module_keeps_its_traceback(target: str, error: str) -> None:
    said = run("serve", target)
    assert said.status == 1
    text = "\n".join(said.err)
    assert "Traceback" in text
    assert f'{target.partition(":")[0]}.py", line' in text
    assert error in said.err[-1]


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("target", ["chat:app", "inner.chat:app"])
def test_a_module_of_this_directory_is_found(target: str) -> None:
    assert isinstance(cli.load_app(target), Roomful)


@pytest.mark.parametrize(("library", "extra"), sorted(cli.EXTRAS.items()))
def test_a_missing_library_is_told_with_its_extra(
    say: Any, monkeypatch: pytest.MonkeyPatch, library: str, extra: str
) -> None:
    def serve(*_: object) -> None:
        raise ModuleNotFoundError(f"No module named '{library}'", name=f"{library}.asyncio")

    monkeypatch.setattr("roomful.server.serve.serve", serve)
    assert say("serve", "--dev").err == [f"roomful: {library} isn't installed: pip install 'roomful[{extra}]'"]


# serve: that it serves


class Serving:
    """A running `roomful serve`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def line_with(self, text: str) -> str:
        """The first line from now on that has the text in it."""
        assert self.process.stdout is not None
        while line := (await asyncio.wait_for(self.process.stdout.readline(), WAIT_S)).decode():
            self.lines.append(line)
            if text in line:
                return line
        pytest.fail(f"it ended without {text!r}: {self.lines}")

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        _, _ = await asyncio.wait_for(self.process.communicate(), WAIT_S)
        assert self.process.returncode is not None
        return self.process.returncode


async def start(*arguments: str, **environ: str) -> Serving:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environ},
    )
    return Serving(process)


async def test_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = await asyncio.to_thread(run, "serve", "--dev", "--port", port)
    assert said.status == 1
    (line,) = [text for text in said.err if text.startswith("roomful: ")]
    assert port in line
    assert "Traceback" not in "".join(said.err)


@pytest.mark.usefixtures("modules")
async def test_flags_reach_an_application_with_a_config_of_its_own() -> None:
    serving = await start("own:app", "--port", "0", ROOMFUL_SERVER__PORT="not read")
    try:
        warning = json.loads(await serving.line_with("nobody can connect"))
        assert (warning["level"], warning["logger"]) == ("warning", "roomful.server")
        assert "127.0.0.1:" in await serving.line_with("http://")
    finally:
        status = await serving.stop()
    assert status == 0


async def test_a_relative_socket_lies_under_the_data_directory(directory: Path) -> None:
    serving = await start("--uds", "run/x.sock", ROOMFUL_DATA="data")
    try:
        await serving.line_with(f"unix:{directory}/data/run/x.sock")
        assert (directory / "data/run/x.sock").is_socket()
    finally:
        status = await serving.stop()
    assert status == 0


async def test_dev_serves_with_nothing_set() -> None:
    serving = await start("--dev", "--port", "0")
    try:
        assert "127.0.0.1:" in await serving.line_with("http://")
        assert not [line for line in serving.lines if "warning" in line.lower()]
    finally:
        status = await serving.stop()
    assert status == 0


def test_what_is_weak_in_the_settings_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])  # those of `serve` write to a closed stream
    cli._look_over(Config(api=ApiOptions(keys=("swordfish",))), dev=False)
    assert {(line.msg, line.levelname) for line in caplog.records} == {("settings: %s", "WARNING")}
    assert "16 bytes" in caplog.text
    assert "swordfish" not in caplog.text
