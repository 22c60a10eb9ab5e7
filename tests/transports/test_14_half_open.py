"""A link that is open and mute: the server finds out by its pings, frees everything, and blames nobody else.

Whether the clients find out: `test_a_dead_line_is_noticed_and_a_living_one_stays` in tests/e2e/sdks.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from roomful import Roomful
from roomful.model.disconnects import DISCONNECTS
from roomful.testing.fault_proxy import FaultProxy
from tests.transports.hosts import Host, roomful
from tests.transports.lines import TRANSPORTS, Line
from tests.transports.rooms import open_rooms

DEADLINE_S = 20.0
LINKS = 10
ANSWERED = ["websocket", "http_stream", "sse", "uni_websocket"]
"""Whose clients answer pings, if only as every WebSocket does."""


@pytest.fixture
def app() -> Roomful:
    return open_rooms()


@pytest.fixture
def host(app: Roomful) -> Iterator[Host]:
    with roomful(app) as host:
        yield host


@pytest.fixture
async def proxy(host: Host) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(int(host.address[1])) as proxy:
        yield proxy


async def on(host: Host, app: Roomful) -> dict[str, int]:
    """What the server holds."""

    async def count() -> dict[str, int]:
        live = app.live
        return {
            "connections": len(live.node.connections),
            "streams": len(live.streams.connections),
            "rooms": len(live.node.hub),
            "relayed": len(live.node.relay._takers),
            "tasks": len(asyncio.all_tasks()),
        }

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(count(), host.loop))


async def until(host: Host, app: Roomful, wanted: dict[str, int]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while (now := await on(host, app)) != wanted:
        assert time.monotonic() < deadline, (now, wanted)
        await asyncio.sleep(0.02)


def room_of(line: Line) -> dict[str, object]:
    return {"subs": {"a": {}}} if line.uni else {}


@pytest.mark.parametrize("transport", ANSWERED)
async def test_14_in_a_hole_the_server_lets_go_of_everything(
    app: Roomful, host: Host, proxy: FaultProxy, transport: str
) -> None:
    before, fds = await on(host, app), len(os.listdir("/proc/self/fd"))
    lines = [TRANSPORTS[transport](proxy.port, transport) for _ in range(LINKS)]
    for line in lines:
        await asyncio.to_thread(line.connected, room_of(line))
        if not line.uni:
            await asyncio.to_thread(line.say, {"subscribe": {"channel": "a"}, "id": 2})
    proxy.hole()
    await until(host, app, before)
    assert app.stats.disconnects == {DISCONNECTS["no_pong"][0]: LINKS}
    proxy.cut()
    for line in lines:
        await asyncio.to_thread(line.close)
    deadline = time.monotonic() + DEADLINE_S
    while len(os.listdir("/proc/self/fd")) > fds:  # the other ends' too, which this process has as well
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_14_one_wheel_serves_all_deadlines(app: Roomful, host: Host) -> None:
    """A hundred connections, each with deadlines, have no task, and one timer together."""

    async def tasks_and_timed() -> tuple[int, int]:
        wheel = app.live.node.wheel
        return len(asyncio.all_tasks()), len({timed for slot in wheel._slots.values() for timed in slot})

    async def now() -> tuple[int, int]:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(tasks_and_timed(), host.loop))

    tasks, timed = await now()
    lines = [TRANSPORTS["websocket"](int(host.address[1]), "websocket") for _ in range(100)]
    for line in lines:
        await asyncio.to_thread(line.connected, {})
    assert await now() == (tasks, timed + 100)
    for line in lines:
        await asyncio.to_thread(line.close)
