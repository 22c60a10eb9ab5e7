"""What a subscribe reply tells of the log: pages, the newest at once, deltas, filters, numbers for channels.

Source: Centrifuge protocol, sections 9.5, 10.3 and 14 to 16.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import pytest
from centrifuge.codecs import _JsonCodec, _ProtobufCodec
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.model.channel import ChannelOptions, Right
from roomful.model.order import SubscribeOrder
from roomful.model.publication import Draft
from roomful.rooms.tags_filter import FilterLimits
from roomful.session.options import LimitOptions
from roomful.session.subscribe import _matches
from roomful.testing.client import CommandError
from tests.session.conftest import MakeWorld
from tests.session.world import World, session_of

KEPT: dict[str, Any] = {"history_size": 20, "history_ttl_s": 60.0}
OPEN: dict[str, Any] = {"subscribe": "client", "publish": Right.CLIENT}
ALL = ChannelOptions(**OPEN, **KEPT, recover=True, delta=True, tags_filter=True, compact=True, join_leave="all")
LAST = ChannelOptions(**OPEN, **KEPT, mode="cache", delta=True, tags_filter=True)

CHESS = {"key": "sport", "cmp": "eq", "val": "chess"}
TEXTS = ["café" + "x" * 60, "cafè" + "x" * 60, "caf😀" + "x" * 60, "caf" + "x" * 60]


@pytest.fixture
async def all_on(make_world: MakeWorld) -> World:
    return await make_world(all=ALL, last=LAST)


async def publish(world: World, channel: str, *texts: str, **more: Any) -> None:
    for text in texts:
        await world.publish(channel, json.dumps({"text": text}, ensure_ascii=False).encode(), **more)


class Reader:
    """Puts payloads together as the official client does."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.deltas: list[bool] = []
        self.delta = False
        self._base = b""

    def read(self, publications: list[dict[str, Any]]) -> Reader:
        for publication in publications:
            self.delta = publication.get("delta", False)
            self.data = publication["data"]
            data, self._base = _JsonCodec.apply_delta_if_needed(self._base, self)
            self.texts.append(data["text"])
            self.deltas.append(self.delta)
        return self


