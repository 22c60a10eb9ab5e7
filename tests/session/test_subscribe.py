"""Subscribe and unsubscribe: who may, what is agreed, and from where on.

Source: Centrifuge protocol, sections 9, 10, 11.1 and 21.4.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from roomful.engines.memory import MemoryEngine
from roomful.model.channel import ChannelOptions, Right
from roomful.model.client import Override
from roomful.model.disconnects import Disconnect
from roomful.model.errors import ApplicationError, Forbidden
from roomful.model.event import SubscribeEvent, SubscribeReply, UnsubscribeEvent
from roomful.model.publication import Draft
from roomful.session.options import LimitOptions
from roomful.testing.client import Client, Closed, CommandError
from tests.session.conftest import MakeWorld
from tests.session.world import LOG, World, session_of

HISTORY: dict[str, Any] = {"history_size": 10, "history_ttl_s": 60.0}

ASK = ChannelOptions(subscribe="client", publish=Right.CLIENT, **HISTORY)
"""Positioning and recovery for whoever asks."""


async def outcome(client: Client, channel: str, **fields: Any) -> str | int:
    """Whether it is "in", the code of an error reply, or the code of the disconnect."""
    try:
        await client.subscribe(channel, **fields)
    except CommandError as error:
        assert client.transport.closed is None
        return error.code
    except Closed as closed:
        return closed.code
    return "in"


# 21.4 Who may


GRANTED_TO: dict[str, dict[str, str | int]] = {
    "open:1": {"ann": "in", "": "in"},
    "users:1": {"ann": "in", "": 103},
    "nobody:1": {"ann": 103, "": 103},
    "$open:1": {"ann": 103, "": 103},
    "limited:#ann": {"ann": "in", "bob": 103, "": 103},
    "limited:x#bob,ann": {"ann": "in", "bob": "in", "": 103},
    "limited:x#": {"ann": 103, "": 103},
    "limited:#annabel": {"ann": 103},
    "limited:1": {"ann": "in", "": "in"},
    "open:#bob": {"ann": "in"},
}


@pytest.mark.parametrize(
    ("channel", "user", "expected"), [(c, u, e) for c, users in GRANTED_TO.items() for u, e in users.items()]
)
async def test_what_the_namespace_grants(make_world: MakeWorld, channel: str, user: str, expected: str | int) -> None:
    world = await make_world(
        open=ChannelOptions(subscribe="client"),
        users=ChannelOptions(subscribe="user"),
        nobody=ChannelOptions(),
        limited=ChannelOptions(subscribe="client", user_limited=True),
    )
    assert await outcome(await world.client(user), channel) == expected


async def test_under_dev_everybody_may(make_world: MakeWorld) -> None:
    world = await make_world(insecure=True, nobody=ChannelOptions(user_limited=True))
    client = await world.client()
    for channel in ("nobody:1", "$nobody:1", "nobody:#bob"):
        assert await outcome(client, channel) == "in"
    assert await outcome(client, "nobody:2", token="nonsense") == "in"
    assert await outcome(client, "nobody:3", token=world.channel_token("bob", "other")) == "in"


@pytest.mark.parametrize("channel", ["$nobody:1", "nobody:1", "limited:#bob"])
@pytest.mark.parametrize(
    ("make_token", "expected"),
    [
        (lambda world, channel: world.channel_token("ann", channel), "in"),
        (lambda world, channel: world.channel_token("ann", channel, ttl_s=5), "in"),
        (lambda world, channel: world.channel_token("ann", channel, ttl_s=-5), 109),
        (lambda world, channel: world.channel_token("ann", channel, expire_at=world.wall() - 5), 110),
        (lambda world, channel: world.channel_token("ann", channel) + "x", 103),
        (lambda world, channel: "nonsense", 103),
        (lambda world, channel: world.token("ann"), 103),
        (lambda world, channel: world.channel_token("ann", channel + "x"), 3500),
        (lambda world, channel: world.channel_token("bob", channel), 3500),
        (lambda world, channel: world.channel_token("", channel), 3500),
        (lambda world, channel: world.channel_token("ann", channel, client="other"), 3500),
    ],
)
async def test_what_a_token_grants(
    make_world: MakeWorld, channel: str, make_token: Callable[[World, str], str], expected: str | int
) -> None:
    world = await make_world(nobody=ChannelOptions(), limited=ChannelOptions(user_limited=True))
    client = await world.client("ann")
    assert await outcome(client, channel, token=make_token(world, channel)) == expected


async def test_an_anonymous_clients_token(world: World) -> None:
    assert await outcome(await world.client(), "$news", token=world.channel_token("", "$news")) == "in"


@pytest.mark.parametrize(
    ("answer", "without_token", "with_token", "private_without_token"),
    [
        (None, 103, "in", 103),
        (SubscribeReply(), "in", "in", 103),
        (Forbidden("no"), 103, 103, 103),
        (ApplicationError(1005, "no"), 1005, 1005, 103),
        (Disconnect(4001, "no"), 4001, 4001, 103),
        (ValueError("no"), 100, 100, 103),
    ],
    ids=repr,
)
async def test_what_the_hook_says(
    make_world: MakeWorld,
    answer: SubscribeReply | Exception | None,
    without_token: str | int,
    with_token: str | int,
    private_without_token: str | int,
) -> None:
    world = await make_world(nobody=ChannelOptions())
    asked: list[tuple[str, bool]] = []

    @world.on(SubscribeEvent)
    async def hook(event: SubscribeEvent) -> SubscribeReply | None:
        asked.append((event.channel, event.granted))
        if isinstance(answer, Exception):
            raise answer
        return answer

    for channel, token, expected in (
        ("nobody:1", "", without_token),
        ("nobody:1", world.channel_token("ann", "nobody:1"), with_token),
        ("$nobody:1", world.channel_token("ann", "$nobody:1"), with_token),
        ("$nobody:1", "", private_without_token),
    ):
        assert await outcome(await world.client("ann"), channel, token=token) == expected
    assert asked == [("nobody:1", False), ("nobody:1", True), ("$nobody:1", True)]


async def test_a_hook_may_refuse_what_the_namespace_grants_and_grant_what_it_refuses(make_world: MakeWorld) -> None:
    world = await make_world(nobody=ChannelOptions(user_limited=True))

    @world.on(SubscribeEvent, "log:*")
    async def refuse(_event: SubscribeEvent) -> None:
        raise Forbidden

    @world.on(SubscribeEvent, "nobody:*")
    async def grant(_event: SubscribeEvent) -> SubscribeReply:
        return SubscribeReply()

    client = await world.client("ann")
    assert await outcome(client, "log:1") == 103
    assert await outcome(client, "nobody:#bob") == "in"


async def test_what_the_hook_is_told_and_what_it_may_give(world: World) -> None:
    events: list[SubscribeEvent] = []

    @world.on(SubscribeEvent)
    async def hook(event: SubscribeEvent) -> SubscribeReply:
        events.append(event)
        return SubscribeReply(info={"role": "host"}, data={"motd": "hi"})

    client = await world.client("ann")
    token = world.channel_token("ann", "room:1", info={"role": "guest"}, data={"from": "token"}, extra=1)
    result = await client.subscribe("room:1", data={"x": 1}, token=token)
    assert result["data"] == {"motd": "hi"}
    (info,) = (await world.node.presence("room:1")).values()
    assert info.chan_info == b'{"role":"host"}'
    (event,) = events
    assert (event.client, event.user, event.channel, event.data) == (client.id, "ann", "room:1", {"x": 1})
    assert (event.granted, event.token_claims["extra"]) == (True, 1)


async def test_what_the_hook_leaves_open_stays_as_in_the_token(world: World) -> None:
    @world.on(SubscribeEvent)
    async def hook(_event: SubscribeEvent) -> SubscribeReply:
        return SubscribeReply()

    client = await world.client("ann")
    token = world.channel_token("ann", "room:1", info={"v": 1}, data={"v": 2}, ttl_s=30)
    result = await client.subscribe("room:1", token=token)
    assert (result["data"], result["expires"], result["ttl"]) == ({"v": 2}, True, 30)
    assert session_of(client).info_in("room:1").chan_info == b'{"v":1}'


async def test_a_hook_that_grants_until_now_is_told_so(world: World) -> None:
    @world.on(SubscribeEvent)
    async def hook(_event: SubscribeEvent) -> SubscribeReply:
        return SubscribeReply(expires_at=world.wall())

    assert await outcome(await world.client("ann"), "news") == 110


# 9.1 Order of checks


@pytest.mark.parametrize(
    ("channel", "fields", "expected"),
    [
        ("", {"delta": "zip"}, 3501),
        ("x" * 256, {"delta": "zip"}, 3501),
        ("x" * 256, {}, 107),
        ("mine", {}, 105),
        ("mine", {"token": "nonsense"}, 105),
        ("nowhere:1", {}, 102),
        ("numbers:x", {}, 107),
        ("numbers:1", {"type": 1}, 103),
        ("nobody:1", {"type": 1}, 103),
        ("nobody:1", {"tf": {}}, 103),
        ("news", {"tf": {}}, 107),
        ("news", {"delta": "fossil", "flag": 1 | 4096}, "in"),
    ],
)
async def test_the_first_check_that_fails_answers(
    make_world: MakeWorld, channel: str, fields: dict[str, Any], expected: str | int
) -> None:
    world = await make_world(
        nobody=ChannelOptions(), numbers=ChannelOptions(subscribe="client", channel_regex="[0-9]+")
    )
    client = await world.client("ann")
    await client.subscribe("mine")
    assert await outcome(client, channel, **fields) == expected
    if client.transport.closed is None and expected not in ("in", 105):
        assert world.node.channels() == {"mine": 1}, "an error leaves no trace"
        assert await client.unsubscribe(channel[:255]) == {}


async def test_channels_are_limited(make_world: MakeWorld) -> None:
    world = await make_world(limits=LimitOptions(channels_max=2))
    client = await world.client()
    assert [await outcome(client, channel) for channel in "abc"] == ["in", "in", 106]
    await client.unsubscribe("a")
    assert await outcome(client, "c") == "in"


async def test_after_an_error_it_may_be_tried_again(world: World) -> None:
    refuses = True

    @world.on(SubscribeEvent)
    async def hook(_event: SubscribeEvent) -> None:
        if refuses:
            raise Forbidden

    client = await world.client()
    assert await outcome(client, "news") == 103
    refuses = False
    assert await outcome(client, "news") == "in"


@pytest.mark.parametrize("broken", ["subscribe", "add", "history"])
async def test_an_engine_that_fails_leaves_nothing(world: World, broken: str) -> None:
    client = await world.client("ann")
    world.engine.broken.add(broken)
    assert await outcome(client, "room:1") == 100
    world.engine.broken.clear()
    assert world.node.channels() == {}
    assert await world.node.presence("room:1") == {}
    assert await outcome(client, "room:1") == "in"


@pytest.mark.parametrize("broken_too", ["unsubscribe", "remove"])
async def test_also_when_taking_back_fails_the_next_step_is_done(world: World, broken_too: str) -> None:
    client = await world.client("ann")
    world.engine.broken |= {"history", broken_too}
    assert await outcome(client, "room:1") == 100
    world.engine.broken.clear()
    assert world.node.channels() == {}
    assert (await world.node.presence("room:1") == {}) == (broken_too != "remove")
    await world.engine.presence.remove("room:1", client.id)
    await world.engine.broker.unsubscribe("room:1")


async def test_a_join_or_leave_that_cant_be_announced_costs_nothing_else(world: World) -> None:
    client = await world.client("ann")
    world.engine.broken |= {"publish_join", "publish_leave"}
    assert await outcome(client, "room:1") == "in"
    await world.publish("room:1")
    assert len(await client.settle()) == 1
    assert await client.unsubscribe("room:1") == {}
    assert await world.node.presence("room:1") == {}


# 9.2 and 9.3 What is agreed


NAMESPACES = {
    "plain": ChannelOptions(subscribe="client"),
    "ask": ASK,
    "force": ChannelOptions(subscribe="client", recover=True, **HISTORY),
    "position": ChannelOptions(subscribe="client", position=True, **HISTORY),
    "private": ChannelOptions(subscribe="client", history=Right.NOBODY, **HISTORY),
    "users": ChannelOptions(subscribe="client", history=Right.USER, **HISTORY),
    "latest": ChannelOptions(subscribe="client", slow="latest", **HISTORY),
    "jl": ChannelOptions(subscribe="client", join_leave=True),
    "jlall": ChannelOptions(subscribe="client", join_leave="all"),
    "jlhidden": ChannelOptions(subscribe="client", join_leave=True, see_presence=Right.NOBODY),
}

RECOVERABLE = {"recoverable", "positioned", "epoch"}
POSITIONED = {"positioned", "epoch"}


@pytest.mark.parametrize(
    ("namespace", "fields", "keys"),
    [
        ("plain", {"positioned": True, "recoverable": True}, set()),
        ("ask", {}, set()),
        ("ask", {"positioned": True}, POSITIONED),
        ("ask", {"recoverable": True}, RECOVERABLE),
        ("ask", {"positioned": True, "recoverable": True}, RECOVERABLE),
        ("force", {}, RECOVERABLE),
        ("position", {}, POSITIONED),
        ("position", {"recoverable": True}, RECOVERABLE),
        ("private", {"positioned": True, "recoverable": True}, set()),
        ("users", {"positioned": True}, POSITIONED),
        ("latest", {"positioned": True, "recoverable": True}, set()),
    ],
)
async def test_positioning_and_recovery(
    make_world: MakeWorld, namespace: str, fields: dict[str, Any], keys: set[str]
) -> None:
    world = await make_world(**NAMESPACES)
    client = await world.client("ann")
    assert set(await client.subscribe(f"{namespace}:1", **fields)) == keys
    await world.publish(f"{namespace}:1")
    (push,) = await client.settle()
    assert ("offset" in push["pub"]) == (namespace != "plain")


async def test_an_anonymous_client_may_not_read_the_history_of_users(make_world: MakeWorld) -> None:
    world = await make_world(**NAMESPACES)
    assert await (await world.client()).subscribe("users:1", positioned=True) == {}


@pytest.mark.parametrize(
    ("namespace", "asks", "gets"),
    [
        ("plain", True, False),
        ("jl", False, False),
        ("jl", True, True),
        ("jlall", False, True),
        ("jlall", True, True),
        ("jlhidden", True, False),
    ],
)
async def test_join_and_leave(make_world: MakeWorld, namespace: str, asks: bool, gets: bool) -> None:
    world = await make_world(**NAMESPACES)
    client, other = await world.client("ann"), await world.client("bob")
    await client.subscribe(f"{namespace}:1", join_leave=asks)
    await other.subscribe(f"{namespace}:1")
    await other.unsubscribe(f"{namespace}:1")
    told = [(kind, push[kind]["info"]["user"]) for push in await client.settle() for kind in push if kind != "channel"]
    assert told == ([("join", "ann"), ("join", "bob"), ("leave", "bob")] if gets else [])


@pytest.mark.parametrize("by", ["token", "hook"])
async def test_what_is_overridden(world: World, by: str) -> None:
    names = ("presence", "join_leave", "force_push_join_leave", "force_recovery", "force_positioning")

    @world.on(SubscribeEvent)
    async def hook(_event: SubscribeEvent) -> SubscribeReply | None:
        override = Override(False, False, False, False, False)
        return SubscribeReply(override=override) if by == "hook" else None

    client = await world.client("ann")
    token = ""
    if by == "token":
        override = {name: {"value": False} for name in names}
        token = world.channel_token("ann", "room:1", override=override)
    assert await client.subscribe("room:1", token=token, join_leave=True) == {}
    assert await client.settle() == []
    assert await world.node.presence("room:1") == {}


async def test_what_is_overridden_the_other_way(make_world: MakeWorld) -> None:
    world = await make_world(ask=ASK)
    override = {name: {"value": True} for name in ("presence", "join_leave", "force_push_join_leave", "force_recovery")}
    client = await world.client("ann")
    token = world.channel_token("ann", "ask:1", override=override)
    assert (await client.subscribe("ask:1", token=token))["recoverable"]
    assert ["join" in push for push in await client.settle()] == [True]
    assert len(world.memory.presence) == 1


# 9.5 and 10.2 From where on


class Log:
    """A world whose channel kept:1 keeps the newest five publications."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.epoch = ""

    async def fill(self, seen: int) -> Log:
        for number in range(1, seen + 1):
            await self.world.publish("kept:1", b"%d" % number)
        self.epoch = (await self.world.head("kept:1")).epoch
        return self


