"""Nothing grows under constant load: `python -m tests.soak.steady [--seconds 3600]`.

One server with everything on, on the memory engine. Members stay in their rooms, where publications come at a constant
rate; visitors come at a constant rate, do something and go: over WebSocket, `/events`, `/poll` and `/yjs`. Half of them
are the same ones again and again, with the position or the replica of their last visit, the others are strangers in
rooms and documents of their own, which nobody visits again. What is edited is also deleted.

Prints the server's memory each minute; in the end a table, its slope by least squares over what follows the warm-up
(the first quarter), and whether the books balance. Ends with 1 when memory grows by 1 MB/h or more, something was lost
without a word, or a visit failed. Not part of `make test`: what visits leave is tests/e2e/test_18_churn.py.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from statistics import linear_regression
from typing import Any

import httpx
import msgspec
import uvloop
from pycrdt import Doc, Text

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from roomful.model.document import AwarenessEntry, AwarenessUpdate, SyncStep1, SyncStep2, SyncUpdate
from roomful.testing.ledger import BookError, Ledger, Reader
from roomful.testing.raw_websocket import BINARY, CLOSE, frame
from roomful.wire.y_websocket import BARE, KEY
from tests.engines.redis_server import eventually
from tests.served import Server, serve
from tests.soak.churn import report
from tests.soak.fleet import Connection, Follower, Publisher
from tests.soak.hostile import processor_s
from tests.soak.sockets import Ended, Socket

TOKENS = TokenOptions(hmac_secret="a secret of more than thirty-two bytes")
API_KEY = "the key of the soak"
CONFIG = f"""
[tokens]
hmac_secret = "{TOKENS.hmac_secret}"
[api]
keys = ["{API_KEY}"]
[documents]
access = "user"
[limits.rates.user]
publish = "1000/s"
connect = "1000/s"
subscribe = "1000/s"
[limits.rates.address]
connect = "1000/s"
poll = "1000/s"
[limits.rates.room]
publish = "1000/s"
[namespaces.room]
subscribe = "user"
publish = "user"
presence = true
join_leave = "all"
history_size = 100
history_ttl_s = 300
recover = true
[namespaces.brief]
subscribe = "user"
publish = "subscriber"
presence = true
join_leave = "all"
history_size = 100
history_ttl_s = 20
history_meta_ttl_s = 20
recover = true
"""

WARM_UP = 1 / 4
"""Of the run: until then caches, histories and the allocator fill. What lives longest here are the epochs of strangers'
facets, 660 s (`model.facet`): a run of less than 45 minutes needs a longer part, by `--warm-up`."""
SAMPLE_S, SHOWN_S = 10.0, 60.0
SLOPE_MAX = 1.0
"""MB/h."""
WORDS = 20
"""That stand in a document; with each new one the oldest is deleted."""
AT_ONCE_MAX = 200
"""Visits; a load that can't be kept up is a failure, and not a queue."""


def token(user: str, ttl_s: float | None = 600.0) -> str:
    return sign(TOKENS, {}, user=user, now=time.time(), ttl_s=ttl_s)


class Member(Follower):
    """Stays in a room and looks at its facets."""

    async def connected(self, connection: Connection) -> None:
        await super().connected(connection)
        for channel in self.channels:
            for facet in ("typing", "people", "state"):
                connection.send(subscribe={"channel": f"{facet}:{channel}"})

    def on_push(self, push: dict[str, Any]) -> None:
        if push["channel"] in self.channels:
            super().on_push(push)
        elif "unsubscribe" in push and self._connection is not None:
            self._connection.send(subscribe={"channel": push["channel"]})


class Visitor:
    """Comes back to one room in one way. since: its position, as that way spells it."""

    def __init__(self, name: str, channel: str, books: Ledger) -> None:
        self.name = name
        self.channel = channel
        self.books = books
        self.reader: Reader = books.reader(name)
        self.since: Any = None
        self.gaps = 0
        self.here = False

    def begins(self, *, recovered: bool) -> None:
        self.reader.subscribed(self.channel, recovered=recovered)
        if self.since is not None and not recovered:
            self.gaps += 1

    def reads(self, publication: dict[str, Any]) -> None:
        self.reader.read(self.channel, publication["data"]["n"], publication["data"]["by"])

    def misses(self) -> None:
        self.reader.gap(self.channel)
        self.gaps += 1


