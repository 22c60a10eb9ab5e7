from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomful import (
    ChannelOptions,
    Config,
    ConfigError,
    ConnectEvent,
    ConnectReply,
    DisconnectEvent,
    PublishEvent,
    Roomful,
    RpcEvent,
)
from roomful.model.channel import Right
from roomful.node.documents import Documents
from roomful.testing.client import connect

ROOM = ChannelOptions(history_size=10, history_ttl_s=60.0, recover=True, presence=True, join_leave=True)
CONFIG = Config(namespaces={"room": ROOM, "plain": ChannelOptions(subscribe="client"), "open": ChannelOptions()})


async def test_it_starts_by_itself_and_again_after_its_end() -> None:
    app = Roomful(CONFIG)
    ended: list[int] = []

    @app.on(DisconnectEvent)
    async def gone(event: DisconnectEvent) -> None:
        ended.append(event.code)

    @app.on(ConnectEvent)
    async def who(_event: ConnectEvent) -> ConnectReply:
        return ConnectReply(user="ann")

    assert not app.ready
    await app.publish("room:1", 1)
    assert app.ready
    async with connect(app) as ann:
        await app.drain(1.0)
        assert not app.ready
        assert await ann.closed() == (3001, "shutdown")
    assert ended == [3001]
    await app.stop()
    async with app.lifespan():
        assert app.ready
        assert (await app.history("room:1")).head.offset == 0
    assert not app.ready


async def test_starting_at_once_from_many_tasks_starts_once() -> None:
    app = Roomful(CONFIG)
    await asyncio.gather(*(app.publish("room:1", n) for n in range(20)))
    assert (await app.history("room:1")).head.offset == 20
    await app.stop()


def test_it_serves_in_two_loops_one_after_the_other() -> None:
    app = Roomful(CONFIG)

    async def use() -> None:
        async with app.lifespan():
            await app.publish("room:1", 1)

    asyncio.run(use())
    asyncio.run(use())


def test_hooks_that_make_no_sense_are_refused_where_they_are_written() -> None:
    app = Roomful(CONFIG)

    def hook(_event: object) -> None: ...

    app.on(PublishEvent, channel="chat:*")(hook)
    with pytest.raises(ConfigError, match="two hooks"):
        app.on(PublishEvent, channel="chat:*")(hook)
    with pytest.raises(ConfigError, match="not by several"):
        app.on(RpcEvent, channel="a", document="b")
    with pytest.raises(ConfigError, match="is not an event"):
        app.on(dict)(hook)
    with pytest.raises(ConfigError, match="can't be narrowed"):
        app.on(ConnectEvent, channel="a")(hook)


async def test_a_configuration_that_contradicts_itself_is_refused_at_the_start() -> None:
    app = Roomful(Config(namespaces={"chat": ChannelOptions(recover=True)}))
    with pytest.raises(ConfigError, match="recover"):
        await app.start()
    app.configure(Config(namespaces={"chat": ChannelOptions(publish=Right.CLIENT)}))
    await app.start()
    with pytest.raises(ConfigError, match="already running"):
        app.configure(Config())
    await app.stop()


async def test_the_lifespan_protocol_of_asgi() -> None:
    app = Roomful(CONFIG)
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    running = asyncio.create_task(app.asgi({"type": "lifespan"}, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    assert app.ready
    await inbox.put({"type": "lifespan.shutdown"})
    assert (await outbox.get())["type"] == "lifespan.shutdown.complete"
    await running
    assert not app.ready


async def test_a_start_that_fails_is_told_to_the_host() -> None:
    app = Roomful(Config(namespaces={"chat": ChannelOptions(recover=True)}))
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    await inbox.put({"type": "lifespan.startup"})
    with pytest.raises(ConfigError):
        await app.asgi({"type": "lifespan"}, inbox.get, outbox.put)
    told = await outbox.get()
    assert told["type"] == "lifespan.startup.failed"
    assert "recover" in told["message"]


async def test_1_a_server_whose_engine_is_deaf_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Roomful(Config())
    await app.start()
    assert app.ready
    monkeypatch.setattr(type(app.live.node.engine), "ready", False)
    assert not app.ready
    await app.stop()


async def test_a_server_without_documents_is_not_ready_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Roomful(Config(), dev=True)
    await app.start()
    assert app.ready
    monkeypatch.setattr(Documents, "trouble", "another store")
    assert (app.ready, app.trouble) == (False, "another store")
    await app.stop()