async def log_of(make_world: MakeWorld, seen: int) -> Log:
    kept = ChannelOptions(subscribe="client", publish=Right.CLIENT, history_size=5, history_ttl_s=60, recover=True)
    return await Log(await make_world(kept=kept)).fill(seen)


@pytest.mark.parametrize(
    ("seen", "asked", "epoch", "recovered", "missed"),
    [
        (0, 0, "same", True, []),
        (0, 0, "", True, []),
        (3, 3, "same", True, []),
        (3, 1, "same", True, [2, 3]),
        (3, 0, "same", True, [1, 2, 3]),
        (3, 0, "", True, [1, 2, 3]),
        (5, 0, "", True, [1, 2, 3, 4, 5]),
        (6, 0, "", False, []),
        (9, 4, "same", True, [5, 6, 7, 8, 9]),
        (9, 3, "same", False, []),
        (9, 9, "same", True, []),
        (3, 4, "same", False, []),
        (3, 4, "", False, []),
        (3, 3, "other", False, []),
        (0, 0, "other", False, []),
    ],
)
async def test_recovery(
    make_world: MakeWorld, seen: int, asked: int, epoch: str, recovered: bool, missed: list[int]
) -> None:
    log = await log_of(make_world, seen)
    client = await log.world.client()
    known = log.epoch if epoch == "same" else epoch
    result = await client.subscribe("kept:1", recover=True, epoch=known, offset=asked)
    assert result["was_recovering"]
    assert result.get("recovered", False) == recovered
    assert (result["epoch"], result.get("offset", 0)) == (log.epoch, asked if recovered else seen)
    assert [p["offset"] for p in result.get("publications", [])] == missed
    assert [p["data"] for p in result.get("publications", [])] == missed
    await log.world.publish("kept:1")
    assert [push["pub"]["offset"] for push in await client.settle()] == [seen + 1]
    counted = (log.world.stats.recovered, log.world.stats.not_recovered)
    assert counted == (int(recovered), int(not recovered))


