"""Hostile clients beside honest ones: `python -m tests.soak.hostile`.

200 sockets of strangers send 20,000 messages a second. 3,000 of them ask for a join in a room that is open to all, as
many for one in the room of the honest ones. These publish ten messages a second each, and measure how long each takes
to all the others: alone; while the same strangers attack another server on this machine; and while they attack this
one. Prints the quantiles so far, and ends with 1 when p99 under attack is more than twice that of alone, when an honest
client was refused anything, or when a message is missing. Strangers elsewhere show how much of it is the machine's: on
one that others use too, even they move p99 far more than twofold, and then it says little. Not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import httpx

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from roomful.testing.raw_websocket import TEXT, frame
from tests.served import Server, serve
from tests.soak.sockets import Ended, Socket

PATH = "/connection/websocket"
CONFIG = """
[tokens]
hmac_secret = "a secret of more than thirty-two bytes"
anonymous = true
[api]
keys = ["a key of the soak"]
[limits]
handshakes_per_s = 200
[limits.rates.connection]
publish = "20/s burst 40"
subscribe = "0.2/s burst 5"
presence = "1/s"
history = "1/s"
[limits.rates.room]
subscribe = "20/s burst 50"
[namespaces.room]
subscribe = "user"
publish = "user"
presence = true
join_leave = "all"
history_size = 100
history_ttl_s = 60
see_presence = "client"

[namespaces.lobby]
subscribe = "client"
presence = true
join_leave = "all"
"""

TOKENS = TokenOptions(hmac_secret="a secret of more than thirty-two bytes")
ROOM = "room:all"
BATCH_S = 0.1


class Honest:
    """Publishes now and then, and takes down how long what the others say has been on its way."""

    def __init__(self, port: int, number: int, per_second: float) -> None:
        self._port = port
        self._number = number
        self._pause_s = 1 / per_second
        self.took_s: list[float] = []
        self.heard = self.said = self.refused = 0
        self.speaking = asyncio.Event()

    async def run(self) -> None:
        client = await Socket.open(self._port, PATH)
        token = sign(TOKENS, {}, user=f"honest-{self._number}", now=time.time(), ttl_s=None)
        client.send({"id": 1, "connect": {"token": token}}, {"id": 2, "subscribe": {"channel": ROOM}})
        await client.reply(2)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(client))
            group.create_task(self._speak(client))

    async def _speak(self, client: Socket) -> None:
        id = 2
        while True:
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.5))
            await self.speaking.wait()
            id += 1
            self.said += 1
            data = {"at": time.monotonic()}
            client.send({"id": id, "publish": {"channel": ROOM, "data": data}})

    async def _listen(self, client: Socket) -> None:
        while True:
            replies = await client.replies()
            now = time.monotonic()
            for reply in replies:
                if "error" in reply:
                    self.refused += 1
                push = reply.get("push", {})
                if "pub" in push:
                    self.heard += 1
                    self.took_s.append(now - push["pub"]["data"]["at"])


def nonsense(size: int, id: int) -> bytes:
    """So many messages: what no stranger may do, questions, joins and leaves."""
    kinds = (
        '{"id":%d,"publish":{"channel":"room:all","data":{"x":"flood"}}}',
        '{"id":%d,"subscribe":{"channel":"lobby:1","join_leave":true}}',
        '{"id":%d,"subscribe":{"channel":"room:all"}}',
        '{"id":%d,"presence":{"channel":"room:all"}}',
        '{"id":%d,"history":{"channel":"room:all","limit":100}}',
        '{"id":%d,"unsubscribe":{"channel":"lobby:1"}}',
    )
    return b"".join(frame(TEXT, (kinds[(id + n) % len(kinds)] % (id + n)).encode()) for n in range(size))


async def strangers(port: int, sockets: int, per_second: int, until: float) -> None:
    """In this process nothing else is done: whoever measures mustn't wait for it. Prints what it has sent."""
    sent = lost = 0
    size = max(1, round(per_second / sockets * BATCH_S))
    said = [nonsense(size, 10 + n * size) for n in range(6)]  # once: they compete for the same processors

    async def flood(number: int) -> None:
        nonlocal sent, lost
        while time.monotonic() < until:
            try:
                client = await Socket.open(port, PATH)
            except (Ended, ConnectionError, TimeoutError):
                lost += 1
                await asyncio.sleep(0.5)
                continue
            reading = asyncio.ensure_future(client.drain())
            client.write(frame(TEXT, b'{"id":1,"connect":{}}'))
            due = time.monotonic() + random.random() * BATCH_S
            try:
                while time.monotonic() < until and not reading.done():
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    due += BATCH_S
                    client.write(said[sent % len(said)])
                    sent += size
            except ConnectionError:
                lost += 1
            finally:
                reading.cancel()
                with suppress(ConnectionError, OSError):
                    client.cut()

    await asyncio.gather(*(flood(number) for number in range(sockets)))
    print(f"{sent} {lost}")


