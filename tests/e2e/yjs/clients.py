"""y-websocket and @hocuspocus/provider, unmodified, in a node process that `js/bridge.mjs` leads."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

PROGRAM = Path(__file__).parent / "js" / "bridge.mjs"
LINE_MAX_BYTES = 1 << 26
PATIENCE_S = 20.0

GetToken = Callable[[], Awaitable[str]]
T = TypeVar("T")


class Bridge:
    """The node process; its clients are known by numbers."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._clients: dict[int, Client] = {}
        self._sockets: list[int] = []
        self._reading: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self, node: str) -> None:
        self._process = await asyncio.create_subprocess_exec(
            node, PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_MAX_BYTES
        )
        self._reading = asyncio.create_task(self._read())

    async def stop(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._reading is not None
        self._process.stdin.close()
        await self._reading
        await self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def y_websocket(self, url: str, name: str, **arguments: Any) -> Client:
        """params: query parameters. text: typed before it connects. options: of the provider."""
        return await self._client("yWebsocket", url=f"{url.replace('http', 'ws', 1)}/yjs", name=name, **arguments)

    async def hocuspocus(self, url: str, name: str, *, get_token: GetToken | None = None, **arguments: Any) -> Client:
        """token, text, options. version: of the provider, 4 by default. socket: a shared one's number, of `socket`."""
        url = f"{url.replace('http', 'ws', 1)}/hocuspocus"
        return await self._client("hocuspocus", get_token, url=url, name=name, asks=get_token is not None, **arguments)

    async def socket(self, url: str) -> int:
        """A connection for several documents; its number."""
        key = next(self._numbers)
        await self.tell("socket", key, url=f"{url.replace('http', 'ws', 1)}/hocuspocus")
        self._sockets.append(key)
        return key

    async def close(self) -> None:
        """Destroys all clients."""
        for key in list(self._clients):
            await self.tell("destroy", key)
        for key in self._sockets:
            await self.tell("closeSocket", key)
        self._clients.clear()
        self._sockets.clear()

    async def destroy(self, key: int) -> None:
        await self.tell("destroy", key)
        del self._clients[key]

    async def tell(self, verb: str, key: int, **arguments: Any) -> Any:
        assert self._reading is not None
        assert not self._reading.done(), "the node process has ended"
        id = next(self._numbers)
        reply = self._replies[id] = asyncio.get_running_loop().create_future()
        self._say({"id": id, "verb": verb, "key": key, **arguments})
        return await reply

    async def _client(self, verb: str, get_token: GetToken | None = None, **arguments: Any) -> Client:
        key = next(self._numbers)
        client = self._clients[key] = Client(self, key, get_token)
        await self.tell(verb, key, **arguments)
        client.id = await self.tell("clientId", key)
        return client

    def _say(self, document: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(document).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            document = json.loads(line)
            match document:
                case {"reply": id, "error": error}:
                    self._replies.pop(id).set_exception(RuntimeError(error))
                case {"reply": id, "result": result}:
                    self._replies.pop(id).set_result(result)
                case {"event": name, "key": key, "detail": detail}:
                    if key in self._clients:
                        self._clients[key].hear(name, detail)
                case {"ask": number, "key": key}:
                    task = asyncio.create_task(self._answer(number, key))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)

    async def _answer(self, number: int, key: int) -> None:
        get_token = self._clients[key].get_token
        assert get_token is not None
        self._say({"answer": number, "result": await get_token()})


class Client:
    """One provider with its document. events: (name, detail) in order. id: its Yjs client id."""

    def __init__(self, bridge: Bridge, key: int, get_token: GetToken | None) -> None:
        self._bridge = bridge
        self._key = key
        self.get_token = get_token
        self.events: list[tuple[str, Any]] = []
        self.id = 0
        self._changed = asyncio.Event()

    def hear(self, name: str, detail: Any) -> None:
        self.events.append((name, detail))
        self._changed.set()

    async def tell(self, verb: str, **arguments: Any) -> Any:
        return await self._bridge.tell(verb, self._key, **arguments)

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits until what was heard fulfils the condition."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def heard(self, name: str, detail: Any = ..., since: int = 0) -> Any:
        """The first such event from that number on; its detail."""

        def found() -> list[Any]:
            return [d for n, d in self.events[since:] if n == name and (detail is ... or d == detail)]

        await self.until(lambda: bool(found()))
        return found()[0]

    async def synced(self) -> None:
        await self.heard("sync", True)

    async def insert(self, text: str, at: int = 0) -> None:
        await self.tell("insert", at=at, text=text)

    async def text(self) -> str:
        return str(await self.tell("text"))

    async def has(self, text: str) -> None:
        """Waits until its text is this one."""
        await self.until_text(lambda found: found == text)

    async def until_text(self, condition: Callable[[str], bool]) -> None:
        """Waits until its text fulfils the condition."""
        await self._until(self.text, condition)

    async def sees(self, condition: Callable[[dict[int, Any]], bool]) -> dict[int, Any]:
        """Waits until the awareness states that it knows, by client id, fulfil the condition."""

        async def seen() -> dict[int, Any]:
            return {int(id): state for id, state in (await self.tell("seen")).items()}

        return await self._until(seen, condition)

    async def saved(self) -> None:
        """Waits until the server has acknowledged everything (Hocuspocus)."""

        async def unsynced() -> int:
            number: int = await self.tell("unsynced")
            return number

        await self._until(unsynced, lambda number: number <= 0)  # version 2 may get below

    async def _until(self, ask: Callable[[], Awaitable[T]], condition: Callable[[T], bool]) -> T:
        """Asks until the answer fulfils the condition, again after everything that is heard."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._changed.clear()  # before the question: the news may come together with the answer
                found = await ask()
                if condition(found):
                    return found
                await self._changed.wait()

    async def state(self) -> bytes:
        return base64.b64decode(await self.tell("state"))

    async def destroy(self) -> None:
        await self._bridge.destroy(self._key)
