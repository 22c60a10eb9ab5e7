"""SIGTERM with everything open: `python -m tests.soak.shutdown` (500 WebSockets, 500 event streams, 200 polls).

One server with a room, a document that is being written, a client process that is stopped (SIGSTOP), and two hooks that
never come back, one of them in a thread. Looked at: the status and how long it takes, how each client is told to go,
that what was acknowledged before had reached everybody and that every acknowledged edit is there after a new start, and
that the log has no traceback. Not part of `make test`, whose small size is tests/e2e/test_13_shutdown.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvloop
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from roomful.testing.client_process import ClientProcess
from roomful.testing.ledger import Ledger
from tests.e2e.yjs.writer import Writer, writer
from tests.event_source import Parser
from tests.served import Server, serve

ROOM, QUIET, DOCUMENT = "log:1", "log:quiet", "notes"
PUBLICATIONS = 200
"""Acknowledged right before the signal."""
WAIT_S = 60.0

APP = """
import asyncio
import time

from roomful import Roomful, RpcEvent

app = Roomful()


@app.on(RpcEvent, method="hang")
async def hang(event: RpcEvent) -> None:
    await asyncio.Event().wait()


@app.on(RpcEvent, method="block")
def block(event: RpcEvent) -> None:
    time.sleep(3600)
