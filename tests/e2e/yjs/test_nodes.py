"""Three served nodes that share an engine and a store, real clients on each, and links that break."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.yjs.clients import Bridge
from tests.e2e.yjs.nodes import KINDS, Node, nodes

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", params=KINDS)
async def three(
    request: pytest.FixtureRequest, tmp_path: Path, component: Callable[[str], str]
) -> AsyncIterator[list[Node]]:
    async with nodes(request.param, 3, tmp_path, component) as running:
        yield running
        for node in running:
            print(f"--- roomful serve\n{node.server.log}")


async def test_clients_of_three_nodes_edit_one_document(three: list[Node], yjs: Bridge) -> None:
    first, second, third = three
    ann = await yjs.y_websocket(first.url, "notes")
    bob = await yjs.hocuspocus(second.url, "notes")
    cid = await yjs.y_websocket(third.url, "notes")
    for client in (ann, bob, cid):
        await client.synced()
    await ann.insert("hello")
    await bob.has("hello")
    await bob.insert(" world", at=5)
    await ann.has("hello world")
    await cid.has("hello world")
    await ann.tell("set", state={"name": "Ann"})
    await bob.sees(lambda seen: seen.get(ann.id) == {"name": "Ann"})
    late = await yjs.y_websocket(third.url, "notes")
    await late.sees(lambda seen: seen.get(ann.id) == {"name": "Ann"})

    # the second node hears nothing of the others nor they of it, and all sides go on
    second.cut_off()
    await ann.insert("first ")
    await bob.insert(" second", at=11)
    await cid.until_text(lambda text: "first" in text)
    await cid.insert("third ")
    await ann.until_text(lambda text: text.startswith("third first "))
    second.heal()
    for client in (ann, bob, cid, late):
        await client.has("third first hello world second")

    # whoever goes is gone everywhere
    await ann.destroy()
    for client in (bob, cid, late):
        await client.sees(lambda seen: ann.id not in seen)

    # a node that is stopped for a while has missed nothing when it goes on
    os.kill(second.server.pid, signal.SIGSTOP)
    await cid.insert("meanwhile ")
    await late.has("meanwhile third first hello world second")
    os.kill(second.server.pid, signal.SIGCONT)
    await bob.has("meanwhile third first hello world second")

    # a node that is killed leaves its clients to the others
    os.kill(second.server.pid, signal.SIGKILL)
    dan = await yjs.hocuspocus(first.url, "notes")
    await dan.has("meanwhile third first hello world second")
