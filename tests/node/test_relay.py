"""Commands on their way to the node of their session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import pytest

from roomful.model.errors import InternalError, RoomfulError
from roomful.model.order import Answer, CommandsOrder, Order, Survey
from roomful.node.relay import Arrival, Relay


class Session:
    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.full = False

    def receive(self, data: bytes) -> bool:
        if not self.full:
            self.heard.append(data)
        return not self.full


class World:
    """Two nodes, each its own way to the other one. delay: awaited by each send before the order goes."""

    def __init__(self) -> None:
        self.relays: dict[str, Relay] = {}
        self.sessions: dict[str, Session] = {}
        self.sent = 0
        self.delay: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
        for node in ("here", "there"):
            session = self.sessions[node] = Session()
            self.relays[node] = Relay(self, node, deadline_s=0.1)
            self.relays[node].open(f"session-{node}", session.receive)

    async def carry(self, node: str, session: str, data: bytes = b"{}") -> Arrival:
        return await self.relays["here"].carry(node, session, data)

    # The control of both

    async def nodes(self) -> Collection[str]:
        return [*self.relays, "silent"]

    async def send(self, order: Order) -> None:
        await self.delay()
        self.sent += 1
        assert isinstance(order, CommandsOrder)
        for relay in self.relays.values():
            answer = relay.take(order)
            if answer is not None:
                await self.answer(order.asker, answer)

    async def ask(self, survey: Survey) -> None:
        raise NotImplementedError

    async def answer(self, node: str, answer: Answer) -> None:
        assert self.relays[node].on_answer(answer)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("node", ["here", "there"])
async def test_what_becomes_of_commands(world: World, node: str) -> None:
    assert await world.carry(node, f"session-{node}", b"one") is Arrival.TAKEN
    assert world.sessions[node].heard == [b"one"]
    assert await world.carry(node, "session-nobody") is Arrival.UNKNOWN
    assert await world.carry(node, "") is Arrival.UNKNOWN
    world.sessions[node].full = True
    assert await world.carry(node, f"session-{node}") is Arrival.TOO_MANY
    world.relays[node].close(f"session-{node}")
    assert await world.carry(node, f"session-{node}") is Arrival.UNKNOWN


async def test_what_is_for_this_node_goes_nowhere(world: World) -> None:
    await world.carry("here", "session-here")
    assert world.sent == 0


async def test_a_node_that_does_not_live_isnt_asked(world: World) -> None:
    assert await world.carry("gone", "session-gone") is Arrival.NOWHERE
    assert world.sent == 0


async def test_a_node_that_does_not_answer(world: World) -> None:
    with pytest.raises(InternalError):
        await world.carry("silent", "session")
    assert not world.relays["here"].on_answer(Answer("an id from before", "silent", b"taken"))


async def test_an_engine_that_fails_does_not_hold_up_what_comes_after(world: World) -> None:
    async def fail() -> None:
        raise RoomfulError("the engine is away")

    first = asyncio.create_task(world.carry("there", "session-there", b"first"))
    second = asyncio.create_task(world.carry("there", "session-there", b"second"))
    before, world.delay = world.delay, fail
    with pytest.raises(RoomfulError):
        await first
    world.delay = before
    with pytest.raises(RoomfulError):
        await second  # it was on its way by then
    assert await world.carry("there", "session-there", b"third") is Arrival.TAKEN
    assert world.sessions["there"].heard == [b"third"]


async def test_commands_of_a_session_keep_their_order(world: World) -> None:
    """However long the engine takes for each of them."""
    delays = iter([0.02, 0.0, 0.01, 0.0, 0.0])
    world.delay = lambda: asyncio.sleep(next(delays))
    messages = [b"%d" % number for number in range(5)]
    arrivals = await asyncio.gather(*(world.carry("there", "session-there", data) for data in messages))
    assert arrivals == [Arrival.TAKEN] * 5
    assert world.sessions["there"].heard == messages


async def test_a_cancelled_request_leaves_nothing_behind(world: World) -> None:
    never = asyncio.Event()
    world.delay = lambda: never.wait()  # type: ignore[assignment,return-value]  # its result is of no interest
    request = asyncio.create_task(world.carry("there", "session-there"))
    behind = asyncio.create_task(world.carry("there", "session-there", b"behind"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.delay = lambda: asyncio.sleep(0)
    request.cancel()
    assert await behind is Arrival.TAKEN
    assert world.sessions["there"].heard == [b"behind"]