"""

CONFIG = """
[server]
drain_s = {drain_s}
[metrics]
open = true
[connection]
hook_deadline_s = 3600
[tokens]
anonymous = true
[limits]
unauthenticated_per_address_max = 0
handshakes_per_s = 0
[documents]
access = "client"
[namespaces.log]
history_size = 100000
history_ttl_s = 600
recover = true
subscribe = "client"
publish = "client"
"""


class Figures(msgspec.Struct):
    """What came of it. ends: how many of each kind were told what. incomplete: clients that missed something that was
    acknowledged before the signal. lost_edits: acknowledged, and not there after a new start."""

    status: int
    took_s: float
    ends: dict[str, dict[str, int]]
    incomplete: int
    acknowledged_edits: int
    lost_edits: int
    tracebacks: int


class Ends:
    """How the clients were told."""

    def __init__(self) -> None:
        self.of: dict[str, Counter[str]] = {kind: Counter() for kind in ("websocket", "events", "poll", "document")}
        self.incomplete = 0

    def note(self, kind: str, end: str, numbers: set[int] | None = None) -> None:
        self.of[kind][end] += 1
        if numbers is not None and numbers != set(range(PUBLICATIONS)):
            self.incomplete += 1


async def _opened(port: int) -> ClientConnection:
    socket = await websockets.connect(
        f"ws://127.0.0.1:{port}/connection/websocket", open_timeout=WAIT_S, proxy=None, max_size=None
    )
    await socket.send('{"id":1,"connect":{}}')
    await socket.recv()
    return socket


async def _follow(port: int, ends: Ends, ready: asyncio.Semaphore) -> None:
    socket = await _opened(port)
    await socket.send(json.dumps({"id": 2, "subscribe": {"channel": ROOM}}))
    numbers = set()
    with suppress(ConnectionClosed):
        async for message in socket:
            for line in message.splitlines():
                said = json.loads(line)
                if said.get("id") == 2:
                    ready.release()
                elif not said:
                    await socket.send("{}")
                elif "pub" in said.get("push", {}):
                    numbers.add(said["push"]["pub"]["data"])
    ends.note("websocket", f"{socket.close_code} {socket.close_reason}", numbers)


async def _listen(http: httpx.AsyncClient, ends: Ends, ready: asyncio.Semaphore) -> None:
    parser, numbers, last = Parser(), set(), "nothing"
    async with http.stream("GET", "/events", params={"channel": ROOM}) as answer:
        async for chunk in answer.aiter_bytes():
            for event in parser.feed(chunk):
                if event.type == "subscribed":
                    ready.release()
                elif event.type == "message":
                    numbers.add(event.data["data"])
                else:
                    last = f"{event.type} {event.data['code']}"
    ends.note("events", last, numbers)


async def _poll(http: httpx.AsyncClient, ends: Ends, since: str) -> None:
    answer = await http.get("/poll", params={"channel": QUIET, "since": since, "wait": "55"})
    ends.note("poll", f"{answer.status_code} with {len(answer.json().get('publications', ()))}")


async def _open_polls(http: httpx.AsyncClient) -> int:
    """Waiting on the server."""
    found = re.search(r'^roomful_connections\{.*transport="poll".*\} (\d+)', (await http.get("/metrics")).text, re.M)
    return int(found[1]) if found else 0


async def _write(client: Writer, edits: list[str]) -> None:
    """Words without an end."""
    with suppress(ConnectionClosed, AssertionError):
        for number in range(1_000_000):
            await client.write(f"w{number}")
            await client.answered(but=10)
    edits += client.stored


async def _hung(port: int) -> list[ClientConnection]:
    """Clients whose hooks never come back."""
    sockets = [await _opened(port) for _ in range(2)]
    for socket, method in zip(sockets, ("hang", "block"), strict=True):
        await socket.send(json.dumps({"id": 2, "rpc": {"method": method, "data": {}}}))
    return sockets


async def _publish(port: int) -> None:
    """Until all are acknowledged."""
    socket = await _opened(port)
    for number in range(PUBLICATIONS):
        await socket.send(json.dumps({"id": number + 2, "publish": {"channel": ROOM, "data": number}}))
    left = PUBLICATIONS
    while left:
        for line in str(await socket.recv()).splitlines():
            left -= "publish" in json.loads(line)


async def shutdown(folder: Path, sockets: int, streams: int, polls: int, drain_s: float) -> Figures:
    """One whole run."""
    (folder / "stuck.py").write_text(APP)
    server = await serve(folder, "stuck:app", dev=False, config=CONFIG.format(drain_s=drain_s))
    try:
        return await _run(folder, server, sockets, streams, polls)
    finally:
        with suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGKILL)
        await server.stop()


async def _run(folder: Path, server: Server, sockets: int, streams: int, polls: int) -> Figures:
    ends, ready, edits = Ends(), asyncio.Semaphore(0), list[str]()
    limits = httpx.Limits(max_connections=None)
    async with AsyncExitStack() as stack, asyncio.timeout(4 * WAIT_S):
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=server.url, timeout=2 * WAIT_S, limits=limits)
        )
        url = f"ws://127.0.0.1:{server.port}/connection/websocket"
        frozen = await stack.enter_async_context(ClientProcess(url, {Ledger().reader("frozen"): [ROOM]}))
        frozen.freeze()
        tasks = [asyncio.create_task(_follow(server.port, ends, ready)) for _ in range(sockets)]
        tasks += [asyncio.create_task(_listen(http, ends, ready)) for _ in range(streams)]
        for _ in range(sockets + streams):
            await ready.acquire()
        since = (await http.get("/poll", params={"channel": QUIET, "wait": "0"})).json()["next"]
        tasks += [asyncio.create_task(_poll(http, ends, since)) for _ in range(polls)]
        hung = await _hung(server.port)
        client = await stack.enter_async_context(writer(server.port, DOCUMENT))
        writing = asyncio.create_task(_write(client, edits))
        while await _open_polls(http) < polls:  # noqa: ASYNC110  only the server knows
            await asyncio.sleep(0.1)
        await _publish(server.port)

        begun = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        status = await server.stopped()
        took_s = time.monotonic() - begun
        await asyncio.gather(*tasks)
        await client.ended.wait()
        ends.note("document", str(client.close_code))
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        for socket in hung:
            await socket.close()
        edits = sorted({word for word in (*edits, *client.stored) if word})
    kept = await _kept(folder)
    return Figures(
        status=status,
        took_s=round(took_s, 2),
        ends={kind: dict(told) for kind, told in ends.of.items()},
        incomplete=ends.incomplete,
        acknowledged_edits=len(edits),
        lost_edits=sum(word not in kept for word in edits),
        tracebacks=server.log.count("Traceback"),
    )


async def _kept(folder: Path) -> set[str]:
    """What stands in the document after a new start."""
    server = await serve(folder, "stuck:app", dev=False)
    try:
        async with writer(server.port, DOCUMENT) as client:
            return set(client.text.split())
    finally:
        await server.stop()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    for name, size in (("sockets", 500), ("streams", 500), ("polls", 200)):
        arguments.add_argument(f"--{name}", type=int, default=size)
    arguments.add_argument("--drain-s", type=float, default=10.0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures: Any = runner.run(shutdown(Path(folder), given.sockets, given.streams, given.polls, given.drain_s))
    for name, value in msgspec.structs.asdict(figures).items():
        print(f"{name:20} {value}")
    bad = figures.status or figures.incomplete or figures.lost_edits or figures.tracebacks
    sys.exit(bool(bad or figures.took_s > given.drain_s + 17))


if __name__ == "__main__":
    main()
