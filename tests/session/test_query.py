"""Presence, presence stats and history. Source: Centrifuge protocol, sections 11.3, 11.4 and 21.4."""

from __future__ import annotations

from typing import Any

import pytest

from roomful.model.channel import ChannelOptions, Right
from roomful.session.options import LimitOptions
from roomful.testing.client import CommandError
from tests.session.conftest import MakeWorld
from tests.session.world import World

RIGHTS = [
    (Right.NOBODY, "ann", True, 103),
    (Right.SUBSCRIBER, "ann", False, 103),
    (Right.SUBSCRIBER, "ann", True, None),
    (Right.SUBSCRIBER, "", True, None),
    (Right.USER, "ann", False, None),
    (Right.USER, "", True, 103),
    (Right.CLIENT, "", False, None),
]


async def code_of(call: Any) -> int | None:
    try:
        await call
    except CommandError as error:
        return error.code
    return None


@pytest.mark.parametrize(("right", "user", "subscribed", "expected"), RIGHTS)
async def test_who_may(make_world: MakeWorld, right: Right, user: str, subscribed: bool, expected: int | None) -> None:
    options = ChannelOptions(
        subscribe="client", presence=True, history_size=5, history_ttl_s=60, see_presence=right, history=right
    )
    world = await make_world(room=options)
    client = await world.client(user)
    if subscribed:
        await client.subscribe("room:1")
    for command in ("presence", "presence_stats", "history"):
        assert await code_of(client.call(**{command: {"channel": "room:1"}})) == expected


async def test_under_dev_everybody_may(make_world: MakeWorld) -> None:
    options = ChannelOptions(
        presence=True, history_size=5, history_ttl_s=60, see_presence=Right.NOBODY, history=Right.NOBODY
    )
    world = await make_world(insecure=True, room=options)
    client = await world.client()
    for command in ("presence", "presence_stats", "history"):
        assert await code_of(client.call(**{command: {"channel": "room:1"}})) is None


@pytest.mark.parametrize("command", ["presence", "presence_stats", "history"])
async def test_what_isnt_kept_is_not_available_whatever_the_rights(make_world: MakeWorld, command: str) -> None:
    world = await make_world(bare=ChannelOptions(see_presence=Right.NOBODY, history=Right.NOBODY))
    assert await code_of((await world.client()).call(**{command: {"channel": "bare:1"}})) == 108


async def test_presence(world: World) -> None:
    ann, again, nobody = [await world.client(user) for user in ("ann", "ann", "")]
    assert await code_of(nobody.call(presence={"channel": "room:1"})) == 103
    for number, client in enumerate((ann, again, nobody)):
        token = world.channel_token("ann", "room:1", info={"n": number}) if client is ann else ""
        await client.subscribe("room:1", token=token)
    assert await ann.call(presence={"channel": "room:1"}) == {
        "presence": {
            ann.id: {"user": "ann", "client": ann.id, "chan_info": {"n": 0}},
            again.id: {"user": "ann", "client": again.id},
            nobody.id: {"user": "", "client": nobody.id},
        }
    }
    assert await ann.call(presence_stats={"channel": "room:1"}) == {"num_clients": 3, "num_users": 2}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, []),
        ({"limit": 0}, []),
        ({"limit": 2}, [6, 7]),
        ({"limit": -1}, [6, 7, 8, 9, 10]),
        ({"limit": 100}, [6, 7, 8, 9, 10]),
        ({"limit": 2, "reverse": True}, [10, 9]),
        ({"limit": -1, "reverse": True}, [10, 9, 8, 7, 6]),
        ({"limit": -1, "since": {"offset": 8}}, [9, 10]),
        ({"limit": 1, "since": {"offset": 7}}, [8]),
        ({"limit": -1, "since": {"offset": 2}}, [6, 7, 8, 9, 10]),
        ({"limit": -1, "since": {"offset": 10}}, []),
        ({"limit": -1, "since": {"offset": 99}}, []),
        ({"limit": -1, "since": {"offset": 0}}, [6, 7, 8, 9, 10]),
        ({"limit": -1, "since": {"offset": 9}, "reverse": True}, [8, 7, 6]),
        ({"limit": 1, "since": {"offset": 9}, "reverse": True}, [8]),
        ({"limit": -1, "since": {"offset": 6}, "reverse": True}, []),
        ({"limit": -1, "since": {"offset": 3}, "reverse": True}, []),
        ({"limit": 0, "since": {"offset": 3}}, []),
        ({"limit": -1, "since": {"offset": 0}, "reverse": True}, 107),
        ({"limit": -1, "since": {"offset": 8, "epoch": "same"}}, [9, 10]),
        ({"limit": -1, "since": {"offset": 8, "epoch": "other"}}, 112),
        ({"limit": 0, "since": {"offset": 8, "epoch": "other"}}, 112),
    ],
)
async def test_history(make_world: MakeWorld, asked: dict[str, Any], expected: list[int] | int) -> None:
    options = ChannelOptions(history_size=5, history_ttl_s=60, history=Right.CLIENT)
    world = await make_world(kept=options)
    for number in range(1, 11):
        await world.publish("kept:1", b"%d" % number)
    epoch = (await world.head("kept:1")).epoch
    since = asked.get("since", {})
    if since.get("epoch") == "same":
        asked = asked | {"since": since | {"epoch": epoch}}
    client = await world.client()
    if isinstance(expected, int):
        assert await code_of(client.call(history={"channel": "kept:1", **asked})) == expected
    else:
        result = await client.call(history={"channel": "kept:1", **asked})
        assert result == {
            "publications": [{"data": number, "offset": number} for number in expected],
            "epoch": epoch,
            "offset": 10,
        }


async def test_a_channel_that_was_never_published_to_has_a_position(world: World) -> None:
    client = await world.client()
    await client.subscribe("log:1")
    result = await client.call(history={"channel": "log:1", "limit": -1})
    assert result == {"publications": [], "epoch": (await world.head("log:1")).epoch, "offset": 0}
    assert result["epoch"]


async def test_a_history_is_limited_in_number_and_in_bytes(make_world: MakeWorld) -> None:
    options = ChannelOptions(history_size=100, history_ttl_s=60, history=Right.CLIENT)
    world = await make_world(kept=options, limits=LimitOptions(history_max=7, outbox_max_bytes=1_000))
    for _ in range(20):
        await world.publish("kept:1", b"1")
        await world.publish("kept:2", b'"%s"' % (b"x" * 200))
    client = await world.client()
    for limit in (-1, 50):
        assert len((await client.call(history={"channel": "kept:1", "limit": limit}))["publications"]) == 7
        assert len((await client.call(history={"channel": "kept:2", "limit": limit}))["publications"]) == 2


async def test_history_leaves_out_what_isnt_for_the_client(world: World) -> None:
    client = await world.client()
    await client.subscribe("log:1")
    await world.publish("log:1", b"1", exclude=frozenset({client.id}))
    await world.publish("log:1", b"2", exclude=frozenset({"other"}))
    result = await client.call(history={"channel": "log:1", "limit": -1})
    assert [p["data"] for p in result["publications"]] == [2]