class Load:
    """Who visits, and how. done: visits by way. failed: by way and what was raised."""

    def __init__(self, port: int, rooms: list[str], visitors: int, http: httpx.AsyncClient) -> None:
        self.books = Ledger()
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._port = port
        self._http = http
        self._names = count()
        self._under_way: set[asyncio.Task[None]] = set()
        self.visitors: dict[str, list[Visitor]] = {
            way: [Visitor(f"{way}-{n}", rooms[n % len(rooms)], self.books) for n in range(visitors)]
            for way in ("calls", "follows", "polls")
        }
        self.editors = [Editor(f"editor-{n}", f"notes-{n}") for n in range(visitors)]
        self._ways: tuple[Callable[[], Awaitable[None]], ...] = (
            *(self.calls, self.passes, self.follows, self.overhears, self.polls, self.edits, self.drafts, self.looks),
        )

    @property
    def gaps(self) -> int:
        return sum(visitor.gaps for each in self.visitors.values() for visitor in each)

    async def run(self, per_second: float) -> None:
        """Until it is cancelled; what is under way then goes on, see `at_rest`."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for turn in count():
            await asyncio.sleep(max(0.0, begun + turn / per_second - loop.time()))
            if len(self._under_way) >= AT_ONCE_MAX:
                self.failed["too many at once"] += 1
                continue
            task = asyncio.ensure_future(self._visit(self._ways[turn % len(self._ways)]))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def at_rest(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=30.0)
        if self._under_way:
            self.failed["never ended"] += len(self._under_way)

    async def _visit(self, way: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(30):
                await way()
            self.done[way.__name__] += 1
        except Exception as error:
            if not self.failed[f"{way.__name__} {type(error).__name__}"]:
                print(f"{way.__name__} failed: {error!r}", flush=True)
            self.failed[f"{way.__name__} {type(error).__name__}"] += 1

    def _one_of(self, way: str) -> Visitor:
        """Somebody who isn't here."""
        visitor = random.choice([each for each in self.visitors[way] if not each.here])
        visitor.here = True
        return visitor

    def _stranger(self) -> str:
        return f"stranger-{next(self._names)}"

    # Rooms

    async def calls(self) -> None:
        """A known user over WebSocket, in a room, from the position of the last visit on."""
        visitor = self._one_of("calls")
        try:
            await self._calls(visitor)
        finally:
            visitor.reader.unsubscribed(visitor.channel)
            visitor.here = False

    async def _calls(self, visitor: Visitor) -> None:
        client, channel = await self._connected(visitor.name), visitor.channel
        wanted: dict[str, Any] = {"channel": channel}
        if visitor.since is not None:
            wanted |= {"recover": True, "epoch": visitor.since[0], "offset": visitor.since[1]}
        client.send({"id": 2, "subscribe": wanted})
        result = (await client.reply(2))["subscribe"]
        epoch, pushed = result["epoch"], result.get("publications", [])
        visitor.begins(recovered=result.get("recovered", False))
        visitor.since = (epoch, result.get("offset", 0))
        number = self.books.write(channel, visitor.name)
        client.send(
            {"id": 3, "publish": {"channel": channel, "data": {"n": number, "by": visitor.name}}},
            {"id": 4, "presence": {"channel": channel}},
            {"id": 5, "rpc": {"data": {"n": number}}},
            {"id": 6, "publish": {"channel": f"typing:{channel}", "data": {"typing": True}}},
            {"id": 7, "publish": {"channel": f"state:{channel}", "data": wish(number)}},
            {"id": 8, "history": {"channel": channel, "limit": 10}},
        )
        answers: set[int] = set()
        while len(answers) < 6:
            for said in pushed:
                visitor.reads(said)
                visitor.since = (epoch, said["offset"])
            pushed = []
            for reply in await client.replies():
                if "id" in reply:
                    assert "error" not in reply, reply
                    answers.add(reply["id"])
                elif reply["push"]["channel"] == channel and "pub" in reply["push"]:
                    pushed.append(reply["push"]["pub"])
        for said in pushed:
            visitor.reads(said)
            visitor.since = (epoch, said["offset"])
        await self._leave(client)

    async def passes(self) -> None:
        """A stranger over WebSocket, in a room that nobody else was in or will be."""
        name = self._stranger()
        client, channel = await self._connected(name), f"brief:{name}"
        client.send(
            {"id": 2, "subscribe": {"channel": channel}},
            {"id": 3, "subscribe": {"channel": f"people:{channel}"}},
            {"id": 4, "publish": {"channel": channel, "data": {"n": 1}}},
            {"id": 5, "publish": {"channel": f"typing:{channel}", "data": {"typing": True}}},
            {"id": 6, "publish": {"channel": f"state:{channel}", "data": wish(1)}},
            {"id": 7, "presence": {"channel": channel}},
        )
        await client.reply(7)
        await self._leave(client)

    async def _connected(self, user: str) -> Socket:
        client = await Socket.open(self._port, "/connection/websocket")
        client.send({"id": 1, "connect": {"token": token(user)}})
        assert "connect" in await client.reply(1)
        return client

    async def _leave(self, client: Socket) -> None:
        """By the closing handshake, or without a word."""
        if random.random() < 0.5:
            client.cut()
        else:
            client.write(frame(CLOSE, b"\x03\xe8"))
            await client.ended()

    async def follows(self) -> None:
        """A known user's event stream, from its last event on; cut after some more."""
        visitor = self._one_of("follows")
        try:
            await self._follows(visitor)
        finally:
            visitor.reader.unsubscribed(visitor.channel)
            visitor.here = False

    async def _follows(self, visitor: Visitor) -> None:
        headers = {} if visitor.since is None else {"Last-Event-ID": visitor.since}
        name, data, left = "message", "", 3
        with_token = {"channel": visitor.channel, "token": token(visitor.name)}
        async with self._http.stream("GET", "/events", params=with_token, headers=headers) as stream:
            async for line in stream.aiter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif field == "id":
                    visitor.since = value
                elif not line and data:
                    said = msgspec.json.decode(data)
                    if name == "subscribed":
                        # Nothing but an event `gap` excuses whoever came with a position.
                        visitor.reader.subscribed(visitor.channel, recovered=bool(headers))
                    elif name == "gap":
                        visitor.misses()
                    elif name == "message":
                        visitor.reads(said)
                        left -= 1
                    else:
                        assert name in ("join", "leave"), (name, said)
                    if not left:
                        return
                    name, data = "message", ""

    async def overhears(self) -> None:
        """A stranger's event stream, of two rooms, cut as soon as it is there."""
        name = self._stranger()
        with_token = {"channel": [self.visitors["calls"][0].channel, f"brief:{name}"], "token": token(name)}
        async with self._http.stream("GET", "/events", params=with_token) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    return

    async def polls(self) -> None:
        """A known user's long poll, from its last answer on."""
        visitor = self._one_of("polls")
        try:
            params: dict[str, Any] = {"channel": visitor.channel, "wait": 5, "token": token(visitor.name)}
            if visitor.since is not None:
                params["since"] = visitor.since
            answer = await self._http.get("/poll", params=params)
            said = answer.raise_for_status().json()
            visitor.reader.subscribed(visitor.channel, recovered=visitor.since is not None)
            if said["gap"]:
                visitor.misses()
            for publication in said["publications"]:
                visitor.reads(publication)
            visitor.since = said["next"]
        finally:
            visitor.reader.unsubscribed(visitor.channel)
            visitor.here = False

    # Documents

    async def edits(self) -> None:
        """A known user writes one word and deletes another one."""
        editor = random.choice([each for each in self.editors if not each.here])
        editor.here = True
        try:
            await editor.visit(self._port, edits=1)
        finally:
            editor.here = False

    async def drafts(self) -> None:
        """A stranger writes a document that nobody will open again."""
        name = self._stranger()
        await Editor(name, f"draft-{name}").visit(self._port, edits=3)

    async def looks(self) -> None:
        """A stranger opens somebody's document, and finds there what was answered."""
        editor = random.choice(self.editors)
        stored = editor.stored
        looker = Editor(self._stranger(), editor.document)
        await looker.visit(self._port, edits=0)
        assert not stored or looker.newest >= stored, f"{looker.newest} in {editor.document}, {stored} was stored"


