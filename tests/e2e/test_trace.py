"""A trace that one node is asked for shows what happens on all of them, and says which one is silent."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from tests.engines.redis_server import RedisServer
from tests.served import Serve, served
from tests.server.test_trace_stream import CONFIG, KEY, tracing, until

__all__ = ["served"]


async def test_29_a_message_is_followed_from_one_node_to_the_other(
    served: Serve, component: Callable[[str], str], tmp_path: Path
) -> None:
    redis = RedisServer(component("redis-server"), tmp_path / "redis")
    await redis.start()
    try:
        options = ("--engine", redis.url)
        here = await served(dev=False, config=CONFIG, options=options)
        there = await served(dev=False, config=CONFIG, options=options)
        async with (
            tracing(here, channel="chat:1") as found,
            connect(f"ws://127.0.0.1:{there.port}/connection/websocket") as socket,
        ):
            assert (await anext(found))["event"] == "tracing"  # the second node, too
            for command in ({"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": "chat:1"}}):
                await socket.send(json.dumps(command))
                await socket.recv()
            subscribed = (await until(found, "subscribed"))[-1]
            async with httpx.AsyncClient(base_url=here.url, headers={"X-API-Key": KEY}) as http:
                await http.post("/api/publish", json={"channel": "chat:1", "data": "swordfish"})
            happened = {each["event"]: each for each in await until(found, "delivered")}
            if "published" not in happened:  # by the clocks of two processes
                happened["published"] = (await until(found, "published"))[-1]
            assert happened["delivered"]["client"] == subscribed["client"]
            assert happened["arrived"]["node"] == happened["delivered"]["node"] == subscribed["node"]
            assert happened["published"]["node"] != subscribed["node"]
            assert {each["offset"] for each in happened.values()} == {1}
            assert {each["epoch"] for each in happened.values()} == {subscribed["epoch"]}
            os.kill(there.pid, signal.SIGKILL)
            silent = (await until(found, "silent"))[-1]
            assert silent["node"] == subscribed["node"]
    finally:
        await redis.kill()
