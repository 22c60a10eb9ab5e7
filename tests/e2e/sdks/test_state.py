"""What a room shares, over the official SDKs: two nodes on one Redis and one store, cut apart and joined again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from roomful.crdt import HLC, GCounter, LWWRegister, ORSet, Replicated, from_plain, to_plain
from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.conftest import tracebacks
from tests.e2e.sdks.rooms import SECRET, token, url_of
from tests.e2e.sdks.sdk import Client, Sdk, SdkError, Subscription
from tests.engines.redis_server import RedisServer
from tests.served import Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "a key for the tests of what rooms share"
CONFIG = f"""
[tokens]
hmac_secret = "{SECRET}"
[api]
keys = ["{KEY}"]
[namespaces.room]
subscribe = "user"
publish = "user"
"""
HOUR_MS = 3_600_000


class Pair(NamedTuple):
    """proxy: between the second node and Redis."""

    here: str
    there: str
    proxy: FaultProxy


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def pair(component: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    redis = RedisServer(component("redis-server"), tmp_path_factory.mktemp("redis"))
    await redis.start()
    port = int(redis.url.rpartition(":")[2].partition("/")[0])
    servers: list[Server] = []
    try:
        async with FaultProxy(port) as proxy:
            directory = tmp_path_factory.mktemp("nodes")
            for engine in (redis.url, f"redis://127.0.0.1:{proxy.port}"):
                servers.append(await serve(directory, dev=False, config=CONFIG, options=("--engine", engine)))
            yield Pair(url_of(servers[0].port), url_of(servers[1].port), proxy)
            for server in servers:
                await server.stop()
            assert [tracebacks(server) for server in servers] == [[], []]
    finally:
        for server in servers:
            await server.stop()
        await redis.kill()


class Member:
    """Somebody with a copy of what the room shares, kept from what the SDK tells."""

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self.client = client
        self.channel = subscription.channel
        self._log = subscription.log

    def copy(self) -> dict[str, Replicated]:
        """All that was told until now, merged."""
        objects: dict[str, Replicated] = {}
        life = None
        for event in self._log.events:
            told = []
            if event.name == "subscribed":
                if event.data["life"] != life:
                    objects, life = {}, event.data["life"]
                told = event.data["objects"]
            elif event.name == "publication":
                told = [(event.data["object"], event.data["delta"])]
            for name, plain in told:
                delta = from_plain(plain, Replicated)
                objects.setdefault(name, type(delta)()).merge(delta)
        return objects

    def values(self) -> dict[str, Any]:
        return {name: state.value for name, state in self.copy().items()}

    async def sees(self, **values: Any) -> None:
        await self._log.until(lambda: self.values() == values, f"{self.values()} isn't {values}")

    def told_now(self) -> int:
        """The server's clock, as the newest snapshot has it."""
        return int(self._log.named("subscribed")[-1].data["now"])

    async def send(self, name: str, delta: Replicated) -> None:
        await self.client.publish(self.channel, {"object": name, "delta": to_plain(delta)})

    async def ask(self, name: str, **change: Any) -> None:
        await self.client.publish(self.channel, {"object": name, **change})


async def member(sdk: Sdk, url: str, user: str, room: str) -> Member:
    client = await sdk.client(url, token=token(user))
    await client.connected()
    return Member(client, await client.subscribed(f"state:room:{room}"))


async def test_deltas_and_intents_of_two_nodes_are_one_state(sdk: Sdk, pair: Pair, name: str) -> None:
    ann, bob = await member(sdk, pair.here, "ann", name), await member(sdk, pair.there, "bob", name)
    mine = GCounter("ann/k3")
    deltas = [mine.increment(by) for by in (1, 2, 3)]
    for delta in (deltas[2], deltas[0], deltas[2], deltas[1]):
        await ann.send("likes", delta)
    for each in (bob, ann, bob):
        await each.ask("likes", op="increment", by=10, idempotency_key=f"ten for {name}")
    await bob.ask("todo", type="ormap", path=[["1", "ormap"], ["title", "lww"]], op="set", value="Paint the dóor 🚪")
    shared = {"likes": 16, "todo": {"1": {"title": "Paint the dóor 🚪"}}}
    await asyncio.gather(ann.sees(**shared), bob.sees(**shared))
    assert (await member(sdk, pair.there, "eve", name)).values() == shared


async def test_26_what_is_forged_wrong_or_from_the_future_costs_its_sender_only(
    sdk: Sdk, pair: Pair, name: str
) -> None:
    ann, eve = await member(sdk, pair.here, "ann", name), await member(sdk, pair.here, "eve", name)
    await ann.ask("likes", type="gcounter", op="increment")
    future = HLC(lambda: ann.told_now() + HOUR_MS)
    cases: list[tuple[int, dict[str, Any]]] = [
        (103, {"object": "likes", "delta": to_plain(GCounter("ann/x").increment(1000))}),
        (107, {"object": "likes", "delta": to_plain(ORSet("eve/x").add("like"))}),
        (107, {"object": "likes", "type": "orset", "op": "add", "element": 1}),
        (107, {"object": "title", "delta": to_plain(LWWRegister("eve/x", clock=future).set("for ever"))}),
        (107, {"object": "likes", "delta": [1, "gcounter", [["eve/x", [5, 1], 1, 1]]]}),
    ]
    for code, change in cases:
        with pytest.raises(SdkError) as refused:
            await eve.client.publish(eve.channel, change)
        assert refused.value.code == code, change
    await eve.ask("likes", op="increment")
    await asyncio.gather(ann.sees(likes=2), eve.sees(likes=2))


