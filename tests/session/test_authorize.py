"""Who may subscribe to a facet: whoever may to its room. What a room's own subscribe needs: test_subscribe.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roomful.model.channel import ChannelOptions
from roomful.model.errors import Forbidden
from roomful.model.event import SubRefreshEvent, SubRefreshReply, SubscribeEvent, SubscribeReply
from roomful.model.order import UnsubscribeOrder
from roomful.session.options import ConnectionOptions
from roomful.testing.client import Client
from tests.session.conftest import MakeWorld
from tests.session.world import World, outcome

FACET = "typing:closed:1"
CLOSED = ChannelOptions()
QUIET = ConnectionOptions(ping_s=0.0)


@pytest.mark.parametrize(
    ("make_token", "expected"),
    [
        (lambda world: "", 103),
        (lambda world: world.channel_token("ann", FACET), "in"),
        (lambda world: world.channel_token("ann", "closed:1"), "in"),
        (lambda world: world.channel_token("ann", "closed:2"), 3500),
        (lambda world: world.channel_token("bob", "closed:1"), 3500),
        (lambda world: world.channel_token("ann", "closed:1", ttl_s=-1), 109),
    ],
)
async def test_by_a_token(make_world: MakeWorld, make_token: Callable[[World], str], expected: str | int) -> None:
    world = await make_world(closed=CLOSED)
    assert await outcome(await world.client("ann"), FACET, make_token(world)) == expected


async def test_by_the_namespace(world: World) -> None:
    assert await outcome(await world.client(), "typing:room:1") == "in"


@pytest.mark.parametrize("base", ["closed:1", "$closed:1"])
async def test_by_a_subscription_to_the_room(make_world: MakeWorld, base: str) -> None:
    world = await make_world(closed=CLOSED)
    client = await world.client("ann")
    assert await outcome(client, f"typing:{base}") == 103
    await client.subscribe(base, token=world.channel_token("ann", base))
    assert await outcome(client, f"typing:{base}") == "in"


async def test_the_hook_is_asked_for_the_room_and_told_of_the_facet(make_world: MakeWorld) -> None:
    world = await make_world(closed=CLOSED)
    asked = []

    @world.on(SubscribeEvent, "closed:*")
    def may(event: SubscribeEvent) -> SubscribeReply:
        asked.append((event.channel, event.facet, event.granted))
        if event.user != "ann":
            raise Forbidden
        return SubscribeReply(data={"not": "the state"}, info={"x": 1})

    assert (await (await world.client("ann")).subscribe(FACET))["data"] == {"typing": []}
    assert await outcome(await world.client("bob"), FACET, world.channel_token("bob", "closed:1")) == 103
    assert asked == [("closed:1", "typing", False), ("closed:1", "typing", True)]


async def test_a_private_rooms_facet_is_never_granted_by_hook_or_namespace(make_world: MakeWorld) -> None:
    world = await make_world(closed=ChannelOptions(subscribe="client"))
    world.on(SubscribeEvent, "*")(lambda event: SubscribeReply())
    client = await world.client("ann")
    assert await outcome(client, "typing:$closed:1") == 103
    assert await outcome(client, "typing:$closed:1", world.channel_token("ann", "$closed:1")) == "in"


async def ends(client: Client) -> list[tuple[str, int]]:
    return [(push["channel"], push["unsubscribe"]["code"]) for push in await client.settle() if "unsubscribe" in push]


async def test_27_it_ends_with_the_room_that_the_server_takes_away(make_world: MakeWorld) -> None:
    world = await make_world(closed=CLOSED)
    client = await world.client("ann")
    await client.subscribe("closed:1", token=world.channel_token("ann", "closed:1"))
    await client.subscribe(FACET)
    await world.node.order(UnsubscribeOrder(user="ann", channel="closed:1", code=2100, reason="out"))
    assert await ends(client) == [("closed:1", 2100), (FACET, 2100)]


async def test_27_it_ends_with_the_expiry_of_the_room(make_world: MakeWorld) -> None:
    world = await make_world(closed=CLOSED, options=QUIET)
    client = await world.client("ann")
    await client.subscribe("closed:1", token=world.channel_token("ann", "closed:1", ttl_s=5))
    await client.subscribe(FACET)
    await world.pass_time(5 + QUIET.expired_grace_s + 1)
    assert await ends(client) == [("closed:1", 2501), (FACET, 2501)]


async def test_27_leaving_a_room_whose_right_would_expire_ends_its_facets(make_world: MakeWorld) -> None:
    """Else nobody would look any more whether the right still holds."""
    world = await make_world(closed=CLOSED)
    client = await world.client("ann")
    await client.subscribe("closed:1", token=world.channel_token("ann", "closed:1", ttl_s=5))
    await client.subscribe(FACET)
    await client.unsubscribe("closed:1")
    assert await ends(client) == [(FACET, 2000)]


async def test_27_its_own_token_expires_and_is_renewed(make_world: MakeWorld) -> None:
    world = await make_world(closed=CLOSED, options=QUIET)
    client = await world.client("ann")
    await client.subscribe(FACET, token=world.channel_token("ann", "closed:1", ttl_s=5))
    renewed = await client.call(
        sub_refresh={"channel": FACET, "token": world.channel_token("ann", "closed:1", ttl_s=50)}
    )
    assert renewed["ttl"] == 50
    await world.pass_time(50 + QUIET.expired_grace_s + 1)
    assert await ends(client) == [(FACET, 2501)]


async def test_27_who_granted_it_renews_it(make_world: MakeWorld) -> None:
    world = await make_world(closed=CLOSED)
    asked = []

    @world.on(SubscribeEvent, "closed:*")
    async def may(event: SubscribeEvent) -> SubscribeReply:
        return SubscribeReply(expires_at=world.wall() + 5)

    @world.on(SubRefreshEvent, "closed:*")
    async def renew(event: SubRefreshEvent) -> SubRefreshReply | None:
        asked.append(event.channel)
        return SubRefreshReply(expires_at=world.wall() + 5) if len(asked) < 2 else None

    client = await world.client("ann")
    await client.subscribe(FACET)
    await world.pass_time(12)
    assert asked == ["closed:1", "closed:1"]
    assert await ends(client) == [(FACET, 2501)]