def publications(pushes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [push["pub"] for push in pushes if "pub" in push]


# 15 Deltas


async def test_the_first_is_whole_and_all_that_follow_are_deltas(all_on: World) -> None:
    client = await all_on.client()
    assert (await client.subscribe("all:1", delta="fossil"))["delta"] is True
    await publish(all_on, "all:1", *TEXTS)
    reader = Reader().read(publications(await client.settle()))
    assert (reader.texts, reader.deltas) == (TEXTS, [False, True, True, True])


async def test_so_it_is_within_a_recovery_and_the_live_ones_go_on_from_it(all_on: World) -> None:
    other = await all_on.client()
    await other.subscribe("all:1", delta="fossil")  # the node knows the newest by who is here already
    position = await all_on.head("all:1")
    await publish(all_on, "all:1", *TEXTS)
    client = await all_on.client()
    asked = {"recover": True, "epoch": position.epoch, "offset": position.offset}
    told = await client.subscribe("all:1", delta="fossil", **asked)
    reader = Reader().read(told["publications"])
    assert (reader.texts, reader.deltas) == (TEXTS, [False, True, True, True])
    await publish(all_on, "all:1", "live" + "x" * 60)
    reader.read(publications(await client.settle()))
    assert (reader.texts[-1], reader.deltas[-1]) == ("live" + "x" * 60, True)


async def test_who_has_recovered_nothing_may_have_no_base(all_on: World) -> None:
    """It was at the head without having seen a single payload."""
    other = await all_on.client()
    await other.subscribe("all:1", delta="fossil")  # for whom the node has a base
    await publish(all_on, "all:1", TEXTS[0])
    first = await all_on.client()
    told = await first.subscribe("all:1", delta="fossil")
    first.cut()
    client = await all_on.client()
    await client.subscribe("all:1", delta="fossil", recover=True, epoch=told["epoch"], offset=told["offset"])
    await publish(all_on, "all:1", TEXTS[1])
    reader = Reader().read(publications(await client.settle()))
    assert (reader.texts, reader.deltas) == ([TEXTS[1]], [False])


async def test_after_one_that_was_not_for_it_the_next_is_whole(all_on: World) -> None:
    client, other = await all_on.client(), await all_on.client()
    for each in (client, other):
        await each.subscribe("all:1", delta="fossil")
    await publish(all_on, "all:1", TEXTS[0])
    await publish(all_on, "all:1", TEXTS[1], exclude=frozenset({client.id}))
    await publish(all_on, "all:1", TEXTS[2], TEXTS[3])
    reader = Reader().read(publications(await client.settle()))
    assert (reader.texts, reader.deltas) == ([TEXTS[0], TEXTS[2], TEXTS[3]], [False, False, True])
    reader = Reader().read(publications(await other.settle()))
    assert (reader.texts, reader.deltas) == (TEXTS, [False, True, True, True])


async def test_catching_up_goes_by_deltas_too(make_world: MakeWorld) -> None:
    world = await make_world(all=ALL, limits=LimitOptions(outbox_max_bytes=600, recovery_max=3, recovery_max_bytes=400))
    client = await world.client()
    await client.subscribe("all:1", delta="fossil")
    client.transport.paused = True
    texts = [f"{number:02}{'x' * 60}" for number in range(20)]
    await publish(world, "all:1", *texts)
    client.transport.resume()
    reader = Reader().read(publications(await client.settle()))
    assert reader.texts == texts
    assert reader.deltas.count(True) > reader.deltas.count(False)
    await publish(world, "all:1", "live" + "x" * 60)
    reader.read(publications(await client.settle()))
    assert (reader.texts[-1], reader.deltas[-1]) == ("live" + "x" * 60, True)
    assert world.stats.caught_up == 1


@pytest.mark.parametrize(
    ("channel", "fields", "negotiated"),
    [
        ("all:1", {"delta": "fossil"}, True),
        ("all:1", {}, False),
        ("log:1", {"delta": "fossil"}, False),
        ("free:1", {"delta": "fossil"}, False),
        ("free:1", {"delta": "fossil", "positioned": True}, True),
    ],
)
async def test_who_gets_deltas(make_world: MakeWorld, channel: str, fields: dict[str, Any], negotiated: bool) -> None:
    world = await make_world(all=ALL, free=ChannelOptions(**OPEN, **KEPT, delta=True))
    client = await world.client()
    assert (await client.subscribe(channel, **fields)).get("delta", False) is negotiated
    await world.publish(channel, b'{"text":"whole"}')
    ((publication,),) = [publications(await client.settle())]
    assert publication["data"] == ('{"text":"whole"}' if negotiated else {"text": "whole"})


# 14 Filters


async def test_a_filter_leaves_out_and_the_position_moves_on(all_on: World) -> None:
    client = await all_on.client()
    await client.subscribe("all:1", tf=CHESS)
    for number in range(6):
        await publish(all_on, "all:1", str(number), tags={"sport": "chess" if number % 3 == 0 else "go"})
    await publish(all_on, "all:1", "no tags")
    assert [p["offset"] for p in publications(await client.settle())] == [1, 4]
    assert session_of(client).subscriptions["all:1"].position == await all_on.head("all:1")


async def test_recovery_and_catching_up_leave_out_as_well(make_world: MakeWorld) -> None:
    limits = LimitOptions(outbox_max_bytes=600, recovery_max=3)
    world = await make_world(all=ALL, limits=limits)
    start = await world.head("all:1")
    for number in range(1, 15):
        await publish(world, "all:1", str(number), tags={"sport": "chess" if number % 5 == 0 else "go"})
    client = await world.client()
    told = await client.subscribe("all:1", tf=CHESS, recover=True, epoch=start.epoch, offset=0)
    assert (told["recovered"], told.get("publications", [])) == (True, [])
    assert [p["offset"] for p in publications(await client.settle())] == [5, 10]
    await publish(world, "all:1", "live", tags={"sport": "chess"})
    assert [p["offset"] for p in publications(await client.settle())] == [15]


async def test_what_a_filter_leaves_out_while_the_reply_is_under_way(all_on: World) -> None:
    client = await all_on.client()
    await all_on.head("all:1")
    all_on.engine.quick = False
    client.send({"id": 9, "subscribe": {"channel": "all:1", "tf": CHESS}})
    await all_on.settle()
    while all_on.engine.let():
        await all_on.settle()
        for sport in ("go", "chess"):
            await all_on.memory.broker.publish("all:1", Draft(b"{}", tags={"sport": sport}), ALL.retention)
        while all_on.engine.report():
            pass
    await all_on.engine.rush()
    pushes = publications(await client.settle())
    assert all(p["tags"] == {"sport": "chess"} for p in pushes)
    assert session_of(client).subscriptions["all:1"].position == await all_on.head("all:1")


@pytest.mark.parametrize(
    ("channel", "fields", "code"),
    [
        ("all:1", {"tf": CHESS}, None),
        ("all:1", {"tf": None}, None),
        ("all:1", {"tf": {}}, 107),
        ("all:1", {"tf": {"op": "xor", "nodes": [CHESS]}}, 107),
        ("all:1", {"tf": CHESS, "delta": "fossil"}, 107),
        ("log:1", {"tf": CHESS}, 107),
        ("all:1", {"tf": {"op": "not", "nodes": [{"op": "not", "nodes": [CHESS]}]}}, 107),  # too deep here
    ],
)
async def test_which_filters_are_taken(
    make_world: MakeWorld, channel: str, fields: dict[str, Any], code: int | None
) -> None:
    world = await make_world(all=ALL, filters=FilterLimits(max_depth=2))
    client = await world.client()
    if code is None:
        await client.subscribe(channel, **fields)
    else:
        with pytest.raises(CommandError, match=str(code)):
            await client.subscribe(channel, **fields)
    assert (channel in session_of(client).subscriptions) == (code is None)


async def test_equal_filters_are_compiled_once_and_forgotten_with_the_last(all_on: World) -> None:
    clients = [await all_on.client() for _ in range(3)]
    for client in clients:
        await client.subscribe("all:1", tf=CHESS)
    assert len({session_of(client).subscriptions["all:1"].manner.match for client in clients}) == 1
    assert len(_matches) == 1
    for client in clients:
        await client.unsubscribe("all:1")
    assert len(_matches) == 0


# 10.3 The newest at once


async def test_the_newest_comes_with_the_reply_whether_asked_for_or_not(all_on: World) -> None:
    client = await all_on.client()
    told = await client.subscribe("last:1")
    assert (told["recoverable"], told["was_recovering"], told.get("recovered", False)) == (True, True, False)
    await publish(all_on, "last:1", "one", "two", "three")
    assert len(publications(await client.settle())) == 3
    other = await all_on.client()
    told = await other.subscribe("last:1")
    assert (told["recovered"], told["was_recovering"], told["offset"]) == (True, True, 2)
    assert [(p["data"]["text"], p["offset"]) for p in told["publications"]] == [("three", 3)]
    await publish(all_on, "last:1", "four")
    assert [p["offset"] for p in publications(await other.settle())] == [4]


@pytest.mark.parametrize(
    ("asked", "recovered", "offsets"),
    [
        ({}, True, [3]),
        ({"offset": 1}, True, [3]),
        ({"offset": 3}, True, []),
        ({"offset": 99}, True, [3]),
        ({"offset": 3, "epoch": "other"}, True, [3]),
    ],
)
async def test_from_any_position(all_on: World, asked: dict[str, Any], recovered: bool, offsets: list[int]) -> None:
    await publish(all_on, "last:1", "one", "two", "three")
    epoch = (await all_on.head("last:1")).epoch
    client = await all_on.client()
    told = await client.subscribe("last:1", **({"recover": True, "epoch": epoch} | asked))
    assert (told["recovered"], [p["offset"] for p in told.get("publications", [])]) == (recovered, offsets)
    await publish(all_on, "last:1", "four")
    assert [p["offset"] for p in publications(await client.settle())] == [4]


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [({"offset": 1}, False), ({"offset": 3}, True), ({"offset": 1, "flag": 2}, None)],
)
async def test_when_the_newest_is_gone(all_on: World, asked: dict[str, Any], outcome: bool | None) -> None:
    """None: with the flag that says so, error 112."""
    await publish(all_on, "last:1", "one", "two", "three")
    await all_on.node.remove_history("last:1")
    epoch = (await all_on.head("last:1")).epoch
    client = await all_on.client()
    if outcome is None:
        with pytest.raises(CommandError, match="112"):
            await client.subscribe("last:1", recover=True, epoch=epoch, **asked)
    else:
        told = await client.subscribe("last:1", recover=True, epoch=epoch, **asked)
        assert (told.get("recovered", False), told["offset"]) == (outcome, 3)