async def test_without_asking_it_begins_at_the_head(make_world: MakeWorld) -> None:
    log = await log_of(make_world, 9)
    result = await (await log.world.client()).subscribe("kept:1", epoch="other", offset=1)
    assert result == {"recoverable": True, "positioned": True, "epoch": log.epoch, "offset": 9}


async def test_an_unrecoverable_position_may_be_an_error_instead(make_world: MakeWorld) -> None:
    log = await log_of(make_world, 9)
    client = await log.world.client()
    assert await outcome(client, "kept:1", recover=True, offset=1, flag=2) == 112
    assert log.world.node.channels() == {}
    assert await outcome(client, "kept:1", recover=True, offset=4, epoch=log.epoch, flag=3) == "in"


async def test_epoch_and_top_outlive_the_publications(make_world: MakeWorld) -> None:
    log = await log_of(make_world, 3)
    log.world.clock.advance(61)
    client = await log.world.client()
    result = await client.subscribe("kept:1", recover=True, epoch=log.epoch, offset=3)
    assert (result["recovered"], result["offset"], result["epoch"]) == (True, 3, log.epoch)
    await client.unsubscribe("kept:1")
    result = await client.subscribe("kept:1", recover=True, epoch=log.epoch, offset=2)
    assert (result["was_recovering"], "recovered" in result, result["offset"]) == (True, False, 3)


