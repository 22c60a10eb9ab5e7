"""What happens is told as it happens, from all nodes, and what can't be told is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import connect

from roomful.model.tracing import Happening, TraceAnswer
from roomful.server.trace_stream import Collector
from tests.served import Serve, Server, served

__all__ = ["served"]

KEY = "a-key-for-the-tests-of-traces"
CONFIG = f"""
[api]
keys = ["{KEY}"]
[tokens]
anonymous = true
[namespaces.chat]
subscribe = "client"
publish = "client"
history_size = 10
history_ttl_s = 60
recover = true
"""


def happening(number: int, node: str = "one", event: str = "delivered") -> Happening:
    return Happening(number, event, node, offset=number)


def body(first: int, *happenings: Happening, missed: int = 0, more: bool = False) -> bytes:
    return msgspec.msgpack.encode(TraceAnswer(first, list(happenings), missed, more))


def told(found: list[Happening]) -> list[tuple[str, str, int | None]]:
    return [(each.node, each.event, each.count) for each in found]


class TestCollector:
    def collector(self) -> Collector:
        return Collector(lambda: 1_000)

    def test_what_nodes_saw_comes_in_the_order_of_their_clocks(self) -> None:
        found, more = self.collector().take(
            {"one": body(0, happening(1), happening(4)), "two": body(0, happening(2, "two"), more=True)}, []
        )
        assert [(each.node, each.at_ms) for each in found] == [("one", 1), ("two", 2), ("one", 4)]
        assert more

    def test_what_a_node_could_not_keep_is_told_behind_what_it_kept(self) -> None:
        collector = self.collector()
        found, _ = collector.take({"one": body(0, happening(1), missed=7)}, [])
        assert told(found) == [("one", "delivered", None), ("one", "missed", 7)]
        assert told(collector.take({"one": body(8, happening(2))}, [])[0]) == [("one", "delivered", None)]

    def test_an_answer_that_was_lost_is_told(self) -> None:
        collector = self.collector()
        collector.take({"one": body(0, happening(1))}, [])
        found, _ = collector.take({"one": body(6, happening(9))}, [])
        assert told(found) == [("one", "missed", 5), ("one", "delivered", None)]

    def test_a_node_that_has_forgotten_the_trace_is_told(self) -> None:
        collector = self.collector()
        collector.take({"one": body(0, happening(1))}, [])
        found, _ = collector.take({"one": body(0, happening(9))}, [])
        assert told(found) == [("one", "interrupted", None), ("one", "delivered", None)]

    def test_a_node_that_does_not_answer_is_told_once_each_time(self) -> None:
        collector = self.collector()
        assert told(collector.take({}, ["two"])[0]) == [("two", "silent", None)]
        assert told(collector.take({}, ["two"])[0]) == []
        collector.take({"two": body(0)}, [])
        assert told(collector.take({}, ["two"])[0]) == [("two", "silent", None)]

    def test_a_node_with_too_many_traces_is_told_once(self) -> None:
        collector = self.collector()
        refused = msgspec.msgpack.encode(TraceAnswer(refused=True))
        assert told(collector.take({"one": refused}, [])[0]) == [("one", "too_many", None)]
        assert told(collector.take({"one": refused}, [])[0]) == []

    def test_an_engine_that_can_not_be_asked_silences_all(self) -> None:
        collector = self.collector()
        assert told(collector.take({}, ["*"])[0]) == [("*", "silent", None)]
        collector.take({"one": body(0)}, [])
        assert told(collector.take({}, ["*"])[0]) == [("*", "silent", None)]


@asynccontextmanager
async def tracing(server: Server, **query: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The happenings, from the moment at which the trace has begun."""

    async def happenings() -> AsyncIterator[dict[str, Any]]:
        async for line in response.aiter_lines():
            if line:
                yield json.loads(line)

    async with (
        httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": KEY}, timeout=20) as http,
        http.stream("GET", "/api/trace", params=query) as response,
    ):
        assert response.headers["content-type"] == "application/x-ndjson"
        found = happenings()
        assert (await anext(found))["event"] == "tracing"
        yield found


async def until(found: AsyncIterator[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    """All up to that one."""
    seen = []
    async with asyncio.timeout(20):
        async for each in found:
            seen.append(each)
            if each["event"] == event:
                return seen
    raise AssertionError(f"{event} never came: {seen}")


async def test_who_asks_for_nothing_or_has_no_key_gets_nothing(served: Serve) -> None:
    server = await served(dev=False, config=CONFIG)
    async with httpx.AsyncClient(base_url=server.url) as http:
        answers = [
            await http.get("/api/trace", headers={"X-API-Key": KEY}),
            await http.get("/api/trace", params={"user": "ann"}),
            await http.post("/api/trace", params={"user": "ann"}, headers={"X-API-Key": KEY}),
        ]
    assert [answer.status_code for answer in answers] == [400, 401, 405]


async def test_the_life_of_a_connection_and_of_a_message(served: Serve) -> None:
    server = await served(dev=False, config=CONFIG)
    async with tracing(server, channel="chat:1") as found:
        async with connect(f"ws://127.0.0.1:{server.port}/connection/websocket") as socket:
            for command in (
                {"id": 1, "connect": {}},
                {"id": 2, "subscribe": {"channel": "chat:1"}},
                {"id": 3, "publish": {"channel": "chat:1", "data": {"secret": "swordfish"}}},
            ):
                await socket.send(json.dumps(command))
                await socket.recv()
        seen = await until(found, "unsubscribed")
        assert [each["event"] for each in seen] == ["subscribed", "arrived", "delivered", "published", "unsubscribed"]
        assert [each.get("offset") for each in seen] == [0, 1, 1, 1, None]
        assert len({each["client"] for each in seen}) == 1
        assert "swordfish" not in json.dumps(seen)
        assert await server.stop() == 0
        assert (await until(found, "end"))[-1]["event"] == "end"
