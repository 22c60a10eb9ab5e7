"""What every provider relies on, for both wires. Source: Yjs protocols, section 15."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.yjs.clients import Bridge, Client
from tests.served import Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

Opener = Callable[..., Awaitable[Client]]


@pytest.fixture(params=["y_websocket", "hocuspocus"])
def open_(request: pytest.FixtureRequest, yjs: Bridge) -> Opener:
    """Opens a client of one wire."""
    opener: Opener = getattr(yjs, request.param)
    return opener


async def test_edits_made_offline_arrive_and_those_made_meanwhile(open_: Opener, server: Server, name: str) -> None:
    ann, bob = await open_(server.url, name), await open_(server.url, name)
    await ann.synced()
    await bob.synced()
    await ann.insert("hello")
    await bob.has("hello")
    since = len(bob.events)
    await bob.tell("disconnect")
    await bob.insert("offline ")
    await ann.insert(" online", at=5)
    await bob.tell("connect")
    await bob.heard("sync", True, since)
    await ann.has("offline hello online")
    await bob.has("offline hello online")


async def test_a_new_document_is_synced_too_and_again_after_each_reconnect(
    open_: Opener, server: Server, name: str
) -> None:
    ann = await open_(server.url, name)
    await ann.synced()
    for _ in range(3):
        since = len(ann.events)
        await ann.tell("disconnect")
        await ann.until(lambda since=since: {"status", "closed"} & {event for event, _ in ann.events[since:]})
        await ann.tell("connect")
        await ann.heard("sync", True, since)


async def test_deletions_alone_are_kept(open_: Opener, server: Server, name: str) -> None:
    ann = await open_(server.url, name)
    await ann.synced()
    await ann.insert("hello")
    await ann.tell("delete", at=0, length=4)
    bob = await open_(server.url, name)
    await bob.has("o")


async def test_a_step_of_several_megabytes_goes_both_ways(open_: Opener, server: Server, name: str) -> None:
    text = "0123456789" * 300_000
    ann = await open_(server.url, name, text=text)
    await ann.synced()
    bob = await open_(server.url, name)
    await bob.has(text)


@pytest.mark.parametrize("odd", ["with/slash", "with space", "100%", "naïve", "日本", "😀", "x" * 300])
async def test_names_stay_distinct(open_: Opener, yjs: Bridge, server: Server, name: str, odd: str) -> None:
    ann = await open_(server.url, f"{odd}-{open_.__name__}")
    await ann.synced()
    await ann.insert(odd)
    bob = await yjs.hocuspocus(server.url, f"{odd}-{open_.__name__}")  # a name is the same on both wires
    await bob.has(odd)
    other = await open_(server.url, f"{odd}-other-{open_.__name__}")
    await other.synced()
    assert await other.text() == ""


async def test_a_reconnecting_user_is_seen_at_once(open_: Opener, server: Server, name: str) -> None:
    ann, bob = await open_(server.url, name), await open_(server.url, name)
    await ann.tell("set", state={"name": "Ann"})
    await bob.sees(lambda seen: seen.get(ann.id) == {"name": "Ann"})
    await ann.tell("cut")
    await bob.sees(lambda seen: ann.id not in seen)
    await bob.sees(lambda seen: seen.get(ann.id) == {"name": "Ann"})


async def test_null_takes_a_user_away_while_it_stays_connected(open_: Opener, server: Server, name: str) -> None:
    ann, bob = await open_(server.url, name), await open_(server.url, name)
    await ann.tell("set", state={"name": "Ann"})
    await bob.sees(lambda seen: seen.get(ann.id) == {"name": "Ann"})
    await ann.tell("set", state=None)
    await bob.sees(lambda seen: ann.id not in seen)
    await ann.tell("set", state={"name": "Ann again"})
    await bob.sees(lambda seen: seen.get(ann.id) == {"name": "Ann again"})


async def test_users_who_crash_are_gone(open_: Opener, server: Server, name: str) -> None:
    """users-want 25, small: 4 of 10 clients crash."""
    clients = [await open_(server.url, name) for _ in range(10)]
    for client in clients:
        await client.tell("set", state={"n": client.id})
    everybody = {client.id for client in clients}
    for client in clients:
        await client.sees(lambda seen: everybody <= {id for id, state in seen.items() if state.get("n") == id})
    for client in clients[:4]:
        await client.destroy()
    left = {client.id for client in clients[4:]}
    for client in clients[4:]:
        await client.sees(lambda seen: set(seen) == left)


async def test_200_clients_open_a_new_document_at_once(yjs: Bridge, server: Server, name: str) -> None:
    clients = await asyncio.gather(
        *(yjs.y_websocket(server.url, name) for _ in range(100)),
        *(yjs.hocuspocus(server.url, name) for _ in range(100)),
    )
    await asyncio.gather(*(client.synced() for client in clients))
    await clients[0].insert("hello")
    await asyncio.gather(*(client.has("hello") for client in clients))


async def test_a_server_that_restarts_serves_what_it_acknowledged(open_: Opener, tmp_path: Path, name: str) -> None:
    server = await serve(tmp_path)
    port = server.port
    ann = await open_(server.url, name)
    await ann.synced()
    await ann.insert("before ")
    bob = await open_(server.url, name)
    await bob.has("before ")
    assert await server.stop() == 0
    await ann.insert("while it was away ", at=7)
    server = await serve(tmp_path, options=("--port", str(port)))
    try:
        await bob.has("before while it was away ")
    finally:
        await ann.destroy()
        await bob.destroy()
        await server.stop()
    assert "Traceback" not in server.log


async def test_many_providers_with_many_edits_converge(yjs: Bridge, server: Server, name: str) -> None:
    clients = [await (yjs.y_websocket if n % 2 else yjs.hocuspocus)(server.url, name) for n in range(6)]
    await asyncio.gather(*(client.synced() for client in clients))

    async def write(client: Client, n: int) -> None:
        for number in range(30):
            await client.insert(f"{n}.{number} ")
            if number % 10 == 9:
                await client.tell("cut")

    await asyncio.gather(*(write(client, n) for n, client in enumerate(clients)))
    expected = sorted(f"{n}.{number}" for n in range(6) for number in range(30))
    for client in clients:
        await client.until_text(lambda text: sorted(text.split()) == expected)
    texts = {await client.text() for client in clients}
    assert len(texts) == 1