async def test_who_may_not_recover_isnt_recovering(make_world: MakeWorld) -> None:
    world = await make_world(**NAMESPACES)
    for _ in range(3):
        await world.publish("private:1")
    client = await world.client("ann")
    assert await client.subscribe("private:1", recover=True, recoverable=True) == {}


async def test_what_isnt_for_it_is_left_out_of_the_recovery(world: World) -> None:
    client = await world.client()
    await world.publish("log:1", b"1")
    await world.publish("log:1", b"2", exclude=frozenset({client.id}))
    await world.publish("log:1", b"3")
    result = await client.subscribe("log:1", recover=True)
    assert [p["data"] for p in result["publications"]] == [1, 3]
    await world.publish("log:1", b"4")
    assert [push["pub"]["data"] for push in await client.settle()] == [4]


# 9.4 Nothing is lost between the reading and the listening


@pytest.mark.parametrize("recover", [False, True])
@pytest.mark.parametrize("at", range(8))
async def test_3_what_is_published_while_it_subscribes(world: World, at: int, recover: bool) -> None:
    """At every point of a slow engine's subscribe: the reply and what follows hold it once, or the offset has it."""
    await world.publish("log:1", b"1")
    client = await world.client()
    world.engine.quick = False
    fields: dict[str, Any] = {"channel": "log:1", "recover": recover}
    client.send({"id": 9, "subscribe": fields})
    published = 1
    for step in itertools.count():
        await world.settle()
        if step == at:
            published += 1
            await world.memory.broker.publish("log:1", Draft(b"%d" % published), LOG.retention)
        if step > at and not world.engine.waits and not world.engine.reports:
            break
        world.engine.let()
        if step % 2:
            world.engine.report()
    await world.engine.rush()
    client.read()
    reply = client._replies[9]["subscribe"]
    got = [p["offset"] for p in reply.get("publications", [])]
    got += [push["pub"]["offset"] for push in await client.settle()]
    begins = reply.get("offset", 0)
    assert got == list(range(begins + 1, published + 1))
    assert begins == (0 if recover else begins)


