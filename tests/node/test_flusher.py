"""One flush at the end of the turn, for all that were marked in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from roomful.node.flusher import Flusher


class Box:
    def __init__(self, reacts: Callable[[], None] = lambda: None) -> None:
        self.flushed = 0
        self._reacts = reacts

    def flush(self) -> None:
        self.flushed += 1
        self._reacts()


async def test_nothing_is_written_before_the_end_of_the_turn() -> None:
    flusher, box = Flusher(), Box()
    flusher.mark(box)
    assert box.flushed == 0
    await asyncio.sleep(0)
    assert box.flushed == 1


async def test_it_sees_what_every_callback_of_the_turn_has_queued() -> None:
    flusher, queued, seen = Flusher(), list[int](), list[int]()
    loop = asyncio.get_running_loop()
    box = Box(lambda: seen.append(len(queued)))

    def work(number: int) -> None:
        if not queued:
            flusher.mark(box)
        queued.append(number)

    for number in range(5):
        loop.call_soon(work, number)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == [5]


async def test_in_the_order_of_marking() -> None:
    flusher, order = Flusher(), list[int]()
    boxes = [Box(lambda number=number: order.append(number)) for number in range(5)]
    for box in reversed(boxes):
        flusher.mark(box)
    flusher.flush()
    assert order == [4, 3, 2, 1, 0]


async def test_what_is_marked_while_they_write_waits_for_the_next_turn() -> None:
    flusher, late = Flusher(), Box()
    flusher.mark(Box(lambda: flusher.mark(late)))
    await asyncio.sleep(0)
    assert late.flushed == 0
    await asyncio.sleep(0)
    assert late.flushed == 1


async def test_it_holds_nobody_afterwards() -> None:
    flusher = Flusher()
    for _ in range(3):
        flusher.mark(Box())
    flusher.flush()
    assert flusher._dirty == []
    box = Box()
    flusher.mark(box)
    await asyncio.sleep(0)
    assert box.flushed == 1


async def test_the_first_publication_of_a_turn_is_timed_if_anybody_gets_it() -> None:
    flusher = Flusher()
    flusher.carries(perf_counter())
    await asyncio.sleep(0)
    assert len(flusher.deliveries) == 0
    begun = perf_counter()
    flusher.mark(Box())
    flusher.carries(begun - 100.0)
    flusher.carries(begun)
    await asyncio.sleep(0)
    assert len(flusher.deliveries) == 1
    assert flusher.deliveries.total_s >= 100.0
