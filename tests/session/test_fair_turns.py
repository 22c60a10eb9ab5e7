"""A room with a hook that hangs, with members that don't read, or with very much to say delays no other room.

Counted in turns of the event loop: as many as without that room.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from roomful.model.event import PublishEvent
from roomful.session.options import LimitOptions
from roomful.session.session import COMMANDS_A_TURN
from roomful.testing.client import Client
from tests.session.conftest import MakeWorld
from tests.session.world import World

LIMITS = LimitOptions(outbox_max_bytes=2_000, recovery_max=5)
MEMBERS = 300


class Pair:
    """Two who talk in a room of their own."""

    def __init__(self, one: Client, other: Client) -> None:
        self._one = one
        self._other = other
        self._sent = 0

    async def turns(self) -> int:
        """How many turns of the loop it takes from what one sends to what the other can read."""
        self._sent += 1
        self._one.send({"id": 100 + self._sent, "publish": {"channel": "log:pair", "data": self._sent}})
        for turn in range(1_000):
            self._other.read()
            if self._other.pushes:
                assert self._other.pushes.popleft()["pub"]["data"] == self._sent
                assert not self._other.pushes
                return turn
            await asyncio.sleep(0)
        raise AssertionError("it never came")


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    return await make_world(limits=LIMITS)


@pytest.fixture
async def pair(world: World) -> Pair:
    one, other = await world.client(), await world.client()
    await other.subscribe("log:pair")
    return Pair(one, other)


async def crowd(world: World, count: int = MEMBERS) -> list[Client]:
    members = []
    for _ in range(count):
        member = await world.client()
        await member.subscribe("log:crowd")
        members.append(member)
    return members


async def test_11_hooks_of_one_room_that_hang_delay_no_other_room(world: World, pair: Pair) -> None:
    before, go_on = await pair.turns(), threading.Event()

    def hang(_event: PublishEvent) -> None:
        go_on.wait(30)

    world.hooks.add(PublishEvent, "log:crowd", hang)
    members = await crowd(world)
    for member in members:
        member.send({"id": 9, "publish": {"channel": "log:crowd", "data": 1}})
    await world.settle()
    try:
        assert [await pair.turns() for _ in range(5)] == [before] * 5
    finally:
        go_on.set()
        world.hooks.remove(hang)
    for member in members:
        assert await member.publish("log:crowd", 2) == {}  # so what hung has been answered


async def test_11_members_that_dont_read_delay_no_other_room(world: World, pair: Pair) -> None:
    before, members = await pair.turns(), await crowd(world)
    for member in members:
        member.transport.paused = True
    taken = []
    for _ in range(40):
        await world.publish("log:crowd", b'"%s"' % (b"x" * 100))
        taken.append(await pair.turns())
    assert world.stats.fell_behind == MEMBERS
    for member in members:
        member.transport.resume()  # all of them have much to catch up with
        taken.append(await pair.turns())
    while world.stats.caught_up < MEMBERS:
        taken.append(await pair.turns())
    assert set(taken) == {before}


async def test_11_who_sends_very_much_at_once_takes_turns_with_others(world: World, pair: Pair) -> None:
    before, flood = await pair.turns(), await world.client()
    publish: dict[str, Any] = {"publish": {"channel": "log:crowd", "data": 1}}
    flood.send(*({"id": number, **publish} for number in range(10, 1_010)))
    assert [await pair.turns() for _ in range(5)] == [before] * 5
    replies = [line for piece in flood.transport.written for line in piece.split(b"\n")]
    assert len(replies) <= 6 * COMMANDS_A_TURN, "the pair had to wait for all of them"
    assert await flood.publish("log:crowd", 2) == {}  # in order: the flood's end
    assert (await world.head("log:crowd")).offset == 1_001