async def test_3_the_reply_comes_before_every_push(world: World) -> None:
    client = await world.client()
    client.send({"id": 2, "subscribe": {"channel": "room:1", "join_leave": True}})
    await world.publish("room:1")
    await world.settle()
    text = b"\n".join(client.transport.written).decode().splitlines()
    order = [line for line in text if "room:1" in line or '"id":2' in line]
    assert '"id":2' in order[0]
    assert "join" in order[1]
    assert "pub" in order[2]


async def test_an_emptied_engine_is_a_gap_for_who_listens(world: World) -> None:
    client = await world.client()
    await client.subscribe("log:1")
    await world.publish("log:1")
    await client.settle()
    world.memory.broker.streams = MemoryEngine().broker.streams
    await world.publish("log:1")
    assert [push["unsubscribe"]["code"] for push in await client.settle()] == [2500]
    assert world.stats.gaps == {"epoch": 1}


async def test_a_hole_in_what_arrives_is_filled_from_the_log(make_world: MakeWorld) -> None:
    world = await make_world(ask=ASK)
    client = await world.client()
    await client.subscribe("ask:1")
    await world.engine.broker.unsubscribe("ask:1")
    await world.publish("ask:1")
    await world.engine.broker.subscribe("ask:1")
    await world.publish("ask:1")
    assert [push["pub"]["offset"] for push in await client.settle()] == [1, 2]
    assert (world.stats.gaps, world.stats.repaired) == ({}, 2)


