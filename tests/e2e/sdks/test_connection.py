"""Connections: how they begin, how they end, and whether the SDK comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.rooms import Rooms, token, url_of
from tests.e2e.sdks.sdk import SDKS, Sdk, SdkError, all_at_once
from tests.served import Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMES_BACK = [3001, 3011, 3012, 3499, 4000, 4499]
STAYS_AWAY = [3500, 3503, 3999, 4500, 4999]

MAX_PING_DELAY_S = 0.5


async def test_the_server_introduces_itself(sdk: Sdk, rooms: Rooms, name: str) -> None:
    client = await sdk.client(rooms.url, token=token(name), data={"welcome": "Ann"})
    connected = await client.connected()
    assert connected.client
    assert connected.data == {"hello": "Ann"}
    assert connected.version.startswith("Roomful ") or not sdk.tells_version
    assert await client.rpc("who") == {"user": name, "client": connected.client}


async def test_ten_times_there_and_back(sdk: Sdk, rooms: Rooms) -> None:
    client = await sdk.client(rooms.url)
    ids = set()
    for _ in range(10):
        ids.add((await client.connected()).client)
        assert (await client.disconnected()).code == 0
    assert len(ids) == 10


async def test_ten_times_without_waiting_for_the_answer(sdk: Sdk, rooms: Rooms) -> None:
    client = await sdk.client(rooms.url)
    for _ in range(10):
        await client.connect()
        await client.disconnect()
    connected = await client.connected()
    now = (await client.rpc("who"))["client"]
    while connected.client != now:  # one of the ten was fast enough to connect
        connected = await client.log.take("connected")


async def test_codes_after_which_an_sdk_comes_back(sdk: Sdk, rooms: Rooms, name: str) -> None:
    client = await sdk.client(rooms.url, token=token(name))
    ids = {(await client.connected()).client}
    for code in COMES_BACK:
        await rooms.call("disconnect", name, code=code, reason=f"because of {code}")
        ending = await client.log.take("connecting")
        assert (ending.code, ending.reason) == (code, f"because of {code}")
        ids.add((await client.log.take("connected")).client)
    await rooms.call("disconnect", name, code=3000, reason="connection closed")
    assert (await client.log.take("connecting")).code == 1  # dropped without a word: "transport closed", says the SDK
    ids.add((await client.log.take("connected")).client)
    assert len(ids) == len(COMES_BACK) + 2
    assert client.log.named("disconnected") == []


async def test_codes_after_which_an_sdk_stays_away(sdk: Sdk, rooms: Rooms, name: str) -> None:
    client = await sdk.client(rooms.url, token=token(name))
    for code in STAYS_AWAY:
        await client.connected()
        await rooms.call("disconnect", name, code=code, reason=f"because of {code}")
        ending = await client.log.take("disconnected")
        assert (ending.code, ending.reason) == (code, f"because of {code}")
    assert [event.code for event in client.log.named("connecting")] == [0] * len(STAYS_AWAY)


async def test_the_application_sends_all_but_one_away(sdk: Sdk, rooms: Rooms, name: str) -> None:
    first, second = [await sdk.client(rooms.url, token=token(name)) for _ in range(2)]
    await first.connected()
    spared = await second.connected()
    await rooms.call("disconnect", name, whitelist=[spared.client])
    ending = await first.log.take("disconnected")
    assert (ending.code, ending.reason) == (3503, "force disconnect")
    assert (await second.rpc("who"))["client"] == spared.client


async def test_a_hook_refuses_a_connection(sdk: Sdk, rooms: Rooms) -> None:
    for data, code in [({"refused": True}, 3507), ({"end": [4500, "go away"]}, 4500)]:
        client = await sdk.client(rooms.url, data=data)
        await client.connect()
        assert (await client.log.take("disconnected")).code == code
        assert len(client.log.named("connecting")) == 1


async def test_a_hook_ends_a_connection(sdk: Sdk, rooms: Rooms) -> None:
    client = await sdk.client(rooms.url)
    await client.connected()
    with pytest.raises(SdkError):
        await client.rpc("end", [4001, "again"])
    assert (await client.log.take("connecting")).code == 4001
    await client.log.take("connected")
    with pytest.raises(SdkError):
        await client.rpc("end", [4501, "never"])
    assert (await client.log.take("disconnected")).code == 4501


@pytest.mark.parametrize("sdk", SDKS, indirect=True)  # elsewhere it costs the one request: 413
async def test_a_message_above_the_limit(sdk: Sdk, rooms: Rooms) -> None:
    """Close code 1009, which the SDKs call 3."""
    client = await sdk.client(rooms.url)
    await client.connected()
    with pytest.raises(SdkError):
        await client.rpc("echo", "x" * 70_000)
    assert (await client.log.take("disconnected" if sdk.stops_at_1009 else "connecting")).code == 3


async def test_a_dead_line_is_noticed_and_a_living_one_stays(sdks: list[Sdk], strict: Server, name: str) -> None:
    async def scenario(sdk: Sdk) -> None:
        async with FaultProxy(strict.port) as proxy:
            options = {"token": token(name), "max_ping_delay_s": MAX_PING_DELAY_S}
            healthy, deaf = (
                await sdk.client(url_of(strict.port), **options),
                await sdk.client(url_of(proxy.port), **options),
            )
            await healthy.connected()
            await deaf.connected()
            proxy.links[0].down.hole()
            ending = await deaf.log.take("connecting")
            assert (ending.code, ending.reason) == (2, "no ping")
            await deaf.log.take("connected")
            assert len(healthy.log.named("connecting")) == 1
            await healthy.subscribed(f"room:{name}")

    await all_at_once(sdks, scenario)


async def test_a_restart_sends_all_away_and_a_new_life_of_the_room_is_no_recovery(
    sdks: list[Sdk], tmp_path: Path, name: str
) -> None:
    config = '[tokens]\nanonymous = true\n[namespaces.room]\nsubscribe = "client"\npublish = "client"\n'
    config += "history_size = 10\nhistory_ttl_s = 60\nrecover = true\n"
    first = await serve(tmp_path, dev=False, config=config)
    clients = [await sdk.client(url_of(first.port)) for sdk in sdks]
    for client in clients:
        await client.connected()
    subscriptions = [await client.subscribed(f"room:{name}") for client in clients]
    await clients[0].publish(f"room:{name}", "before")
    for subscription in subscriptions:
        assert await subscription.log.take_data(1) == ["before"]

    assert await first.stop() == 0
    for client in clients:
        ending = await client.log.take("connecting")
        assert (ending.code, ending.reason) == (3001, "shutdown")
    second = await serve(tmp_path, dev=False, config=config, options=("--port", str(first.port)))
    try:
        for client, subscription in zip(clients, subscriptions, strict=True):
            await client.log.take("connected")
            again = await subscription.log.take("subscribed")
            assert (again.was_recovering, again.recovered) == (True, False)
        await clients[0].publish(f"room:{name}", "after")
        for subscription in subscriptions:
            assert await subscription.log.take_data(1) == ["after"]
    finally:
        for client in clients:
            await client.disconnect()
        await second.stop()