async def test_the_newest_that_is_for_this_client(all_on: World) -> None:
    client = await all_on.client()
    await publish(all_on, "last:1", "chess", tags={"sport": "chess"})
    await publish(all_on, "last:1", "not for it", tags={"sport": "chess"}, exclude=frozenset({client.id}))
    await publish(all_on, "last:1", "go", tags={"sport": "go"})
    told = await client.subscribe("last:1", tf=CHESS)
    assert [p["offset"] for p in told["publications"]] == [1]
    await publish(all_on, "last:1", "more", tags={"sport": "chess"})
    assert [p["offset"] for p in publications(await client.settle())] == [4]
    await client.unsubscribe("last:1")
    assert (await client.subscribe("last:1", tf={"key": "sport", "cmp": "eq", "val": "darts"})).get(
        "publications", []
    ) == []


async def test_the_newest_is_the_base_of_the_next(all_on: World) -> None:
    other = await all_on.client()
    await other.subscribe("last:1", delta="fossil")
    await publish(all_on, "last:1", *TEXTS[:2])
    client = await all_on.client()
    reader = Reader().read((await client.subscribe("last:1", delta="fossil"))["publications"])
    await publish(all_on, "last:1", *TEXTS[2:])
    reader.read(publications(await client.settle()))
    assert (reader.texts, reader.deltas) == (TEXTS[1:], [False, True, True])


