"""Providers of Hocuspocus 2 and 3 beside the newest one. Source: Yjs protocols, section 7."""

from __future__ import annotations

import pytest

from tests.e2e.yjs.clients import Bridge
from tests.e2e.yjs.conftest import token
from tests.served import Server

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.parametrize("version", [2, 3])]


async def test_they_edit_go_away_come_back_and_see_each_other(
    yjs: Bridge, server: Server, name: str, version: int
) -> None:
    old = await yjs.hocuspocus(server.url, name, version=version, text="old ", token="anything")
    new = await yjs.hocuspocus(server.url, name)
    single = await yjs.y_websocket(server.url, name)
    for client in (old, new, single):
        await client.synced()
    await new.has("old ")
    await new.insert("new ", at=4)
    await old.has("old new ")
    await old.saved()
    await old.tell("set", state={"name": "Old"})
    await new.tell("set", state={"name": "New"})
    for client in (new, single):
        await client.sees(lambda seen: seen.get(old.id) == {"name": "Old"})
    await old.sees(lambda seen: seen.get(new.id) == {"name": "New"})

    # a connection breaks: what is typed on either side meanwhile is there afterwards
    await old.tell("cut")
    await old.insert("offline ")
    await new.sees(lambda seen: old.id not in seen)
    await new.insert("online ", at=8)
    for client in (old, new, single):
        await client.has("offline old new online ")
    await old.saved()
    await new.sees(lambda seen: seen.get(old.id) == {"name": "Old"})


async def test_rights_and_refusals(yjs: Bridge, closed_server: Server, name: str, version: int) -> None:
    refused = await yjs.hocuspocus(closed_server.url, name, version=version, token="rubbish")
    assert await refused.heard("authenticationFailed") == "invalid token"
    writer = await yjs.hocuspocus(closed_server.url, name, version=version, token=token("ann", **{name: "write"}))
    await writer.synced()
    await writer.insert("hello")
    await writer.saved()
    reader = await yjs.hocuspocus(closed_server.url, name, version=version, token=token("bob", **{name: "read"}))
    await reader.has("hello")
    await reader.insert("no ")
    await writer.insert("!", at=5)
    await reader.has("no hello!")
    assert await writer.text() == "hello!"
    assert await reader.tell("unsynced"), "it still shows that its edit was not saved"
