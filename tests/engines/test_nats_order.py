from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from roomful.engines.nats_order import HELD_MAX, InOrder
from roomful.model.publication import Publication


class Ear:
    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.order = InOrder(lambda channel, publication, epoch: self.heard.append((epoch, publication.offset)))

    def tell(self, *offsets: int, epoch: str = "e") -> None:
        for offset in offsets:
            self.order.take("a", Publication(b"", offset), epoch)

    @property
    def offsets(self) -> list[int]:
        return [offset for _, offset in self.heard]


@given(st.permutations(range(2, 20)))
def test_whatever_the_order_all_come_in_theirs(offsets: list[int]) -> None:
    async def run() -> None:
        ear = Ear()
        ear.tell(1, *offsets)
        assert ear.offsets == list(range(1, 20))

    asyncio.run(run())


async def test_what_was_lost_is_not_waited_for_for_ever() -> None:
    ear = Ear()
    ear.tell(1, 3, 4)
    assert ear.offsets == [1]
    ear.order.release("a")  # the timer does it
    assert ear.offsets == [1, 3, 4]
    ear.tell(5, 2)
    assert ear.offsets == [1, 3, 4, 5, 2]


async def test_no_more_than_so_many_wait() -> None:
    ear = Ear()
    ear.tell(1, *range(3, HELD_MAX + 4))
    assert ear.offsets == [1, *range(3, HELD_MAX + 4)]


async def test_another_epoch_begins_anew() -> None:
    ear = Ear()
    ear.tell(1, 3)
    ear.tell(7, epoch="f")
    assert ear.heard == [("e", 1), ("e", 3), ("f", 7)]


async def test_a_channel_that_is_forgotten_begins_anew() -> None:
    ear = Ear()
    ear.tell(1, 3)
    ear.order.forget("a")
    ear.tell(9)
    assert ear.offsets == [1, 9]
