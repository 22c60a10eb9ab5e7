"""Number 27 in memory: what a revocation ends, and what is refused from then on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from roomful.model import document as d
from roomful.model.channel import ChannelOptions
from roomful.model.disconnects import Disconnect
from roomful.model.document import Rights
from roomful.model.errors import Forbidden
from roomful.model.event import ConnectEvent, ConnectReply, DocumentOpenEvent, DocumentOpenReply, SubscribeEvent
from roomful.model.order import UnsubscribeOrder
from roomful.node.revocations import RevocationOptions
from roomful.seams.transport import Request
from roomful.session.poll import Poll
from roomful.testing.client import Closed, CommandError
from roomful.transports.poll import _ask_again as ask_again
from roomful.wire.poll import POLL
from tests.session.conftest import MakeDocumentWorld, MakeWorld
from tests.session.document_world import DocumentWorld
from tests.session.source import Source
from tests.session.world import SlowHook, World

CLOSED = ChannelOptions(history_size=100, history_ttl_s=300.0)
REVOKED = (4503, "access revoked")
INVALID = (3500, "invalid token")


async def revoke(world: World | DocumentWorld, kind: str, name: str) -> None:
    await world.node.revocations.revoke(kind, name)
    world.clock.advance(0.3)
    world.node.wheel.advance()
    await world.settle()


async def refused(world: World, token: str) -> tuple[int, str]:
    """How a connect with this token ends."""
    client = world.open()
    with pytest.raises(Closed):
        await client.connect(token=token)
    return await client.closed()


async def test_27_all_that_a_user_has_ends_and_an_old_token_opens_nothing(world: World) -> None:
    old, other = world.token("ann"), await world.client("bob")
    ann = world.open()
    await ann.connect(token=old)
    await revoke(world, "user", "ann")
    assert await ann.closed() == REVOKED
    assert other.transport.closed is None
    assert await refused(world, old) == INVALID
    await world.pass_time(1)
    assert (await world.client("ann")).transport.closed is None  # by a token of today


async def test_27_one_token(world: World) -> None:
    tokens = [world.token("ann", jti=jti) for jti in ("1", "2")]
    clients = [world.open() for _ in tokens]
    for client, token in zip(clients, tokens, strict=True):
        await client.connect(token=token)
    await revoke(world, "token", "1")
    assert await clients[0].closed() == REVOKED
    assert clients[1].transport.closed is None
    await world.pass_time(5)
    assert await refused(world, tokens[0]) == INVALID


@pytest.mark.parametrize("claims", [{}, {"jti": "1"}])
async def test_27_a_session_and_the_token_that_it_came_with(world: World, claims: dict[str, Any]) -> None:
    token = world.token("ann", **claims)
    client = world.open()
    await client.connect(token=token)
    await world.pass_time(1)
    fresh = await world.client("ann")
    await revoke(world, "session", client.id)
    assert await client.closed() == REVOKED
    await world.pass_time(1)
    assert await refused(world, token) == INVALID
    assert fresh.transport.closed is None


async def test_27_a_room_with_its_facets_and_nothing_else(make_world: MakeWorld) -> None:
    world = await make_world(closed=CLOSED)
    token = world.channel_token("ann", "closed:1")
    ann = await world.client("ann")
    await ann.subscribe("closed:1", token=token)
    await ann.subscribe("typing:closed:1")
    await ann.subscribe("news")
    await revoke(world, "room", "closed:1")
    pushes = [push for push in await ann.settle() if "unsubscribe" in push]
    assert sorted(push["channel"] for push in pushes) == ["closed:1", "typing:closed:1"]
    assert all(push["unsubscribe"] == {"code": 2001, "reason": "access revoked"} for push in pushes)
    for channel in ("closed:1", "typing:closed:1"):
        with pytest.raises(CommandError) as raised:
            await ann.subscribe(channel, token=token)
        assert raised.value.code == 103
    await world.pass_time(1)
    await ann.subscribe("closed:1", token=world.channel_token("ann", "closed:1"))
    assert ann.transport.closed is None


async def test_27_a_room_that_the_namespace_opens_is_closed_for_whoever_was_there(world: World) -> None:
    ann = await world.client("ann")
    await ann.subscribe("log:1")
    await revoke(world, "room", "log:1")
    with pytest.raises(CommandError) as raised:
        await ann.subscribe("log:1")
    assert (raised.value.code, raised.value.message) == (103, "access to the room was revoked")
    await world.pass_time(1)
    await (await world.client("ann")).subscribe("log:1")


async def test_27_a_room_in_a_connection_token(world: World, caplog: pytest.LogCaptureFixture) -> None:
    token = world.token("ann", channels=["log:1", "log:2"])
    ann = world.open()
    assert sorted((await ann.connect(token=token))["subs"]) == ["log:1", "log:2"]
    await revoke(world, "room", "log:1")
    assert [push["channel"] for push in await ann.settle() if "unsubscribe" in push] == ["log:1"]
    again = world.open()
    with caplog.at_level("INFO", "roomful"):
        assert sorted((await again.connect(token=token))["subs"]) == ["log:2"]
    assert [(line.msg, line.args) for line in caplog.records if line.levelname == "INFO"] == [
        ("a token of user %r names rooms that were revoked: %s", ("ann", "log:1"))
    ]


async def test_27_a_subscription_token(make_world: MakeWorld) -> None:
    world = await make_world(closed=CLOSED)
    ann = await world.client("ann")
    await ann.subscribe("closed:1", token=world.channel_token("ann", "closed:1", jti="s1"))
    await ann.subscribe("closed:2", token=world.channel_token("ann", "closed:2", jti="s2"))
    await revoke(world, "token", "s1")
    assert [push["channel"] for push in await ann.settle() if "unsubscribe" in push] == ["closed:1"]


async def test_27_also_while_the_hook_is_thinking(world: World) -> None:
    slow = SlowHook(world, ConnectEvent, ConnectReply(user="ann"))
    client = world.open()
    connecting = asyncio.create_task(client.connect())
    await slow.asked.wait()
    await revoke(world, "user", "ann")
    slow.answers.set()
    with pytest.raises(Closed):
        await connecting
    assert await client.closed() == REVOKED
    await world.pass_time(1)
    assert await world.open().connect()  # the hook says so, now


async def test_27_a_subscription_token_while_the_hook_is_thinking(make_world: MakeWorld) -> None:
    world = await make_world(closed=CLOSED)
    slow = SlowHook(world, SubscribeEvent)
    ann = await world.client("ann")
    token = world.channel_token("ann", "closed:1", jti="s1")
    subscribing = asyncio.create_task(ann.subscribe("closed:1", token=token))
    await slow.asked.wait()
    await revoke(world, "token", "s1")
    slow.answers.set()
    await subscribing
    assert (await ann.next_push())["unsubscribe"] == {"code": 2001, "reason": "access revoked"}


async def test_27_a_poll_of_a_room_that_was_revoked(make_world: MakeWorld) -> None:
    world = await make_world()
    orders = {**world.context.orders, UnsubscribeOrder: ask_again}
    context = replace(world.context, orders=orders)
    token = world.token("ann")
    polls = [
        asyncio.create_task(Poll(context, POLL, Request("/poll"), {room: await world.head(room)}).ask(token, 5.0))
        for room in ("log:1", "log:2")
    ]
    await world.settle(20)
    await revoke(world, "room", "log:1")
    with pytest.raises(Disconnect) as ended:
        await polls[0]
    assert ended.value.code == 3011
    assert not polls[1].done()
    await world.publish("log:2")
    assert len((await polls[1]).publications) == 1
    with pytest.raises(Forbidden):
        await Poll(context, POLL, Request("/poll"), {"log:1": None}).ask(token, 5.0)


async def test_27_a_token_to_refresh_that_was_revoked(world: World) -> None:
    ann = await world.client("ann", data={})
    await revoke(world, "token", "stolen")
    with pytest.raises(Closed):
        await ann.call(refresh={"token": world.token("ann", jti="stolen", ttl_s=60)})
    assert await ann.closed() == INVALID


async def test_27_an_event_stream_is_told_and_ended(world: World) -> None:
    source = Source(world, ["log:1"], token=world.token("ann"))
    source.connect()
    await world.settle()
    source.pump()
    await revoke(world, "user", "ann")
    (event,) = source.pump()
    assert (event.type, event.data) == ("expired", {"code": 4503, "reason": "access revoked"})
    assert source.transport.closed is not None


async def test_27_while_nobody_can_know_what_is_revoked_nobody_comes_in_by_a_token(make_world: MakeWorld) -> None:
    world = await make_world(revocations=RevocationOptions(when_deaf="close"))
    ann = await world.client("ann")
    world.engine.ready = False
    await world.pass_time(4.5)
    assert await ann.closed() == (3011, "force reconnect")
    with pytest.raises(CommandError) as raised:
        await world.client("ann")
    assert (raised.value.code, raised.value.temporary) == (100, True)
    world.engine.ready = True
    await world.pass_time(2.5)
    assert (await world.client("ann")).transport.closed is None


async def test_a_link_that_is_made_anew_at_once_costs_nobody_anything(make_world: MakeWorld) -> None:
    world = await make_world(revocations=RevocationOptions(when_deaf="close"))
    ann = await world.client("ann")
    for _ in range(5):
        world.engine.ready = False
        await world.pass_time(1.2)
        world.engine.ready = True
        await world.pass_time(2)
    assert ann.transport.closed is None


async def test_27_tokens_that_outlive_their_revocation_are_told_of_once(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world(revocations=RevocationOptions(keep_s=3600.0))
    await world.client("ann")
    await revoke(world, "user", "bob")
    await (open_ := world.open()).connect(token=world.token("ann", ttl_s=3000))
    assert caplog.messages == []
    for _ in range(2):
        await world.client("ann")
    warning = "tokens are valid for longer than what is revoked is remembered: raise [revocations] keep_s"
    assert [(line.levelname, line.msg) for line in caplog.records] == [("WARNING", warning)]
    assert open_.transport.closed is None


# Documents


async def test_27_documents_end_on_both_wires(documents: DocumentWorld) -> None:
    token = documents.token("ann")
    ann = await documents.y_websocket(token=token).open()
    tab = await documents.hocuspocus().open(token)
    bob = await documents.hocuspocus().open(documents.token("bob"))
    await revoke(documents, "user", "ann")
    assert ann.closed == (4403, "access was revoked")
    assert tab.was_ever_said(d.PermissionDenied("access was revoked"))
    tab.type("x")
    await documents.settle()
    assert "x" not in bob.text
    assert bob.closed is None

    again = documents.y_websocket(token=token)
    await documents.settle()
    assert again.closed == (4401, "invalid token")
    tab = documents.hocuspocus()
    tab.send(d.Authenticate(token, "4.8.0"))
    await documents.settle()
    assert tab.was_ever_said(d.PermissionDenied("invalid token"))


async def test_27_one_connection_to_documents_and_its_token(documents: DocumentWorld) -> None:
    token = documents.token("ann", jti="1")
    ann = await documents.y_websocket("notes", token).open()
    other = await documents.y_websocket("notes", documents.token("ann", jti="2")).open()
    await revoke(documents, "session", ann.session.client)
    assert ann.closed == (4403, "access revoked")
    assert other.closed is None
    again = documents.y_websocket("notes", token)
    await documents.settle()
    assert again.closed == (4401, "invalid token")


async def test_27_one_document(make_documents: MakeDocumentWorld) -> None:
    documents = await make_documents(access="user")
    token = documents.token("ann")
    notes, wiki = await documents.y_websocket("notes", token).open(), await documents.y_websocket("wiki", token).open()
    await revoke(documents, "document", "notes")
    assert notes.closed == (4403, "access was revoked")
    assert wiki.closed is None
    again = documents.y_websocket("notes", token)
    await documents.settle()
    assert again.closed == (4403, "access was revoked")

    @documents.on(DocumentOpenEvent)
    async def open_(event: DocumentOpenEvent) -> DocumentOpenReply:
        return DocumentOpenReply(rights=Rights.READ)

    await documents.pass_time(1)
    assert (await documents.y_websocket("notes", token).open()).closed is None
