"""Connection and subscription tokens: who gets in, expiry, refresh."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.e2e.sdks.rooms import Rooms, token, url_of
from tests.e2e.sdks.sdk import WAIT_S, GetToken, Sdk, all_at_once
from tests.served import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORGED = token("ann")[:-4] + "AAAA"


class Issuer:
    """A backend that signs tokens: the first ones for a second, those after them for an hour."""

    def __init__(self, *, short: int, sign: Callable[[float], str]) -> None:
        self._short = short
        self._sign = sign
        self._asked = asyncio.Semaphore(0)
        self.count = 0

    async def get(self) -> str:
        self.count += 1
        self._asked.release()
        return self._sign(1.0 if self.count <= self._short else 3600.0)

    async def asked(self, times: int) -> None:
        """Waits until it was asked so many more times."""
        async with asyncio.timeout(WAIT_S):
            for _ in range(times):
                await self._asked.acquire()


def hanging_once(then: str) -> GetToken:
    """A backend that doesn't answer the first time."""
    asked = 0

    async def get() -> str:
        nonlocal asked
        asked += 1
        return await asyncio.Future[str]() if asked == 1 else then

    return get


async def test_a_connection_is_renewed_in_place(sdks: list[Sdk], strict: Server, name: str) -> None:
    async def scenario(sdk: Sdk) -> None:
        issuer = Issuer(short=2, sign=lambda ttl_s: token(name, ttl_s))
        client = await sdk.client(url_of(strict.port), get_token=issuer.get)
        await client.connected()
        await issuer.asked(3)  # the third time only after the server has taken the second token and told its lifetime
        await client.subscribed(f"room:{name}")
        assert [event.name for event in client.log.events] == ["connecting", "connected"]

    await all_at_once(sdks, scenario)


async def test_a_subscription_is_renewed_in_place(sdks: list[Sdk], strict: Server, name: str) -> None:
    async def scenario(sdk: Sdk) -> None:
        channel = f"room:{name}"
        issuer = Issuer(short=2, sign=lambda ttl_s: token(name, ttl_s, channel=channel))
        client = await sdk.client(url_of(strict.port), token=token(name))
        await client.connected()
        room = await client.subscribed(channel, get_token=issuer.get)
        await issuer.asked(3)
        await client.publish(channel, name)
        await room.log.take("publication")
        assert [event.name for event in room.log.events[:2]] == ["subscribing", "subscribed"]
        assert room.log.named("error") == room.log.named("unsubscribed") == []

    await all_at_once(sdks, scenario)


async def test_who_brings_no_new_token_is_let_go_and_comes_back_with_one(
    sdks: list[Sdk], strict: Server, name: str
) -> None:
    async def scenario(sdk: Sdk) -> None:
        client = await sdk.client(url_of(strict.port), token=token(name, 1.0), get_token=hanging_once(token(name)))
        await client.connected()
        ending = await client.log.take("connecting")
        assert (ending.code, ending.reason) == (3005, "connection expired")
        assert (await client.log.take("error")).code == 109
        await client.log.take("connected")

    await all_at_once(sdks, scenario)


async def test_a_subscription_without_a_new_token_ends_and_begins_again_with_one(
    sdks: list[Sdk], strict: Server, name: str
) -> None:
    async def scenario(sdk: Sdk) -> None:
        channel = f"room:{name}"
        client = await sdk.client(url_of(strict.port), token=token(name))
        await client.connected()
        room = await client.subscribed(
            channel, token=token(name, 1.0, channel=channel), get_token=hanging_once(token(name, channel=channel))
        )
        ending = await room.log.take("subscribing")
        assert (ending.code, ending.reason) == (2501, "subscription expired")
        assert (await room.log.take("error")).code == 109
        await room.log.take("subscribed")
        assert len(client.log.named("connecting")) == 1

    await all_at_once(sdks, scenario)


async def test_an_expired_connection_token_is_replaced(sdk: Sdk, rooms: Rooms, name: str) -> None:
    issuer = Issuer(short=0, sign=lambda ttl_s: token(name, ttl_s))
    client = await sdk.client(rooms.url, token=token(name, -1.0), get_token=issuer.get)
    await client.connected()
    assert (await client.log.take("error")).code == 109
    assert issuer.count == 1
    assert (await client.rpc("who"))["user"] == name


