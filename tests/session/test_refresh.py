"""Expiry and refresh, by tokens and by hooks. Source: Centrifuge protocol, section 7."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from roomful.auth.options import TokenOptions
from roomful.model.channel import ChannelOptions
from roomful.model.client import Grant
from roomful.model.disconnects import Disconnect
from roomful.model.errors import Forbidden
from roomful.model.event import (
    ConnectEvent,
    ConnectReply,
    RefreshEvent,
    RefreshReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
    UnsubscribeEvent,
)
from roomful.model.order import SubscribeOrder
from roomful.node.revocations import RevocationOptions
from roomful.session.options import ConnectionOptions
from roomful.testing.client import Client, Closed, CommandError
from tests.session.conftest import MakeWorld
from tests.session.world import World, session_of

Outcome = dict[str, Any] | int

NO_PINGS = ConnectionOptions(ping_s=0)


@pytest.fixture
async def quiet(make_world: MakeWorld) -> World:
    """Without pings, so that a client needn't answer them while time passes."""
    return await make_world(options=NO_PINGS)


async def outcome(client: Client, **command: Any) -> Outcome:
    """The result, the code of an error reply, or the code of the disconnect."""
    try:
        return await client.call(**command)
    except CommandError as error:
        assert client.transport.closed is None
        return error.code
    except Closed as closed:
        return closed.code


# 7.1 Connections by token


@pytest.mark.parametrize(
    ("make_token", "expected"),
    [
        (lambda world: "", 3501),
        (lambda world: world.token("ann", ttl_s=-1), 3005),
        (lambda world: world.token("ann") + "x", 3500),
        (lambda world: world.token("bob"), 3500),
        (lambda world: world.token(""), 3500),
        (lambda world: world.token("ann", expire_at=world.wall() - 1), 110),
        (lambda world: world.token("ann", channels=["other"]), 3010),
        (lambda world: world.token("ann", subs={"news": {}, "other": {}}), 3010),
        (lambda world: world.token("ann", ttl_s=100), {"expires": True, "ttl": 100}),
        (lambda world: world.token("ann", ttl_s=100, channels=["news"]), {"expires": True, "ttl": 100}),
        (lambda world: world.token("ann"), {}),
    ],
)
async def test_refresh_outcomes(world: World, make_token: Callable[[World], str], expected: Outcome) -> None:
    client = world.open()
    await client.connect(token=world.token("ann", ttl_s=10, channels=["news"]))
    if isinstance(expected, dict):
        expected = {"client": client.id, "version": "Roomful test"} | expected
    assert await outcome(client, refresh={"token": make_token(world)}) == expected


async def test_a_hooks_subscriptions_are_no_part_of_what_a_token_may_not_change(world: World) -> None:
    @world.on(ConnectEvent)
    async def hook(_event: ConnectEvent) -> ConnectReply:
        return ConnectReply(subs=["by-hook"])

    client = world.open()
    await client.connect(token=world.token("ann", ttl_s=10, channels=["news"]))
    again = world.token("ann", ttl_s=20, channels=["news"])
    assert isinstance(await outcome(client, refresh={"token": again}), dict)


async def test_a_refresh_renews_the_info(world: World) -> None:
    client = world.open()
    await client.connect(token=world.token("ann", ttl_s=10, info={"v": 1}))
    await client.call(refresh={"token": world.token("ann", ttl_s=10, info={"v": 2})})
    assert session_of(client).conn_info == b'{"v":2}'
    await client.call(refresh={"token": world.token("ann", ttl_s=10)})
    assert session_of(client).conn_info == b'{"v":2}'


async def test_an_expired_connection_has_the_grace(quiet: World) -> None:
    client = quiet.open()
    await client.connect(token=quiet.token("ann", ttl_s=10))
    await quiet.pass_time(34.8)
    assert client.transport.closed is None
    await quiet.pass_time(0.5)
    assert client.transport.closed == (3005, "connection expired")


async def test_a_refresh_prolongs_it_and_another_may_shorten_it(quiet: World) -> None:
    client = quiet.open()
    await client.connect(token=quiet.token("ann", ttl_s=10))
    await client.call(refresh={"token": quiet.token("ann", ttl_s=300)})
    await quiet.pass_time(200.0, step_s=1.0)
    assert client.transport.closed is None
    await client.call(refresh={"token": quiet.token("ann", ttl_s=20)})
    await quiet.pass_time(44.0)
    assert client.transport.closed is None
    await quiet.pass_time(2.0)
    assert client.transport.closed == (3005, "connection expired")


