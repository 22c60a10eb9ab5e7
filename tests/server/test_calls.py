from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomful import (
    ApplicationError,
    ChannelOptions,
    Config,
    ConnectEvent,
    ConnectReply,
    Override,
    Position,
    Roomful,
    RpcReply,
    ServerRpcEvent,
)
from roomful.engines.options import EngineOptions
from roomful.model.errors import (
    BadRequest,
    InternalError,
    MethodNotFound,
    NotAvailable,
    UnknownChannel,
    UnrecoverablePosition,
)
from roomful.testing.client import Client, connect

ROOM = ChannelOptions(history_size=10, history_ttl_s=60.0, recover=True, presence=True, join_leave=True)
CONFIG = Config(namespaces={"room": ROOM, "plain": ChannelOptions(subscribe="client"), "open": ChannelOptions()})


@pytest.fixture
async def app() -> AsyncIterator[Roomful]:
    """Lets everybody in as the user they name, subscribed to `room:1`."""
    app = Roomful(CONFIG)

    @app.on(ConnectEvent)
    async def who(event: ConnectEvent) -> ConnectReply:
        return ConnectReply(user=event.data, subs=["room:1"])

    await app.start()
    yield app
    await app.stop()


async def pubs(client: Client) -> list[Any]:
    return [push["pub"]["data"] for push in await client.settle() if "pub" in push]


async def test_what_is_published_arrives_and_has_a_position(app: Roomful) -> None:
    async with connect(app, data="ann") as ann:
        first = await app.publish("room:1", {"text": "hello"})
        second = await app.publish("room:1", None, tags={"a": "b"})
        assert first is not None
        assert second == Position(first.epoch, first.offset + 1)
        pushes = [push["pub"] for push in await ann.settle() if "pub" in push]
        assert pushes == [{"data": {"text": "hello"}, "offset": 1}, {"offset": 2, "tags": {"a": "b"}, "data": None}]
        assert await app.publish("plain:1", 1) is None


async def test_the_same_key_publishes_once(app: Roomful) -> None:
    async with connect(app, data="ann") as ann:
        positions = [await app.publish("room:1", n, idempotency_key="k") for n in range(3)]
        assert positions == [positions[0]] * 3
        assert await pubs(ann) == [0]


async def test_a_key_is_remembered_as_long_as_the_configuration_says() -> None:
    app = Roomful(Config(namespaces={"room": ROOM}, engine=EngineOptions(idempotency_ttl_s=0.0)))
    positions = [await app.publish("room:1", n, idempotency_key="k") for n in range(2)]
    assert [position and position.offset for position in positions] == [1, 2]
    await app.stop()


async def test_who_is_excluded_gets_nothing_live_or_later_but_moves_on(app: Roomful) -> None:
    async with connect(app, data="ann") as ann, connect(app, data="bob") as bob:
        await app.publish("room:1", "secret", exclude=[ann.id])
        await app.publish("room:1", "for all")
        assert await pubs(ann) == ["for all"]
        assert await pubs(bob) == ["secret", "for all"]
        assert ann.transport.closed is None


async def test_a_broadcast_says_what_came_of_each_channel(app: Roomful) -> None:
    results = await app.broadcast(["room:1", "nowhere:1", "plain:1", "room:2"], {"n": 1})
    assert [(r.channel, r.position and r.position.offset, type(r.error)) for r in results] == [
        ("room:1", 1, type(None)),
        ("nowhere:1", None, UnknownChannel),
        ("plain:1", None, type(None)),
        ("room:2", 1, type(None)),
    ]


async def test_bytes_that_are_not_json_are_refused_where_json_is_promised(app: Roomful) -> None:
    with pytest.raises(BadRequest):
        await app.publish("room:1", b"\xff")
    with pytest.raises(BadRequest):
        await app.publish("", 1)


