"""Tokens, hooks and rights, with providers as they are."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.yjs.clients import Bridge
from tests.e2e.yjs.conftest import token
from tests.served import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_without_a_token_nothing_is_open(yjs: Bridge, closed_server: Server, name: str) -> None:
    ann = await yjs.y_websocket(closed_server.url, name)
    assert await ann.heard("closed") == 4401
    bob = await yjs.hocuspocus(closed_server.url, name)
    assert await bob.heard("authenticationFailed") == "a token is needed"


async def test_a_right_token_after_a_wrong_one_on_one_socket(yjs: Bridge, closed_server: Server, name: str) -> None:
    tokens = ["rubbish", token("ann", **{name: "write"})]

    async def next_token() -> str:
        return tokens.pop(0)

    ann = await yjs.hocuspocus(closed_server.url, name, get_token=next_token)
    assert await ann.heard("authenticationFailed") == "invalid token"
    await ann.tell("token")
    assert await ann.heard("authenticated") == "read-write"
    await ann.tell("forceSync")
    await ann.synced()


async def test_a_readers_edits_change_nothing_and_stay_unsynced(yjs: Bridge, closed_server: Server, name: str) -> None:
    writing = token("ann", **{name: "write"})
    ann = await yjs.hocuspocus(closed_server.url, name, token=writing)
    await ann.synced()
    await ann.insert("hello")
    await ann.saved()
    bob = await yjs.hocuspocus(closed_server.url, name, token=token("bob", **{name: "read"}))
    assert await bob.heard("authenticated") == "readonly"
    await bob.has("hello")
    await bob.saved()
    await bob.insert("no ")
    await bob.heard("unsynced", 1)
    cid = await yjs.y_websocket(closed_server.url, name, params={"token": token("cid", **{name: "read"})})
    await cid.has("hello")
    await cid.insert("no ")
    dan = await yjs.y_websocket(closed_server.url, name, params={"token": writing})
    await dan.has("hello")
    await ann.insert("!", at=5)
    await dan.has("hello!")
    assert await bob.tell("unsynced") == 1, "it still shows that its edit was not saved"


async def test_rights_are_taken_while_somebody_types(yjs: Bridge, closed_server: Server, name: str) -> None:
    ann = await yjs.hocuspocus(closed_server.url, name, token=token(f"ann-{name}", **{name: "write"}))
    await ann.synced()
    await ann.insert("a")
    await ann.saved()
    await ann.tell("stateless", payload="rights")
    await ann.heard("authenticated", "readonly")
    await ann.insert("b")
    await ann.heard("unsynced", 1)
    bob = await yjs.hocuspocus(closed_server.url, name, token=token("bob", **{name: "read"}))
    await bob.has("a")


async def test_several_documents_on_one_socket(yjs: Bridge, closed_server: Server, name: str) -> None:
    socket = await yjs.socket(closed_server.url)
    good = token("ann", **{f"{name}/*": "write"})
    a = await yjs.hocuspocus(closed_server.url, f"{name}/a", socket=socket, token=good)
    b = await yjs.hocuspocus(closed_server.url, f"{name}/b", socket=socket, token=good)
    refused = await yjs.hocuspocus(closed_server.url, f"{name}/c", socket=socket, token="rubbish")
    await refused.heard("authenticationFailed")
    await a.synced()
    await b.synced()
    await a.insert("only a")
    await a.saved()
    assert await b.text() == ""
    since = len(a.events)
    await a.tell("detach")
    await a.tell("attach")
    await a.heard("authenticated", since=since)
    await b.insert("still here")
    await b.saved()
    await a.insert("and ")
    await a.saved()


async def test_hooks_admit_begin_and_answer(yjs: Bridge, closed_server: Server, name: str) -> None:
    document = f"hooked/template/{name}"
    refused = await yjs.y_websocket(closed_server.url, document, params={"as": "nobody"})
    assert await refused.heard("closed") == 4403
    ann = await yjs.hocuspocus(closed_server.url, document)
    bob = await yjs.hocuspocus(closed_server.url, document)
    single = await yjs.y_websocket(closed_server.url, document)
    await asyncio.gather(*(client.has("hi") for client in (ann, bob, single)))
    await ann.tell("stateless", payload="ping")
    await ann.heard("stateless", "heard ping")
    await bob.heard("stateless", "hooked said ping")
    await ann.tell("stateless", payload="write")
    await ann.heard("stateless", "written")
    await asyncio.gather(*(client.has("hi from Python") for client in (ann, bob, single)))


async def test_a_slow_authorisation_loses_nothing(yjs: Bridge, closed_server: Server, name: str) -> None:
    document = f"slow/{name}"
    ann = await yjs.hocuspocus(closed_server.url, document, text="early ")
    await ann.insert("also early ", at=6)
    await ann.synced()
    await ann.saved()
    bob = await yjs.y_websocket(closed_server.url, document, text="")
    await bob.has("early also early ")
