"""The wheel with a clock that the test moves: never early, never late by more than a tick, never lost."""

from __future__ import annotations

import asyncio
import math
import random
import socket
import time
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from roomful.node.wheel import HORIZON_S, STALE_MIN, TICK_S, Wheel
from roomful.testing.clock import VirtualClock

SLACK_S = 1e-6
"""Floating point: a second has no tenth."""


class Timed:
    """Notes when it was asked, and says when next: `then` of the time, by default never."""

    def __init__(self, then: Callable[[float], float | None] = lambda now: None) -> None:
        self.wheel_slot = 0
        self.asked: list[float] = []
        self._then = then

    def on_due(self, now: float) -> float | None:
        self.asked.append(now)
        return self._then(now)


class Waiting(Timed):
    """Has one deadline, and like a session waits on when it is asked too early."""

    def __init__(self, at: float) -> None:
        super().__init__(lambda now: None if self.met else self.at)
        self.at = at
        self.met_at: list[float] = []

    @property
    def met(self) -> bool:
        return bool(self.met_at)

    def on_due(self, now: float) -> float | None:
        if now >= self.at and not self.met:
            self.met_at.append(now)
        return super().on_due(now)


def moved(clock: VirtualClock, wheel: Wheel, seconds: float, step_s: float = TICK_S / 4) -> None:
    """Time passes, and the wheel is looked at often."""
    end = clock() + seconds
    while clock() < end:
        clock.advance(min(step_s, end - clock()))
        wheel.advance()


@given(st.lists(st.floats(0, 90), min_size=1, max_size=30), st.floats(0, 1e6))
def test_each_is_asked_at_its_time_once(delays: list[float], start: float) -> None:
    clock = VirtualClock(start)
    wheel = Wheel(clock)
    everybody = [Waiting(clock() + delay) for delay in delays]
    for timed in everybody:
        wheel.schedule(timed, timed.at)
    moved(clock, wheel, max(delays) + 2 * TICK_S, step_s=0.02)
    for timed in everybody:
        assert len(timed.met_at) == 1
        assert timed.at <= timed.met_at[0] <= timed.at + TICK_S + 0.02 + SLACK_S


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), max_size=40), st.floats(0, 5))
def test_however_it_is_moved_the_earliest_time_counts(moves: list[tuple[float, float]], first: float) -> None:
    """Each move: so much time passes, then another deadline is asked for."""
    clock = VirtualClock(1000.0)
    wheel = Wheel(clock)
    timed = Timed()
    due = clock() + first
    wheel.schedule(timed, due)
    for passes, delay in moves:
        moved(clock, wheel, passes)
        if timed.asked:
            assert due <= timed.asked.pop() <= due + 2 * TICK_S + SLACK_S
            assert not timed.asked
            due = math.inf
        else:
            assert clock() <= due + 2 * TICK_S
        due = min(due, clock() + delay)
        wheel.schedule(timed, clock() + delay)
    moved(clock, wheel, 6.0)
    assert len(timed.asked) == 1
    assert due <= timed.asked[0] <= due + 2 * TICK_S + SLACK_S


def test_none_changes_nothing() -> None:
    clock = VirtualClock()
    wheel, timed = Wheel(clock), Timed()
    wheel.schedule(timed, None)
    moved(clock, wheel, 2.0)
    assert timed.asked == []
    wheel.schedule(timed, clock() + 1.0)
    wheel.schedule(timed, None)
    moved(clock, wheel, 2.0)
    assert len(timed.asked) == 1


def test_what_says_when_next_comes_again() -> None:
    clock = VirtualClock()
    wheel, timed = Wheel(clock), Timed(lambda now: now + 1.0)
    wheel.schedule(timed, 1.0)
    moved(clock, wheel, 100.0)
    assert 90 <= len(timed.asked) <= 100
    assert all(1.0 <= b - a <= 1.0 + 2 * TICK_S for a, b in zip(timed.asked, timed.asked[1:], strict=False))


@pytest.mark.parametrize("due", [-5.0, 0.0, 99.0, 100.0])
def test_a_time_that_has_passed_is_met_in_the_next_tick_and_not_for_ever(due: float) -> None:
    clock = VirtualClock(100.0)
    wheel, timed = Wheel(clock), Timed()
    wheel.schedule(timed, due)
    moved(clock, wheel, 1.0)
    assert len(timed.asked) == 1
    assert timed.asked[0] <= 100.0 + 2 * TICK_S


def test_a_long_jump_of_the_clock_loses_nobody() -> None:
    clock = VirtualClock()
    wheel = Wheel(clock)
    everybody = [Timed() for _ in range(5_000)]
    spread = random.Random(7)
    for timed in everybody:
        wheel.schedule(timed, spread.uniform(0, HORIZON_S))
    clock.advance(HORIZON_S * 10)
    wheel.advance()
    assert all(len(timed.asked) == 1 for timed in everybody)


def test_thousands_with_deadlines_of_their_own() -> None:
    clock = VirtualClock()
    wheel, spread = Wheel(clock), random.Random(11)
    everybody = [Waiting(spread.uniform(0, 30)) for _ in range(10_000)]
    for timed in everybody:
        wheel.schedule(timed, timed.at)
    moved(clock, wheel, 31.0, step_s=TICK_S)
    assert all(timed.at <= timed.met_at[0] <= timed.at + 2 * TICK_S for timed in everybody)