async def test_history_and_its_refusals(app: Roomful) -> None:
    for n in range(12):
        await app.publish("room:1", n)
    page = await app.history("room:1", limit=None)
    assert [int(p.data) for p in page.publications] == list(range(2, 12))
    newest = await app.history("room:1", limit=2, reverse=True)
    assert [int(p.data) for p in newest.publications] == [11, 10]
    assert (await app.history("room:1")).publications == []
    since = await app.history("room:1", limit=5, since=Position(page.head.epoch, 10))
    assert [int(p.data) for p in since.publications] == [10, 11]
    with pytest.raises(UnrecoverablePosition):
        await app.history("room:1", limit=5, since=Position("other", 10))
    with pytest.raises(NotAvailable):
        await app.history("plain:1")
    await app.remove_history("room:1")
    emptied = await app.history("room:1", limit=None)
    assert (emptied.publications, emptied.head) == ([], page.head)


async def test_people_where_they_are_and_what_they_say(app: Roomful) -> None:
    async with connect(app, data="ann") as ann, connect(app, data="ann"), connect(app, data="bob"):
        await ann.subscribe("people:room:1")
        assert (await ann.next_push())["pub"]["data"]["online"] == 2
        found = await app.people("room:1")
        assert [(person.user, person.status) for person in found.people] == [("ann", "online"), ("bob", "online")]
        assert (found.online, found.away) == (2, 0)
        assert len((await app.people("room:1", limit=1)).people) == 1
        where = await app.where(["ann", "cid"])
        assert {user: list(rooms) for user, rooms in where.people.items()} == {"ann": ["room:1"], "cid": []}
        assert not where.partial
        await app.set_status("room:1", "ann", {"busy": True})
        assert (await ann.next_push())["pub"]["data"]["people"][0]["custom"] == {"busy": True}
        await app.set_status("room:1", "ann", None)
        assert "custom" not in (await ann.next_push())["pub"]["data"]["people"][0]
    for refused in (app.where("ann"), app.where([""] * 1_001), app.set_status("room:1", "ann", b"\xff")):
        with pytest.raises(BadRequest):
            await refused
    for unknown in (app.people("plain:1"), app.set_status("plain:1", "ann", 1)):
        with pytest.raises(NotAvailable):
            await unknown


async def test_presence_channels_and_info(app: Roomful) -> None:
    async with connect(app, data="ann") as one, connect(app, data="ann") as two, connect(app, data="bob") as bob:
        await bob.subscribe("plain:7")
        assert set(await app.presence("room:1")) == {one.id, two.id, bob.id}
        stats = await app.presence_stats("room:1")
        assert (stats.num_clients, stats.num_users) == (3, 2)
        with pytest.raises(NotAvailable):
            await app.presence("plain:7")
        assert (await app.channels()).channels == {"room:1": 3, "plain:7": 1}
        assert (await app.channels("plain:*")).channels == {"plain:7": 1}
        (node,) = (await app.info()).nodes
        assert (node.num_clients, node.num_users, node.num_channels, node.num_subs) == (3, 2, 2, 4)


async def test_orders_reach_the_user_or_one_connection(app: Roomful) -> None:
    async with connect(app, data="ann") as one, connect(app, data="ann") as two, connect(app, data="bob") as bob:
        await app.subscribe("ann", "open:1", data={"hi": 1})
        assert [p for p in await one.settle() if "subscribe" in p] == [
            {"channel": "open:1", "subscribe": {"data": {"hi": 1}}}
        ]
        assert (await app.channels("open:*")).channels == {"open:1": 2}
        await app.unsubscribe("ann", "open:1", client=two.id)
        assert {"channel": "open:1", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}} in (
            await two.settle()
        )
        assert (await app.channels("open:*")).channels == {"open:1": 1}
        await app.disconnect("ann", whitelist=[one.id])
        assert await two.closed() == (3503, "force disconnect")
        assert one.transport.closed is None
        await app.refresh("ann", expired=True)
        assert await one.closed() == (3005, "connection expired")
        assert bob.transport.closed is None


