"""One slow room beside a quick one, at full size: `python -m tests.soak.slow_room`.

The slow room has very many members, some of them stopped (SIGSTOP), and a plain hook that sleeps for each of its
publications. Prints how long publications of the quick room took, first while nothing happens in the slow one, then
while everything does; and how many connections were lost while a handler slept for 30 s. The small sizes are
tests/session/test_fair_turns.py and tests/e2e/test_11_stalls.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from roomful.testing.client_process import ClientProcess
from roomful.testing.ledger import BookError, Ledger
from tests.engines.redis_server import eventually
from tests.served import Server, serve

APP = """
import time

from roomful import PublishEvent, Roomful, RpcEvent, RpcReply

app = Roomful()


@app.on(PublishEvent, channel="slow:*")
def slow(event):
    time.sleep(5)


@app.on(RpcEvent, method="sleep")
def sleep(event):
    time.sleep(event.data)
    return RpcReply("slept")
"""

CONFIG = f"""
[tokens]
anonymous = true
[api]
keys = ["{"k" * 32}"]
[connection]
hook_deadline_s = 60
[limits]
unauthenticated_per_address_max = 0
handshakes_per_s = 0
[namespaces.slow]
subscribe = "client"
publish = "client"
history_size = 2000
history_ttl_s = 300
recover = true
[namespaces.quick]
subscribe = "client"
publish = "client"
"""


LAG = r'^roomful_loop_lag_seconds_bucket\{le="(.+?)"\} (\S+)$'


class Talker:
    """A client in this process. waited: seconds from publish to read, of what it reads."""

    def __init__(self, link: ClientConnection) -> None:
        self.waited: list[float] = []
        self.replies: dict[int, Any] = {}
        self._link = link
        self._ids = 0
        self.reading = asyncio.ensure_future(self._read())

    async def send(self, **command: Any) -> int:
        self._ids += 1
        await self._link.send(json.dumps({"id": self._ids, **command}))
        return self._ids

    async def call(self, timeout_s: float = 60.0, **command: Any) -> Any:
        id = await self.send(**command)
        await eventually(lambda: id in self.replies, timeout_s)
        return self.replies[id]

    async def _read(self) -> None:
        async for message in self._link:
            now = time.monotonic()
            for said in map(json.loads, str(message).splitlines()):
                if not said:
                    await self._link.send("{}")
                elif "id" in said:
                    self.replies[said["id"]] = said
                elif "pub" in said.get("push", {}):
                    self.waited.append(now - said["push"]["pub"]["data"])


async def talker(stack: AsyncExitStack, server: Server, channel: str = "") -> Talker:
    url = f"ws://127.0.0.1:{server.port}/connection/websocket"
    it = Talker(await stack.enter_async_context(connect(url, ping_interval=None)))
    await it.call(connect={})
    if channel:
        await it.call(subscribe={"channel": channel})
    return it


async def measured(pair: list[Talker], seconds: float) -> str:
    """Publishes 50 a second in the quick room; how long they took."""
    for each in pair:
        each.waited.clear()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await pair[0].send(publish={"channel": "quick:1", "data": time.monotonic()})
        await asyncio.sleep(0.02)
    await asyncio.sleep(1.0)
    waits = sorted(wait for each in pair for wait in each.waited)
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    return f"{len(waits)} read, p50 {p50 * 1e3:.1f} ms p99 {p99 * 1e3:.1f} ms"


async def closes(http: httpx.AsyncClient) -> str:
    lines = [line for line in (await http.get("/metrics")).text.splitlines() if line.startswith("roomful_closes_total")]
    return ", ".join(line.removeprefix("roomful_closes_total") for line in lines) or "none"


async def late_beats(http: httpx.AsyncClient) -> tuple[int, int]:
    """How often the server's event loop was looked at, and of these, how often it was more than 50 ms late."""
    text = (await http.get("/metrics")).text
    beats = {bound: int(float(count)) for bound, count in re.findall(LAG, text, re.MULTILINE)}
    return beats["+Inf"], beats["+Inf"] - beats["0.05"]


async def load(server: Server, stack: AsyncExitStack, ledger: Ledger, per_second: int, seconds: float) -> None:
    """Publications of the slow room from the application, and from its members, whose hook sleeps."""
    members = [await talker(stack, server) for _ in range(40)]
    http = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": "k" * 32}))
    until = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < until:
        data = {"n": ledger.write("slow:1"), "pad": "x" * 200}
        answer = await http.post("/api/publish", json={"channel": "slow:1", "data": data})
        assert "result" in answer.json(), answer.text
        await members[turn % len(members)].send(publish={"channel": "slow:other", "data": 1})
        turn += 1
        await asyncio.sleep(1 / per_second)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=2_000)
    parser.add_argument("--frozen", type=int, default=200)
    parser.add_argument("--per-second", type=int, default=10, help="publications of the slow room")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each half")
    given = parser.parse_args()
    print(given, flush=True)
    ledger, verdict = Ledger(), "holds"
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "slow_app.py").write_text(APP)
        server = await serve(Path(directory), "slow_app:app", config=CONFIG, dev=False)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.stop)
            http = await stack.enter_async_context(
                httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": "k" * 32})
            )
            url = f"ws://127.0.0.1:{server.port}/connection/websocket"
            processes = []
            for first in range(0, given.members, given.frozen):
                readers = {ledger.reader(f"{first + number}"): ["slow:1"] for number in range(given.frozen)}
                processes.append(await stack.enter_async_context(ClientProcess(url, readers)))
            pair = [await talker(stack, server, "quick:1") for _ in range(5)]
            print(f"quick room, slow one idle: {await measured(pair, given.seconds)}", flush=True)
            print(f"the server's loop (beats, of these late by 50 ms): {await late_beats(http)}", flush=True)
            processes[0].freeze()
            loading = asyncio.ensure_future(load(server, stack, ledger, given.per_second, given.seconds))
            print(f"quick room, slow one busy: {await measured(pair, given.seconds)}", flush=True)
            await loading
            print(f"the server's loop, in all: {await late_beats(http)}", flush=True)
            processes[0].thaw()
            try:
                wanted = ledger.written("slow:1")
                await eventually(lambda: all(c.reads == wanted for p in processes for c in p.clients), 120.0)
                ledger.check()
            except (TimeoutError, BookError) as error:
                verdict = f"BROKEN {error!r}"
            print(f"ledger {verdict}; closes: {await closes(http)}", flush=True)
            sleepers = [asyncio.ensure_future(each.call(rpc={"method": "sleep", "data": 30})) for each in pair]
            await asyncio.gather(*sleepers)
            after = await closes(http)
            print(f"closes after a handler slept for 30 s in five clients: {after}", flush=True)
    return int(verdict != "holds" or after != "none")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
