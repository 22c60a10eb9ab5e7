"""Clients come and go in every way, while a tenth of the hooks raise: `python -m tests.soak.churn [--seconds 180]`.

Prints what lives in the server after each round of it, and ends with 1 when a connection's end was told twice or never,
when something was left behind, or when memory or the number of objects grows. Not part of `make test`, whose small size
is tests/e2e/test_18_churn.py.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from roomful.testing.raw_websocket import BINARY, CLOSE, frame
from tests.served import Server, serve
from tests.soak.sockets import Ended, Socket

PATH = "/connection/websocket"
CONFIG = """
[tokens]
hmac_secret = "a secret of more than thirty-two bytes"
[api]
keys = ["a key of the churn"]
[documents]
access = "client"
[limits]
handshakes_per_s = 0
unauthenticated_per_address_max = 0
[namespaces.room]
subscribe = "client"
publish = "client"
presence = true
join_leave = true
history_size = 10
history_ttl_s = 10
recover = true
"""

ROOMS = 20
LEFT_MAX_S = 30.0
"""How long it may take until everything is gone that clients have left behind."""


# The ways of a client. Whatever the server answers is right, as long as it is not silent.


async def connected(port: int) -> Socket:
    """Raises Ended when a hook has refused it."""
    client = await Socket.open(port, PATH)
    client.send({"id": 1, "connect": {}})
    if "connect" not in await client.reply(1):
        client.close()
        raise Ended
    return client


def room() -> str:
    return f"room:{random.randrange(ROOMS)}"


async def visit(port: int) -> None:
    """A whole visit, which ends by the closing handshake."""
    client, channel = await connected(port), room()
    client.send({"id": 2, "subscribe": {"channel": channel}}, {"id": 3, "publish": {"channel": channel, "data": {}}})
    client.send({"id": 4, "rpc": {"data": {}}}, {"send": {"data": {}}}, {"id": 5, "presence": {"channel": channel}})
    client.send({"id": 6, "unsubscribe": {"channel": channel}})
    await client.reply(6)
    client.write(frame(CLOSE, b"\x03\xe8"))
    await client.ended()


async def cut_anywhere(port: int) -> None:
    """Commands, and the connection is reset before they are answered."""
    client = await Socket.open(port, PATH)
    channel = room()
    commands: list[dict[str, Any]] = [
        {"id": 1, "connect": {}},
        {"id": 2, "subscribe": {"channel": channel}},
        {"id": 3, "publish": {"channel": channel, "data": {}}},
        {"id": 4, "rpc": {"data": {}}},
    ]
    said = random.randrange(len(commands) + 1)
    client.send(*commands[:said])
    if said and random.random() < 0.5:
        with suppress(Ended):
            await client.receive()
    client.cut()


async def refused(port: int) -> None:
    """A token that is none."""
    client = await Socket.open(port, PATH)
    client.send({"id": 1, "connect": {"token": "no token"}})
    await client.ended()


async def violate(port: int) -> None:
    """Something that no client may say."""
    client = await connected(port)
    client.send(random.choice([b"nonsense", b'{"id":9,"connect":{}}', b'{"id":9}', b"\xff"]))
    await client.ended()


async def follow(port: int) -> None:
    """An event stream, cut or not even begun."""
    client = await Socket.connect(port)
    client.write(f"GET /events?channel={room()}&channel={room()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    if random.random() < 0.7:
        await client.until(b"\r\n\r\n")
    client.cut()


async def poll(port: int) -> None:
    """A poll, whose client may not wait for the answer."""
    client = await Socket.connect(port)
    client.write(f"GET /poll?channel={room()}&wait=0 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    if random.random() < 0.7:
        await client.until(b"\r\n\r\n")
    client.cut()


async def stream(port: int) -> None:
    """HTTP streaming."""
    client = await Socket.connect(port)
    body = b'{"id":1,"connect":{"subs":{"%b":{}}}}' % room().encode()
    head = f"POST /connection/http_stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    client.write(head.encode() + body)
    if random.random() < 0.7:
        await client.until(b"\r\n\r\n")
    client.cut()


async def edit(port: int) -> None:
    """A document is opened, asked for, and left."""
    client = await Socket.open(port, f"/yjs/notes-{random.randrange(3)}")
    client.send(b"\x00\x00\x01\x00", opcode=BINARY)
    if random.random() < 0.7:
        with suppress(Ended):
            await client.receive()
    client.cut()


WAYS: tuple[Callable[[int], Awaitable[None]], ...] = (
    *(visit, cut_anywhere, cut_anywhere, refused, violate, follow, poll, stream, edit),
)


async def churn(port: int, visits: int, *, at_once: int = 40) -> Counter[str]:
    """So many visits, in every way; by way, and how many of them ended early. Raises what none of them may meet."""
    done: Counter[str] = Counter()
    left = iter(range(visits))

    async def one_after_the_other() -> None:
        for _ in left:
            way = random.choice(WAYS)
            done[way.__name__] += 1
            try:
                async with asyncio.timeout(60):
                    await way(port)
            except (Ended, ConnectionError):
                done["ended early"] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_the_other())
    return done


# What is left of them


async def report(server: Server, key: str = "a key of the churn") -> dict[str, Any]:
    """What the application's method `report` answers. key: of the server's API."""
    async with httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": key}) as http:
        answer = await http.post("/api/rpc", json={"method": "report"}, timeout=30)
    told: dict[str, Any] = answer.json()["result"]["data"]
    return told


async def report_when_all_are_gone(server: Server) -> dict[str, Any]:
    """Raises AssertionError when somebody stays."""
    deadline = time.monotonic() + LEFT_MAX_S
    while (told := await report(server))["connections"] or told["here"] or told["channels"]:
        assert time.monotonic() < deadline, {name: told[name] for name in ("connections", "here", "channels")}
        await asyncio.sleep(0.1)
    return told


def check_ends(told: dict[str, Any]) -> None:
    """The end of each connection that a hook was asked about was told once, of no other one ever."""
    counted = told["counted"]
    assert counted["connects"] == counted["ends"], counted
    assert "unexpected ends" not in counted, counted
    assert counted["raised"] > 0.05 * counted["calls"], counted


def grown(before: dict[str, Any], after: dict[str, Any], least: int) -> dict[str, int]:
    """Kinds of objects of which there are at least so many more."""
    kinds = {name: count - before["kinds"].get(name, 0) for name, count in after["kinds"].items()}
    return {name: more for name, more in kinds.items() if more >= least}


async def serve_churn(directory: Path) -> Server:
    shutil.copy(Path(__file__).with_name("churn_app.py"), directory)
    return await serve(directory, "churn_app:app", dev=False, config=CONFIG)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--round", type=int, default=4_000, help="visits between two looks")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    random.seed(options.seed)
    print(f"seed {options.seed}")
    looks: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        server = await serve_churn(Path(directory))
        try:
            end, done = time.monotonic() + options.seconds, Counter[str]()
            while time.monotonic() < end or len(looks) < 3:
                done += await churn(server.port, options.round)
                told = await report_when_all_are_gone(server)
                check_ends(told)
                looks.append(told)
                visits, memory = done.total() - done["ended early"], told["rss_bytes"] / 1e6
                print(f"{visits:9,} visits  {memory:6.1f} MB  {told['objects']:8,} objects", flush=True)
        finally:
            status = await server.stop()
    warm, last = looks[len(looks) // 3], looks[-1]
    print(dict(done), last["counted"], f"exit {status}", sep="\n")
    more = grown(warm, last, least=options.round // 10)
    memory = last["rss_bytes"] / warm["rss_bytes"] - 1
    print(f"from the first third on: memory {memory:+.1%}, objects {last['objects'] - warm['objects']:+,}; {more}")
    return int(status != 0 or bool(more) or memory > 0.1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
