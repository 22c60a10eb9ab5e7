"""What the tests need of an SDK, so that one test runs through every SDK in every encoding.

Payloads are Python objects in both encodings: over Protobuf they travel as JSON text. `bytes` go as they are (Protobuf
only), and what arrives and isn't JSON stays `bytes`.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

import msgspec
import pytest

from roomful import Position

WAIT_S = 15.0
"""How long anything may take to come. It is waited for, so a passing test takes no longer than the server does."""

RECONNECT_S = 0.02, 0.2
"""Least and largest delay of an SDK before it tries again; their own are made for the internet."""

SDKS = ["python-json", "python-protobuf", "js-json", "js-protobuf"]
"""Each SDK in each encoding, over WebSocket."""

STREAMED = ["js-json-http_stream", "js-protobuf-http_stream", "js-json-sse"]
"""Those that can do without WebSocket: SDK, encoding, transport."""

GetToken = Callable[[], Awaitable[str]]
GetState = Callable[[], Awaitable[Position]]


class SdkError(Exception):
    """What came instead of a result. code: the server's, or below 100 the SDK's own."""

    def __init__(self, code: int, message: str, temporary: bool) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.temporary = temporary


class Info(msgspec.Struct, frozen=True, rename="camel"):
    """Who somebody is."""

    user: str = ""
    client: str = ""
    conn_info: Any = None
    chan_info: Any = None


class Publication(msgspec.Struct, frozen=True):
    """An entry of a history."""

    data: Any = None
    offset: int = 0
    info: Info | None = None
    tags: dict[str, str] = {}


class History(msgspec.Struct, frozen=True):
    publications: list[Publication]
    epoch: str
    offset: int


class Event(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One callback of an SDK. Which fields are set depends on the name, which is the SDK's own ("publication" …)."""

    name: str
    channel: str = ""
    code: int = 0
    reason: str = ""
    client: str = ""
    version: str = ""
    transport: str = ""
    data: Any = None
    offset: int = 0
    info: Info | None = None
    tags: dict[str, str] = {}
    recoverable: bool = False
    positioned: bool = False
    was_recovering: bool = False
    recovered: bool = False
    stream_position: Position | None = None


class Log:
    """What an SDK reported about one connection (with its server-side subscriptions) or one subscription, in order."""

    def __init__(self, of: str) -> None:
        self._of = of
        self._taken: Counter[str] = Counter()
        self._added = asyncio.Event()
        self.events: list[Event] = []

    def add(self, event: Event) -> None:
        self.events.append(event)
        self._added.set()

    def named(self, name: str) -> list[Event]:
        """All events of that name so far."""
        return [event for event in self.events if event.name == name]

    async def take(self, name: str) -> Event:
        """The first event of that name that wasn't taken yet; waits for it, and fails when it doesn't come."""
        number = self._taken[name]
        self._taken[name] += 1
        await self.until(lambda: len(self.named(name)) > number, f"no more {name!r}")
        return self.named(name)[number]

    async def until(self, reached: Callable[[], bool], otherwise: str) -> None:
        """Waits until what has been reported so far fulfils the condition; fails with that sentence."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not reached():
                    self._added.clear()
                    await self._added.wait()
        except TimeoutError:
            pytest.fail(f"{otherwise} for {self._of}; there were:\n" + "\n".join(map(str, self.events)))

    async def take_data(self, count: int) -> list[Any]:
        """The payloads of the next publications."""
        return [(await self.take("publication")).data for _ in range(count)]


class Subscription(ABC):
    """A subscription that an SDK holds; `subscribe` and `unsubscribe` begin it and don't wait."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.log = Log(f"{type(self).__name__} {channel}")

    @abstractmethod
    async def subscribe(self) -> None: ...

    @abstractmethod
    async def unsubscribe(self) -> None: ...

    @abstractmethod
    async def payloads(self) -> tuple[int, int]:
        """How many came whole, how many as deltas."""

    async def subscribed(self) -> Event:
        """Subscribes and waits."""
        await self.subscribe()
        await self.log.take("subscribing")
        return await self.log.take("subscribed")


class Client(ABC):
    """A connection through an SDK; `connect` and `disconnect` begin it and don't wait. Calls raise SdkError."""

    def __init__(self, url: str) -> None:
        self.log = Log(f"{type(self).__name__} {url}")

    @abstractmethod
    async def connect(self) -> None: ...

    @abstractmethod
    async def disconnect(self) -> None: ...

    @abstractmethod
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
        """A new subscription, which isn't subscribed yet."""

    @abstractmethod
    async def publish(self, channel: str, data: Any) -> None: ...

    @abstractmethod
    async def history(
        self, channel: str, *, limit: int = 0, since: Position | None = None, reverse: bool = False
    ) -> History: ...

    @abstractmethod
    async def presence(self, channel: str) -> dict[str, Info]: ...

    @abstractmethod
    async def presence_stats(self, channel: str) -> tuple[int, int]:
        """Clients and users."""

    @abstractmethod
    async def rpc(self, method: str, data: Any = None) -> Any: ...

    @abstractmethod
    async def send(self, data: Any) -> None: ...

    async def connected(self) -> Event:
        """Connects and waits."""
        await self.connect()
        await self.log.take("connecting")
        return await self.log.take("connected")

    async def disconnected(self) -> Event:
        """Disconnects and waits."""
        await self.disconnect()
        return await self.log.take("disconnected")

    async def subscribed(self, channel: str, **options: Any) -> Subscription:
        """Subscribes to a channel and waits."""
        subscription = await self.subscription(channel, **options)
        await subscription.subscribed()
        return subscription


class Sdk(ABC):
    """An SDK in one encoding.

    can_send: it has `send` (centrifuge-python has not). tells_version: the connected event has the server's version
    (that of centrifuge-js has not). counts_deltas: it tells how many payloads came as deltas (centrifuge-python
    doesn't). reads_numbers: those that stand for channels, in Protobuf too (centrifuge-js can't). stops_at_1009: it
    doesn't come back after a message that was too large (centrifuge-python does).
    """

    can_send: bool
    tells_version: bool
    stops_at_1009: bool
    counts_deltas: bool
    reads_numbers: bool

    def __init__(self, protobuf: bool) -> None:
        self.protobuf = protobuf

    @abstractmethod
    async def client(
        self,
        url: str,
        *,
        token: str = "",
        get_token: GetToken | None = None,
        data: Any = None,
        max_ping_delay_s: float = 10.0,
    ) -> Client:
        """A new client, which isn't connected yet. max_ping_delay_s: how late a server ping may be."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnects all its clients."""


async def all_at_once(sdks: Iterable[Sdk], scenario: Callable[[Sdk], Coroutine[Any, Any, None]]) -> None:
    """The scenario through each SDK side by side; for those that have to wait for a clock."""
    async with asyncio.TaskGroup() as group:
        for sdk in sdks:
            group.create_task(scenario(sdk))


def packed(data: Any, protobuf: bool) -> Any:
    """A payload as an SDK takes it."""
    return json.dumps(data).encode() if protobuf and not isinstance(data, bytes) else data


def unpacked(data: Any) -> Any:
    """A payload that an SDK gave."""
    if not isinstance(data, bytes):
        return data
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data