def test_what_is_closed_isnt_kept_until_a_deadline_of_tomorrow() -> None:
    clock = VirtualClock()
    wheel, timed = Wheel(clock), Timed()
    wheel.schedule(timed, 86_400.0)
    assert len(wheel) == 1
    moved(clock, wheel, HORIZON_S + TICK_S, step_s=TICK_S)
    assert timed.asked, "it is asked whether it still wants that deadline"
    assert len(wheel) == 0


def test_one_that_is_due_may_schedule_others() -> None:
    clock = VirtualClock()
    wheel = Wheel(clock)
    other = Timed()

    def then(now: float) -> None:
        wheel.schedule(other, now)

    first = Timed(then)
    wheel.schedule(first, 1.0)
    moved(clock, wheel, 2.0)
    assert len(other.asked) == 1
    assert first.asked[0] <= other.asked[0] <= first.asked[0] + 2 * TICK_S


def test_stop_forgets_everything() -> None:
    clock = VirtualClock()
    wheel, timed = Wheel(clock), Timed()
    wheel.schedule(timed, 1.0)
    wheel.stop()
    moved(clock, wheel, 5.0)
    assert timed.asked == []
    assert len(wheel) == 0


# On a real loop


async def test_the_timer_of_the_loop_drives_it() -> None:
    wheel, due = Wheel(), asyncio.Event()
    timed = Timed(lambda now: due.set())
    at = wheel.now() + 0.2
    wheel.schedule(timed, at + 60)
    wheel.schedule(timed, at)
    async with asyncio.timeout(5):
        await due.wait()
    assert timed.asked[0] >= at
    wheel.stop()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_14_after_the_loop_stood_still_what_arrived_meanwhile_is_read_before_deadlines_strike(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Otherwise our own stall would end every connection whose pong waits in its socket. That's the loops' doing."""

    async def main() -> list[str]:
        happened: list[str] = []
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop, wheel, struck = asyncio.get_running_loop(), Wheel(), asyncio.Event()

        def read() -> None:
            happened.append(ours.recv(16).decode())

        def strike(_now: float) -> None:
            happened.append("deadline")
            struck.set()

        def block() -> None:
            theirs.send(b"pong")
            time.sleep(0.3)  # the stall itself is what is tested

        with ours, theirs:
            loop.add_reader(ours, read)
            wheel.schedule(Timed(strike), wheel.now())
            loop.call_soon(block)
            async with asyncio.timeout(5):
                await struck.wait()
            loop.remove_reader(ours)
        wheel.stop()
        return happened

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(main()) == ["pong", "deadline"]


def test_who_has_gone_is_not_asked_and_soon_not_held() -> None:
    clock = VirtualClock(1000.0)
    wheel = Wheel(clock)
    stays = [Timed() for _ in range(10)]
    for timed in stays:
        wheel.schedule(timed, clock() + 30)
    for _ in range(50):
        for timed in [Timed() for _ in range(STALE_MIN)]:
            wheel.schedule(timed, clock() + 25)
            wheel.forget(timed)
        clock.advance(0.2)
        wheel.advance()
        assert len(wheel) <= 2 * STALE_MIN + len(stays)
    again = Timed()
    for _ in range(3):
        wheel.schedule(again, clock() + 20)
        wheel.forget(again)
    wheel.schedule(again, clock() + 20)
    moved(clock, wheel, 31)
    assert [len(timed.asked) for timed in (*stays, again)] == [1] * 11
    assert len(wheel) == 0


@given(st.lists(st.tuples(st.sampled_from(["add", "move", "forget", "pass"]), st.integers(0, 30)), max_size=300))
def test_nobody_is_lost_whoever_goes(steps: list[tuple[str, int]]) -> None:
    """Who hasn't gone is asked; who has gone isn't; and what the wheel believes to hold is what it holds."""
    clock = VirtualClock(1000.0)
    wheel = Wheel(clock)
    known: list[Waiting] = []
    gone: dict[int, int] = {}
    for step, number in steps:
        if step == "add":
            for _ in range(10):
                known.append(Waiting(clock() + number))
                wheel.schedule(known[-1], known[-1].at)
        elif step == "pass":
            moved(clock, wheel, number / 10, step_s=0.05)
        else:
            for index, timed in enumerate(known):
                if index % 31 == number and not timed.met and index not in gone:
                    if step == "move":
                        timed.at = min(timed.at, clock() + number / 4)
                        wheel.schedule(timed, timed.at)
                    else:
                        wheel.forget(timed)
                        gone[index] = len(timed.asked)
        assert wheel._entries == len(wheel)
        assert wheel._stale <= max(STALE_MIN, len(wheel) / 2)
    moved(clock, wheel, 31, step_s=0.05)
    for index, timed in enumerate(known):
        assert timed.met is (index not in gone)
        assert len(timed.asked) == gone.get(index, len(timed.asked))
    assert len(wheel) == 0


async def test_somebody_may_sleep_on_it_or_be_woken() -> None:
    clock = VirtualClock(1000.0)
    wheel = Wheel(clock)
    first, second = wheel.sleep(1.0), wheel.sleep(1.0)
    second.set_result(None)
    moved(clock, wheel, 0.9)
    assert not first.done()
    moved(clock, wheel, 0.3)
    await first
    await second


def test_who_says_a_time_that_is_past_is_asked_again_a_tick_later() -> None:
    """Not in the same turn, and then in the same turn again, for ever."""
    clock = VirtualClock(100.0)
    wheel = Wheel(clock)
    timed = Timed(lambda now: now - 5.0)
    wheel.schedule(timed, 90.0)
    moved(clock, wheel, 1.0)
    assert 1 <= len(timed.asked) <= 1.0 / TICK_S + 1