async def limited(server: Server) -> dict[str, float]:
    """What was refused, by whom and which command."""
    async with httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": "a key of the soak"}) as http:
        lines = (await http.get("/metrics", timeout=30)).text.splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith(("roomful_rate_limited", "roomful_commands_")))
    return {name.removeprefix("roomful_"): float(value) for name, _, value in found}


def p(quantile: int, took_s: list[float]) -> float:
    """In milliseconds."""
    return statistics.quantiles(took_s, n=100)[quantile - 1] * 1000


def processor_s(pid: int) -> tuple[float, float]:
    """How long a process has used one so far, and how long it has waited for one that others had."""
    used_ns, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(used_ns) / 1e9, int(waited_ns) / 1e9


async def measured(everybody: list[Honest], seconds: float) -> list[float]:
    """What they say in this time, when all of it has come; raises AssertionError for what hasn't."""
    for honest in everybody:
        honest.took_s.clear()
        honest.heard = honest.said = 0
        honest.speaking.set()
    await asyncio.sleep(seconds)
    for honest in everybody:
        honest.speaking.clear()
    said, deadline = sum(honest.said for honest in everybody), time.monotonic() + 10
    while any(honest.heard < said for honest in everybody):
        assert time.monotonic() < deadline, f"{said} were said, heard were {[honest.heard for honest in everybody]}"
        await asyncio.sleep(0.1)
    return [took for honest in everybody for took in honest.took_s]


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=200)
    parser.add_argument("--per-second", type=int, default=20_000)
    parser.add_argument("--honest", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strangers", nargs=2, metavar=("PORT", "SECONDS"), help="be these, and nothing else")
    options = parser.parse_args()
    if options.strangers:
        port, seconds = options.strangers
        await strangers(int(port), options.sockets, options.per_second, time.monotonic() + float(seconds))
        return 0
    took: dict[str, list[float]] = {"alone": [], "elsewhere": [], "here": []}
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as other_directory:
        server = await serve(Path(directory), dev=False, config=CONFIG)
        other = await serve(Path(other_directory), dev=False, config=CONFIG)
        try:
            everybody = [Honest(server.port, number, 10.0) for number in range(options.honest)]
            running = [asyncio.ensure_future(honest.run()) for honest in everybody]
            await asyncio.sleep(1)
            for _ in range(options.rounds):
                for where, attacked in {"alone": None, "elsewhere": other, "here": server}.items():
                    attack = await begin_attack(attacked.port, options) if attacked else None
                    begun = processor_s(server.pid)
                    took[where] += await measured(everybody, options.seconds)
                    used, waited = (now - before for now, before in zip(processor_s(server.pid), begun, strict=True))
                    told = (await attack.communicate())[0].decode().strip() if attack else "nothing"
                    print(f"strangers {where} sent {told}; {shown(took[where])}; ", end="")
                    print(f"the server used {used:.2f} s of a processor, and waited {waited:.2f} s for one", flush=True)
            failed = [task for task in running if task.done()]
            counts = await limited(server)
            for task in running:
                task.cancel()
        finally:
            statuses = [await each.stop() for each in (server, other)]
    refused = sum(honest.refused for honest in everybody)
    p99 = {where: p(99, times) for where, times in took.items()}
    factor = p99["here"] / p99["alone"]
    print(f"p99 times {factor:.2f} of alone; with strangers elsewhere times {p99['elsewhere'] / p99['alone']:.2f}")
    print(f"refused to honest clients {refused}; exit {statuses}")
    print(counts)
    return int(any(statuses) or bool(failed) or factor > 2 or refused > 0)


async def begin_attack(port: int, options: argparse.Namespace) -> asyncio.subprocess.Process:
    """Strangers in a process of their own, all of them connected; they stay a little longer than is measured."""
    attack = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak.hostile", "--strangers", str(port), str(options.seconds + 5)),
        *("--sockets", str(options.sockets), "--per-second", str(options.per_second)),
        stdout=asyncio.subprocess.PIPE,
    )
    await asyncio.sleep(4)
    return attack


def shown(took_s: list[float]) -> str:
    return f"{len(took_s):,} deliveries, p50 {p(50, took_s):.1f} p99 {p(99, took_s):.1f} ms"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
