"""Facets as clients see them: state in the reply, changes, and who is allowed to what."""

from __future__ import annotations

from typing import Any

import pytest

from roomful.model.channel import ChannelOptions, Right
from roomful.model.errors import Forbidden, NotAvailable
from roomful.model.event import PublishEvent, PublishReply
from roomful.testing.client import Client, CommandError
from tests.session.conftest import MakeWorld
from tests.session.world import World, session_of

TYPING = {"typing": True}


def changes(pushes: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(push["channel"], push["pub"]["data"]) for push in pushes if "pub" in push]


async def outcome(client: Client, channel: str, data: Any = TYPING) -> str | int:
    try:
        await client.publish(channel, data)
    except CommandError as error:
        return error.code
    return "published"


async def test_typing_from_end_to_end(world: World) -> None:
    ann, bob = await world.client("ann"), await world.client("bob")
    assert (await bob.subscribe("typing:room:1"))["data"] == {"typing": []}
    await ann.publish("typing:room:1", TYPING)
    push = await bob.next_push()
    assert push["pub"]["data"] == {"user": "ann", "typing": True}
    assert push["pub"]["info"]["client"] == session_of(ann).client
    late = await world.client()
    assert (await late.subscribe("typing:room:1"))["data"] == {"typing": [{"user": "ann"}]}
    await world.pass_time(5.3)
    assert changes(await bob.settle()) == [("typing:room:1", {"user": "ann", "typing": False})]


async def test_20_typing_ends_with_the_connection(world: World) -> None:
    ann, bob = await world.client("ann"), await world.client("bob")
    await ann.subscribe("room:1")
    await bob.subscribe("typing:room:1")
    await ann.publish("typing:room:1", TYPING)
    ann.cut()
    typing = [change["typing"] for _, change in changes(await bob.settle())]
    assert typing == [True, False]


async def test_20_who_lost_the_link_comes_back_to_who_is_typing_now(world: World) -> None:
    """What has ended meanwhile is not in what a viewer gets, and who hears of the end is told it once."""
    ann, eve = await world.client("ann"), await world.client("eve")
    bob, deaf = await world.client("bob"), await world.client("bob")
    for viewer in (bob, deaf):
        await viewer.subscribe("typing:room:1")
    await ann.publish("typing:room:1", TYPING)
    deaf.cut()
    await world.pass_time(3.0)
    await eve.publish("typing:room:1", TYPING)
    await world.pass_time(3.0)
    back = await world.client("bob")
    assert (await back.subscribe("typing:room:1"))["data"] == {"typing": [{"user": "eve"}]}
    await world.pass_time(5.0)
    since = [(change["user"], change["typing"]) for _, change in changes(await back.settle())]
    assert {user for user, _ in since} == {"eve"}
    assert since.count(("eve", False)) == 1
    assert since[-1] == ("eve", False)
    seen = [(change["user"], change["typing"]) for _, change in changes(await bob.settle())]
    assert [(user, typing) for user, typing in seen if not typing] == [("ann", False), ("eve", False)]


async def test_nobody_types_in_the_name_of_another(world: World) -> None:
    nobody, bob = await world.client(), await world.client("bob")
    await bob.subscribe("typing:room:1")
    assert await outcome(nobody, "typing:room:1", {"typing": True, "user": "ann"}) == 107
    assert await outcome(nobody, "typing:room:1") == "published"
    assert (await bob.next_push())["pub"]["data"]["user"] == f"~{session_of(nobody).client}"


@pytest.mark.parametrize(
    ("right", "subscribed", "expected"),
    [
        (Right.NOBODY, True, 103),
        (Right.SUBSCRIBER, False, 103),
        (Right.SUBSCRIBER, True, "published"),
        (Right.CLIENT, False, "published"),
    ],
)
async def test_who_may_publish_to_the_room_may_type(
    make_world: MakeWorld, right: Right, subscribed: bool, expected: str | int
) -> None:
    world = await make_world(room=ChannelOptions(subscribe="client", publish=right))
    client = await world.client("ann")
    if subscribed:
        await client.subscribe("room:1")
    assert await outcome(client, "typing:room:1") == expected


async def test_a_hook_for_the_facets_name_decides_and_one_for_the_room_is_not_asked(make_world: MakeWorld) -> None:
    world = await make_world(room=ChannelOptions())
    client = await world.client("ann")

    @world.on(PublishEvent, "room:*")
    def says(event: PublishEvent) -> None:
        raise AssertionError(event)

    assert await outcome(client, "typing:room:1") == 103

    @world.on(PublishEvent, "typing:room:*")
    def may(event: PublishEvent) -> PublishReply:
        if event.channel.endswith("2"):
            raise Forbidden
        return PublishReply()

    assert await outcome(client, "typing:room:1") == "published"
    assert await outcome(client, "typing:room:2") == 103


async def test_the_application_publishes_to_no_facet(world: World) -> None:
    with pytest.raises(NotAvailable):
        await world.publish("typing:room:1")


@pytest.mark.parametrize("method", ["history", "presence", "presence_stats"])
async def test_a_facet_has_no_history_and_no_presence_of_its_own(world: World, method: str) -> None:
    client = await world.client()
    await client.subscribe("typing:room:1")
    with pytest.raises(CommandError) as raised:
        await client.call(**{method: {"channel": "typing:room:1"}})
    assert raised.value.code == 108
