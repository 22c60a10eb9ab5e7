"""`people:` as clients see it: who may, the state and its changes, what a person says of itself, what is clean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roomful.model.channel import ChannelOptions, Right
from roomful.model.disconnects import DISCONNECTS
from roomful.model.event import SubscribeEvent, SubscribeReply
from roomful.model.order import DisconnectOrder, UnsubscribeOrder
from roomful.rooms.attendance import GRACE_S
from roomful.seams.transport import Request
from roomful.session.options import ConnectionOptions, LimitOptions
from roomful.session.poll import Poll
from roomful.testing.client import Client, CommandError
from roomful.wire.poll import POLL
from tests.session.conftest import MakeWorld
from tests.session.world import outcome, session_of

FACET = "people:room:1"
QUIET = ConnectionOptions(ping_s=0.0)


def changes(pushes: list[dict[str, Any]], channel: str = FACET) -> list[tuple[str, str]]:
    return [
        (person["user"], person["status"])
        for push in pushes
        if push.get("channel") == channel and "pub" in push
        for person in push["pub"]["data"]["people"]
    ]


async def test_from_end_to_end(make_world: MakeWorld) -> None:
    world = await make_world(options=QUIET)
    ann, bob = await world.client("ann"), await world.client("bob")
    await ann.subscribe("room:1")
    await world.pass_time(0.5)
    reply = await bob.subscribe(FACET)
    assert [person["user"] for person in reply["data"]["people"]] == ["ann"]
    assert (reply["data"]["online"], reply["data"]["away"]) == (1, 0)
    assert (reply["positioned"], reply.get("recoverable", False)) == (True, False)
    position = await world.head(FACET)
    assert (reply["epoch"], reply["offset"]) == (position.epoch, position.offset)
    await bob.subscribe("room:1")
    await world.pass_time(0.5)
    assert changes(await bob.settle()) == [("bob", "online")]
    await ann.unsubscribe("room:1")
    await world.pass_time(0.5)
    assert changes(await bob.settle()) == [("ann", "gone")]


@pytest.mark.parametrize(
    ("closing", "expected"),
    [
        ((1000, ""), "gone"),
        ((1005, ""), "gone"),
        ((1001, "the page goes"), "away"),
        ((1006, ""), "away"),
    ],
)
async def test_19_a_good_bye_has_no_grace_and_a_loss_has(
    make_world: MakeWorld, closing: tuple[int, str], expected: str
) -> None:
    world = await make_world(options=QUIET)
    ann, bob = await world.client("ann"), await world.client("bob")
    await ann.subscribe("room:1")
    await world.pass_time(0.5)
    await bob.subscribe(FACET)
    session_of(ann).on_close(*closing)
    await world.pass_time(2.0)
    assert changes(await bob.settle()) == [("ann", expected)]
    await world.pass_time(GRACE_S)
    assert changes(await bob.settle()) == ([("ann", "gone")] if expected == "away" else [])


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (DisconnectOrder("ann"), "gone"),
        (DisconnectOrder("ann", "", "", *DISCONNECTS["shutdown"]), "away"),
        (UnsubscribeOrder("ann", "room:1"), "gone"),
        (UnsubscribeOrder("ann", "room:1", code=2500), "away"),
    ],
)
async def test_who_is_sent_away_is_gone_unless_it_is_to_come_back(
    make_world: MakeWorld, order: DisconnectOrder | UnsubscribeOrder, expected: str
) -> None:
    world = await make_world(options=QUIET)
    ann, bob = await world.client("ann"), await world.client("bob")
    await ann.subscribe("room:1")
    await world.pass_time(0.5)
    await bob.subscribe(FACET)
    await world.node.order(order)
    await world.pass_time(2.0)
    assert changes(await bob.settle()) == [("ann", expected)]


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (ChannelOptions(subscribe="client", presence=True), "in"),
        (ChannelOptions(subscribe="client", presence=True, see_presence=Right.NOBODY), 103),
        (ChannelOptions(subscribe="client", presence=True, see_presence=Right.USER), "in"),
        (ChannelOptions(subscribe="client"), 108),
        (ChannelOptions(presence=True), 103),
        (ChannelOptions(presence=True, see_presence=Right.CLIENT), 103),
    ],
)
async def test_who_may_see_it(make_world: MakeWorld, room: ChannelOptions, expected: str | int) -> None:
    world = await make_world(room=room)
    assert await outcome(await world.client("ann"), FACET) == expected


async def test_who_is_in_a_room_but_may_not_see_presence(make_world: MakeWorld) -> None:
    world = await make_world(room=ChannelOptions(subscribe="client", presence=True, see_presence=Right.USER))
    nobody = await world.client()
    await nobody.subscribe("room:1")
    assert await outcome(nobody, FACET) == 103


async def test_where_presence_is_hidden_a_token_or_a_hook_has_to_name_the_facet(make_world: MakeWorld) -> None:
    hidden = ChannelOptions(subscribe="client", presence=True, see_presence=Right.NOBODY)
    world = await make_world(room=hidden)
    ann = await world.client("ann")
    assert await outcome(ann, FACET, world.channel_token("ann", "room:1")) == 103
    assert await outcome(ann, FACET, world.channel_token("ann", FACET)) == "in"

    @world.on(SubscribeEvent, "room:*")
    def may(event: SubscribeEvent) -> SubscribeReply | None:
        return SubscribeReply() if event.facet == "people" and event.user == "bob" else None

    assert await outcome(await world.client("bob"), FACET) == "in"
    assert await outcome(await world.client("cid"), FACET) == 103


async def test_it_ends_with_the_room(make_world: MakeWorld) -> None:
    world = await make_world(closed=ChannelOptions(presence=True))
    ann = await world.client("ann")
    await ann.subscribe("closed:1", token=world.channel_token("ann", "closed:1"))
    await ann.subscribe("people:closed:1")
    await world.node.order(UnsubscribeOrder("ann", "closed:1"))
    ended = [(push["channel"], push["unsubscribe"]["code"]) for push in await ann.settle() if "unsubscribe" in push]
    assert sorted(ended) == [("closed:1", 2000), ("people:closed:1", 2000)]


@pytest.mark.parametrize("insecure", [False, True])
async def test_19_nobody_speaks_for_another_and_nobody_reads_the_log(make_world: MakeWorld, insecure: bool) -> None:
    world = await make_world(insecure=insecure, options=QUIET)
    ann = await world.client("ann")
    reply = await ann.subscribe(FACET, recoverable=True, recover=True)
    assert "recovered" not in reply
    assert not reply.get("recoverable")
    forged = {"people": [{"user": "bob", "status": "online"}]}
    for call in (ann.publish(FACET, forged), ann.call(history={"channel": FACET, "limit": 10})):
        with pytest.raises(CommandError) as raised:
            await call
        assert raised.value.code == 108
    nobody = await world.client()
    await nobody.subscribe("room:1", data={"user": "bob"})
    await world.pass_time(0.5)
    assert changes(await ann.settle()) == [(f"~{nobody.id}", "online")]


async def test_what_a_person_says_of_itself(make_world: MakeWorld) -> None:
    world = await make_world(options=QUIET)
    ann, bob = await world.client("ann"), await world.client("bob")
    await ann.subscribe("room:1")
    await bob.subscribe(FACET)
    await world.pass_time(0.5)
    await bob.settle()

    async def say(client: Client, status: Any = "busy", channel: str = "room:1", **more: Any) -> str | int:
        data = {"channel": channel, "status": status, **more}
        try:
            await client.call(rpc={"method": "people.status", "data": data})
        except CommandError as error:
            return error.code
        return "said"

    assert await say(ann) == "said"
    await world.pass_time(0.5)
    (push,) = await bob.settle()
    (person,) = push["pub"]["data"]["people"]
    assert (person["user"], person["status"], person["custom"]) == ("ann", "online", "busy")
    assert await say(bob) == 103, "it isn't in the room"
    assert await say(ann, user="bob") == 107
    assert await say(ann, "x" * 2_000) == 106
    assert await say(ann, channel="room:2") == 103
    await world.pass_time(0.5)
    assert await bob.settle() == []
    assert await say(ann, None) == "said"
    await world.pass_time(0.5)
    (push,) = await bob.settle()
    assert "custom" not in push["pub"]["data"]["people"][0]


async def test_a_slow_reader_comes_back_to_a_new_state_and_keeps_its_connection(make_world: MakeWorld) -> None:
    world = await make_world(options=QUIET, limits=LimitOptions(outbox_max_bytes=2_000))
    bob, others = await world.client("bob"), []
    await bob.subscribe(FACET)
    bob.transport.paused = True
    for number in range(30):
        others.append(await world.client(f"user-{number}"))
        await others[-1].subscribe("room:1")
        await world.pass_time(0.3)
    bob.transport.resume()
    pushes = await bob.settle()
    assert pushes[-1] == {"channel": FACET, "unsubscribe": {"code": 2500, "reason": "insufficient state"}}
    state = (await bob.subscribe(FACET))["data"]
    assert (state["online"], len(state["people"])) == (30, 30)


async def test_a_poll_gets_the_whole_state(make_world: MakeWorld) -> None:
    world = await make_world(options=QUIET)
    ann = await world.client("ann")
    await ann.subscribe("room:1")
    await world.pass_time(0.5)
    news = await Poll(world.context, POLL, Request("/poll"), {FACET: None}).ask("", 0.0)
    assert [person["user"] for person in json.loads(news.state[FACET])["people"]] == ["ann"]


async def test_a_subscription_that_fails_leaves_nobody_behind(make_world: MakeWorld) -> None:
    world = await make_world(options=QUIET)
    ann, bob = await world.client("ann"), await world.client("bob")
    await bob.subscribe(FACET)
    world.engine.broken = {"history"}
    with pytest.raises(CommandError):
        await ann.subscribe("room:1")
    world.engine.broken = set()
    await world.pass_time(1.0)
    assert changes(await bob.settle()) == []
    assert len(world.node.people) == 0
