"""permessage-deflate with clients that we didn't write: `websockets`, `ws` in node, Chromium. Each against the echo."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.async_api import Browser
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.served import Serve, Server, serve

ECHO = "roomful.testing.echo:app"
AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
REPOSITORY = Path(__file__).parents[2]

TEXTS = ["", "x", "é" * 100, "日本語 😀 " * 3000, "café cafè " * 40]

IN_JAVASCRIPT = """
    const socket = new WebSocket(url)
    const got = []
    return await new Promise((resolve, reject) => {
      socket.onerror = () => reject(new Error("the connection failed"))
      socket.onopen = () => texts.forEach((text) => socket.send(text))
      socket.onmessage = ({ data }) => {
        got.push(data)
        if (got.length === texts.length) resolve({ extensions: socket.extensions, got })
      }
    })
"""

messages = st.lists(
    st.text(max_size=400) | st.binary(max_size=400) | st.text(min_size=1, max_size=9).map(lambda part: part * 400),
    min_size=1,
    max_size=6,
)


async def echoing(directory: Path) -> Server:
    return await serve(directory, ECHO, dev=False)


@pytest.mark.parametrize(
    "offer",
    [
        ClientPerMessageDeflateFactory(),
        ClientPerMessageDeflateFactory(server_max_window_bits=12, client_max_window_bits=12),
        ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True),
    ],
    ids=["its own", "small windows", "without takeover"],
)
def test_the_websockets_library(tmp_path: Path, offer: ClientPerMessageDeflateFactory) -> None:
    """Whatever is sent, in whatever pieces, comes back; many messages on one connection."""
    with asyncio.Runner() as runner:
        server = runner.run(echoing(tmp_path))

        @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(messages, st.booleans())
        def comes_back(sent: list[str | bytes], in_pieces: bool) -> None:
            runner.run(exchange(sent, in_pieces))

        async def exchange(sent: list[str | bytes], in_pieces: bool) -> None:
            url = f"ws://127.0.0.1:{server.port}/echo"
            async with connect(url, compression=None, extensions=[offer]) as client:
                assert [type(extension).__name__ for extension in client.protocol.extensions] == ["PerMessageDeflate"]
                for message in sent:
                    await client.send([message[:7], message[7:]] if in_pieces else message)  # type: ignore[list-item]
                assert [await client.recv() for _ in sent] == sent

        try:
            comes_back()
        finally:
            assert runner.run(server.stop()) == 0


async def test_ws_in_node(served: Serve, component: Callable[[str], str]) -> None:
    server = await served(ECHO, dev=False)
    program = f"""
        import WebSocket from "ws"
        const [url, texts] = {json.dumps([f"ws://127.0.0.1:{server.port}/echo", TEXTS])}
        const run = async () => {{ {IN_JAVASCRIPT} }}
        run().then((result) => {{ console.log(JSON.stringify(result)); process.exit(0) }})
    """
    process = await asyncio.create_subprocess_exec(
        component("node"),
        "--input-type=module",
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(program.encode()), 30)
    result: dict[str, Any] = json.loads(output)
    assert (result["extensions"], result["got"]) == ("permessage-deflate", TEXTS)


async def test_chromium(served: Serve, browser: Browser) -> None:
    server = await served(ECHO, config='[server]\nallowed_origins = ["*"]\n', dev=False)
    page = await browser.new_page()
    await page.goto(f"http://127.0.0.1:{server.port}/health")
    result = await page.evaluate(
        f"async ([url, texts]) => {{ {IN_JAVASCRIPT} }}", [f"ws://127.0.0.1:{server.port}/echo", TEXTS]
    )
    assert result["got"] == TEXTS
    assert result["extensions"].startswith("permessage-deflate")


@pytest.mark.parametrize(("config", "agreed"), [("", None), ("[server]\ndeflate = true\n", AGREED)])
async def test_rooms_have_it_when_it_is_switched_on(served: Serve, config: str, agreed: str | None) -> None:
    server = await served(config=config)
    url = f"ws://127.0.0.1:{server.port}/connection/websocket"
    async with connect(url, compression=None, extensions=[ClientPerMessageDeflateFactory()]) as client:
        assert client.response is not None
        assert client.response.headers.get("Sec-WebSocket-Extensions") == agreed
        await client.send('{"id": 1, "connect": {}}')
        assert '"client"' in str(await client.recv())
