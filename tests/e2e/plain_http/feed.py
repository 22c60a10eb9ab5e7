"""A served Roomful that the tests of `/events` and `/poll` share, and the books over what a client gets of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx

from roomful.model.publication import Position
from tests.event_source import Event
from tests.served import Server

SECRET = "a secret for the tests of plain HTTP"
KEY = "a key for the tests of plain HTTP"
WAIT_S = 20.0

OPEN = """
subscribe = "client"
history_ttl_s = 300
recover = true
"""
CONFIG = f"""
[server]
allowed_origins = ["http://localhost:*"]

[tokens]
hmac_secret = "{SECRET}"
anonymous = true

[api]
keys = ["{KEY}"]

[namespaces.default]
history_size = 10000
{OPEN}
[namespaces.short]
history_size = 5
{OPEN}
[namespaces.plain]
subscribe = "client"
[namespaces.users]
subscribe = "user"
history_size = 10
history_ttl_s = 300
recover = true
"""


class Feed:
    """A running server, and its publisher. prefix: of a mounted application. published: the numbers of each channel."""

    def __init__(self, server: Server, prefix: str = "") -> None:
        self.server = server
        self._prefix = prefix
        self.published: dict[str, int] = {}
        self._api = httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": KEY})

    async def close(self) -> None:
        await self._api.aclose()

    async def call(self, method: str, **params: Any) -> Any:
        """The result of a method of the API."""
        answer = (await self._api.post(f"{self._prefix}/api/{method}", json=params)).json()
        return answer["result"]

    async def publish(self, channel: str, count: int = 1, *, size: int = 0, tags: dict[str, str] | None = None) -> None:
        """The next numbers of the channel, each with `size` letters beside it."""
        commands = []
        for _ in range(count):
            number = self.published[channel] = self.published.get(channel, 0) + 1
            word = {"channel": channel, "data": {"n": number, "x": "x" * size}, **({"tags": tags} if tags else {})}
            commands.append({"publish": word})
        if commands:
            await self._api.post(f"{self._prefix}/api/batch", json={"commands": commands})

    async def head(self, channel: str) -> Position:
        found = await self.call("history", channel=channel)
        return Position(found["epoch"], found.get("offset", 0))

    async def subscribers(self, channel: str) -> int:
        """How many listen to it now."""
        found = await self.call("channels", pattern=channel)
        return int(found["channels"].get(channel, {}).get("num_clients", 0))


class Books:
    """What one client got, offset by offset: each comes once and in order, or a gap has named it.

    numbers: those that came, by channel. gaps: those that it was told of.
    """

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.numbers: dict[str, list[int]] = {}
        self.gaps: list[dict[str, Any]] = []
        self.subscribed = 0
        self.ended: list[tuple[str, Any]] = []

    def note(self, event: Event) -> None:
        """An event of `/events`."""
        match event.type:
            case "subscribed":
                self.subscribed += 1
                for channel, joined in event.data["channels"].items():
                    if "epoch" in joined:
                        self._begin(channel, Position(joined["epoch"], joined["offset"]))
            case "gap":
                self._gap(event.data)
            case "expired" | "drain":
                self.ended.append((event.type, event.data))
            case "message":
                self._publication(event.data)

    def note_poll(self, answer: dict[str, Any], channels: list[str]) -> str:
        """An answer of `/poll`; the position to go on from."""
        for gap in answer["gap"]:
            self._gap(gap)
        for publication in answer["publications"]:
            self._publication(publication)
        for channel, part in zip(sorted(channels), answer["next"].split(","), strict=True):
            epoch, _, offset = part.rpartition(":")
            self._begin(channel, Position(epoch, int(offset)))
        return str(answer["next"])

    def complete(self, channel: str, feed: Feed) -> bool:
        """Whether the newest number of a channel has come."""
        return self.numbers.get(channel, [0])[-1] == feed.published.get(channel, 0)

    def check(self, channel: str, feed: Feed, *, gaps: int = 0) -> None:
        """Everything is there; offsets are numbers here, because all has been published by one and nothing was lost."""
        told = [gap for gap in self.gaps if gap["channel"] == channel]
        missing = {n for gap in told for n in range(gap["from"]["offset"] + 1, gap["to"]["offset"] + 1)}
        numbers = self.numbers.get(channel, [])
        assert sorted({*numbers, *missing}) == list(range(1, feed.published.get(channel, 0) + 1))
        assert not missing & set(numbers)
        assert numbers == sorted(set(numbers))
        assert len(told) >= gaps
        assert bool(told) == bool(gaps)

    def _begin(self, channel: str, position: Position) -> None:
        assert self.positions.setdefault(channel, position) == position

    def _gap(self, gap: dict[str, Any]) -> None:
        self.gaps.append(gap)
        if gap["from"] is not None:
            assert Position(**gap["from"]) == self.positions[gap["channel"]]
            self.positions[gap["channel"]] = Position(**gap["to"])

    def _publication(self, publication: dict[str, Any]) -> None:
        channel, offset = publication["channel"], publication.get("offset")
        if offset is not None:
            known = self.positions[channel]
            assert offset == known.offset + 1, (publication, known)
            self.positions[channel] = Position(known.epoch, offset)
        self.numbers.setdefault(channel, []).append(publication["data"]["n"])


def address(port: int, path: str, *channels: str, **more: str) -> str:
    """A URL on loopback."""
    query = urlencode([("channel", channel) for channel in channels] + list(more.items()))
    return f"http://127.0.0.1:{port}{path}?{query}"


def event_of(line: str) -> Event:
    """As the programs of these tests print them: type, data, last event id."""
    return Event(*json.loads(line))


async def until(true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Looks again and again, because what it looks at is changed by other processes."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
