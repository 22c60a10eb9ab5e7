"""Reading on from the log: after a slow phase and for a recovery of many pages. Everything once, in order, or told."""

from __future__ import annotations

from typing import Any

import pytest

from roomful.engines.memory import MemoryEngine
from roomful.model.channel import ChannelOptions, Right
from roomful.model.order import SubscribeOrder
from roomful.model.publication import Draft
from roomful.session.options import LimitOptions
from roomful.testing.client import Client
from tests.session.conftest import MakeWorld
from tests.session.world import LOG, World, session_of

SMALL = LimitOptions(outbox_max_bytes=500, recovery_max=3, recovery_max_bytes=200)
SHORT = ChannelOptions(subscribe="client", publish=Right.CLIENT, history_size=5, history_ttl_s=60.0, recover=True)


@pytest.fixture
async def small(make_world: MakeWorld) -> World:
    return await make_world(limits=SMALL, short=SHORT)


def offsets(pushes: list[dict[str, Any]], channel: str = "log:1") -> list[int]:
    return [push["pub"]["offset"] for push in pushes if push["channel"] == channel and "pub" in push]


async def reads(client: Client) -> list[dict[str, Any]]:
    """The client reads until nothing more comes."""
    client.transport.resume()
    return await client.settle()


async def test_a_client_that_reads_slowly_gets_everything_when_it_reads(small: World) -> None:
    client = await small.client()
    await client.subscribe("log:1")
    client.transport.paused = True
    for _ in range(60):
        await small.publish("log:1")
    assert session_of(client).outbox.bytes <= 500
    assert offsets(await reads(client)) == list(range(1, 61))
    await small.publish("log:1")
    assert offsets(await client.settle()) == [61]
    assert (small.stats.fell_behind, small.stats.caught_up) == (1, 1)


async def test_however_often_it_stops_reading(small: World) -> None:
    client = await small.client()
    await client.subscribe("log:1")
    got: list[int] = []
    for _ in range(8):
        client.transport.paused = True
        for _ in range(11):
            await small.publish("log:1")
        got += offsets(await reads(client))
        await small.publish("log:1")
    got += offsets(await client.settle())
    assert got == list(range(1, 97))


async def test_one_page_a_turn_so_that_others_have_theirs(small: World) -> None:
    for _ in range(30):
        await small.publish("log:1")
    client = await small.client()
    await client.subscribe("log:1", recover=True)
    await client.settle()
    assert max(piece.count(b"offset") for piece in client.transport.written) <= 3


async def test_8_a_recovery_of_many_pages(small: World) -> None:
    for _ in range(50):
        await small.publish("log:1")
    client = await small.client()
    result = await client.subscribe("log:1", recover=True)
    assert (result["recovered"], result["was_recovering"], "offset" in result) == (True, True, False)
    assert [p["offset"] for p in result["publications"]] == [1, 2, 3]
    await small.publish("log:1")
    assert offsets(await client.settle()) == list(range(4, 52))


async def test_publications_that_arent_for_it_are_passed_over(small: World) -> None:
    client = await small.client()
    await client.subscribe("log:1")
    client.transport.paused = True
    for number in range(60):
        await small.publish("log:1", exclude=frozenset({client.id} if number % 20 else ()))
    assert offsets(await reads(client)) == [1, 21, 41]
    await small.publish("log:1")
    assert offsets(await client.settle()) == [61]


async def test_8_trimmed_while_it_was_behind_is_told(small: World) -> None:
    client = await small.client()
    await client.subscribe("short:1")
    client.transport.paused = True
    for _ in range(60):
        await small.publish("short:1")
    pushes = await reads(client)
    got = offsets(pushes, "short:1")
    assert got == list(range(1, len(got) + 1))
    assert pushes[-1] == {"channel": "short:1", "unsubscribe": {"code": 2500, "reason": "insufficient state"}}
    assert small.stats.gaps == {"trimmed": 1}
    result = await client.subscribe("short:1", recover=True, offset=len(got), epoch=(await small.head("short:1")).epoch)
    assert (result["was_recovering"], "recovered" in result, result["offset"]) == (True, False, 60)


async def test_the_same_for_a_server_side_one_ends_the_connection(small: World) -> None:
    client = await small.client("ann")
    await small.node.order(SubscribeOrder("ann", "short:1"))
    client.transport.paused = True
    for _ in range(60):
        await small.publish("short:1")
    await reads(client)
    assert client.transport.closed == (3010, "insufficient state")


@pytest.mark.parametrize("how", ["removed", "expired"])
async def test_a_log_that_is_gone_is_told(small: World, how: str) -> None:
    client = await small.client()
    await client.subscribe("log:1")
    client.transport.paused = True
    for _ in range(60):
        await small.publish("log:1")
    if how == "removed":
        await small.node.remove_history("log:1")
    else:
        small.clock.advance(301.0)
    pushes = await reads(client)
    assert offsets(pushes) == list(range(1, len(pushes)))
    assert pushes[-1]["unsubscribe"]["code"] == 2500
    assert small.stats.gaps == {"expired": 1}