async def test_a_hole_that_the_log_cant_fill_is_told_also_to_who_didnt_ask_for_a_position(
    make_world: MakeWorld,
) -> None:
    world = await make_world(ask=ASK)
    client = await world.client()
    await client.subscribe("ask:1")
    await world.engine.broker.unsubscribe("ask:1")
    await world.publish("ask:1")
    await world.engine.broker.remove_history("ask:1")
    await world.engine.broker.subscribe("ask:1")
    await world.publish("ask:1")
    assert [push["unsubscribe"]["code"] for push in await client.settle()] == [2500]
    assert world.stats.gaps == {"trimmed": 1}
    assert await client.subscribe("ask:1") == {}


# 11.1 Unsubscribe


async def test_unsubscribe(world: World) -> None:
    told: list[tuple[int, str]] = []

    @world.on(UnsubscribeEvent)
    async def unsubscribed(event: UnsubscribeEvent) -> None:
        told.append((event.code, event.reason))

    client = await world.client("ann")
    await client.subscribe("room:1", join_leave=True)
    await client.settle()
    assert await client.unsubscribe("room:1") == {}
    assert await client.settle() == [], "no push for what it wanted itself"
    assert await world.node.presence("room:1") == {}
    assert told == [(0, "unsubscribe")]
    assert await client.unsubscribe("room:1") == {}
    assert await client.unsubscribe("never:1") == {}
    assert told == [(0, "unsubscribe")]