def wish(number: int) -> dict[str, Any]:
    return {"object": "title", "type": "lww", "op": "set", "value": number}


class Editor:
    """One user's replica of a document. stored: the newest of its numbered words that the server was heard to have."""

    def __init__(self, name: str, document: str) -> None:
        self.document = document
        self.doc: Doc[Any] = Doc()
        self.stored = 0
        self.here = False
        self._name = name
        self._clock = 0
        self._text: Text = self.doc.get("t", type=Text)

    @property
    def newest(self) -> int:
        """0: an empty document."""
        return max(map(int, str(self._text).split()), default=0)

    async def visit(self, port: int, *, edits: int) -> None:
        client = await Socket.open(port, f"/yjs/{self.document}?token={token(self._name)}")
        await self._synced(client)
        self._clock += 1
        shown = AwarenessUpdate((AwarenessEntry(self.doc.client_id, self._clock, b'{"name":"me"}'),))
        client.send(BARE.encode(KEY, shown), opcode=BINARY)
        for _ in range(edits):
            before, words = self.doc.get_state(), str(self._text).split()
            with self.doc.transaction():
                self._text += f"{int(words[-1]) + 1 if words else 1} "
                if len(words) >= WORDS:
                    del self._text[: len(words[0]) + 1]
            client.send(BARE.encode(KEY, SyncUpdate(self.doc.get_update(before))), opcode=BINARY)
        await self._synced(client)  # answered in turn, so what was said before is there
        self.stored = self.newest
        if random.random() < 0.5:
            client.cut()
        else:
            client.write(frame(CLOSE, b"\x03\xe8"))
            await client.ended()

    async def _synced(self, client: Socket) -> None:
        client.send(BARE.encode(KEY, SyncStep1(self.doc.get_state())), opcode=BINARY)
        while True:
            opcode, payload = await client.receive()
            if opcode == 0x8:
                raise Ended(payload)
            for _, message in BARE.decode(payload) if opcode == BINARY else ():
                if isinstance(message, SyncStep1):
                    answer = SyncStep2(self.doc.get_update(message.state_vector))
                    client.send(BARE.encode(KEY, answer), opcode=BINARY)
                elif isinstance(message, SyncStep2 | SyncUpdate):
                    self.doc.apply_update(message.update)
                    if isinstance(message, SyncStep2):
                        return


