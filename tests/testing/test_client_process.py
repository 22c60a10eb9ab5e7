"""Clients in another process do what an SDK does, and nothing at all while they are frozen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from roomful.testing.client_process import ClientProcess
from roomful.testing.ledger import Ledger
from tests.served import Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    server = await serve(tmp_path_factory.mktemp("served"))
    yield server
    await server.stop()


@pytest.fixture
def channel() -> str:
    return f"chat:{uuid4().hex}"


def url_of(server: Server) -> str:
    return f"ws://127.0.0.1:{server.port}/connection/websocket"


async def publish(server: Server, channel: str, ledger: Ledger, count: int) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        for _ in range(count):
            data = {"n": ledger.write(channel)}
            answer = await http.post("/api/publish", json={"channel": channel, "data": data})
            assert answer.json()["result"]["offset"]


async def test_what_they_read_is_noted_and_after_each_end_they_come_back(server: Server, channel: str) -> None:
    ledger = Ledger()
    async with ClientProcess(
        url_of(server), {ledger.reader("ann"): [channel], ledger.reader("bob"): [channel]}
    ) as both:
        await publish(server, channel, ledger, 3)
        async with httpx.AsyncClient(base_url=server.url) as http:
            await http.post("/api/disconnect", json={"user": "", "disconnect": {"code": 3011, "reason": "again"}})
        await publish(server, channel, ledger, 3)
        await both.until(lambda: all(client.reads == 6 for client in both.clients))
        ledger.check()
        assert [(client.ends, client.gaps) for client in both.clients] == [([3011], 0)] * 2


async def test_frozen_ones_read_nothing_and_then_everything(server: Server, channel: str) -> None:
    ledger = Ledger()
    async with ClientProcess(url_of(server), {ledger.reader("ann"): [channel]}) as process:
        (ann,) = process.clients
        process.freeze()
        await publish(server, channel, ledger, 5)
        assert ann.reads == 0
        process.thaw()
        await process.until(lambda: ann.reads == 5)
        ledger.check()


async def test_an_end_that_is_final_is_one(server: Server, channel: str) -> None:
    ledger = Ledger()
    async with ClientProcess(url_of(server), {ledger.reader("ann"): [channel]}) as process:
        async with httpx.AsyncClient(base_url=server.url) as http:
            await http.post("/api/disconnect", json={"user": "", "disconnect": {"code": 3500, "reason": "no"}})
        await process.until(lambda: process.clients[0].ends == [3500])
        with pytest.raises(EOFError):
            await process.until(lambda: False)


async def test_what_doesnt_come_is_not_waited_for(server: Server, channel: str) -> None:
    ledger = Ledger()
    async with ClientProcess(url_of(server), {ledger.reader("ann"): [channel]}) as process:
        with pytest.raises(TimeoutError):
            await process.until(lambda: False, timeout_s=0.05)
        pid = process.pid
        process.freeze()
    assert not await asyncio.to_thread(_alive, pid)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_where_nothing_can_be_recovered_coming_back_is_a_gap(tmp_path_factory: pytest.TempPathFactory) -> None:
    config = '[tokens]\nanonymous = true\n[namespaces.bare]\nsubscribe = "client"\n[namespaces.kept]\n'
    config += 'subscribe = "client"\nhistory_size = 10\nhistory_ttl_s = 60\n[api]\nkeys = ["' + "k" * 32 + '"]\n'
    server, ledger = await serve(tmp_path_factory.mktemp("plain"), config=config, dev=False), Ledger()
    headers = {"X-API-Key": "k" * 32}
    try:
        readers = {ledger.reader("ann"): ["bare:1", "kept:1"]}
        async with ClientProcess(url_of(server), readers) as process, httpx.AsyncClient(headers=headers) as http:
            (ann,) = process.clients
            for channel in ("bare:1", "kept:1"):
                sent = {"channel": channel, "data": {"n": ledger.write(channel)}}
                assert "result" in (await http.post(f"{server.url}/api/publish", json=sent)).json()
            await process.until(lambda: ann.reads == 2)
            sent = {"user": "", "disconnect": {"code": 3011, "reason": "again"}}
            await http.post(f"{server.url}/api/disconnect", json=sent)
            await process.until(lambda: bool(ann.ends) and len(ann.subscribed) == 2)
            assert ann.gaps >= 1
            ledger.check()
    finally:
        await server.stop()