async def test_a_log_that_began_anew_is_told(small: World) -> None:
    client = await small.client()
    await client.subscribe("log:1")
    client.transport.paused = True
    for _ in range(60):
        await small.publish("log:1")
    small.memory.broker.streams = MemoryEngine().broker.streams
    pushes = await reads(client)
    assert pushes[-1]["unsubscribe"]["code"] == 2500
    assert small.stats.gaps == {"epoch": 1}


async def test_a_log_that_cant_be_read_is_told(small: World, caplog: pytest.LogCaptureFixture) -> None:
    client = await small.client()
    await client.subscribe("log:1")
    client.transport.paused = True
    for _ in range(60):
        await small.publish("log:1")
    small.engine.broken.add("history")
    pushes = await reads(client)
    small.engine.broken.clear()
    assert pushes[-1]["unsubscribe"]["code"] == 2500
    assert small.stats.gaps == {"unreadable": 1}
    (line,) = [record for record in caplog.records if record.msg == "the log of %r can't be read: %s"]
    assert (line.levelname, line.__dict__["client"]) == ("WARNING", client.id)


async def test_a_log_that_is_shorter_than_what_has_arrived_is_told_and_not_asked_for_ever(small: World) -> None:
    """A broker that lost its newest entries but not its epoch."""
    client = await small.client()
    await client.subscribe("log:1")
    client.transport.paused = True
    for _ in range(60):
        await small.publish("log:1")
    session_of(client).subscriptions["log:1"].seen = 65
    pushes = await reads(client)
    assert offsets(pushes) == list(range(1, len(pushes)))
    assert pushes[-1]["unsubscribe"]["code"] == 2500
    assert small.stats.gaps == {"epoch": 1}


@pytest.mark.parametrize("stalls", [False, True])
async def test_many_that_are_behind_share_the_room(small: World, stalls: bool) -> None:
    """No page is read that there is no room for, also where the client stops after each write."""
    client = await small.client()
    channels = [f"log:{number}" for number in range(20)]
    for channel in channels:
        await client.subscribe(channel)
    client.transport.paused = True
    for _ in range(12):
        for channel in channels:
            await small.publish(channel)
    pages, history, write = 0, small.node.history, client.transport.write

    async def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal pages
        pages += 1
        return await history(*arguments, **more)

    def stalling(data: bytes, binary: bool) -> None:
        write(data, binary)
        client.transport.paused = stalls

    small.node.history = counted  # type: ignore[method-assign]
    client.transport.write = stalling  # type: ignore[method-assign]
    pushes = await reads(client)
    while client.transport.paused:
        pushes += await reads(client)
    for channel in channels:
        assert offsets(pushes, channel) == list(range(1, 13))
    assert pages <= 20 * (12 / SMALL.recovery_max) * 1.5


async def test_with_a_slow_engine_live_ones_wait_for_the_page(small: World) -> None:
    client = await small.client()
    await client.subscribe("log:1")
    client.transport.paused = True
    for _ in range(20):
        await small.publish("log:1")
    small.engine.quick = False
    client.transport.resume()
    got: list[int] = []
    for _ in range(40):
        await small.memory.broker.publish("log:1", Draft(b"{}"), LOG.retention)
        small.engine.report()
        small.engine.let()
        got += offsets(await client.settle())
    assert got == list(range(1, len(got) + 1))
    await small.engine.rush()
    got += offsets(await client.settle())
    assert got == list(range(1, 61))


async def test_it_ends_while_a_page_is_under_way(small: World) -> None:
    for end in ("unsubscribe", "cut"):
        client = await small.client()
        await client.subscribe("log:1")
        client.transport.paused = True
        for _ in range(20):
            await small.publish("log:1")
        small.engine.quick = False
        client.transport.resume()
        await client.settle()
        if end == "cut":
            client.cut()
        else:
            client.send({"id": 99, "unsubscribe": {"channel": "log:1"}})
        await small.engine.rush()
        assert offsets(await client.settle()) == []
        client.cut()
        await small.settle()


async def test_joins_while_it_was_behind_are_a_gap_in_the_end(make_world: MakeWorld) -> None:
    world = await make_world(limits=SMALL)
    client = await world.client()
    await client.subscribe("room:1", join_leave=True)
    await client.settle()
    client.transport.paused = True
    for _ in range(20):
        await world.publish("room:1")
    other = await world.client()
    await other.subscribe("room:1")
    pushes = await reads(client)
    assert offsets(pushes, "room:1") == list(range(1, 21))
    assert pushes[-1]["unsubscribe"]["code"] == 2500
    assert world.stats.gaps == {"unlogged": 1}
