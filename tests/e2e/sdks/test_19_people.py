"""Who is in a room, as the official SDKs see it at three nodes on one Redis, one of which is killed or stopped.

The full size (5,000 joins in 20 s beside a chat): tests/soak/people.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.conftest import opened, tracebacks
from tests.e2e.sdks.js_sdk import Bridge
from tests.e2e.sdks.rooms import SECRET, token, url_of
from tests.e2e.sdks.sdk import Client, Log, Sdk, SdkError
from tests.engines.redis_server import RedisServer, eventually
from tests.served import Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "a key for the tests"
CONFIG = f"""
[tokens]
hmac_secret = "{SECRET}"
[api]
keys = ["{KEY}"]
[engine]
lease_s = 3
renew_s = 1
[people]
grace_s = 6
[namespaces.room]
subscribe = "user"
presence = true
history_size = 100
history_ttl_s = 60
recover = true
"""
MANY = 150


class Roster:
    """What a subscriber of `people:` knows, from its first reply and the changes since. told: each change of status."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.told: list[tuple[str, str]] = []
        self.statuses: dict[str, str] = {}
        self.counts = (0, 0)
        self._read = 0

    def read(self) -> dict[str, str]:
        for event in self.log.events[self._read :]:
            if event.name == "subscribed":
                self.statuses = {person["user"]: person["status"] for person in event.data["people"]}
                self.counts = event.data["online"], event.data["away"]
            elif event.name == "publication":
                self._take(event.data)
        self._read = len(self.log.events)
        return self.statuses

    def _take(self, change: dict[str, Any]) -> None:
        self.counts = change["online"], change["away"]
        for person in change["people"]:
            user, status = person["user"], person["status"]
            if self.statuses.get(user) != status:
                self.told.append((user, status))
            if status == "gone":
                del self.statuses[user]
            else:
                self.statuses[user] = status

    async def shows(self, wanted: dict[str, str]) -> None:
        await self.log.until(lambda: self.read() == wanted, f"it never shows {wanted}")