async def test_without_expiry_it_stays(quiet: World) -> None:
    client = await quiet.client("ann")
    await quiet.pass_time(1000.0, step_s=10.0)
    assert client.transport.closed is None


async def test_without_a_key_no_token_refreshes(make_world: MakeWorld) -> None:
    world = await make_world(tokens=TokenOptions())
    assert await outcome(await world.client(), refresh={"token": world.token("")}) == 3500


async def test_under_dev_a_refresh_changes_nothing(make_world: MakeWorld) -> None:
    world = await make_world(insecure=True)
    client = await world.client()
    assert await outcome(client, refresh={"token": "x"}) == {"client": client.id, "version": "Roomful test"}
    await client.subscribe("news")
    assert await outcome(client, sub_refresh={"channel": "news", "token": "x"}) == {}


# 7.1 Connections by hook


class Renewing:
    """A connect hook that lets in for `ttl_s`, and a refresh hook that does what `answer` says."""

    def __init__(self, world: World, ttl_s: float = 10.0) -> None:
        self.world = world
        self.asked: list[float] = []
        self.answer: Callable[[], RefreshReply | None] = lambda: RefreshReply(world.wall() + ttl_s)
        self.wait: asyncio.Event | None = None

        @world.on(ConnectEvent)
        async def connects(_event: ConnectEvent) -> ConnectReply:
            return ConnectReply(user="ann", expires_at=world.wall() + ttl_s, meta={"a": 1})

        @world.on(RefreshEvent)
        async def renew(event: RefreshEvent) -> RefreshReply | None:
            assert (event.user, event.meta) == ("ann", {"a": 1})
            self.asked.append(world.clock())
            if self.wait is not None:
                await self.wait.wait()
            return self.answer()


async def test_the_hook_is_asked_each_time_it_expires(quiet: World) -> None:
    renewing = Renewing(quiet)
    client = quiet.open()
    start = quiet.clock()
    assert "expires" not in await client.connect()
    await quiet.pass_time(35.0)
    assert [asked - start for asked in renewing.asked] == pytest.approx([10, 20, 30], abs=0.7)
    assert client.transport.closed is None


async def test_it_may_renew_for_ever_and_give_a_new_info(quiet: World) -> None:
    renewing = Renewing(quiet)
    renewing.answer = lambda: RefreshReply(info={"v": 2})
    client = await quiet.client()
    await quiet.pass_time(60.0)
    assert (len(renewing.asked), session_of(client).conn_info) == (1, b'{"v":2}')


def refuse() -> RefreshReply:
    raise Forbidden


def send_away() -> RefreshReply:
    raise Disconnect(4321, "moved")


@pytest.mark.parametrize(
    ("answer", "closed"),
    [
        (lambda: None, (3005, "connection expired")),
        (refuse, (3005, "connection expired")),
        (lambda: RefreshReply(expires_at=1.0), (3005, "connection expired")),
        (send_away, (4321, "moved")),
    ],
    ids=["no opinion", "refusal", "past", "disconnect"],
)
async def test_or_end_it(quiet: World, answer: Callable[[], RefreshReply | None], closed: tuple[int, str]) -> None:
    renewing = Renewing(quiet)
    renewing.answer = answer
    client = await quiet.client()
    await quiet.pass_time(10.5)
    assert client.transport.closed == closed


async def test_without_a_refresh_hook_its_time_is_over(quiet: World) -> None:
    @quiet.on(ConnectEvent)
    async def connects(_event: ConnectEvent) -> ConnectReply:
        return ConnectReply(expires_at=quiet.wall() + 5)

    client = await quiet.client()
    await quiet.pass_time(5.5)
    assert client.transport.closed == (3005, "connection expired")


async def test_a_hook_that_fails_is_asked_again_within_the_grace(quiet: World) -> None:
    renewing = Renewing(quiet)

    def fail() -> RefreshReply:
        raise ValueError

    renewing.answer = fail
    client = await quiet.client()
    await quiet.pass_time(34.0)
    assert len(renewing.asked) == 5
    assert client.transport.closed is None
    await quiet.pass_time(2.0)
    assert client.transport.closed == (3005, "connection expired")
    renewing.answer = lambda: RefreshReply()


async def test_a_hook_that_has_recovered_saves_it(quiet: World) -> None:
    renewing = Renewing(quiet)

    def fail() -> RefreshReply:
        raise ValueError

    renewing.answer = fail
    client = await quiet.client()
    await quiet.pass_time(20.0)
    renewing.answer = lambda: RefreshReply()
    await quiet.pass_time(100.0, step_s=1.0)
    assert client.transport.closed is None