async def test_whom_the_server_subscribes_gets_the_newest_as_a_push(all_on: World) -> None:
    await publish(all_on, "last:1", "one", "two")
    client = await all_on.client("ann")
    all_on.node.on_order(SubscribeOrder("ann", "last:1"))
    pushes = await client.settle()
    assert [list(push)[-1] for push in pushes] == ["subscribe", "pub"]
    assert publications(pushes)[0]["data"] == {"text": "two"}


# 16 Numbers for channels


async def test_a_number_in_place_of_the_name(all_on: World) -> None:
    client, plain = await all_on.client(), await all_on.client()
    number = (await client.subscribe("all:1", flag=1))["id"]
    assert number > 0
    assert (await client.subscribe("all:2", flag=1))["id"] != number
    assert "id" not in await plain.subscribe("all:1")
    await client.settle()
    await plain.settle()
    await publish(all_on, "all:1", "hello")
    await plain.unsubscribe("all:1")
    assert [(push.get("id"), push.get("channel")) for push in await client.settle()] == [(number, None)] * 2
    session_of(client).drop(session_of(client).subscriptions["all:1"], 2500, "insufficient state")
    assert (await client.settle())[0]["channel"] == "all:1"
    assert (await client.subscribe("all:1", flag=1))["id"] > number


async def test_also_while_catching_up(make_world: MakeWorld) -> None:
    world = await make_world(all=ALL, limits=LimitOptions(outbox_max_bytes=300))
    client = await world.client()
    number = (await client.subscribe("all:1", flag=1))["id"]
    await client.settle()
    client.transport.paused = True
    await publish(world, "all:1", *map(str, range(15)))
    client.transport.resume()
    assert [push.get("id") for push in await client.settle()] == [number] * 15


@pytest.mark.parametrize(("channel", "flag"), [("all:1", 0), ("all:1", 2), ("log:1", 1)])
async def test_only_where_both_want_it(all_on: World, channel: str, flag: int) -> None:
    client = await all_on.client()
    assert "id" not in await client.subscribe(channel, flag=flag)


@pytest.mark.parametrize(("compact", "numbered"), [(True, False), ("all", True)])
async def test_in_protobuf_only_where_no_client_would_lose_what_has_a_number(
    make_world: MakeWorld, compact: bool | Literal["all"], numbered: bool
) -> None:
    world = await make_world(some=ChannelOptions(**OPEN, compact=compact))
    client = world.open(query={"cf_protocol": "protobuf"})
    client.send_bytes(_ProtobufCodec.encode_commands([{"id": 1, "connect": {}}]))
    client.send_bytes(_ProtobufCodec.encode_commands([{"id": 2, "subscribe": {"channel": "some:1", "flag": 1}}]))
    await world.settle()
    await world.publish("some:1")
    await world.settle()
    replies = [reply for piece in client.transport.written for reply in _ProtobufCodec.decode_replies(piece)]
    assert ("id" in replies[1]["subscribe"]) is numbered
    assert ("id" in replies[2]["push"]) is numbered
    assert ("channel" in replies[2]["push"]) is not numbered


