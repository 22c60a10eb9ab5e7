"""y-websocket and @hocuspocus/provider on one document, against a served process."""

from __future__ import annotations

import pytest

from tests.e2e.yjs.clients import Bridge
from tests.served import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_wires_edit_one_document(yjs: Bridge, server: Server, name: str) -> None:
    ann = await yjs.y_websocket(server.url, name)
    bob = await yjs.hocuspocus(server.url, name)
    await ann.synced()
    await bob.synced()
    await ann.insert("hello")
    await bob.has("hello")
    await bob.insert(" world", at=5)
    await ann.has("hello world")
    await bob.saved()


async def test_what_was_typed_before_connecting_arrives(yjs: Bridge, server: Server, name: str) -> None:
    ann = await yjs.y_websocket(server.url, name, text="ann ")
    await ann.synced()
    bob = await yjs.hocuspocus(server.url, name, text="bob ")
    await bob.synced()
    await bob.saved()
    await ann.until(lambda: any(n == "text" and "ann" in d and "bob" in d for n, d in ann.events))
    assert await ann.text() == await bob.text()


async def test_they_see_each_other(yjs: Bridge, server: Server, name: str) -> None:
    ann = await yjs.y_websocket(server.url, name)
    bob = await yjs.hocuspocus(server.url, name)
    await ann.tell("set", state={"user": {"name": "Ann"}})
    await bob.tell("set", state={"user": {"name": "Bob"}})
    states = await ann.sees(lambda seen: bob.id in seen and seen[bob.id].get("user") is not None)
    assert states[bob.id] == {"user": {"name": "Bob"}}
    await bob.sees(lambda seen: seen.get(ann.id) == {"user": {"name": "Ann"}})
    newcomer = await yjs.y_websocket(server.url, name)
    await newcomer.sees(lambda seen: {ann.id, bob.id} <= seen.keys())
    await bob.tell("cut")
    await ann.sees(lambda seen: bob.id not in seen)