async def test_the_client_may_not_refresh_what_a_hook_renews(quiet: World) -> None:
    Renewing(quiet)
    assert await outcome(await quiet.client(), refresh={"token": quiet.token("ann")}) == 3501


async def test_it_is_not_asked_twice_about_one_expiry(quiet: World) -> None:
    """Something else falls due while the hook still thinks."""
    renewing = Renewing(quiet)
    renewing.wait = asyncio.Event()
    client = await quiet.client()
    await client.subscribe("$news", token=quiet.channel_token("ann", "$news", ttl_s=2))
    await quiet.pass_time(30.0)
    assert len(renewing.asked) == 1
    assert quiet.node.channels() == {}, "also what else falls due is looked after"
    renewing.wait.set()
    await quiet.settle()
    assert client.transport.closed is None
    await quiet.pass_time(11.0)
    assert len(renewing.asked) == 2


# 7.2 Subscriptions by token


@pytest.mark.parametrize(
    ("channel", "make_token", "expected"),
    [
        ("other", lambda world: world.channel_token("ann", "other"), 103),
        ("$news", lambda world: "", 107),
        ("", lambda world: "", 3501),
        ("$news", lambda world: "nonsense", 3500),
        ("$news", lambda world: world.channel_token("ann", "$other"), 3500),
        ("$news", lambda world: world.channel_token("bob", "$news"), 3500),
        ("$news", lambda world: world.channel_token("ann", "$news", client="other"), 3500),
        ("$news", lambda world: world.channel_token("ann", "$news", ttl_s=-1), 109),
        ("$news", lambda world: world.channel_token("ann", "$news", expire_at=world.wall() - 1), 110),
        ("$news", lambda world: world.channel_token("ann", "$news", ttl_s=60), {"expires": True, "ttl": 60}),
        ("$news", lambda world: world.channel_token("ann", "$news"), {}),
        ("", lambda world: world.channel_token("ann", "$news", ttl_s=60), {"expires": True, "ttl": 60}),
        ("", lambda world: world.channel_token("ann", "$other", ttl_s=60), 103),
    ],
)
async def test_sub_refresh_outcomes(
    world: World, channel: str, make_token: Callable[[World], str], expected: Outcome
) -> None:
    client = await world.client("ann")
    result = await client.subscribe("$news", token=world.channel_token("ann", "$news", ttl_s=10))
    assert (result["expires"], result["ttl"]) == (True, 10)
    assert await outcome(client, sub_refresh={"channel": channel, "token": make_token(world)}) == expected


async def test_a_token_of_this_very_connection(world: World) -> None:
    client = await world.client("ann")
    token = world.channel_token("ann", "$news", client=client.id, ttl_s=10)
    await client.subscribe("$news", token=token)
    assert await outcome(client, sub_refresh={"channel": "$news", "token": token}) == {"expires": True, "ttl": 10}


async def test_an_expired_subscription_has_the_grace_and_then_2501(quiet: World) -> None:
    told: list[int] = []

    @quiet.on(UnsubscribeEvent)
    async def unsubscribed(event: UnsubscribeEvent) -> None:
        told.append(event.code)

    client = await quiet.client("ann")
    await client.subscribe("$news", token=quiet.channel_token("ann", "$news", ttl_s=10))
    await quiet.pass_time(34.5)
    assert await client.settle() == []
    await quiet.pass_time(1.0)
    unsubscribe = {"code": 2501, "reason": "subscription expired"}
    assert await client.settle() == [{"channel": "$news", "unsubscribe": unsubscribe}]
    assert (client.transport.closed, quiet.node.channels(), told) == (None, {}, [2501])


async def test_a_refreshed_subscription_goes_on_and_has_a_new_info(make_world: MakeWorld) -> None:
    world = await make_world(options=NO_PINGS, room=ChannelOptions(presence=True))
    client = await world.client("ann")
    await client.subscribe("$room:1", token=world.channel_token("ann", "$room:1", ttl_s=10, info={"v": 1}))
    token = world.channel_token("ann", "$room:1", ttl_s=100, info={"v": 2})
    await client.call(sub_refresh={"channel": "$room:1", "token": token})
    await world.pass_time(100.0)
    assert world.node.channels() == {"$room:1": 1}
    assert session_of(client).info_in("$room:1").chan_info == b'{"v":2}'
    await world.pass_time(26.0)
    assert world.node.channels() == {}


async def test_an_expired_server_side_subscription_ends_the_connection(quiet: World) -> None:
    client = await quiet.client("ann")
    await quiet.node.order(SubscribeOrder("ann", "news", grant=Grant(expires_at=quiet.wall() + 5)))
    await quiet.pass_time(31.0)
    assert client.transport.closed == (3006, "subscription expired")


