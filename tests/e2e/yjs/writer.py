"""Clients of `/hocuspocus` in Python that write numbered words as fast as they are told, and note which were stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

from pycrdt import Doc, Text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from roomful.model.document import SyncStep1, SyncStep2, SyncUpdate
from roomful.wire.hocuspocus import AUTH, BARE, SYNC, SYNC_STATUS
from roomful.wire.lib0 import Reader, string

PATIENCE_S = 20.0
RECONNECT_S = 0.05
UNDER_WAY = 20
"""Words that a typist sends before it waits for an answer."""


class Writer:
    """doc: its replica. stored: words that the server said are stored, in order. refused: that it said are not.

    ended: the connection has.
    """

    def __init__(self, socket: ClientConnection, name: str, doc: Doc[Any]) -> None:
        self._socket = socket
        self._name = name
        self.doc = doc
        self.stored: list[str] = []
        self.refused: list[str] = []
        self.synced = asyncio.Event()
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()
        self._under_way: deque[str] = deque()

    async def begin(self, token: str = "") -> None:
        await self._socket.send(string(self._name) + b"\x02\x00" + string(token) + string("4.8.0"))
        await self._say(SyncStep1(self.doc.get_state()))

    async def write(self, word: str) -> None:
        before = self.doc.get_state()
        text = self.doc.get("t", type=Text)
        text += f"{word} "
        await self.send(self.doc.get_update(before), word)

    async def send(self, update: bytes, word: str = "") -> None:
        self._under_way.append(word)
        await self._say(SyncUpdate(update))

    async def answered(self, but: int = 0) -> None:
        """Waits until everything sent was answered, but so many."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self._under_way) > but:
                self.changed.clear()
                await self.changed.wait()

    async def read(self) -> None:
        """Until the connection ends."""
        try:
            with suppress(ConnectionClosed):
                async for data in self._socket:
                    assert isinstance(data, bytes)
                    await self._hear(data)
        finally:
            self.ended.set()
            self._under_way.clear()  # nobody will answer
            self.changed.set()
            self.synced.set()

    async def begun(self) -> None:
        """Waits until it is synced. Raises ConnectionError when the connection ends before."""
        async with asyncio.timeout(PATIENCE_S):
            await self.synced.wait()
        if self.ended.is_set():
            raise ConnectionError("the server closed the connection")

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code

    @property
    def text(self) -> str:
        return str(self.doc.get("t", type=Text))

    async def _hear(self, data: bytes) -> None:
        reader = Reader(data)
        reader.string()
        kind = reader.uint()
        if kind == SYNC_STATUS:
            word = self._under_way.popleft()
            (self.stored if reader.uint() else self.refused).append(word)
        elif kind == SYNC:
            [(_, message)] = BARE.decode(data)
            if isinstance(message, SyncStep1):
                self._under_way.append("")
                await self._say(SyncStep2(self.doc.get_update(message.state_vector)))
            elif isinstance(message, SyncStep2 | SyncUpdate):
                self.doc.apply_update(message.update)
                if isinstance(message, SyncStep2):
                    self.synced.set()
        elif kind == AUTH and reader.uint() == 1:
            raise AssertionError(f"permission denied: {reader.string()}")
        self.changed.set()

    async def _say(self, message: SyncStep1 | SyncStep2 | SyncUpdate) -> None:
        await self._socket.send(BARE.encode(self._name, message))


@asynccontextmanager
async def writer(port: int, name: str, doc: Doc[Any] | None = None, token: str = "") -> AsyncIterator[Writer]:
    """A synced writer, connected until the end of the block. Raises ConnectionError when it can't be had."""
    async with connect(f"ws://127.0.0.1:{port}/hocuspocus", max_size=None, ping_interval=None) as socket:
        client = Writer(socket, name, doc if doc is not None else Doc())
        reading = asyncio.create_task(client.read())
        try:
            await client.begin(token)
            await client.begun()
            yield client
        finally:
            reading.cancel()
            await asyncio.wait((reading,))


class Typist:
    """Types words of its own into one replica, over as many connections as it takes.

    label: what its words begin with. stored: those that the server said are stored.
    """

    def __init__(self, port: int, name: str, label: str) -> None:
        self.port = port
        self.doc: Doc[Any] = Doc()
        self.stored: set[str] = set()
        self._name = name
        self._label = label

    async def type(
        self, ended: asyncio.Event, on_word: Callable[[], None] = lambda: None, every_s: float = 0.0
    ) -> None:
        """Until the event. every_s: time between two words; 0: as fast as they are acknowledged."""
        words = count()
        while not ended.is_set():
            client: Writer | None = None
            try:
                async with writer(self.port, self._name, self.doc) as client:
                    while not ended.is_set():
                        await client.write(f"{self._label}.{next(words)}")
                        await client.answered(but=UNDER_WAY)
                        on_word()
                        await pause(ended, every_s)
            except (WebSocketException, OSError):
                await pause(ended, RECONNECT_S)
            finally:
                if client is not None:
                    self.stored |= {word for word in client.stored if word}


async def pause(ended: asyncio.Event, seconds: float) -> None:
    """So long, but not longer than until the event."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