@pytest.mark.parametrize("quick", [True, False])
async def test_subscribe_right_behind_unsubscribe(world: World, quick: bool) -> None:
    client = await world.client("ann")
    await client.subscribe("room:1")
    world.engine.quick = quick
    client.send(
        {"id": 7, "unsubscribe": {"channel": "room:1"}},
        {"id": 8, "subscribe": {"channel": "room:1"}},
        {"id": 9, "unsubscribe": {"channel": "room:1"}},
        {"id": 10, "subscribe": {"channel": "room:1"}},
    )
    await world.settle()
    await world.engine.rush()
    client.read()
    assert list(client._replies) == [7, 8, 9, 10]
    assert all("error" not in reply for reply in client._replies.values())
    assert world.node.channels() == {"room:1": 1}
    assert list(await world.node.presence("room:1")) == [client.id]
    await world.publish("room:1")
    assert len(await client.settle()) == 1


async def test_a_client_that_resubscribes_while_the_engine_still_takes_it_out_is_present_in_the_end(
    world: World,
) -> None:
    for late in range(10):
        client = await world.client("ann")
        await client.subscribe("room:1")
        world.engine.quick = False
        session = session_of(client)
        session.drop(session.subscriptions["room:1"], 2500, "insufficient state")
        await world.settle()
        for _ in range(late):
            world.engine.let()
            await world.settle()
        client.send({"id": 9, "subscribe": {"channel": "room:1"}})
        while world.engine.let(number=-1) or world.engine.report():
            await world.settle()
        await world.engine.rush()
        assert list(await world.node.presence("room:1")) == [client.id]
        assert world.node.channels() == {"room:1": 1}
        client.cut()
        await world.settle(30)


async def test_it_is_cut_in_the_middle(world: World) -> None:
    for late in range(10):
        client = await world.client("ann")
        world.engine.quick = False
        client.send({"id": 9, "subscribe": {"channel": "room:1"}})
        for _ in range(late):
            await world.settle()
            world.engine.let()
        client.cut()
        await asyncio.sleep(0)
        await world.engine.rush()
        await world.settle(30)
        world.assert_empty()


async def test_1_after_a_lapse_of_the_engine_only_who_may_have_missed_something_is_told(world: World) -> None:
    client = await world.client()
    for channel in ("log:1", "log:2", "news"):
        await client.subscribe(channel)
    await world.engine.broker.unsubscribe("log:1")
    await world.publish("log:1")
    await world.engine.broker.subscribe("log:1")
    world.node.on_lapse({"log:1", "log:2", "news", "gone"})
    async with asyncio.timeout(10.0):
        pushes: list[Any] = []
        while len(pushes) < 2:
            pushes += await client.settle()
    assert [(push["channel"], push["pub"]["offset"]) for push in pushes if "pub" in push] == [("log:1", 1)]
    assert [(push["channel"], push["unsubscribe"]["code"]) for push in pushes if "pub" not in push] == [("news", 2500)]
    assert (world.stats.lapses, world.stats.repaired, world.stats.gaps) == (1, 1, {"deaf": 1})