async def test_26_the_causally_later_write_wins_whatever_the_clocks_say(sdk: Sdk, pair: Pair, name: str) -> None:
    viewer = await member(sdk, pair.there, "viewer", name)
    for number, (user, off_ms) in enumerate([("slow", -HOUR_MS), ("right", 0), ("fast", HOUR_MS), ("back", -HOUR_MS)]):
        who = await member(sdk, pair.here if number % 2 else pair.there, user, name)
        now = who.told_now()
        clock = HLC(lambda off_ms=off_ms, now=now: now + off_ms, max_ahead_ms=None)  # type: ignore[misc]
        mine = LWWRegister(f"{user}/k1", clock=clock)
        known = who.copy().get("title")
        if known is not None:
            mine.merge(known)  # it has seen what is there
        delta = mine.set(user)
        if user != "fast":
            await who.send("title", delta)
        else:
            with pytest.raises(SdkError, match="ahead of this clock"):
                await who.send("title", delta)
            clock.correct(now)
            again = mine.set(user)
            delta.merge(again)  # what the refused write has replaced is said too
            await who.send("title", delta)
        await viewer.sees(title=user)


async def test_26_edits_made_offline_merge_on_return(sdk: Sdk, pair: Pair, name: str) -> None:
    ann, bob = await member(sdk, pair.here, "ann", name), await member(sdk, pair.there, "bob", name)
    tags = ORSet("ann/k1")
    await ann.send("tags", tags.add("old"))
    await bob.sees(tags={"old"})
    await ann.client.disconnect()
    offline = [tags.add("mine"), tags.remove("old")]
    await bob.ask("tags", op="add", element="yours")
    await bob.ask("tags", op="add", element="old")  # at the same time: an addition wins
    back = await member(sdk, pair.there, "ann", name)
    for delta in offline:
        await back.send("tags", delta)
    tags_now = frozenset({"mine", "yours", "old"})
    await asyncio.gather(back.sees(tags=tags_now), bob.sees(tags=tags_now))


async def test_two_halves_of_a_cut_network_end_alike(sdk: Sdk, pair: Pair, name: str) -> None:
    ann, bob = await member(sdk, pair.here, "ann", name), await member(sdk, pair.there, "bob", name)
    await ann.ask("tags", type="orset", op="add", element="before")
    await bob.sees(tags={"before"})
    pair.proxy.refusing = True
    pair.proxy.cut()
    try:
        mine, yours = ORSet("ann/k1"), ORSet("bob/k1")
        await ann.send("tags", mine.add("here"))
        await bob.send("tags", yours.add("there"))
    finally:
        pair.proxy.heal()
    both = frozenset({"before", "here", "there"})
    await asyncio.gather(ann.sees(tags=both), bob.sees(tags=both))
    await bob.ask("tags", op="remove", element="before")
    await asyncio.gather(*(each.sees(tags=both - {"before"}) for each in (ann, bob)))


async def test_a_deleted_state_is_gone_for_everybody(sdk: Sdk, pair: Pair, name: str) -> None:
    ann, bob = await member(sdk, pair.here, "ann", name), await member(sdk, pair.there, "bob", name)
    mine = GCounter("ann/k1")
    await ann.send("likes", mine.increment(7))
    await bob.sees(likes=7)
    host = pair.here.split("/")[2]
    async with httpx.AsyncClient(base_url=f"http://{host}/api", headers={"X-API-Key": KEY}) as api:
        answer = await api.post("/state_delete", json={"channel": f"room:{name}"})
    assert answer.json() == {"result": {"deleted": True}}
    await asyncio.gather(ann.sees(), bob.sees())  # by themselves: both were sent away, and came back
    with pytest.raises(SdkError, match="deleted meanwhile"):
        await ann.ask("likes", life=0, delta=to_plain(mine.increment()))
    await bob.ask("likes", type="gcounter", op="increment", life=1)
    await asyncio.gather(ann.sees(likes=1), bob.sees(likes=1))


@pytest.mark.parametrize("sdk", ["js-json"], indirect=True)
async def test_a_restart_keeps_it(sdk: Sdk, tmp_path: Path, name: str) -> None:
    for likes in (1, 2):
        server = await serve(tmp_path, dev=False, config=CONFIG)
        try:
            ann = await member(sdk, url_of(server.port), "ann", name)
            await ann.ask("likes", type="gcounter", op="increment")
            await ann.sees(likes=likes)
            await ann.client.disconnect()
        finally:
            await server.stop()
