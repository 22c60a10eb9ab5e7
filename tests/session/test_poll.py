from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.engines.memory import MemoryEngine
from roomful.model.channel import ChannelOptions, Right
from roomful.model.disconnects import Disconnect
from roomful.model.errors import Forbidden, LimitExceeded, NotAvailable, UnknownChannel
from roomful.model.event import ConnectEvent, DisconnectEvent, SubscribeEvent, SubscribeReply
from roomful.model.order import DisconnectOrder, RefreshOrder
from roomful.model.publication import Position
from roomful.rooms.recovery import Gap
from roomful.seams.transport import Request
from roomful.session.options import LimitOptions
from roomful.session.poll import News, Poll, Since
from roomful.wire.poll import POLL
from tests.session.conftest import MakeWorld
from tests.session.world import World

OPEN: dict[str, Any] = {"subscribe": "client", "publish": Right.CLIENT}
SMALL = LimitOptions(recovery_max=3, recovery_max_bytes=300)
LONG_S = 5.0


async def poll(world: World, since: Since, token: str = "", wait_s: float = 0.0) -> News:
    options = msgspec.structs.replace(world.context.options, ping_s=0.0, expired_grace_s=0.0)
    async with asyncio.timeout(2 * LONG_S):
        return await Poll(replace(world.context, options=options), POLL, Request("/poll"), since).ask(token, wait_s)


async def waiting(world: World, since: Since, token: str = "") -> asyncio.Task[News]:
    """One that has begun to wait."""
    polling = asyncio.create_task(poll(world, since, token, LONG_S))
    await world.settle(20)
    assert not polling.done()
    return polling


