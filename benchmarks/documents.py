"""What documents cost a served process: CPU a delivery, memory a document, durable edits a second, a large document.

    .venv/bin/python benchmarks/documents.py fanout [clients] [edits a second, 0: saturated]
    .venv/bin/python benchmarks/documents.py memory [documents]
    .venv/bin/python benchmarks/documents.py edits [sqlite|postgresql://…]
    .venv/bin/python benchmarks/documents.py trace FILE      # an update (Yjs v1) of a large document

CPU is that of the server's process, so other load on the machine doesn't count.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pycrdt import Doc, Text
from websockets.asyncio.client import connect

from roomful.model.document import SyncStep1, SyncStep2, SyncUpdate
from roomful.seams.store import DocumentStore, Entry
from roomful.stores.postgres import PostgresStore
from roomful.stores.sqlite import SqliteStore
from roomful.wire.hocuspocus import BARE as HOCUSPOCUS
from roomful.wire.lib0 import string
from roomful.wire.y_websocket import BARE as Y_WEBSOCKET

TICKS = os.sysconf("SC_CLK_TCK")
WINDOW = 16
IDLE_S = 20.0
AT_ONCE = 300


class Server:
    """`roomful serve --dev` in a folder of its own."""

    def __init__(self, folder: str) -> None:
        command = [sys.executable, "-m", "roomful", "serve", "--dev", "--port", "0"]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert self.process.stdout is not None
        self.port = 0
        while not self.port:
            found = re.search(rb"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
            self.port = int(found[1]) if found else 0

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_kb(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Reader(asyncio.Protocol):
    """A y-websocket client that only counts: it says step 1, and then looks at no byte more than it must."""

    def __init__(self, port: int) -> None:
        self.received = 0
        self._port = port
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        lines = [
            "GET /yjs/bench HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        ]
        transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        if not self.received:  # the answer to the handshake
            self._transport.write(b"\x82\x84\0\0\0\0" + b"\x00\x00\x01\x00")
        self.received += len(data)


async def fanout(clients: int, rate: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        loop = asyncio.get_running_loop()
        readers = [
            (await loop.create_connection(lambda: Reader(server.port), "127.0.0.1", server.port))[1]
            for _ in range(clients)
        ]
        doc: Doc[Any] = Doc()
        text = doc.get("t", type=Text)
        async with connect(f"ws://127.0.0.1:{server.port}/yjs/bench", max_size=None) as socket:
            await socket.send(Y_WEBSOCKET.encode("", SyncStep1(b"\x00")))
            await asyncio.sleep(1.0)
            echoes, edits, seconds, echoed = 0, 0, 10.0, asyncio.Event()
            before, begun = server.cpu_s(), time.monotonic()
            size = sum(reader.received for reader in readers)

            async def listen() -> None:
                nonlocal echoes
                async for data in socket:
                    echoes += bytes(data[:2]) == b"\x00\x02"
                    echoed.set()

            listening = asyncio.create_task(listen())
            while time.monotonic() - begun < seconds:
                vector = doc.get_state()
                text += "a"
                await socket.send(Y_WEBSOCKET.encode("", SyncUpdate(doc.get_update(vector))))
                edits += 1
                if rate:
                    await asyncio.sleep(max(0.0, begun + edits / rate - time.monotonic()))
                else:
                    while edits - echoes >= WINDOW:
                        echoed.clear()
                        await echoed.wait()
            await asyncio.sleep(0.5)
            listening.cancel()
            used, deliveries = server.cpu_s() - before, echoes * clients
            wire = (sum(reader.received for reader in readers) - size) / max(1, deliveries)
            took = time.monotonic() - begun
            own_s = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            pace, cost = f"{clients} clients, {echoes / took:.0f} edits/s", 1e6 * used / max(1, deliveries)
            print(f"{pace}: {cost:.2f} µs of server CPU a delivery of {wire:.0f} bytes (own CPU: {own_s:.1f} s)")
        server.stop()


async def memory(documents: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        async with connect(f"ws://127.0.0.1:{server.port}/hocuspocus", max_size=None) as socket:

            async def open_(name: str) -> None:
                doc: Doc[Any] = Doc()
                text = doc.get("t", type=Text)
                text += "A small document of a hundred letters or so, as most documents are when they begin their life."
                await socket.send(string(name) + b"\x02\x00" + string(""))
                await socket.send(HOCUSPOCUS.encode(name, SyncStep1(b"\x00")))
                await socket.send(HOCUSPOCUS.encode(name, SyncStep2(doc.get_update())))
                for _ in range(4):  # authenticated, step 1, step 2, status
                    await socket.recv()

            for number in range(50):
                await open_(f"warm-{number}")
            before = server.rss_kb()
            for already in range(0, documents, AT_ONCE):  # freed memory isn't given back, but used for the next
                for number in range(already, already + AT_ONCE):
                    await open_(f"document-{number}")
                each = (server.rss_kb() - before) / (already + AT_ONCE)
                print(f"{each:.1f} KB for each of {already + AT_ONCE} small open documents")
                await asyncio.sleep(IDLE_S)
        server.stop()


async def edits(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store: DocumentStore
        store = SqliteStore(Path(folder) / "bench.db") if url == "sqlite" else PostgresStore(url)
        await store.start()
        await store.append("warm", [Entry(b"x" * 30)], 1)
        for documents in (1, 100, 1000):
            await asyncio.gather(*(store.append(f"bench-{number}", [Entry(b"x")], 1) for number in range(documents)))
            stored, begun = 0, time.monotonic()

            async def write(name: str, until: float) -> None:
                nonlocal stored
                while time.monotonic() < until:
                    await store.append(name, [Entry(b"x" * 30, "ann", 0.0)], 1)
                    stored += 1

            await asyncio.gather(*(write(f"bench-{number}", begun + 5) for number in range(documents)))
            rate = stored / (time.monotonic() - begun)
            print(f"{rate:.0f} durable edits/s, one at a time in each of {documents} documents")
        await store.stop()


async def trace(update: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        async with connect(f"ws://127.0.0.1:{server.port}/yjs/bench", max_size=None) as socket:
            await socket.send(Y_WEBSOCKET.encode("", SyncUpdate(update)))
            await socket.send(Y_WEBSOCKET.encode("", SyncStep1(b"\x00")))
            await asyncio.sleep(2)
        server.stop()
        for _ in range(3):
            server = Server(folder)
            empty = server.rss_kb()
            for what in ("cold", "further"):
                async with connect(f"ws://127.0.0.1:{server.port}/yjs/bench", max_size=None) as socket:
                    begun = time.monotonic()
                    await socket.send(Y_WEBSOCKET.encode("", SyncStep1(b"\x00")))
                    while (await socket.recv())[:2] != b"\x00\x01":
                        continue
                    print(f"{what}: {1000 * (time.monotonic() - begun):.1f} ms to step 2", end="; ")
            print(f"{(server.rss_kb() - empty) / 1024:.1f} MB")
            server.stop()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fanout", *rest]:
            asyncio.run(fanout(int(rest[0]) if rest else 100, float(rest[1]) if len(rest) > 1 else 0.0))
        case ["memory", *rest]:
            asyncio.run(memory(int(rest[0]) if rest else 900))
        case ["edits", *rest]:
            asyncio.run(edits(rest[0] if rest else "sqlite"))
        case ["trace", file]:
            asyncio.run(trace(Path(file).read_bytes()))
        case _:
            sys.exit(__doc__)
