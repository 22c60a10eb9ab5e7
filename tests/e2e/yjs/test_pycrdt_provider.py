"""pycrdt's own provider on `/yjs`, beside those in JavaScript."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pycrdt import Doc, Provider, Text
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.yjs.clients import PATIENCE_S, Bridge
from tests.served import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Socket:
    """A `pycrdt.Channel`."""

    def __init__(self, connection: ClientConnection, path: str) -> None:
        self._connection = connection
        self.path = path

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> bytes:
        return await self.recv()

    async def send(self, message: bytes) -> None:
        await self._connection.send(message)

    async def recv(self) -> bytes:
        message = await self._connection.recv()
        assert isinstance(message, bytes)
        return message


@asynccontextmanager
async def provided(server: Server, name: str, doc: Doc[Any]) -> AsyncIterator[Text]:
    """The document's text, kept in step while the block runs."""
    url = f"ws://127.0.0.1:{server.port}/yjs/{name}"
    async with connect(url) as connection, Provider(doc, Socket(connection, name)) as provider:
        async with asyncio.timeout(PATIENCE_S):
            await provider.synced.wait()
        yield doc.get("t", type=Text)


async def has(text: Text, expected: str) -> None:
    """Waits until the text is this one."""
    changed = asyncio.Event()
    subscription = text.observe(lambda _event: changed.set())
    async with asyncio.timeout(PATIENCE_S):
        while str(text) != expected:
            changed.clear()
            await changed.wait()
    text.unobserve(subscription)


async def test_it_edits_with_the_others_and_comes_back(yjs: Bridge, server: Server, name: str) -> None:
    single, hocuspocus = await yjs.y_websocket(server.url, name), await yjs.hocuspocus(server.url, name)
    await single.synced()
    await single.insert("hello")
    ann: Doc[Any] = Doc()
    bob: Doc[Any] = Doc()
    async with provided(server, name, ann) as text, provided(server, name, bob) as other:
        assert str(text) == "hello"
        text += " world"
        for client in (single, hocuspocus):
            await client.has("hello world")
        await has(other, "hello world")
        await hocuspocus.insert("! ", at=0)
        await has(text, "! hello world")
    offline = ann.get("t", type=Text)
    offline += ", offline"
    await single.insert("online ", at=0)
    async with provided(server, name, ann) as text:
        await has(text, "online ! hello world, offline")
        await hocuspocus.has("online ! hello world, offline")
