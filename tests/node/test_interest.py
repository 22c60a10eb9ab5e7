"""Interest against a broker whose calls take any time, end in any order and fail: whoever holds a channel hears it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from roomful.model.errors import InternalError
from roomful.node.interest import Interest

CHANNELS = ("a", "b")


class Broker:
    """Each call waits until the test lets it end. A channel is heard from the end of `subscribe` to the begin of
    `unsubscribe`: what lies between them, a real broker may do either way."""

    def __init__(self) -> None:
        self.heard: set[str] = set()
        self.calls: list[str] = []
        self.under_way: dict[str, asyncio.Future[None]] = {}

    async def subscribe(self, channel: str) -> None:
        await self._call("subscribe", channel)
        self.heard.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        self.heard.discard(channel)
        await self._call("unsubscribe", channel)

    async def _call(self, name: str, channel: str) -> None:
        assert channel not in self.under_way, "two changes of one channel at once"
        self.calls.append(f"{name} {channel}")
        self.under_way[channel] = asyncio.get_running_loop().create_future()
        try:
            await self.under_way[channel]
        finally:
            del self.under_way[channel]


class Quick(Broker):
    """Never suspends, as the memory engine."""

    async def _call(self, name: str, channel: str) -> None:
        self.calls.append(f"{name} {channel}")


class World:
    """Holders of channels, and those that are about to become or stop being one."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.wanted: list[str] = []
        self.interest = Interest(self.broker, self.wanted.__contains__)  # type: ignore[arg-type]
        self.acquiring: dict[asyncio.Task[None], str] = {}
        self.releasing: set[asyncio.Task[None]] = set()
        self.held: list[str] = []

    def acquire(self, channel: str) -> None:
        self.acquiring[asyncio.create_task(self._want(channel))] = channel

    async def _want(self, channel: str) -> None:
        self.wanted.append(channel)
        try:
            await self.interest.acquire(channel)
        except BaseException:
            self.wanted.remove(channel)
            raise

    def release(self, number: int) -> None:
        if self.held:
            channel = self.held.pop(number % len(self.held))
            self.wanted.remove(channel)
            self.releasing.add(asyncio.create_task(self.interest.release(channel)))

    def answer(self, number: int, error: Exception | None) -> None:
        waiting = [call for call in self.broker.under_way.values() if not call.done()]
        if waiting:
            call = waiting[number % len(waiting)]
            call.set_result(None) if error is None else call.set_exception(error)

    def cancel(self, number: int) -> None:
        if self.acquiring:
            tuple(self.acquiring)[number % len(self.acquiring)].cancel()

    async def settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)
        for task in tuple(self.acquiring):
            if task.done():
                channel = self.acquiring.pop(task)
                if not task.cancelled() and task.exception() is None:
                    self.held.append(channel)
        for task in tuple(self.releasing):
            if task.done():
                task.exception()  # it may have failed: that's the releaser's to log
                self.releasing.discard(task)

    async def end(self) -> None:
        """Every call succeeds from now on, and everybody lets go."""
        while self.acquiring or self.releasing or self.held:
            self.release(0)
            while self.broker.under_way:
                self.answer(0, None)
                await self.settle()
            await self.settle()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), st.sampled_from(CHANNELS)),
        st.tuples(st.sampled_from(("release", "ok", "fail", "cancel")), st.integers(0, 5)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whoever_holds_a_channel_hears_it_and_nothing_is_left(steps: list[tuple[str, int]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, int | str]]) -> None:
    world = World()
    for kind, what in steps:
        match kind:
            case "acquire":
                world.acquire(str(what))
            case "release":
                world.release(int(what))
            case "ok":
                world.answer(int(what), None)
            case "fail":
                world.answer(int(what), InternalError())
            case "cancel":
                world.cancel(int(what))
        await world.settle()
        assert set(world.held) <= world.broker.heard
    await world.end()
    assert world.broker.heard == set()
    assert not world.wanted
    assert not world.interest._heard
    assert not world.interest._changing


async def test_the_first_subscribes_and_the_last_unsubscribes() -> None:
    broker, wanted = Quick(), ["a", "a", "a"]
    interest = Interest(broker, wanted.__contains__)  # type: ignore[arg-type]
    for _ in wanted:
        await interest.acquire("a")
    while wanted:
        assert broker.calls == ["subscribe a"]
        wanted.pop()
        await interest.release("a")
    assert broker.calls == ["subscribe a", "unsubscribe a"]


async def test_a_subscriber_that_comes_during_the_last_ones_leaving_is_heard_in_the_end() -> None:
    world = World()
    world.acquire("a")
    await world.settle()
    world.answer(0, None)
    await world.settle()
    world.release(0)
    await world.settle()
    world.acquire("a")
    await world.settle()
    assert world.broker.calls == ["subscribe a", "unsubscribe a"]
    world.answer(0, None)
    await world.settle()
    world.answer(0, None)
    await world.settle()
    assert world.broker.calls == ["subscribe a", "unsubscribe a", "subscribe a"]
    assert world.held == ["a"]


async def test_the_failure_is_the_askers_own_and_the_others_ask_again() -> None:
    world = World()
    world.acquire("a")
    world.acquire("a")
    await world.settle()
    world.answer(0, InternalError())
    await world.settle()
    assert world.broker.calls == ["subscribe a", "subscribe a"]
    world.answer(0, None)
    await world.settle()
    assert world.held == ["a"]


async def test_a_channel_that_is_stuck_holds_up_no_other() -> None:
    world = World()
    world.acquire("a")
    await world.settle()
    world.acquire("b")
    await world.settle()
    world.broker.under_way["b"].set_result(None)
    await world.settle()
    assert world.held == ["b"]
    with suppress(asyncio.CancelledError):
        world.cancel(0)
        await world.settle()
    assert world.held == ["b"]