# 7.2 Subscriptions by hook


class SubRenewing:
    """A subscribe hook that grants for `ttl_s`, and a refresh hook that does what `answer` says."""

    def __init__(self, world: World, ttl_s: float = 10.0) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[], SubRefreshReply | None] = lambda: SubRefreshReply(world.wall() + ttl_s)
        self.wait: asyncio.Event | None = None

        @world.on(SubscribeEvent)
        async def grant(_event: SubscribeEvent) -> SubscribeReply:
            return SubscribeReply(expires_at=world.wall() + ttl_s)

        @world.on(SubRefreshEvent)
        async def renew(event: SubRefreshEvent) -> SubRefreshReply | None:
            self.asked.append(event.channel)
            if self.wait is not None:
                await self.wait.wait()
            return self.answer()


async def test_the_hook_is_asked_for_each_subscription(quiet: World) -> None:
    renewing = SubRenewing(quiet)
    client = await quiet.client("ann")
    for channel in ("a", "b"):
        assert "expires" not in await client.subscribe(channel)
    await quiet.pass_time(25.0)
    assert renewing.asked == ["a", "b", "a", "b"]
    assert await client.settle() == []


def sub_refuse() -> SubRefreshReply:
    raise Forbidden


def sub_send_away() -> SubRefreshReply:
    raise Disconnect(4321, "moved")


@pytest.mark.parametrize(
    "answer", [lambda: None, sub_refuse, lambda: SubRefreshReply(expires_at=1.0)], ids=["no opinion", "refusal", "past"]
)
@pytest.mark.parametrize("server_side", [False, True])
async def test_or_end_that_one(quiet: World, answer: Callable[[], SubRefreshReply | None], server_side: bool) -> None:
    renewing = SubRenewing(quiet)
    renewing.answer = answer
    client = quiet.open()
    await client.connect(subs={"a": {}} if server_side else {})
    if not server_side:
        await client.subscribe("a")
    await quiet.pass_time(11.0)
    if server_side:
        assert client.transport.closed == (3006, "subscription expired")
    else:
        assert [push["unsubscribe"]["code"] for push in await client.settle()] == [2501]
        assert client.transport.closed is None


async def test_or_end_the_whole_connection(quiet: World) -> None:
    SubRenewing(quiet).answer = sub_send_away
    client = await quiet.client("ann")
    await client.subscribe("a")
    await quiet.pass_time(11.0)
    assert client.transport.closed == (4321, "moved")


async def test_it_may_renew_a_subscription_for_ever_with_a_new_info(quiet: World) -> None:
    renewing = SubRenewing(quiet)
    renewing.answer = lambda: SubRefreshReply(info={"v": 2})
    client = await quiet.client("ann")
    await client.subscribe("a")
    await quiet.pass_time(60.0)
    assert renewing.asked == ["a"]
    assert session_of(client).info_in("a").chan_info == b'{"v":2}'


async def test_a_sub_refresh_hook_that_fails_is_asked_again_within_the_grace(quiet: World) -> None:
    def fail() -> SubRefreshReply:
        raise ValueError

    renewing = SubRenewing(quiet)
    renewing.answer = fail
    client = await quiet.client("ann")
    await client.subscribe("a")
    await quiet.pass_time(34.0)
    assert len(renewing.asked) == 5
    assert await client.settle() == []
    await quiet.pass_time(2.0)
    assert [push["unsubscribe"]["code"] for push in await client.settle()] == [2501]


async def test_the_client_may_not_refresh_a_subscription_that_a_hook_renews(quiet: World) -> None:
    SubRenewing(quiet)
    client = await quiet.client("ann")
    await client.subscribe("a")
    token = quiet.channel_token("ann", "a")
    assert await outcome(client, sub_refresh={"channel": "a", "token": token}) == 3501


async def test_a_subscription_that_ended_while_another_was_renewed_ends_once(quiet: World) -> None:
    """Both expired at once; while the hook thinks about the first, the client gives up the second."""
    renewing = SubRenewing(quiet)
    renewing.wait = asyncio.Event()
    renewing.answer = lambda: None
    client = await quiet.client("ann")
    await client.subscribe("a")
    await client.subscribe("b")
    await quiet.pass_time(5.0)
    await (await quiet.client("bob")).subscribe("b")
    await quiet.pass_time(5.5)
    await client.unsubscribe("b")
    await client.subscribe("b")
    renewing.wait.set()
    await quiet.settle(30)
    assert [push["channel"] for push in await client.settle()] == ["a"]
    assert list(session_of(client).subscriptions) == ["b"]
    assert quiet.node.hub.subscribers("b") == 2


