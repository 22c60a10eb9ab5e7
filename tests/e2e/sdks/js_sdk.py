"""centrifuge-js, unmodified, in a node process that `js/bridge.mjs` leads."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from roomful import Position
from tests.e2e.sdks.sdk import (
    RECONNECT_S,
    Client,
    Event,
    GetState,
    GetToken,
    History,
    Info,
    Log,
    Sdk,
    SdkError,
    Subscription,
    packed,
    unpacked,
)

PROGRAM = Path(__file__).parent / "js" / "bridge.mjs"
LINE_MAX_BYTES = 1 << 24

Asker = Callable[[], Awaitable[Any]]


class Bridge:
    """The node process; its clients and subscriptions are known by numbers."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = count(1)
        self._logs: dict[int, Log] = {}
        self._askers: dict[int, dict[str, Asker]] = {}
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self, node: str) -> None:
        """Does nothing when it runs already."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                node, PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_MAX_BYTES
            )
            self._reading = asyncio.create_task(self._read())

    async def stop(self) -> None:
        for task in self._answering:
            task.cancel()  # some tests leave a question without an answer
        if self._process is not None and self._process.stdin is not None and self._reading is not None:
            self._process.stdin.close()
            await self._reading
            await self._process.wait()

    async def make(self, verb: str, log: Log, askers: dict[str, Asker | None], **arguments: Any) -> int:
        """A new client or subscription; its number."""
        key = next(self._numbers)
        self._logs[key] = log
        self._askers[key] = {what: asker for what, asker in askers.items() if asker is not None}
        await self.tell(verb, key, asks=list(self._askers[key]), **arguments)
        return key

    async def drop(self, key: int) -> None:
        """The client or subscription isn't listened to any more."""
        await self.tell("drop", key)
        del self._logs[key], self._askers[key]

    async def tell(self, verb: str, key: int, **arguments: Any) -> Any:
        """Has a client or subscription do something; the result. Raises SdkError."""
        assert self._reading is not None
        assert not self._reading.done(), "the node process has ended"
        id = next(self._numbers)
        reply = self._replies[id] = asyncio.get_running_loop().create_future()
        self._say({"id": id, "verb": verb, "key": key, **arguments})
        return await reply

    def _say(self, document: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(document, default=_with_bytes).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self._hear(json.loads(line, object_hook=_from_bytes))
        finally:
            for reply in self._replies.values():
                reply.set_exception(RuntimeError("the node process has ended"))

    def _hear(self, document: dict[str, Any]) -> None:
        match document:
            case {"reply": id, "error": error}:
                problem = SdkError(error["code"], error["message"], error.get("temporary", False))
                self._replies.pop(id).set_exception(problem)
            case {"reply": id, "result": result}:
                self._replies.pop(id).set_result(result)
            case {"event": name, "key": key, "context": context}:
                self._logs[key].add(_event(name, context))
            case {"ask": number, "key": key, "what": what}:
                task = asyncio.create_task(self._answer(number, self._askers[key][what]))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _answer(self, number: int, asker: Asker) -> None:
        self._say({"answer": number, "result": await asker()})


PATH = "/connection/websocket"


def http(url: str) -> str:
    return url.replace("ws://", "http://")


def endpoint(url: str, transport: str) -> str:
    """Of a transport of centrifuge-js, beside that of WebSocket."""
    return url if transport == "websocket" else http(url).replace(PATH, f"/connection/{transport}")


class JsSdk(Sdk):
    can_send = True
    tells_version = False
    stops_at_1009 = True
    reads_numbers = False
    counts_deltas = True

    def __init__(
        self, protobuf: bool, bridge: Bridge, transports: Sequence[str] = (), blocked: Collection[str] = ()
    ) -> None:
        """transports: those that it tries, one after the other; none: WebSocket without a list. blocked: those of them
        that lead nowhere."""
        super().__init__(protobuf)
        self._bridge = bridge
        self._transports = transports
        self._blocked = blocked
        self._clients: list[JsClient] = []

    async def client(
        self,
        url: str,
        *,
        token: str = "",
        get_token: GetToken | None = None,
        data: Any = None,
        max_ping_delay_s: float = 10.0,
    ) -> Client:
        client = JsClient(url, self._bridge, self.protobuf)
        least, largest = RECONNECT_S
        client.key = await self._bridge.make(
            "client",
            client.log,
            {"getToken": get_token},
            url=[self._way(url, name) for name in self._transports] or url,
            protobuf=self.protobuf,
            options={
                "emulationEndpoint": http(url).replace(PATH, "/emulation"),
                "token": token,
                "data": data if data is None else packed(data, self.protobuf),
                "maxServerPingDelay": max_ping_delay_s * 1000,
                "minReconnectDelay": least * 1000,
                "maxReconnectDelay": largest * 1000,
            },
        )
        self._clients.append(client)
        return client

    def _way(self, url: str, name: str) -> dict[str, str]:
        way = endpoint(url, name)
        return {
            "transport": name,
            "endpoint": way.replace("/connection/", "/nowhere/") if name in self._blocked else way,
        }

    async def close(self) -> None:
        for client in self._clients:
            await client.disconnect()
            for key in (client.key, *client.subscriptions):
                await self._bridge.drop(key)


class JsClient(Client):
    key: int

    def __init__(self, url: str, bridge: Bridge, protobuf: bool) -> None:
        super().__init__(url)
        self._bridge = bridge
        self._protobuf = protobuf
        self.subscriptions: list[int] = []

    async def connect(self) -> None:
        await self._tell("connect")

    async def disconnect(self) -> None:
        await self._tell("disconnect")

    async def subscription(
        self,
        channel: str,
        *,
        token: str = "",
        get_token: GetToken | None = None,
        get_state: GetState | None = None,
        data: Any = None,
        positioned: bool = False,
        recoverable: bool = False,
        join_leave: bool = False,
        delta: bool = False,
        tags_filter: Mapping[str, Any] | None = None,
    ) -> Subscription:
        async def state() -> dict[str, Any]:
            assert get_state is not None
            return msgspec.to_builtins(await get_state())

        subscription = JsSubscription(channel, self._bridge)
        least, largest = RECONNECT_S
        subscription.key = await self._bridge.make(
            "subscription",
            subscription.log,
            {"getToken": get_token, "getState": state if get_state else None},
            client=self.key,
            channel=channel,
            options={
                "token": token,
                "data": data if data is None else packed(data, self._protobuf),
                "positioned": positioned,
                "recoverable": recoverable,
                "joinLeave": join_leave,
                **({"delta": "fossil"} if delta else {}),
                **({"tagsFilter": tags_filter} if tags_filter else {}),
                "minResubscribeDelay": least * 1000,
                "maxResubscribeDelay": largest * 1000,
            },
        )
        self.subscriptions.append(subscription.key)
        return subscription

    async def publish(self, channel: str, data: Any) -> None:
        await self._tell("publish", channel=channel, data=packed(data, self._protobuf))

    async def history(
        self, channel: str, *, limit: int = 0, since: Position | None = None, reverse: bool = False
    ) -> History:
        options: dict[str, Any] = {"limit": limit, "reverse": reverse}
        if since is not None:
            options["since"] = msgspec.to_builtins(since)
        result = await self._tell("history", channel=channel, options=options)
        publications = [_unpacked(publication) for publication in result["publications"]]
        return msgspec.convert(result | {"publications": publications}, History)

    async def presence(self, channel: str) -> dict[str, Info]:
        infos = [msgspec.convert(_unpacked(info), Info) for info in await self._tell("presence", channel=channel)]
        return {info.client: info for info in infos}

    async def presence_stats(self, channel: str) -> tuple[int, int]:
        result = await self._tell("presenceStats", channel=channel)
        return result["numClients"], result["numUsers"]

    async def rpc(self, method: str, data: Any = None) -> Any:
        result = await self._tell("rpc", method=method, data=packed(data, self._protobuf))
        return unpacked(result.get("data"))

    async def send(self, data: Any) -> None:
        await self._tell("send", data=packed(data, self._protobuf))

    async def _tell(self, verb: str, **arguments: Any) -> Any:
        return await self._bridge.tell(verb, self.key, **arguments)


class JsSubscription(Subscription):
    key: int

    def __init__(self, channel: str, bridge: Bridge) -> None:
        super().__init__(channel)
        self._bridge = bridge

    async def subscribe(self) -> None:
        await self._bridge.tell("subscribe", self.key)

    async def unsubscribe(self) -> None:
        await self._bridge.tell("unsubscribe", self.key)

    async def payloads(self) -> tuple[int, int]:
        stats = await self._bridge.tell("deltaStats", self.key)
        return stats["numFullPayloads"], stats["numDeltaPayloads"]


def _event(name: str, context: dict[str, Any]) -> Event:
    return msgspec.convert({"name": name, **_unpacked(context)}, Event)


def _unpacked(said: dict[str, Any]) -> dict[str, Any]:
    """With the payloads, and those of the info in it, as objects."""
    opened = {name: unpacked(value) for name, value in said.items()}
    return opened | {"info": _unpacked(said["info"])} if "info" in said else opened


def _with_bytes(value: Any) -> dict[str, str]:
    assert isinstance(value, bytes)
    return {"$bytes": base64.b64encode(value).decode()}


def _from_bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["$bytes"]) if value.keys() == {"$bytes"} else value
