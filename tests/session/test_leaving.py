"""What becomes of a session's channels, and who is told, when it leaves them: one by one, or all at its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomful.model.disconnects import Disconnect
from roomful.model.errors import ApplicationError, Forbidden
from roomful.model.event import ConnectEvent, ConnectReply, DisconnectEvent, UnsubscribeEvent
from roomful.model.order import DisconnectOrder
from roomful.testing.client import Closed, CommandError
from tests.session.world import World, session_of


@pytest.mark.parametrize("how", ["cut", "ordered", "violation"])
async def test_whatever_ends_it_everything_of_it_goes(world: World, how: str) -> None:
    watcher = await world.client()
    await watcher.subscribe("room:1", join_leave=True)
    client = await world.client("ann")
    await client.subscribe("room:1")
    assert len(await world.node.presence("room:1")) == 2
    await watcher.settle()
    match how:
        case "cut":
            client.cut()
        case "ordered":
            await world.node.order(DisconnectOrder("ann"))
        case "violation":
            client.send({"id": 9, "ping": {}})
    pushes = await watcher.settle()
    assert [push["leave"]["info"]["client"] for push in pushes] == [client.id]
    assert list(await world.node.presence("room:1")) == [watcher.id]
    assert world.node.channels() == {"room:1": 1}


# Who is told of the end: exactly once in every path


class Told:
    """Notes which hooks ran, in which order."""

    def __init__(self, world: World) -> None:
        self.events: list[str] = []
        self.ends: list[tuple[str, int]] = []
        self.connecting = asyncio.Event()
        self.let_in = asyncio.Event()
        self.let_in.set()
        self.error: Exception | None = None

        @world.on(ConnectEvent)
        async def connects(event: ConnectEvent) -> ConnectReply:
            self.events.append("connect begins")
            self.connecting.set()
            await self.let_in.wait()
            self.events.append("connect ends")
            if self.error is not None:
                raise self.error
            return ConnectReply(user=event.user or "someone")

        @world.on(UnsubscribeEvent)
        async def unsubscribed(event: UnsubscribeEvent) -> None:
            self.events.append(f"unsubscribed {event.channel} {event.code}")

        @world.on(DisconnectEvent)
        async def disconnected(event: DisconnectEvent) -> None:
            self.events.append("disconnected")
            self.ends.append((event.user, event.code))


async def test_the_end_of_a_connection_is_told_once(world: World) -> None:
    told = Told(world)
    client = await world.client("ann")
    await client.subscribe("news")
    await client.subscribe("log:1")
    client.cut()
    session_of(client).end(3001, "shutdown")
    await world.settle()
    assert told.ends == [("ann", 1006)]
    assert told.events[2:] == ["unsubscribed news 1", "unsubscribed log:1 1", "disconnected"]


@pytest.mark.parametrize(
    "error",
    [Forbidden("no"), ApplicationError(1000, "no"), Disconnect(4000, "no"), ValueError()],
    ids=lambda error: type(error).__name__,
)
async def test_also_when_the_hook_refused(world: World, error: Exception) -> None:
    told = Told(world)
    told.error = error
    client = world.open()
    with pytest.raises((CommandError, Closed)):
        await client.connect(token=world.token("ann"))
    client.cut()
    await world.settle()
    assert [user for user, _ in told.ends] == ["ann"]
    assert told.events == ["connect begins", "connect ends", "disconnected"]


@pytest.mark.parametrize("refuses", [False, True])
async def test_also_when_it_goes_while_the_hook_decides_and_then_not_before_the_hook_has(
    world: World, refuses: bool
) -> None:
    """An application that notes who comes and strikes out who goes must not be told in the wrong order."""
    told = Told(world)
    told.error = Forbidden("no") if refuses else None
    told.let_in.clear()
    client = world.open()
    client.send({"id": 1, "connect": {"token": world.token("ann")}})
    await told.connecting.wait()
    client.cut()
    await world.settle()
    assert told.events == ["connect begins"]
    told.let_in.set()
    await world.settle()
    assert told.events == ["connect begins", "connect ends", "disconnected"]
    assert told.ends == [("ann", 1006)]


async def test_who_goes_while_his_token_is_verified_was_never_here(world: World) -> None:
    told, fetched = Told(world), asyncio.Event()
    verify = world.context.authenticator.connection

    class Slow:
        async def connection(self, token: str) -> Any:
            await fetched.wait()
            return await verify(token)

    object.__setattr__(world.context, "authenticator", Slow())
    client = world.open()
    client.send({"id": 1, "connect": {"token": world.token("ann")}})
    client.cut()
    fetched.set()
    await world.settle()
    assert told.events == []


async def test_who_never_connected_or_had_a_bad_token_was_never_here(world: World) -> None:
    told = Told(world)
    world.open().cut()
    client = world.open()
    client.send({"id": 1, "connect": {"token": "bad"}})
    assert await client.closed() == (3500, "invalid token")
    await world.settle()
    assert told.events == []


async def test_without_a_connect_hook_the_end_is_told_too(world: World) -> None:
    ends: list[DisconnectEvent] = []

    @world.on(DisconnectEvent)
    async def disconnected(event: DisconnectEvent) -> None:
        ends.append(event)

    client = await world.client("ann")
    client.cut()
    await world.settle()
    assert ends == [DisconnectEvent(client.id, "ann", 1006, "", {})]


async def test_a_slow_hook_about_one_subscription_keeps_nobody_present_in_another(world: World) -> None:
    @world.on(UnsubscribeEvent)
    async def hang(_event: UnsubscribeEvent) -> None:
        await world.hang.wait()

    client = await world.client("ann")
    for number in range(5):
        await client.subscribe(f"room:{number}")
    client.cut()
    await world.settle()
    for number in range(5):
        assert await world.node.presence(f"room:{number}") == {}


@pytest.mark.parametrize("broken", ["unsubscribe", "remove", "publish_leave"])
async def test_18_nor_does_one_that_fails_in_a_way_that_no_engine_should(
    world: World, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(world)
    client = await world.client("ann")
    await client.subscribe("room:1")
    await client.subscribe("news")

    async def fail(*_: object) -> None:
        raise OSError("no such thing")

    part = world.memory.presence if broken == "remove" else world.memory.broker
    with monkeypatch.context() as patched:
        patched.setattr(part, broken, fail)
        client.cut()
        await world.settle(30)
    assert told.ends == [("ann", 1006)]
    lines = [line for line in caplog.records if line.msg == "%r was left, but a step of it failed"]
    assert {(line.levelname, line.__dict__["client"], bool(line.exc_info)) for line in lines} == {
        ("ERROR", client.id, True)
    }
    assert world.node.channels() == {}
    await world.memory.presence.remove("room:1", client.id)
    for channel in ("room:1", "news"):
        await world.memory.broker.unsubscribe(channel)


@pytest.mark.parametrize("broken", ["unsubscribe", "remove", "publish_leave"])
async def test_one_step_of_leaving_that_fails_keeps_no_other_from_being_done(
    world: World, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(world)
    watcher = await world.client()
    await watcher.subscribe("room:1", join_leave=True)
    client = await world.client("ann")
    await client.subscribe("room:1")
    await client.subscribe("room:2")
    await watcher.settle()
    world.engine.broken.add(broken)
    client.cut()
    await world.settle(30)
    pushes = await watcher.settle()
    world.engine.broken.clear()
    gone = [push for push in pushes if "leave" in push]
    assert len(gone) == (broken != "publish_leave")
    present = await world.node.presence("room:1")
    assert (client.id in present) == (broken == "remove")
    assert world.node.channels() == {"room:1": 1}
    assert told.events[-1] == "disconnected"
    left, untold = (
        "%r was left, but the engine didn't take it: %s",
        "the leave of a client from %r was not announced: %s",
    )
    lines = [line for line in caplog.records if line.name.startswith("roomful") and line.levelname == "WARNING"]
    assert {line.msg for line in lines} == {untold if broken == "publish_leave" else left}
    await world.engine.presence.remove("room:1", client.id)
    await world.engine.presence.remove("room:2", client.id)
    world.memory.broker._subscribed.discard("room:2")


async def test_a_leave_never_overtakes_its_join(world: World) -> None:
    """The join takes longer than everything else."""
    watcher = await world.client()
    await watcher.subscribe("room:1", join_leave=True)
    await watcher.settle()
    client = await world.client("ann")
    world.engine.quick = False
    client.send({"id": 9, "subscribe": {"channel": "room:1"}})
    while [name for name, _ in world.engine.waits] != ["publish_join"]:
        world.engine.let()
        await world.settle()
    client.cut()
    await world.settle()
    while others := [name for name, _ in world.engine.waits if name != "publish_join"]:
        world.engine.let(name=others[0])
        await world.settle()
    await world.engine.rush()
    assert [key for push in await watcher.settle() for key in push if key != "channel"] == ["join", "leave"]


async def test_who_was_seen_in_the_presence_and_then_taken_back_has_left(world: World) -> None:
    watcher, client = await world.client(), await world.client("ann")
    await watcher.subscribe("room:1", join_leave=True)
    await watcher.settle()
    world.engine.broken.add("history")
    with pytest.raises(CommandError):
        await client.subscribe("room:1")
    world.engine.broken.clear()
    assert [push["leave"]["info"]["client"] for push in await watcher.settle()] == [client.id]