async def numbers(world: World, channel: str, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await world.publish(channel, b"%d" % number)


def texts(news: News) -> list[int]:
    return [int(publication.data) for _, publication in news.publications]


async def test_the_first_one_says_where_to_begin(world: World) -> None:
    await numbers(world, "log:1", 1, 3)
    news = await poll(world, {"log:1": None, "log:2": None})
    assert news == News({"log:1": await world.head("log:1"), "log:2": await world.head("log:2")})


async def test_what_was_missed_comes_at_once(world: World) -> None:
    first = await poll(world, {"log:1": None, "log:2": None})
    await numbers(world, "log:1", 1, 2)
    await numbers(world, "log:2", 3, 4)
    news = await poll(world, first.next, wait_s=LONG_S)
    assert texts(news) == [1, 2, 3, 4]
    assert [channel for channel, _ in news.publications] == ["log:1", "log:1", "log:2", "log:2"]
    assert news.next["log:1"] == await world.head("log:1")
    assert await poll(world, news.next) == News(news.next)


async def test_the_same_question_gets_the_same_answer(world: World) -> None:
    """So an answer that was lost is asked for again."""
    first = await poll(world, {"log:1": None})
    await numbers(world, "log:1", 1, 2)
    assert (
        await poll(world, first.next) == await poll(world, first.next) == await poll(world, first.next, wait_s=LONG_S)
    )


async def test_else_it_waits_for_the_first_publication(world: World) -> None:
    first = await poll(world, {"log:1": None, "log:2": None})
    overlapping = [await waiting(world, first.next) for _ in range(3)]
    await numbers(world, "log:2", 1, 2)  # in one turn: in one answer
    for polling in overlapping:
        news = await polling
        assert texts(news) == [1, 2]
        assert news.next == {**first.next, "log:2": await world.head("log:2")}
    assert len(await world.node.presence("room:1")) == 0


async def test_after_the_wait_there_is_nothing(world: World) -> None:
    first = await poll(world, {"log:1": None})
    assert await poll(world, first.next, wait_s=0.01) == News(first.next)


async def test_it_stands_in_no_presence_and_announces_nothing(world: World) -> None:
    bob = await world.client("bob")
    await bob.subscribe("room:1", join_leave=True)
    await bob.settle()
    first = await poll(world, {"room:1": None}, world.token("ann"))
    polling = await waiting(world, first.next, world.token("ann"))
    assert [info.user for info in (await world.node.presence("room:1")).values()] == ["bob"]
    await world.publish("room:1", b"1")
    assert texts(await polling) == [1]
    assert [push for push in await bob.settle() if "pub" not in push] == []


async def test_many_pages_are_many_polls(make_world: MakeWorld) -> None:
    world = await make_world(limits=SMALL)
    since = (await poll(world, {"log:1": None, "log:2": None})).next
    await numbers(world, "log:1", 1, 10)
    await numbers(world, "log:2", 11, 20)
    found = []
    while True:
        news = await poll(world, since, wait_s=0.01)
        if news.empty:
            break
        assert len(news.publications) <= 6
        found += texts(news)
        since = news.next
    assert sorted(found) == list(range(1, 21))


@pytest.mark.parametrize("reason", [Gap.TRIMMED, Gap.EXPIRED, Gap.EPOCH])
async def test_gaps(make_world: MakeWorld, reason: Gap) -> None:
    world = await make_world(short=ChannelOptions(**OPEN, history_size=3, history_ttl_s=60, recover=True))
    first = await poll(world, {"short:1": None})
    before = first.next["short:1"]
    await numbers(world, "short:1", 1, 5)
    if reason is Gap.EXPIRED:
        await world.node.remove_history("short:1")
    if reason is Gap.EPOCH:
        world.memory.broker.streams = MemoryEngine(clock=world.clock).broker.streams
    news = await poll(world, first.next, wait_s=LONG_S)
    (missing,) = news.missing
    head = await world.head("short:1")
    to = Position(head.epoch, 2) if reason is Gap.TRIMMED else head
    assert (missing.channel, missing.since, missing.to, missing.reason) == ("short:1", before, to, reason)
    assert texts(news) == ([3, 4, 5] if reason is Gap.TRIMMED else [])
    assert news.next == {"short:1": head}


async def test_what_the_node_did_not_hear_is_in_the_log(world: World) -> None:
    first = await poll(world, {"log:1": None})
    polling = await waiting(world, first.next)
    subscribed = world.memory.broker._subscribed
    subscribed.discard("log:1")
    await numbers(world, "log:1", 1, 3)
    subscribed.add("log:1")
    await numbers(world, "log:1", 4, 4)
    assert texts(await polling) == [1, 2, 3, 4]


async def test_another_life_of_the_log_while_it_waits(world: World) -> None:
    first = await poll(world, {"log:1": None})
    polling = await waiting(world, first.next)
    world.memory.broker.streams = MemoryEngine(clock=world.clock).broker.streams
    await numbers(world, "log:1", 1, 1)
    news = await polling
    assert [missing.reason for missing in news.missing] == [Gap.EPOCH]
    assert news.next == {"log:1": await world.head("log:1")}


# What can't be polled, and who may not


async def test_a_channel_without_history_has_nothing_to_go_on_from(world: World) -> None:
    with pytest.raises(NotAvailable):
        await poll(world, {"news": None})


async def test_state_comes_along(make_world: MakeWorld) -> None:
    world = await make_world()

    @world.on(SubscribeEvent)
    async def granted(event: SubscribeEvent) -> SubscribeReply:
        return SubscribeReply(data={"topic": event.channel})

    first = await poll(world, {"log:1": None})
    assert first.state == {"log:1": b'{"topic":"log:1"}'}
    assert (await poll(world, first.next, wait_s=0.01)).state == first.state


async def test_a_facet_gives_its_whole_state(world: World) -> None:
    ann = await world.client("ann")
    await ann.subscribe("room:1")
    first = await poll(world, {"room:1": None, "typing:room:1": None})
    assert first.state == {"typing:room:1": b'{"typing":[]}'}
    assert first.next["typing:room:1"] is None
    polling = await waiting(world, first.next)
    await ann.publish("typing:room:1", {"typing": True})
    news = await polling
    assert msgspec.json.decode(news.state["typing:room:1"]) == {"typing": [{"user": "ann"}]}
    assert news.publications == []


async def test_rights_are_those_of_a_subscribe(make_world: MakeWorld) -> None:
    world = await make_world(log2=ChannelOptions(subscribe="user", history_size=3, history_ttl_s=60, recover=True))
    with pytest.raises(Forbidden):
        await poll(world, {"log2:1": None})
    with pytest.raises(UnknownChannel):
        await poll(world, {"nowhere:1": None})
    with pytest.raises(Disconnect):
        await poll(world, {"log:1": None}, "a.b.c")
    with pytest.raises(LimitExceeded):
        await poll(world, {f"log:{number}": None for number in range(33)})
    await poll(world, {"log2:1": None}, world.token("ann"))
    await poll(world, {"$log:1": None, "typing:$log:1": None}, world.token("ann", subs={"$log:1": {}}))
    with pytest.raises(Forbidden):
        await poll(world, {"typing:$log:1": None}, world.token("ann"))


async def test_hooks_hear_of_each(world: World) -> None:
    heard: list[Any] = []

    @world.on(ConnectEvent)
    async def on_connect(event: ConnectEvent) -> None:
        heard.append((event.user, event.transport))

    @world.on(DisconnectEvent)
    async def on_disconnect(event: DisconnectEvent) -> None:
        heard.append((event.user, event.code))

    await poll(world, {"log:1": None}, world.token("ann"))
    await _until(lambda: len(heard) == 2)
    assert heard == [("ann", "poll"), ("ann", 3000)]


# How it ends otherwise


async def test_draining_answers_with_nothing(make_world: MakeWorld) -> None:
    world = await make_world()
    first = await poll(world, {"log:1": None})
    polling = await waiting(world, first.next)
    world.node._end_all()
    assert await polling == News(first.next)


async def test_orders_and_expiry_end_it(world: World) -> None:
    first = await poll(world, {"log:1": None})
    sent_away = await waiting(world, first.next, world.token("ann"))
    world.node.on_order(DisconnectOrder("ann"))
    with pytest.raises(Disconnect) as ending:
        await sent_away
    assert ending.value.code == 3503
    expiring = await waiting(world, first.next, world.token("bob"))
    world.node.on_order(RefreshOrder("bob", expires_at=world.wall() + 3))
    await world.pass_time(4)
    with pytest.raises(Disconnect) as ending:
        await expiring
    assert ending.value.code == 3005


async def test_a_client_that_is_gone_leaves_nothing(world: World) -> None:
    first = await poll(world, {"log:1": None})
    polling = await waiting(world, first.next, world.token("ann"))
    polling.cancel()
    await world.settle()
    world.assert_empty()


async def test_an_engine_far_away(make_world: MakeWorld) -> None:
    """Whatever arrives when: each poll's answer is what the log has."""
    world = await make_world()
    first = await poll(world, {"log:1": None})
    world.engine.quick = False
    polling = asyncio.create_task(poll(world, first.next, wait_s=LONG_S))
    publishing = asyncio.create_task(numbers(world, "log:1", 1, 3))
    for number in range(200):
        world.engine.let(number)
        if number % 5 == 0:
            world.engine.report()
        await world.settle(2)
    await world.engine.rush()
    await publishing
    since, found = first.next, []
    news = await polling
    while not news.empty:
        found += texts(news)
        since = news.next
        news = await poll(world, since)
    assert found == [1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["publish", "poll", "wait", "lost", "trim"]), max_size=40))
def test_every_number_once_and_in_order_or_in_a_gap(steps: list[str]) -> None:
    async def run() -> None:
        world = World(short=ChannelOptions(**OPEN, history_size=4, history_ttl_s=300, recover=True))
        await world.start()
        since = (await poll(world, {"short:1": None})).next
        published = 0
        for step in [*steps, "poll"]:
            news = News(since)
            if step == "publish":
                published += 1
                await numbers(world, "short:1", published, published)
            elif step == "wait":
                polling = asyncio.create_task(poll(world, since, wait_s=LONG_S))
                await world.settle(2)
                published += 1
                await numbers(world, "short:1", published, published)
                news = await polling
            elif step == "trim":
                await world.node.remove_history("short:1")
            else:
                news = await poll(world, since)
            if step == "lost":
                continue
            known = since["short:1"]
            assert known is not None
            reached = known.offset
            for missing in news.missing:
                assert missing.since == known
                assert missing.to is not None
                reached = missing.to.offset
            assert texts(news) == list(range(reached + 1, reached + 1 + len(news.publications)))
            since = news.next
        last = since["short:1"]
        assert last is not None
        assert last.offset == published
        await world.stop()

    asyncio.run(run())


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # hooks run in tasks of their own
            await asyncio.sleep(0.001)