async def test_a_subscription_of_the_server_goes_on_from_a_position(app: Roomful) -> None:
    for n in range(5):
        await app.publish("room:9", n)
    head = (await app.history("room:9")).head
    async with connect(app, data="ann") as ann:
        await app.subscribe("ann", "room:9", recover_since=Position(head.epoch, 2))
        await app.publish("room:9", 5)
        assert [p["pub"]["data"] for p in await ann.settle() if p.get("channel") == "room:9" and "pub" in p] == [
            2,
            3,
            4,
            5,
        ]


async def test_what_skips_history_is_seen_live_only(app: Roomful) -> None:
    async with connect(app, data="ann") as ann:
        first = await app.publish("room:1", "kept")
        assert await app.publish("room:1", "passing", skip_history=True) is None
        results = await app.broadcast(["room:1"], "passing too", skip_history=True)
        assert results[0].position is None
        last = await app.publish("room:1", "kept too")
        assert first is not None
        assert last == Position(first.epoch, first.offset + 1)
        assert await pubs(ann) == ["kept", "passing", "passing too", "kept too"]
        assert ann.transport.closed is None
    page = await app.history("room:1", limit=None)
    assert [p.data for p in page.publications] == [b'"kept"', b'"kept too"']


async def test_a_subscription_that_overrides_its_namespace(app: Roomful) -> None:
    async with connect(app, data="ann") as ann:
        await app.subscribe("ann", "room:2", override=Override(presence=False))
        await app.subscribe("ann", "room:3")
        await ann.settle()
        assert await app.presence("room:2") == {}
        assert set(await app.presence("room:3")) == {ann.id}


@pytest.mark.parametrize("code", [0, 1999, 3000])
async def test_a_code_that_is_no_unsubscribe_code_is_refused(app: Roomful, code: int) -> None:
    with pytest.raises(BadRequest, match="2000"):
        await app.unsubscribe("ann", "room:1", code=code)


@pytest.mark.parametrize(("code", "reason"), [(1000, "x"), (70_000, "x"), (4000, ""), (4000, "é" * 62)])
async def test_a_disconnect_that_no_close_frame_can_carry_is_refused(app: Roomful, code: int, reason: str) -> None:
    async with connect(app, data="ann") as ann:
        with pytest.raises(BadRequest):
            await app.disconnect("ann", code=code, reason=reason)
        assert ann.transport.closed is None
        await app.disconnect("ann", code=4999, reason="é" * 61 + "!")
        assert await ann.closed() == (4999, "é" * 61 + "!")


async def test_info_that_isnt_json_would_end_whoever_sees_it(app: Roomful) -> None:
    with pytest.raises(BadRequest):
        await app.subscribe("ann", "room:1", info=b"\xff")
    with pytest.raises(BadRequest):
        await app.subscribe("ann", "room:1", data=b"\xff")
    with pytest.raises(BadRequest):
        await app.refresh("ann", info=b"\xff")


async def test_no_subscription_begins_expired(app: Roomful) -> None:
    with pytest.raises(BadRequest, match="past"):
        await app.subscribe("ann", "room:1", expires_at=1.0)


async def test_nothing_lies_before_the_first(app: Roomful) -> None:
    head = (await app.history("room:1")).head
    with pytest.raises(BadRequest):
        await app.history("room:1", limit=1, since=Position(head.epoch, 0), reverse=True)


async def test_methods_for_backends(app: Roomful) -> None:
    @app.on(ServerRpcEvent, method="sum")
    async def total(event: ServerRpcEvent) -> RpcReply:
        return RpcReply(sum(event.data))

    @app.on(ServerRpcEvent, method="broken")
    def broken(_event: ServerRpcEvent) -> None:
        raise ValueError("a bug")

    @app.on(ServerRpcEvent, method="refuses")
    async def refuses(_event: ServerRpcEvent) -> None:
        raise ApplicationError(1000, "not now")

    assert await app.rpc("sum", [1, 2]) == 3
    with pytest.raises(InternalError):
        await app.rpc("broken")
    with pytest.raises(ApplicationError, match="not now"):
        await app.rpc("refuses")
    with pytest.raises(MethodNotFound):
        await app.rpc("nothing")
