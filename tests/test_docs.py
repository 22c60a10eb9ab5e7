"""What the pages in `docs/` show, runs: their settings, their commands, their programs."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from roomful.server.webhook_options import WebhookOptions
from roomful.server.webhooks import Service
from tests.served import Serve, Server, launch

DOCS = Path(__file__).parent.parent / "docs"
DEADLINE_S = 30.0
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def block(page: str, language: str) -> str:
    """The only code block of that language on a page."""
    text = (DOCS / page).read_text()
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(code)


def at(text: str, port: int, instead_of: int) -> str:
    """The text with another port of loopback."""
    moved = text.replace(f"127.0.0.1:{instead_of}", f"127.0.0.1:{port}")
    assert moved != text
    return moved


async def output(*command: str, deadline_s: float = DEADLINE_S) -> str:
    """What a program prints; fails when it does."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(deadline_s):
        printed, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return printed.decode()


async def test_the_api_page(served: Serve) -> None:
    server = await served(dev=False, config=block("api.md", "toml"))
    printed = await output("bash", "-ec", at(block("api.md", "sh"), server.port, 8000))
    published, history = map(json.loads, printed.replace("}{", "}\n{").splitlines())
    assert published["result"]["offset"] == 1
    assert [each["data"] for each in history["result"]["publications"]] == [{"text": "hello"}]
    printed = await output(sys.executable, "-c", at(block("api.md", "python"), server.port, 8000))
    assert printed.splitlines() == ["1 {'text': 'hello'}", "2 {'text': 'hello'}"]


async def test_the_people_page(served: Serve) -> None:
    server = await served(dev=False, config=block("people.md", "toml"))
    printed = await output("bash", "-ec", at(block("people.md", "sh"), server.port, 8000))
    people, where, status = map(json.loads, printed.replace("}{", "}\n{").splitlines())
    assert people["result"] == {"people": [], "online": 0, "away": 0}
    assert where["result"] == {"users": {"ann": {}, "bob": {}}, "missing": []}
    assert status == {"result": {}}


@pytest.fixture
async def answering(tmp_path: Path) -> AsyncIterator[Server]:
    """The service of the webhooks page."""
    (tmp_path / "service.py").write_text(block("webhooks.md", "python"))
    uvicorn = ("uvicorn", "service:app", "--port", "0", "--lifespan", "off")
    server = await launch(tmp_path, sys.executable, "-m", *uvicorn)
    yield server
    await server.stop()
    print(server.log)


async def test_the_webhooks_page(served: Serve, answering: Server) -> None:
    server = await served(dev=False, config=at(block("webhooks.md", "toml"), answering.port, 3000))
    url = f"ws://127.0.0.1:{server.port}/connection/websocket"

    async def ask(socket: Any, **command: Any) -> Any:
        await socket.send(json.dumps({"id": 1, **command}))
        async with asyncio.timeout(DEADLINE_S):
            return json.loads(await socket.recv())

    async with websockets.connect(url, additional_headers={"Cookie": "session=ann's"}, proxy=None) as ann:
        assert "connect" in await ask(ann, connect={})
        assert "publish" in await ask(ann, publish={"channel": "news:1", "data": {"text": "hello"}})
        refused = await ask(ann, publish={"channel": "news:1", "data": {"text": "darn"}})
        assert refused["error"] == {"code": 103, "message": "mind your words"}
    async with websockets.connect(url, proxy=None) as stranger:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await ask(stranger, connect={})
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4501, "unauthorized")


async def test_the_testing_page(tmp_path: Path) -> None:
    """It is an application and a file of tests, which pytest runs."""
    text = (DOCS / "testing.md").read_text()
    blocks = re.findall(r"^```python(.*?)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in blocks if name] == [' title="chat.py"']
    (tmp_path / "chat.py").write_text(blocks[0][1])
    (tmp_path / "test_chat.py").write_text("\n\n".join(code for _, code in blocks[1:]))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\npythonpath = .\n")
    pytest_here = ("pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path))
    printed = await output(sys.executable, "-m", *pytest_here, deadline_s=100.0)
    tests = text.count("async def test_") + text.count("\ndef test_")
    assert re.search(rf"^{tests} passed", printed, re.MULTILINE), printed


def test_the_webhooks_page_refuses_what_isnt_signed() -> None:
    """Nor what was signed with another secret, was changed on its way, or comes again much later."""
    page: dict[str, Any] = {}
    exec(compile(block("webhooks.md", "python"), "service.py", "exec"), page)

    def signed(secret: str, ago_s: float = 0.0) -> dict[str, str]:
        options = WebhookOptions(url="http://127.0.0.1/", secrets=(OTHER_SECRET, secret))
        return Service("users", options, clock=lambda: time.time() - ago_s)._signed("msg_1", b"{}")

    secret, verified = page["SECRET"], page["verified"]
    assert verified(signed(secret), b"{}")
    assert not verified(signed(secret), b'{"user": "eve"}')
    assert not verified(signed(secret, ago_s=1000), b"{}")
    assert not verified(signed(OTHER_SECRET), b"{}")