class Sample(msgspec.Struct):
    """at_s: since the load began. rss, anonymous: MB. used_s: of a processor, by the server so far."""

    at_s: float
    rss: float
    anonymous: float
    used_s: float


def sample(server: Server, at_s: float) -> Sample:
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    rss, anonymous = (int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "RssAnon"))
    return Sample(at_s, rss, anonymous, processor_s(server.pid)[0])


def slope(samples: list[Sample], of: str) -> tuple[float, float]:
    """MB/h by least squares, and its standard error if the samples were independent (they are not quite)."""
    x, y = [each.at_s / 3600 for each in samples], [getattr(each, of) for each in samples]
    per_hour, begin = linear_regression(x, y)
    mean = sum(x) / len(x)
    rest = sum((b - begin - per_hour * a) ** 2 for a, b in zip(x, y, strict=True)) / (len(x) - 2)
    return per_hour, (rest / sum((a - mean) ** 2 for a in x)) ** 0.5


def shown(samples: list[Sample], warm_up: float) -> None:
    """The table, in some twelve lines, and the slopes."""
    print("| minutes | RSS MB | of it anonymous | processor % |\n|--:|--:|--:|--:|")
    step = max(1, len(samples) // 12)
    for before, each in zip(samples[::step], samples[step::step], strict=False):
        used = (each.used_s - before.used_s) / (each.at_s - before.at_s)
        print(f"| {each.at_s / 60:.0f} | {each.rss:.2f} | {each.anonymous:.2f} | {used:.0%} |")
    measured = [each for each in samples if each.at_s >= warm_up]
    if len(measured) > 2:
        for of in ("rss", "anonymous"):
            per_hour, error = slope(measured, of)
            print(f"{of}: {per_hour:+.2f} MB/h ± {error:.2f}, least squares over {len(measured)} samples of", end=" ")
            print(f"the last {(samples[-1].at_s - measured[0].at_s) / 60:.0f} minutes")


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--warm-up", type=float, help="seconds that the slope leaves out; a quarter")
    parser.add_argument("--rooms", type=int, default=20)
    parser.add_argument("--members", type=int, default=100, help="each stays in two rooms")
    parser.add_argument("--publications", type=int, default=40, help="a second")
    parser.add_argument("--visits", type=float, default=32.0, help="a second")
    parser.add_argument("--visitors", type=int, default=100, help="who come back, in each of four ways")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    given = parser.parse_args()
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, running.cancel
    )  # ends the server, too, as Ctrl-C does
    if given.warm_up is None:
        given.warm_up = given.seconds * WARM_UP
    if given.seconds - given.warm_up < 3 * SAMPLE_S:
        parser.error(f"a slope needs {3 * SAMPLE_S:.0f} s behind the warm-up, which is {given.warm_up:g} s")
    print(given, flush=True)
    random.seed(given.seed)
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(Path(__file__).with_name("steady_app.py"), directory)
        server = await serve(Path(directory), "steady_app:app", dev=False, config=CONFIG)
        try:
            return await soak(server, given)
        finally:
            status = await server.stop()
            print(f"the server ended with {status}; it printed {len(server.log.splitlines())} lines, the last ones:")
            print(*deque(server.log.splitlines(), 5), sep="\n", flush=True)


