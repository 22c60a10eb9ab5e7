"""`roomful trace`: lines for people, lines for programs, and one line when it can't."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.errors import ConfigError
from roomful.model.tracing import Happening, Wanted
from roomful.server import trace_client
from roomful.server.config import ApiOptions, ServerOptions
from tests.served import Serve, served
from tests.server.test_trace_stream import CONFIG, KEY

__all__ = ["served"]

COMMAND = [str(Path(sys.executable).with_name("roomful")), "trace"]


def test_a_happening_is_a_line() -> None:
    found = Happening(
        1_700_000_000_042,
        "subscribed",
        "node-1-and-more",
        "client-1-and-more",
        "ann",
        "chat:1",
        40,
        45,
        "e",
        5,
        0,
        "recovered",
    )
    when, rest = trace_client.text(found).split(" ", 1)
    assert when.endswith(".042")
    assert rest == "node-1-a subscribed   ann client-1         chat:1 since=40 offset=45 count=5 (recovered)"


@given(st.builds(Happening, st.integers(0, 2**41), *[st.text()] * 5, reason=st.text(), transport=st.text()))
def test_nobodys_words_move_the_cursor(found: Happening) -> None:
    assert trace_client.text(found).isprintable()


@pytest.mark.parametrize(
    ("options", "address"),
    [
        (ServerOptions(), "http://127.0.0.1:8000"),
        (ServerOptions(host="0.0.0.0", port=9000), "http://127.0.0.1:9000"),
        (ServerOptions(host="::"), "http://[::1]:8000"),
        (ServerOptions(host="rooms.example", tls_cert="a", tls_key="b"), "https://rooms.example:8000"),
    ],
)
def test_the_server_of_the_settings(options: ServerOptions, address: str) -> None:
    assert trace_client.address(options) == address


def test_a_unix_socket_has_no_url() -> None:
    with pytest.raises(ConfigError, match="--url"):
        trace_client.address(ServerOptions(uds="/run/roomful.sock"))


def test_the_key_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("from-a-file\n")
    assert trace_client.first_key(ApiOptions()) == ""
    assert trace_client.first_key(ApiOptions(key_files=(str(tmp_path / "keys"),))) == "from-a-file"
    assert trace_client.first_key(ApiOptions(keys=("one", "two"))) == "one"


async def test_the_command_shows_what_happens_until_the_server_stops(served: Serve, tmp_path: Path) -> None:
    server = await served(dev=False, config=CONFIG)
    commands = [
        await asyncio.create_subprocess_exec(
            *COMMAND, "--channel", "chat:1", "--url", server.url, *more, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        for more in ((), ("--json",))
    ]
    lines: list[list[str]] = [[], []]

    async def read(number: int, until: str) -> None:
        stdout = commands[number].stdout
        assert stdout is not None
        while not lines[number] or until not in lines[number][-1]:
            line = await stdout.readline()
            assert line, lines
            lines[number].append(line.decode().rstrip())

    async with asyncio.timeout(60):
        await asyncio.gather(read(0, "tracing"), read(1, "tracing"))
        async with httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": KEY}) as http:
            await http.post("/api/publish", json={"channel": "chat:1", "data": "swordfish"})
        await asyncio.gather(read(0, "published"), read(1, "published"))
        await server.stop()
        await asyncio.gather(read(0, "end"), read(1, "end"))
        assert [await command.wait() for command in commands] == [0, 0]
    assert "published    -                    chat:1 offset=1" in lines[0][1]
    told = [json.loads(line) for line in lines[1]]
    assert [(each["event"], each.get("offset")) for each in told] == [
        ("tracing", None),
        ("published", 1),
        ("end", None),
    ]
    assert "swordfish" not in str(lines)


@pytest.mark.parametrize(
    ("config", "path", "complaint"),
    [
        (CONFIG, "", "unauthorized"),
        ("", "", "the API is closed: no key is set in [api]"),
        (CONFIG, "/elsewhere", "there is nothing here"),
    ],
)
async def test_a_refusal_is_told(served: Serve, config: str, path: str, complaint: str) -> None:
    server = await served(dev=False, config=config or "[tokens]\nanonymous = true\n")
    with pytest.raises(ConfigError, match=complaint.replace("[", r"\[")):
        await asyncio.to_thread(list, trace_client.read(server.url + path, "wrong", Wanted("ann")))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "gopher://127.0.0.1", "nonsense"])
def test_a_server_that_is_not_there_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match=url):
        list(trace_client.read(url, "", Wanted("ann")))
