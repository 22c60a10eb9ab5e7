"""`app.state(…)`: what an application reads and changes of what its rooms share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from roomful import ChannelOptions, Config, ConnectEvent, ConnectReply, Roomful
from roomful.model.errors import BadRequest, UnknownChannel
from roomful.node.document_options import DocumentOptions
from roomful.rooms.shared_state import Shown
from roomful.testing.client import connect


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Roomful]:
    room = ChannelOptions(subscribe="client")
    app = Roomful(
        Config(namespaces={"room": room}, documents=DocumentOptions(store=f"sqlite:///{tmp_path}/roomful.db"))
    )

    @app.on(ConnectEvent)
    async def who(_event: ConnectEvent) -> ConnectReply:
        return ConnectReply(user="ann")

    yield app
    await app.stop()


async def test_objects_are_made_changed_and_read(app: Roomful) -> None:
    state = app.state("room:1")
    assert await state.objects() == {}
    assert await state.counter("likes").value() is None
    assert await state.counter("likes").increment()
    await state.counter("likes").increment(5)
    await state.counter("likes").decrement(2)
    await state.register("title").set("Plan")
    assert await state.flag("open").enable()
    assert not await state.flag("closed").disable(), "it is off"
    await state.set("tags").add("new")
    await state.set("tags").add("red")
    await state.set("tags").remove("new")
    await state.change("todo", "set", type="ormap", path=[("task 1", "ormap"), ("title", "lww")], value="Paint")
    assert await state.value("likes") == 4
    assert await state.objects() == {
        "likes": Shown("pncounter", 4),
        "title": Shown("lww", "Plan"),
        "open": Shown("ewflag", True),
        "tags": Shown("orset", ["red"]),
        "todo": Shown("ormap", {"task 1": {"title": "Paint"}}),
    }
    assert await app.state("room:2").objects() == {}


async def test_the_type_that_is_there_is_taken(app: Roomful) -> None:
    state = app.state("room:1")
    await state.change("likes", "increment", type="gcounter")
    await state.counter("likes").increment()
    assert await state.objects() == {"likes": Shown("gcounter", 2)}
    with pytest.raises(BadRequest):
        await state.counter("likes").decrement()
    with pytest.raises(BadRequest):
        await state.change("nothing", "increment")


@pytest.mark.parametrize(
    ("channel", "error"), [("other:1", UnknownChannel), ("state:room:1", BadRequest), ("", BadRequest)]
)
async def test_a_channel_that_is_no_room(app: Roomful, channel: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await app.state(channel).objects()


async def test_clients_see_it_and_it_outlives_the_process(app: Roomful) -> None:
    async with connect(app) as ann:
        subscribed: Any = await ann.subscribe("state:room:1")
        assert subscribed["data"]["objects"] == []
        assert (subscribed["positioned"], subscribed.get("recoverable")) == (True, None)
        await app.state("room:1").counter("likes").increment(3)
        [push] = await ann.settle()
        assert push["pub"]["data"]["object"] == "likes"
    await app.stop()
    assert await app.state("room:1").value("likes") == 3


async def test_who_was_told_what_is_deleted_comes_back_to_an_empty_room(app: Roomful) -> None:
    state = app.state("room:1")
    assert not await state.delete()
    await state.counter("likes").increment(3)
    async with connect(app) as ann:
        before: Any = await ann.subscribe("state:room:1")
        assert (before["data"]["life"], len(before["data"]["objects"])) == (0, 1)
        assert await state.delete()
        assert await state.objects() == {}
        assert await ann.settle() == [
            {"channel": "state:room:1", "unsubscribe": {"code": 2500, "reason": "insufficient state"}}
        ]
        after: Any = await ann.subscribe("state:room:1")
        assert (after["data"]["life"], after["data"]["objects"]) == (1, [])
        await state.counter("likes").increment()
        assert len(await ann.settle()) == 1
    await app.stop()
    assert await app.state("room:1").value("likes") == 1


async def test_it_is_no_document(app: Roomful) -> None:
    await app.state("room:1").counter("likes").increment()
    assert await app.documents() == []
