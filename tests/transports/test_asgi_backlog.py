from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from roomful.transports.asgi_backlog import Backlog
from roomful.transports.negotiate import TransportOptions

OPTIONS = TransportOptions(write_high_water_bytes=10, write_low_water_bytes=4)


class Host:
    """An ASGI server that takes a message when it is told."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.sent: list[str] = []
        self.heard: list[str] = []
        self.may_send = asyncio.Semaphore(0)
        self.backlog = Backlog(
            self.send, OPTIONS, lambda: self.heard.append("writable"), lambda: self.heard.append("lost")
        )

    async def send(self, message: Message) -> None:
        await self.may_send.acquire()
        if self.failure is not None:
            raise self.failure
        self.sent.append(message["type"])

    async def take(self, count: int) -> None:
        for _ in range(count):
            self.may_send.release()
        for _ in range(2 * count + 2):
            await asyncio.sleep(0)


async def test_messages_go_in_order_and_the_task_ends() -> None:
    host = Host()
    for name in ("a", "b"):
        host.backlog.put({"type": name}, 1)
    await host.take(2)
    host.backlog.put({"type": "c"}, 1)
    await host.take(1)
    assert host.sent == ["a", "b", "c"]
    assert len(asyncio.all_tasks()) == 1


async def test_it_pauses_above_the_high_water_and_goes_on_below_the_low_one() -> None:
    host = Host()
    host.backlog.put({"type": "a"}, 10)
    assert not host.backlog.paused
    host.backlog.put({"type": "b"}, 4)
    host.backlog.put({"type": "c"}, 1)
    assert host.backlog.paused
    await host.take(1)
    assert (host.backlog.paused, host.heard) == (True, [])
    await host.take(1)
    assert (host.backlog.paused, host.heard) == (False, ["writable"])
    await host.take(1)
    assert host.heard == ["writable"]


@pytest.mark.parametrize("failure", [OSError("gone"), RuntimeError("closed")])
async def test_a_lost_connection_is_told_and_drops_what_waits(failure: Exception) -> None:
    host = Host(failure)
    for name in ("a", "b"):
        host.backlog.put({"type": name}, 1)
    await host.take(2)
    assert (host.sent, host.heard) == ([], ["lost"])


async def test_dropped() -> None:
    host = Host()
    host.backlog.put({"type": "a"}, 1)
    await asyncio.sleep(0)
    host.backlog.drop()
    await host.take(1)
    assert (host.sent, host.heard) == ([], [])
    assert len(asyncio.all_tasks()) == 1