async def test_not_for_what_the_server_subscribes(all_on: World) -> None:
    client = all_on.open()
    told = await client.connect(subs={"all:1": {"flag": 1}})
    assert "id" not in told["subs"]["all:1"]
    await client.settle()
    await publish(all_on, "all:1", "hello")
    assert [push["channel"] for push in await client.settle()] == ["all:1"]


async def test_a_bad_filter_in_a_connect_costs_the_connect(all_on: World) -> None:
    client = all_on.open()
    with pytest.raises(CommandError, match="107"):
        await client.connect(subs={"all:1": {"tf": {}}})


# Whatever happens


STEPS = st.lists(
    st.sampled_from(["publish", "publish", "odd", "cut", "stop reading", "read", "again"]),
    max_size=30,
)


@settings(deadline=None)
@given(STEPS, st.sampled_from([{}, {"delta": "fossil"}, {"tf": CHESS}]))
def test_in_the_end_everybody_has_the_newest(steps: list[str], fields: dict[str, Any]) -> None:
    asyncio.run(_newest_after(steps, fields))


async def _newest_after(steps: list[str], fields: dict[str, Any]) -> None:
    """One client of a cache channel, which keeps what came last; what its filter leaves out doesn't count."""
    world = World(last=LAST, limits=LimitOptions(outbox_max_bytes=700, recovery_max=5))
    await world.start()
    client, reader, position, newest = await world.client(), Reader(), dict[str, Any](), ""

    async def subscribe() -> None:
        told = await client.subscribe("last:1", **fields, **position)
        position.update(recover=True, epoch=told["epoch"], offset=told.get("offset", 0))
        take(told.get("publications", []))

    def take(arrived: list[dict[str, Any]]) -> None:
        for publication in arrived:
            if "offset" in publication:
                position["offset"] = publication["offset"]
        if "delta" in fields:
            reader.read(arrived)
        else:
            reader.texts += [publication["data"]["text"] for publication in arrived]

    async def drain() -> None:
        pushes = await client.settle()
        take(publications(pushes))
        if any("unsubscribe" in push for push in pushes):
            await subscribe()

    await subscribe()
    for number, step in enumerate(steps):
        text = f"{number} é" + "x" * 90
        match step:
            case "publish":
                await publish(world, "last:1", text, tags={"sport": "chess"})
                newest = text
            case "odd":
                await publish(world, "last:1", text, tags={"sport": "go"})
                newest = newest if "tf" in fields else text
            case "cut":
                await drain()
                client.cut()
                client = await world.client()
                await subscribe()
            case "stop reading":
                client.transport.paused = True
            case "read":
                client.transport.resume()
                await drain()
            case "again":
                client.transport.resume()
                await drain()
                await client.unsubscribe("last:1")
                await subscribe()
    client.transport.resume()
    await drain()
    await drain()
    assert reader.texts[-1:] == ([newest] if newest else [])
    await world.stop()


async def test_five_hundred_who_come_back_at_once_share_two_reads_of_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(world, "log:1", *"abcdefghij")
    epoch = (await world.head("log:1")).epoch
    clients = [await world.client() for _ in range(500)]
    reads = 0
    history = world.memory.broker.history

    async def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return await history(*arguments)

    monkeypatch.setattr(world.memory.broker, "history", counted)
    world.engine.quick = False
    for number, client in enumerate(clients):
        since = {"recover": True, "epoch": epoch, "offset": number % 10}
        client.send({"id": 7, "subscribe": {"channel": "log:1", **since}})
    await world.settle()
    while world.engine.let(name="subscribe"):  # the broker's: from here on everybody listens
        await world.settle()
    await world.engine.rush()
    assert reads == 2
    for number, client in enumerate(clients):
        client.read()
        told = client._replies[7]["subscribe"]
        assert told["recovered"]
        assert [found["offset"] for found in told.get("publications", [])] == list(range(number % 10 + 1, 11))