async def test_an_expired_subscription_token_is_replaced(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"closed:{name}"
    issuer = Issuer(short=0, sign=lambda ttl_s: token(name, ttl_s, channel=channel))
    client = await sdk.client(rooms.url, token=token(name))
    await client.connected()
    room = await client.subscribed(channel, token=token(name, -1.0, channel=channel), get_token=issuer.get)
    assert (await room.log.take("error")).code == 109
    assert issuer.count == 1


@pytest.mark.parametrize("bad", [FORGED, "no token at all", token("ann", channel="room:1")])
async def test_a_bad_connection_token_ends_it_for_good(sdk: Sdk, rooms: Rooms, bad: str) -> None:
    client = await sdk.client(rooms.url, token=bad)
    await client.connect()
    ending = await client.log.take("disconnected")
    assert (ending.code, ending.reason) == (3500, "invalid token")
    assert len(client.log.named("connecting")) == 1


async def test_a_token_that_is_valid_but_opens_nothing_any_more(sdk: Sdk, rooms: Rooms, name: str) -> None:
    client = await sdk.client(rooms.url, token=token(name, expire_at=1))
    await client.connect()
    assert (await client.log.take("disconnected")).code == 110


async def test_a_token_with_more_channels_than_a_connection_may_have(sdk: Sdk, strict: Server, name: str) -> None:
    client = await sdk.client(url_of(strict.port), token=token(name, channels=[f"room:{n}" for n in range(129)]))
    await client.connect()
    ending = await client.log.take("disconnected")
    assert (ending.code, ending.reason) == (3505, "channel limit")


async def test_nobody_comes_in_without_a_token(sdk: Sdk, strict: Server) -> None:
    client = await sdk.client(url_of(strict.port))
    await client.connect()
    assert (await client.log.take("disconnected")).code == 3501


async def test_a_bad_subscription_token_costs_the_subscription_only(sdk: Sdk, rooms: Rooms, name: str) -> None:
    client = await sdk.client(rooms.url, token=token(name))
    await client.connected()
    for channel, bad in [(f"room:{name}", FORGED), (f"$room:{name}", "")]:
        room = await client.subscription(channel, token=bad)
        await room.subscribe()
        assert (await room.log.take("unsubscribed")).code == 103
    assert (await client.rpc("who"))["user"] == name
    assert len(client.log.named("connecting")) == 1


@pytest.mark.parametrize("whose", ["another user's", "another channel's"])
async def test_somebody_elses_subscription_token_ends_the_connection(
    sdk: Sdk, rooms: Rooms, name: str, whose: str
) -> None:
    client = await sdk.client(rooms.url, token=token(name))
    await client.connected()
    user, channel = ("eve", f"$room:{name}") if whose == "another user's" else (name, "$room:other")
    room = await client.subscription(f"$room:{name}", token=token(user, channel=channel))
    await room.subscribe()
    assert (await client.log.take("disconnected")).code == 3500


async def test_a_subscription_token_opens_and_says_how(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"$closed:{name}"
    client = await sdk.client(rooms.url, token=token(name, info={"name": "Ann"}))
    id = (await client.connected()).client
    say = token(name, channel=channel, info={"seat": 7}, data={"topic": "caves"})
    room = await client.subscription(channel, token=say)
    assert (await room.subscribed()).data == {"topic": "caves"}
    info = (await client.presence(channel))[id]
    assert (info.conn_info, info.chan_info) == ({"name": "Ann"}, {"seat": 7})
    assert (await room.log.take("join")).info == info


async def test_the_application_changes_what_others_see_and_ends_a_connection_early(
    sdk: Sdk, rooms: Rooms, name: str
) -> None:
    channel = f"room:{name}"
    issuer = Issuer(short=0, sign=lambda ttl_s: token(name, ttl_s, info={"name": "Ann"}))
    client = await sdk.client(rooms.url, get_token=issuer.get)
    await client.connected()
    room = await client.subscribed(channel)
    await rooms.call("refresh", name, info={"name": "Anna"}, expires_at=time.time() + 3600)
    await client.publish(channel, "new name")
    heard = (await room.log.take("publication")).info
    assert heard is not None
    assert heard.conn_info == {"name": "Anna"}
    await rooms.call("refresh", name, expired=True)
    assert (await client.log.take("connecting")).code == 3005
    await client.log.take("connected")
    assert issuer.count == 1  # what it has is still valid