class Nodes:
    def __init__(self, redis: RedisServer, directory: Path) -> None:
        self._redis = redis
        self._directory = directory
        self.servers: list[Server] = []

    async def start(self, number: int) -> None:
        directories = [self._directory / str(len(self.servers) + new) for new in range(number)]
        for directory in directories:
            directory.mkdir(parents=True)
        options = ("--engine", self._redis.url)
        self.servers += await asyncio.gather(
            *(serve(directory, dev=False, config=CONFIG, options=options) for directory in directories)
        )

    def url(self, number: int) -> str:
        return url_of(self.servers[number].port)

    async def api(self, number: int, method: str, **asked: Any) -> Any:
        async with httpx.AsyncClient(base_url=self.servers[number].url, headers={"X-API-Key": KEY}) as client:
            return (await client.post(f"/api/{method}", json=asked)).json()["result"]

    async def people(self, number: int, channel: str) -> dict[str, str]:
        found = await self.api(number, "people", channel=channel)
        return {person["user"]: person["status"] for person in found["people"]}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def nodes(component: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    redis = RedisServer(component("redis-server"), tmp_path_factory.mktemp("redis"))
    await redis.start()
    nodes = Nodes(redis, tmp_path_factory.mktemp("nodes"))
    try:
        await nodes.start(3)
        yield nodes
        assert [line for server in nodes.servers for line in tracebacks(server)] == []
    finally:
        for server in nodes.servers:
            await server.stop()
            print(f"--- process {server.pid}\n{server.log}")
        await redis.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def js(bridge: Bridge, component: Callable[[str], str]) -> AsyncIterator[Sdk]:
    sdk = await opened("js-json", bridge, component)
    yield sdk
    await sdk.close()


async def join(sdk: Sdk, url: str, user: str, channel: str) -> Client:
    client = await sdk.client(url, token=token(user))
    await client.connected()
    await client.subscribed(channel)
    return client


async def watch(sdk: Sdk, url: str, channel: str) -> Roster:
    viewer = await sdk.client(url, token=token("viewer"))
    await viewer.connected()
    return Roster((await viewer.subscribed(f"people:{channel}")).log)


async def test_19_a_killed_nodes_people_are_away_and_leave_once(js: Sdk, nodes: Nodes, name: str) -> None:
    channel = f"room:{name}"
    await nodes.start(1)
    victim = len(nodes.servers) - 1
    viewers = [await watch(js, nodes.url(number), channel) for number in (1, 2)]
    for number, user in ((victim, "ann"), (victim, "bob"), (1, "bob"), (2, "cid")):
        await join(js, nodes.url(number), user, channel)
    everybody = {"ann": "online", "bob": "online", "cid": "online"}
    for viewer in viewers:
        await viewer.shows(everybody)
    os.kill(nodes.servers[victim].pid, signal.SIGKILL)
    for viewer in viewers:
        await viewer.shows(everybody | {"ann": "away"})
    assert (await nodes.api(1, "people_where", users=["ann"]))["users"]["ann"].keys() == {channel}
    for viewer in viewers:
        await viewer.shows({"bob": "online", "cid": "online"})
        assert Counter(viewer.told) == Counter(
            [("ann", "online"), ("ann", "away"), ("ann", "gone"), ("bob", "online"), ("cid", "online")]
        )
    for number in (1, 2):
        assert await nodes.people(number, channel) == {"bob": "online", "cid": "online"}


async def test_19_a_stopped_and_continued_node_resurrects_nobody(js: Sdk, nodes: Nodes, name: str) -> None:
    channel, stopped = f"room:{name}", nodes.servers[1]
    viewers = [await watch(js, nodes.url(number), channel) for number in (0, 2)]
    async with FaultProxy(stopped.port) as proxy:
        await join(js, url_of(proxy.port), "ann", channel)
        bob = await join(js, nodes.url(1), "bob", channel)
        await join(js, nodes.url(2), "cid", channel)
        for viewer in viewers:
            await viewer.shows({"ann": "online", "bob": "online", "cid": "online"})
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            proxy.refusing = True
            proxy.cut()
            await bob.disconnected()
            for viewer in viewers:
                await viewer.shows({"cid": "online"})
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        await eventually(lambda: "this node was stopped" in stopped.log)
        assert await nodes.people(0, channel) == {"cid": "online"}
        await join(js, nodes.url(1), "dan", channel)
        for viewer in viewers:
            await viewer.shows({"cid": "online", "dan": "online"})
            assert Counter(user for user, status in viewer.told if status == "gone") == Counter(["ann", "bob"])
            assert Counter(user for user, status in viewer.told if status == "online").most_common(1)[0][1] == 1
        for number in range(3):
            assert await nodes.people(number, channel) == {"cid": "online", "dan": "online"}


async def test_19_many_joins_are_few_messages_and_a_forged_id_is_never_seen(js: Sdk, nodes: Nodes, name: str) -> None:
    channel = f"room:{name}"
    viewer = await watch(js, nodes.url(2), channel)
    ann = await join(js, nodes.url(0), "ann", channel)
    with pytest.raises(SdkError) as raised:
        await ann.publish(f"people:{channel}", {"people": [{"user": "forged", "status": "online"}]})
    assert raised.value.code == 108
    with pytest.raises(SdkError) as raised:
        await ann.rpc("people.status", {"channel": channel, "status": "busy", "user": "forged"})
    assert raised.value.code == 107
    assert await ann.rpc("people.status", {"channel": channel, "status": "busy"}) == {}

    async def some(number: int) -> None:
        client = await js.client(nodes.url(number % 2), token=token(f"user-{number}"), data={"user": "forged"})
        await client.connected()
        await client.subscribed(channel)

    for begin in range(0, MANY, 10):
        await asyncio.gather(*(some(number) for number in range(begin, begin + 10)))
        await nodes.api(0, "publish", channel=channel, data={"text": begin})
    await viewer.log.until(lambda: bool(viewer.read()) and viewer.counts == (MANY + 1, 0), "not all are counted")
    assert len(viewer.statuses) == 100
    assert "forged" not in str(viewer.log.events)
    batches = len(viewer.log.named("publication"))
    assert batches < MANY / 2, "each join was told by itself"
    history = await nodes.api(1, "history", channel=channel, limit=-1)
    assert [each["data"]["text"] for each in history["publications"]] == list(range(0, MANY, 10))
    custom = [
        person.get("custom")
        for event in viewer.log.named("publication")
        for person in event.data["people"]
        if person["user"] == "ann"
    ]
    assert custom[-1] == "busy"
