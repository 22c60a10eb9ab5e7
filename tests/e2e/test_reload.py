"""`kill -HUP`: keys and certificates change under open connections, over TLS, with one process and with workers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from tests.served import Serve, Server
from tests.transports.certificates import localhost_certificate

SECRETS = {name: f"the {name} secret, which is long enough" for name in ("old", "new")}
CONFIG = """
[server]
tls_cert = "{folder}/localhost.pem"
tls_key = "{folder}/localhost.pem"
[tokens]
hmac_secret = "{secret}"
[api]
keys = ["{secret}"]
[limits]
channels_max = {channels_max}
[namespaces.default]
subscribe = "user"
"""
WAIT_S = 20.0


def token(name: str) -> str:
    return sign(TokenOptions(hmac_secret=SECRETS[name]), {}, user="ann", now=time.time(), ttl_s=600)


def write(folder: Path, name: str, channels_max: int) -> None:
    text = CONFIG.format(folder=folder, secret=SECRETS[name], channels_max=channels_max)
    (folder / "roomful.toml").write_text(text)


async def connected(server: Server, trust: ssl.SSLContext, name: str) -> ClientConnection:
    socket = await websockets.connect(f"wss://127.0.0.1:{server.port}/connection/websocket", ssl=trust)
    await socket.send(json.dumps({"id": 1, "connect": {"token": token(name)}}))
    assert "connect" in json.loads(await socket.recv())
    return socket


async def ask(socket: ClientConnection, **command: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"id": 2, **command}))
    async with asyncio.timeout(WAIT_S):
        while True:
            for line in str(await socket.recv()).split("\n"):
                if json.loads(line).get("id") == 2:
                    answer: dict[str, Any] = json.loads(line)
                    return answer


async def said(server: Server, text: str, times: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while server.log.count(text) < times:  # noqa: ASYNC110  lines of another process
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
async def test_27_keys_limits_and_certificates_change_under_open_connections(
    served: Serve, tmp_path: Path, component: Callable[[str], str], workers: int
) -> None:
    certificate = localhost_certificate(tmp_path)
    first = ssl.create_default_context(cafile=str(certificate))
    write(tmp_path, "old", 128)
    options: tuple[str, ...] = ()
    if workers > 1:
        component("redis-server")
        options = ("--workers", str(workers), "--engine", "local")
    server = await served(dev=False, config=(tmp_path / "roomful.toml").read_text(), options=options)
    open_ = await connected(server, first, "old")

    certificate = localhost_certificate(tmp_path)  # another one, in the same file
    second = ssl.create_default_context(cafile=str(certificate))
    write(tmp_path, "new", 1)
    os.kill(server.pid, signal.SIGHUP)
    await said(server, "the settings were reloaded", workers)

    for _ in range(4 * workers):  # whichever worker answers
        async with httpx.AsyncClient(verify=second) as https:
            url = f"https://127.0.0.1:{server.port}/api/info"
            assert (await https.post(url, json={}, headers={"X-API-Key": SECRETS["new"]})).status_code == 200
            assert (await https.post(url, json={}, headers={"X-API-Key": SECRETS["old"]})).status_code == 401
        fresh = await connected(server, second, "new")
        await fresh.close()
    with pytest.raises(ssl.SSLError):
        await connected(server, first, "new")
    refused = await websockets.connect(f"wss://127.0.0.1:{server.port}/connection/websocket", ssl=second)
    await refused.send(json.dumps({"id": 1, "connect": {"token": token("old")}}))
    await refused.wait_closed()
    assert refused.close_code == 3500
    assert "subscribe" in await ask(open_, subscribe={"channel": "one"})
    assert (await ask(open_, subscribe={"channel": "two"}))["error"]["code"] == 106

    # What can't be used changes nothing, and the log says why.
    certificate.write_text("no certificate")
    os.kill(server.pid, signal.SIGHUP)
    await said(server, "the settings were not reloaded", workers)
    assert "server.tls_cert, tls_key: can't use them" in server.log
    (tmp_path / "roomful.toml").write_text("[tokens\n")
    os.kill(server.pid, signal.SIGHUP)
    await said(server, "not TOML", workers)
    await (await connected(server, second, "new")).close()

    # What needs a new start is named.
    localhost_certificate(tmp_path)
    write(tmp_path, "new", 5)
    with (tmp_path / "roomful.toml").open("a") as file:
        file.write("[namespaces.more]\n")
    os.kill(server.pid, signal.SIGHUP)
    await said(server, "namespaces.more has changed, which needs a new start", workers)
    assert "subscribe" in await ask(open_, subscribe={"channel": "two"})
    await open_.close()
    assert await server.stop() == 0
