from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from roomful.server.signals import on_termination


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_we_hear_it_first_and_hand_it_on(number: signal.Signals) -> None:
    heard: list[str] = []
    drained = asyncio.Event()

    def host(_number: int, _frame: FrameType | None) -> None:
        heard.append("host")

    def drain() -> None:
        heard.append("drain")
        drained.set()

    signal.signal(number, host)
    undo = on_termination(drain)
    signal.raise_signal(number)
    await asyncio.wait_for(drained.wait(), 5)
    assert sorted(heard) == ["drain", "host"]
    undo()
    assert signal.getsignal(number) is host


async def test_what_was_ignored_stays_ignored() -> None:
    drained = asyncio.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    undo = on_termination(drained.set)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(drained.wait(), 5)
    undo()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


async def test_a_handler_put_over_ours_is_left_alone() -> None:
    undo = on_termination(lambda: None)

    def newer(_number: int, _frame: FrameType | None) -> None: ...

    signal.signal(signal.SIGTERM, newer)
    undo()
    assert signal.getsignal(signal.SIGTERM) is newer


def test_in_another_thread_there_are_no_signals_to_be_had() -> None:
    before = signal.getsignal(signal.SIGTERM)
    undone: list[bool] = []

    async def try_it() -> None:
        on_termination(lambda: None)()
        undone.append(True)

    thread = threading.Thread(target=asyncio.run, args=(try_it(),))
    thread.start()
    thread.join(10)
    assert undone == [True]
    assert signal.getsignal(signal.SIGTERM) is before
