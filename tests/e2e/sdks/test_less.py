"""What sends less: deltas, filters, numbers for channel names, only the newest. Whatever is saved, it is true."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.rooms import Rooms, token
from tests.e2e.sdks.sdk import SDKS, WAIT_S, Sdk
from tests.e2e.sdks.test_recovery import behind, cut_off

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHESS = {
    "op": "or",
    "nodes": [{"key": "sport", "cmp": "eq", "val": "chess"}, {"key": "elo", "cmp": "gte", "val": "2000"}],
}


def note(number: int) -> dict[str, Any]:
    """Alike but for some characters of one to four bytes, also neighbours in Unicode (é, è)."""
    letters = "eéè€😀😁ё日"
    text = "".join(letters[(number + place) % len(letters)] for place in range(3))
    return {"before": "é" * 40, "text": text, "n": number, "after": "😀 и 日本 " * 12}


async def test_deltas_in_any_script_with_cuts_in_between(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    channel = f"full:{name}"
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel, delta=True, recoverable=True)
    for number in range(10):
        await rooms.publish(channel, note(number))
    assert await room.log.take_data(10) == [note(number) for number in range(10)]
    for start in (10, 20):
        await cut_off(client, proxy)
        for number in range(start, start + 5):
            await rooms.publish(channel, note(number))
        proxy.heal()
        assert (await room.log.take("subscribed")).recovered
        for number in range(start + 5, start + 10):
            await rooms.publish(channel, note(number))
        assert await room.log.take_data(10) == [note(number) for number in range(start, start + 10)]
    if sdk.counts_deltas:
        whole, deltas = await room.payloads()
        assert whole + deltas == 30
        assert whole <= 5, "one at first, and up to two after each cut"


async def test_one_whole_and_then_only_deltas(sdk: Sdk, rooms: Rooms, name: str) -> None:
    client = await sdk.client(rooms.url, token=token(name))
    await client.connected()
    room = await client.subscribed(f"full:{name}", delta=True)
    for number in range(20):
        await rooms.publish(f"full:{name}", note(number))
    assert await room.log.take_data(20) == [note(number) for number in range(20)]
    if sdk.counts_deltas:
        assert await room.payloads() == (1, 19)


async def test_deltas_while_cut_again_and_again(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    channel, last = f"full:{name}", 90  # as many as are kept, so that nothing is a gap
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel, delta=True)

    async def publish_all() -> None:
        for number in range(last):
            await rooms.publish(channel, note(number))

    publishing = asyncio.create_task(publish_all())
    async with asyncio.timeout(WAIT_S):
        while not publishing.done():
            proxy.cut()
            await client.log.take("connecting")
            await client.log.take("connected")
    await publishing
    assert await room.log.take_data(last) == [note(number) for number in range(last)]
    assert all(event.recovered for event in room.log.named("subscribed")[1:])


async def test_a_filter_and_what_it_leaves_out_by_recovery(
    sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str
) -> None:
    channel = f"full:{name}"
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel, tags_filter=CHESS, recoverable=True)

    async def publish(first: int) -> None:
        await rooms.publish(channel, first, tags={"sport": "chess"})
        await rooms.publish(channel, first + 1, tags={"sport": "go"})
        await rooms.publish(channel, first + 2, tags={"elo": "2000.5"})
        await rooms.publish(channel, first + 3)

    await publish(1)
    assert await room.log.take_data(2) == [1, 3]
    await cut_off(client, proxy)
    await publish(5)
    proxy.heal()
    assert (await room.log.take("subscribed")).recovered
    await publish(9)
    assert await room.log.take_data(4) == [5, 7, 9, 11]


async def test_a_wrong_filter_is_told(sdk: Sdk, rooms: Rooms, name: str) -> None:
    client = await sdk.client(rooms.url, token=token(name))
    await client.connected()
    for channel, wrong in ((f"full:{name}", {"op": "xor", "nodes": []}), (f"room:{name}", CHESS)):
        room = await client.subscription(channel, tags_filter=wrong)
        await room.subscribe()
        assert (await room.log.take("unsubscribed")).code == 107


async def test_numbers_for_channels_with_joins_and_a_new_connection(
    sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str
) -> None:
    """In Protobuf centrifuge-js offers to read them, and can't: it compares objects. There it gets names."""
    namespace = "numbered" if sdk.reads_numbers or not sdk.protobuf else "full"
    client = await behind(sdk, rooms, proxy, name)
    channels = [f"{namespace}:{name}-{number}" for number in range(3)]
    subscriptions = [await client.subscribed(channel, join_leave=True) for channel in channels]
    for _ in range(2):
        for room in subscriptions:
            assert (await room.log.take("join")).info.user == name  # type: ignore[union-attr]  # a join has its info
            await rooms.publish(room.channel, room.channel)
        for room in subscriptions:
            assert await room.log.take_data(1) == [room.channel]
        await cut_off(client, proxy)
        proxy.heal()
        for room in subscriptions:
            await room.log.take("subscribed")


@pytest.mark.parametrize("delta", [False, True])
async def test_the_newest_at_once(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str, delta: bool) -> None:
    channel = f"last:{name}"
    for number in range(3):
        await rooms.publish(channel, note(number))
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel, delta=delta)
    await rooms.publish(channel, note(3))
    assert await room.log.take_data(2) == [note(2), note(3)]
    await cut_off(client, proxy)
    for number in range(4, 9):
        await rooms.publish(channel, note(number))
    proxy.heal()
    again = await room.log.take("subscribed")
    assert (again.was_recovering, again.recovered) == (True, True)
    await rooms.publish(channel, note(9))
    assert await room.log.take_data(2) == [note(8), note(9)]


async def test_nothing_new_in_a_cache_is_not_sent_twice(sdk: Sdk, rooms: Rooms, proxy: FaultProxy, name: str) -> None:
    channel = f"last:{name}"
    await rooms.publish(channel, "one")
    client = await behind(sdk, rooms, proxy, name)
    room = await client.subscribed(channel)
    assert await room.log.take_data(1) == ["one"]
    await cut_off(client, proxy)
    proxy.heal()
    assert (await room.log.take("subscribed")).recovered
    await rooms.publish(channel, "two")
    assert await room.log.take_data(1) == ["two"]


@pytest.mark.parametrize("sdk", SDKS, indirect=True)  # over HTTP that is the proxies' business
@pytest.mark.parametrize("delta", [False, True])
async def test_compressed_feeds(sdk: Sdk, deflating: Rooms, name: str, delta: bool) -> None:
    """Both SDKs offer permessage-deflate by themselves. Small ones and large ones, in any script, with cuts between."""
    channel = f"full:{name}"
    texts = [character * size for character in ("x", "é", "日", "😀") for size in (1, 50, 4_000)]
    async with FaultProxy(deflating.server.port) as proxy:
        client = await behind(sdk, deflating, proxy, name)
        room = await client.subscribed(channel, delta=delta, recoverable=True)
        for text in texts:
            await deflating.publish(channel, text)
        assert await room.log.take_data(len(texts)) == texts
        assert proxy.down.carried_bytes < 5_000 < sum(map(len, texts))
        await cut_off(client, proxy)
        for text in texts:
            await deflating.publish(channel, text)
        proxy.heal()
        assert (await room.log.take("subscribed")).recovered
        assert await room.log.take_data(len(texts)) == texts
        for text in texts:
            await client.publish(channel, text)
        assert await room.log.take_data(len(texts)) == texts