async def test_it_may_be_gone_when_the_hook_answers(quiet: World) -> None:
    renewing = SubRenewing(quiet)
    for end in ("unsubscribe", "cut"):
        renewing.wait = asyncio.Event()
        client = await quiet.client("ann")
        await client.subscribe("a")
        await quiet.pass_time(10.5)
        if end == "cut":
            client.cut()
        else:
            await client.unsubscribe("a")
        renewing.wait.set()
        await quiet.settle(30)
        assert await client.settle() == []
        assert quiet.node.channels() == {}


async def test_an_expiry_that_cant_be_handled_ends_the_connection(
    quiet: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Better closed than open beyond its time."""
    renewing = Renewing(quiet)
    renewing.answer = lambda: RefreshReply(info=object())
    client = await quiet.client()
    await quiet.pass_time(11.0)
    assert client.transport.closed == (3005, "connection expired")
    (line,) = [record for record in caplog.records if record.msg == "its expiry could not be handled"]
    assert (line.levelname, line.__dict__["client"], bool(line.exc_info)) == ("ERROR", client.id, True)


# Whether they may still be here


async def revalidating(make_world: MakeWorld, answers: list[Any], **more: Any) -> tuple[World, list[tuple[str, float]]]:
    """Each 60 s; the hook does what the first of the answers says, and the last one for ever."""
    world = await make_world(options=ConnectionOptions(ping_s=0, revalidate_s=60.0, expired_grace_s=0.0), **more)
    asked: list[tuple[str, float]] = []
    start = world.clock()

    @world.on(RefreshEvent)
    async def may_stay(event: RefreshEvent) -> RefreshReply | None:
        assert event.periodic
        asked.append((event.user, world.clock() - start))
        answer = answers[0] if len(answers) == 1 else answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]  # of a table

    return world, asked


async def test_27_each_connection_is_looked_at_again_however_it_came(make_world: MakeWorld) -> None:
    world, asked = await revalidating(make_world, [None, RefreshReply(info={"v": 2}), RefreshReply()])
    ann, nobody = await world.client("ann"), await world.client()
    await world.pass_time(170.0)
    assert [user for user, _ in asked] == ["ann", ""] * 3
    assert [at for _, at in asked[::2]] == pytest.approx([45.0, 105.0, 165.0], abs=0.7)  # spread by where the first is
    assert session_of(nobody).conn_info == b'{"v":2}'
    assert ann.transport.closed is None


@pytest.mark.parametrize(
    ("answer", "closed"),
    [
        (Forbidden(), (4503, "access revoked")),
        (RefreshReply(expires_at=1.0), (3005, "connection expired")),
        (Disconnect(4999, "banned"), (4999, "banned")),
    ],
)
async def test_27_who_may_not_stay_goes(make_world: MakeWorld, answer: Any, closed: tuple[int, str]) -> None:
    world, _ = await revalidating(make_world, [answer])
    ann = await world.client("ann")
    await world.pass_time(46.0)
    assert ann.transport.closed == closed


async def test_27_nobody_stays_for_twice_the_interval_without_a_yes(make_world: MakeWorld) -> None:
    world, asked = await revalidating(make_world, [ValueError("the database is away")])
    ann = await world.client("ann")
    await world.pass_time(100.0)
    assert ann.transport.closed is None
    assert len(asked) > 5
    await world.pass_time(6.0)
    assert ann.transport.closed == (3005, "connection expired")


async def test_27_a_hook_that_comes_round_keeps_them(make_world: MakeWorld) -> None:
    world, _ = await revalidating(make_world, [ValueError(), ValueError(), None])
    ann = await world.client("ann")
    await world.pass_time(200.0)
    assert ann.transport.closed is None


async def test_27_a_look_is_no_longer_life(make_world: MakeWorld) -> None:
    world, asked = await revalidating(make_world, [RefreshReply(expires_at=2e9)])
    ann = world.open()
    await ann.connect(token=world.token("ann", ttl_s=100))
    await world.pass_time(101.0)
    assert len(asked) == 1
    assert ann.transport.closed == (3005, "connection expired")


async def test_27_what_a_hook_confirmed_while_the_node_was_deaf_stays(make_world: MakeWorld) -> None:
    world, _ = await revalidating(make_world, [None], revocations=RevocationOptions(when_deaf="close"))
    ann = await world.client("ann")
    await world.pass_time(44.0)
    bob = await world.client("bob")
    world.engine.ready = False
    await world.pass_time(5.0)
    assert ann.transport.closed is None
    assert bob.transport.closed == (3011, "force reconnect")
