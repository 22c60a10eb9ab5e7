"""Many readers, few reads: everybody gets what a read of its own would have given, and none that is too old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.model.errors import InternalError
from roomful.model.publication import Draft, HistoryFilter, Page, Position, Retention
from roomful.node.shared_reads import SharedReads
from roomful.rooms.recovery import recover
from roomful.rooms.stream import Stream

CHANNEL = "log:1"
KEEP = Retention(40, 300.0)
HEAD = HistoryFilter()


class Log:
    """A stream whose reads happen when the test says so. reads: how often it was read."""

    def __init__(self, kept: int = 40) -> None:
        self.keep = Retention(kept, 300.0)
        self.stream = Stream("epoch")
        self.reads = 0
        self.broken = False
        self.let = asyncio.Event()
        self.shared = SharedReads()

    def publish(self, size: int = 2) -> None:
        self.stream.append(Draft(b"x" * size), self.keep, 0.0)

    async def fetch(self, wanted: HistoryFilter) -> Page:
        self.reads += 1
        page = self.stream.page(wanted, self.keep, 0.0)  # what comes while the answer travels isn't in it
        await self.let.wait()
        if self.broken:
            raise InternalError("broken")
        return page

    def ask(self, wanted: HistoryFilter, *, some: bool = True) -> asyncio.Task[Page]:
        return asyncio.create_task(self.shared.read(CHANNEL, wanted, self.fetch, some=some))


def after(offset: int, limit: int = 300, max_bytes: int | None = None, epoch: str = "epoch") -> HistoryFilter:
    return HistoryFilter(limit, Position(epoch, offset), max_bytes=max_bytes)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_five_hundred_who_come_at_once_cost_two_reads() -> None:
    log = Log()
    for _ in range(30):
        log.publish()
    readers = [log.ask(after(20 + number % 10)) for number in range(500)]
    await turns()
    assert len(log.shared) == 2
    log.let.set()
    pages = await asyncio.gather(*readers)
    assert log.reads == 2
    assert len(log.shared) == 0
    for number, page in enumerate(pages):
        assert [publication.offset for publication in page.publications] == list(range(21 + number % 10, 31))
        assert page.head == Position("epoch", 30)


async def test_nobody_gets_a_page_that_was_read_before_it_asked() -> None:
    log = Log()
    first = log.ask(HEAD)
    await turns()
    log.publish()
    late = log.ask(HEAD)
    await turns()
    log.let.set()
    assert (await first).head.offset == 0
    assert (await late).head.offset == 1


async def test_an_error_reaches_all_who_share_the_read_and_nobody_later() -> None:
    log = Log()
    log.broken = True
    readers = [log.ask(HEAD) for _ in range(5)]
    await turns()
    log.let.set()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [InternalError] * 5
    assert log.reads == 2
    log.broken = False
    assert (await log.ask(HEAD)).head.offset == 0


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_a_reader_that_is_cancelled_takes_no_others_with_it(gone: int) -> None:
    log = Log()
    readers = [log.ask(HEAD) for _ in range(3)]
    await turns()
    readers[gone].cancel()
    await turns()
    log.let.set()
    others = [reader for number, reader in enumerate(readers) if number != gone]
    assert [page.head.offset for page in await asyncio.gather(*others)] == [0, 0]
    assert readers[gone].cancelled()
    assert len(log.shared) == 0


async def test_errors_that_nobody_waits_for_any_more_trouble_nobody() -> None:
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
    log = Log()
    log.broken = True
    readers = [log.ask(HEAD) for _ in range(3)]
    await turns()
    for reader in readers:
        reader.cancel()
    await turns()
    log.let.set()
    await turns()
    assert (errors, len(log.shared)) == ([], 0)


async def test_an_engine_that_answers_at_once_is_not_waited_for() -> None:
    log = Log()
    log.let.set()

    async def at_once(wanted: HistoryFilter) -> Page:
        return log.stream.page(wanted, KEEP, 0.0)

    reading = log.shared.read(CHANNEL, HEAD, at_once)
    with pytest.raises(StopIteration) as ended:
        reading.send(None)
    assert ended.value.value == Page([], Position("epoch", 0))


async def test_what_large_ones_crowd_out_of_a_shared_page_is_read_for_those_who_miss_it() -> None:
    log = Log()
    for size in (100, 100, 100, 5, 5):
        log.publish(size)
    log.ask(after(0, max_bytes=150))
    await turns()
    readers = [log.ask(after(offset, max_bytes=150)) for offset in (0, 3, 3, 4)]
    await turns()
    log.let.set()
    pages = await asyncio.gather(*readers)
    assert [[publication.offset for publication in page.publications] for page in pages] == [[1], [4, 5], [4, 5], [5]]
    # One that was begun, one for all, and for those behind its end: the first at either place reads at once, and the
    # second at offset 3 has come after that.
    assert log.reads == 5


async def test_who_wants_all_that_fit_gets_them_whoever_else_asks() -> None:
    """A short page of `history` means that there is no more."""
    log = Log()
    for _ in range(30):
        log.publish()
    log.ask(after(0, limit=10))
    await turns()
    readers = [log.ask(after(offset, limit=10), some=False) for offset in (0, 5, 9, 5)]
    await turns()
    log.let.set()
    pages = await asyncio.gather(*readers)
    assert [[publication.offset for publication in page.publications] for page in pages] == [
        list(range(offset + 1, offset + 11)) for offset in (0, 5, 9, 5)
    ]
    assert log.reads == 1 + 4  # one for all who are near, one for each place, and the second at 5 came too late for it


async def read_to_the_end(since: Position, read: Callable[[HistoryFilter], Awaitable[Page]]) -> list[int] | str:
    """Page by page, as a catch-up does; the offsets, or the gap."""
    found: list[int] = []
    while True:
        page = await read(HistoryFilter(4, since, max_bytes=12))
        gap = recover(since, page).gap
        if gap is not None:
            return str(gap)
        found += [publication.offset for publication in page.publications]
        if found == [] or found[-1] >= page.head.offset:
            return found
        since = Position(page.head.epoch, found[-1])


@given(
    sizes=st.lists(st.integers(1, 15), max_size=30),
    kept=st.integers(1, 30),
    readers=st.lists(st.tuples(st.integers(0, 31), st.sampled_from(["epoch", "other"])), min_size=1, max_size=20),
)
@settings(deadline=None)
def test_everybody_recovers_what_it_would_have_alone(
    sizes: list[int], kept: int, readers: list[tuple[int, str]]
) -> None:
    async def run() -> None:
        log = Log(kept)
        for size in sizes:
            log.publish(size)

        async def shared(wanted: HistoryFilter) -> Page:
            return await log.shared.read(CHANNEL, wanted, log.fetch, some=True)

        alone = [await read_to_the_end(since, fetch_now(log)) for since in places]
        tasks = [asyncio.create_task(read_to_the_end(since, shared)) for since in places]
        await turns()
        log.let.set()
        assert await asyncio.gather(*tasks) == alone
        assert len(log.shared) == 0

    places = [Position(epoch, offset) for offset, epoch in readers]
    asyncio.run(run())


def fetch_now(log: Log) -> Callable[[HistoryFilter], Awaitable[Page]]:
    async def fetch(wanted: HistoryFilter) -> Page:
        return log.stream.page(wanted, log.keep, 0.0)

    return fetch
