"""A client process that is stopped (SIGSTOP) beside one that reads, by each policy: bounded, told, nothing lost."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
import pytest_asyncio

from roomful.testing.client_process import ClientProcess
from roomful.testing.ledger import Ledger
from tests.served import Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTBOX, OUTBOXES = 600_000, 1_500_000
PAD = "x" * 60_000
FRAME = 61_000

CONFIG = f"""
[tokens]
anonymous = true
[api]
keys = ["{"k" * 32}"]
[connection]
ping_s = 600
[limits]
outbox_max_bytes = {OUTBOX}
outboxes_max_bytes = {OUTBOXES}
[namespaces.resume]
subscribe = "client"
history_size = 2000
history_ttl_s = 300
recover = true
[namespaces.close]
subscribe = "client"
history_size = 2000
history_ttl_s = 300
recover = true
slow = "close"
[namespaces.latest]
subscribe = "client"
slow = "latest"
"""
"""No pings: what is to end these clients is their slowness alone."""

HEADERS = {"X-API-Key": "k" * 32}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    server = await serve(tmp_path_factory.mktemp("served"), config=CONFIG, dev=False)
    yield server
    await server.stop()
    print(f"--- roomful serve\n{server.log}")


class Room:
    """A channel with clients that are frozen and one process whose clients aren't."""

    def __init__(self, server: Server, http: httpx.AsyncClient, channel: str) -> None:
        self._server = server
        self._http = http
        self.channel = channel
        self.ledger = Ledger()

    def clients(self, count: int) -> ClientProcess:
        readers = {self.ledger.reader(f"{self.channel} {number}"): [self.channel] for number in range(count)}
        return ClientProcess(f"ws://127.0.0.1:{self._server.port}/connection/websocket", readers)

    async def publish(self) -> dict[str, float]:
        """One publication; what the metrics say then."""
        data = {"n": self.ledger.write(self.channel), "pad": PAD}
        answer = await self._http.post("/api/publish", json={"channel": self.channel, "data": data})
        assert "result" in answer.json(), answer.text
        return await self.metrics()

    async def publish_until(self, true: Callable[[dict[str, float]], bool], at_most: int = 400) -> dict[str, float]:
        for _ in range(at_most):
            found = await self.publish()
            assert found["queued_bytes"] <= OUTBOXES + FRAME * 8
            if true(found):
                return found
        pytest.fail(f"not after {at_most} publications: {found}")

    async def metrics(self) -> dict[str, float]:
        text = (await self._http.get("/metrics")).text
        lines = re.findall(r'^roomful_([a-z_]+?)(?:_total)?(\{code="\d+"\})? (\S+)$', text, re.MULTILINE)
        return {name + label: float(value) for name, label, value in lines}


async def room(stack: AsyncExitStack, server: Server, channel: str) -> Room:
    http = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, headers=HEADERS))
    return Room(server, http, channel)


async def test_10_frozen_clients_go_on_from_the_log(server: Server) -> None:
    async with AsyncExitStack() as stack:
        chat = await room(stack, server, "resume:1")
        frozen = await stack.enter_async_context(chat.clients(4))
        healthy = await stack.enter_async_context(chat.clients(2))
        before = await chat.metrics()
        frozen.freeze()
        begun = "catch_ups_begun"
        await chat.publish_until(lambda now: now[begun] == before[begun] + 4)
        for _ in range(20):
            assert (await chat.publish())["queued_bytes"] <= OUTBOXES + FRAME * 8
        written = chat.ledger.written(chat.channel)
        await healthy.until(lambda: all(client.reads == written for client in healthy.clients))
        assert all(client.reads < written for client in frozen.clients)
        frozen.thaw()
        await frozen.until(lambda: all(client.reads == written for client in frozen.clients))
        chat.ledger.check()
        after = await chat.metrics()
        assert after["catch_ups_ended"] - before["catch_ups_ended"] == after[begun] - before[begun]
        assert after["queued_bytes"] == 0
        assert all((client.ends, client.gaps) == ([], 0) for client in (*frozen.clients, *healthy.clients))


async def test_10_closed_ones_come_back_to_everything(server: Server) -> None:
    async with AsyncExitStack() as stack:
        chat = await room(stack, server, "close:1")
        frozen = await stack.enter_async_context(chat.clients(2))
        healthy = await stack.enter_async_context(chat.clients(1))
        before = await chat.metrics()
        slow = 'closes{code="3008"}'
        frozen.freeze()
        await chat.publish_until(lambda now: now.get(slow, 0.0) == before.get(slow, 0.0) + 2)
        written = chat.ledger.written(chat.channel)
        await healthy.until(lambda: healthy.clients[0].reads == written)
        frozen.thaw()
        await frozen.until(lambda: all(client.reads == written for client in frozen.clients))
        chat.ledger.check()
        assert all(len(client.ends) == 1 and client.gaps == 0 for client in frozen.clients)
        assert {code for client in frozen.clients for code in client.ends} <= {3008, 1006}


async def test_10_each_frame_of_latest_ones_is_read_or_counted(server: Server) -> None:
    async with AsyncExitStack() as stack:
        chat = await room(stack, server, "latest:1")
        frozen = await stack.enter_async_context(chat.clients(2))
        before = await chat.metrics()
        frozen.freeze()
        await chat.publish_until(lambda now: now["replaced"] >= before["replaced"] + 10)
        written = chat.ledger.written(chat.channel)
        frozen.thaw()
        newest = {"n": written, "pad": PAD}
        await frozen.until(lambda: all(client.newest.get(chat.channel) == newest for client in frozen.clients))
        replaced = (await chat.metrics())["replaced"] - before["replaced"]
        assert sum(client.reads for client in frozen.clients) + replaced == 2 * written