async def soak(server: Server, given: argparse.Namespace) -> int:
    rooms = [f"room:{number}" for number in range(given.rooms)]
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=30) as http:
        load = Load(server.port, rooms, given.visitors, http)
        members: list[Member] = []
        for number in range(given.members):
            channels = [rooms[number % len(rooms)], rooms[(number + 7) % len(rooms)]]
            members.append(Member([server.url], channels, load.books.reader(f"member-{number}")))
            members[-1].hello = {"token": token(f"member-{number}", ttl_s=None)}
        publisher = Publisher([server.url], rooms, "publisher", load.books, 1 / given.publications)
        publisher.hello = {"token": token("publisher", ttl_s=None)}
        clients = [*members, publisher]
        running = [asyncio.ensure_future(client.run()) for client in clients]
        samples: list[Sample] = []
        try:
            await eventually(lambda: all(len(each.subscribed) == len(each.channels) for each in members), 60.0)
            connected = sum(each.connections for each in clients)
            running.append(asyncio.ensure_future(load.run(given.visits)))
            warm = await watched(server, given, samples, load)
            running.pop().cancel()
            last = await report(server, API_KEY)
            used = resource.getrusage(resource.RUSAGE_SELF)
            await load.at_rest()
            publisher.paused = True
            with suppress(TimeoutError):
                await eventually(lambda: not publisher.under_way, 30.0)
                await eventually(lambda: not any(member.reader.lacks() for member in members), 30.0)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            shown(samples, given.warm_up)
        told = [f"{sum(each.came for each in members):,} read by members of {publisher.published:,} published"]
        told.append(f"{sum(each.gaps for each in members)} gaps told to members, {load.gaps} to visitors")
        told.append(f"{sum(each.connections for each in clients) - connected} connections of members lost")
        print(*told, f"{publisher.refused} publications refused", sep=", ")
        print(f"visits {load.done.total():,}: {dict(load.done)}; failed {dict(load.failed)}")
        print(f"the client used {(used.ru_utime + used.ru_stime) / given.seconds:.0%} of a processor")
        grown = {name: n - warm["kinds"].get(name, 0) for name, n in last["kinds"].items()}
        most = sorted(grown.items(), key=lambda pair: -pair[1])[:8]
        print(f"objects since the warm-up {sum(grown.values()):+,}, of {sum(warm['kinds'].values()):,}: {dict(most)}")
        print(f"tasks {warm['tasks']} → {last['tasks']}, clients whose end wasn't told {warm['here']} → {last['here']}")
        try:
            load.books.check()
            books = "balance"
        except BookError as error:
            books = f"DON'T BALANCE: {str(error)[:2000]}"
        print(f"the books {books}", flush=True)
    grows = slope([each for each in samples if each.at_s >= given.warm_up], "rss")[0] >= SLOPE_MAX
    return int(grows or books != "balance" or bool(load.failed))


async def watched(server: Server, given: argparse.Namespace, samples: list[Sample], load: Load) -> dict[str, Any]:
    """So long; what lived in the server after the warm-up."""
    begun, warm = time.monotonic(), None
    for turn in range(int(given.seconds / SAMPLE_S) + 1):
        await asyncio.sleep(max(0.0, begun + turn * SAMPLE_S - time.monotonic()))
        at_s = time.monotonic() - begun
        if warm is None and at_s >= given.warm_up:
            warm = await report(server, API_KEY)
        samples.append(sample(server, at_s))
        if turn % round(SHOWN_S / SAMPLE_S) == 0:
            now = samples[-1]
            line = (
                f"{at_s:6.0f} s  {now.rss:7.2f} MB, anonymous {now.anonymous:7.2f}  {now.used_s:6.1f} s of a processor"
            )
            print(f"{line}  {load.done.total():7,} visits, failed {load.failed.total()}", flush=True)
    return warm or await report(server, API_KEY)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
