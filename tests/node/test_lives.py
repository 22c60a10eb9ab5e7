"""A node finds out that it may have been taken for dead, is silent, and begins a new life."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from roomful.model.errors import InternalError
from roomful.node.lives import LOOK_S, SETTLE_S, Lives
from roomful.node.wheel import Wheel
from roomful.testing.clock import VirtualClock

SAFE_S = 30.0


class World:
    """One node: who lives, as the engine says, and what it was told."""

    def __init__(self) -> None:
        self.clock = VirtualClock(100.0)
        self.wheel = Wheel(self.clock)
        self.idle = False
        self.living: set[str] | None = {"a", "b"}
        self.told: list[object] = []
        self.asked = 0
        self.lives = Lives("a", self, self.wheel, self, SAFE_S)  # type: ignore[arg-type]  # it is control enough
        self.lives.wake()

    async def nodes(self) -> Collection[str]:
        self.asked += 1
        if self.living is None:
            raise InternalError("nobody knows")
        return self.living

    def on_frozen(self) -> None:
        self.told.append("frozen")

    def on_new_life(self) -> None:
        self.told.append("new life")

    def on_living(self, nodes: Collection[str]) -> None:
        self.told.append(sorted(nodes))

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.5)):
            self.clock.advance(0.5)
            self.wheel.advance()
            await asyncio.sleep(0)


ALL = ["a", "b"]


async def test_it_looks_who_lives() -> None:
    world = World()
    await world.pass_time(5.0)
    assert world.told == [ALL, ALL, ALL]
    world.living = {"a"}
    await world.pass_time(1.5)
    assert world.told[3:] == [["a"]]
    assert (world.lives.number, world.lives.in_doubt) == (1, False)


async def test_a_node_that_was_stopped_is_silent_until_it_has_settled(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.pass_time(1.5)
    world.told.clear()
    world.clock.advance(SAFE_S + 1.0)
    world.lives.notice(world.clock())
    assert world.told == ["frozen"]
    assert (world.lives.in_doubt, world.lives.frozen_at) == (True, 101.5)
    world.lives.notice(world.clock())
    assert world.told == ["frozen"]
    await world.pass_time(SETTLE_S - 0.5)
    assert world.told == ["frozen"]
    await world.pass_time(2.0)
    assert world.told[:3] == ["frozen", "new life", ALL]
    assert (world.lives.number, world.lives.in_doubt, world.lives.frozen_at) == (2, False, None)
    assert [(record.msg, record.args) for record in caplog.records] == [
        ("this node was stopped for %.0f s: its people are told anew", (31.0,))
    ]


async def test_a_short_stop_is_none() -> None:
    world = World()
    await world.pass_time(1.0)
    world.clock.advance(SAFE_S - 2.0)
    await world.pass_time(1.0)
    assert "frozen" not in world.told
    assert not world.lives.in_doubt


async def test_a_node_that_nobody_answers_is_in_doubt_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.pass_time(1.5)
    world.living = None
    await world.pass_time(SAFE_S - 2.0)
    assert not world.lives.in_doubt
    await world.pass_time(4.0)
    assert world.lives.in_doubt
    world.living = {"a", "b"}
    await world.pass_time(SETTLE_S + LOOK_S)
    assert not world.lives.in_doubt
    assert (world.told.count("new life"), world.told.count("frozen")) == (1, 0)
    assert [record.msg for record in caplog.records] == ["nobody says which nodes live: %s"]


async def test_a_node_that_does_not_count_as_living_is_in_doubt_at_once() -> None:
    world = World()
    world.living = {"b"}
    await world.pass_time(1.5)
    assert (world.lives.in_doubt, world.told) == (True, [])


async def test_without_anybody_to_ask_for_it_sleeps() -> None:
    world = World()
    world.idle = True
    await world.pass_time(5.0)
    assert (world.asked, len(world.wheel)) == (0, 0)
    world.clock.advance(1_000.0)
    world.lives.notice(world.clock())
    assert world.told == []
    world.idle = False
    world.lives.wake()
    await world.pass_time(1.5)
    assert world.told == [ALL]
