"""People in a room: publishing, presence, joins and leaves, and who doesn't get what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.sdks.rooms import Rooms, token
from tests.e2e.sdks.sdk import Client, Info, Sdk, SdkError

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAYLOADS: list[Any] = [
    {"text": "hello"},
    "żółw ☃ 👩‍👩‍👧‍👦 \u2028 \U0010ffff",
    {"ключ": ["значення", {"deep": [[[]]]}]},
    'two\nlines, a \0 and a \\ and a "',
    [1, -2.5, 9007199254740991, True, None],
    "x" * 20_000,
    0,
    False,
    "",
    None,
    [],
    {},
]

BYTES = [b"\x00\xff\xfe not UTF-8 \x80", b"\n\r\n", bytes(range(256)) * 64]


async def person(sdk: Sdk, rooms: Rooms, user: str, **claims: Any) -> tuple[Client, Info]:
    """Somebody connected, and what others see of them."""
    client = await sdk.client(rooms.url, token=token(user, **claims))
    return client, Info(user, (await client.connected()).client, claims.get("info"))


async def test_what_is_published_comes_back_as_it_was(sdk: Sdk, rooms: Rooms, name: str) -> None:
    ann, info = await person(sdk, rooms, name)
    room = await ann.subscribed(f"room:{name}")
    for offset, payload in enumerate(PAYLOADS, 1):
        await ann.publish(f"room:{name}", payload)
        heard = await room.log.take("publication")
        assert (heard.data, heard.offset, heard.info) == (payload, offset, info)


async def test_two_people_see_each_other(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"room:{name}"
    ann, ann_info = await person(sdk, rooms, f"ann-{name}", info={"name": "Ann"})
    at_ann = await ann.subscribed(channel)
    assert (await at_ann.log.take("join")).info == ann_info
    bob, bob_info = await person(sdk, rooms, f"bob-{name}")
    at_bob = await bob.subscribed(channel)
    assert (await at_bob.log.take("join")).info == bob_info
    assert (await at_ann.log.take("join")).info == bob_info

    assert await ann.presence(channel) == {ann_info.client: ann_info, bob_info.client: bob_info}
    assert await bob.presence_stats(channel) == (2, 2)
    await bob.publish(channel, "hi")
    assert (await at_ann.log.take("publication")).info == bob_info

    await at_bob.unsubscribe()
    assert (await at_bob.log.take("unsubscribed")).code == 0
    assert (await at_ann.log.take("leave")).info == bob_info
    assert await ann.presence_stats(channel) == (1, 1)
    await at_bob.subscribed()
    assert (await at_ann.log.take("join")).info == bob_info
    await bob.disconnect()
    assert (await at_ann.log.take("leave")).info == bob_info
    await at_ann.unsubscribe()
    while (await rooms.call("presence_stats", channel))["num_clients"]:
        continue  # an unsubscribe that travels by a request of its own may come later than what we ask here
    assert at_bob.log.named("leave") == []


async def test_joins_and_leaves_come_to_who_asked_for_them(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"optional:{name}"
    ann, ann_info = await person(sdk, rooms, f"ann-{name}")
    eve, _ = await person(sdk, rooms, f"eve-{name}")
    at_eve = await eve.subscribed(channel)
    at_ann = await ann.subscribed(channel, join_leave=True)
    assert (await at_ann.log.take("join")).info == ann_info
    await eve.publish(channel, "after the join")
    assert await at_eve.log.take_data(1) == ["after the join"]
    assert at_eve.log.named("join") == []


async def test_tags_and_broadcasts_of_the_application_arrive(sdk: Sdk, rooms: Rooms, name: str) -> None:
    ann, _ = await person(sdk, rooms, name)
    first, second = await ann.subscribed(f"room:{name}"), await ann.subscribed(f"bare:{name}")
    await rooms.call("broadcast", [first.channel, second.channel], {"n": 1}, tags={"lang": "en"})
    for subscription, offset in [(first, 1), (second, 0)]:
        heard = await subscription.log.take("publication")
        assert (heard.data, heard.tags, heard.offset, heard.info) == ({"n": 1}, {"lang": "en"}, offset, None)


async def test_the_excluded_hear_nothing_and_the_others_do(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"room:{name}"
    ann, ann_info = await person(sdk, rooms, f"ann-{name}")
    bob, _ = await person(sdk, rooms, f"bob-{name}")
    at_ann, at_bob = await ann.subscribed(channel), await bob.subscribed(channel)
    await rooms.publish(channel, "not for Ann", exclude=[ann_info.client])
    await rooms.publish(channel, "for both")
    assert await at_ann.log.take_data(1) == ["for both"]
    assert await at_bob.log.take_data(2) == ["not for Ann", "for both"]
    assert [p.data for p in (await ann.history(channel, limit=-1)).publications] == ["for both"]


async def test_a_namespace_without_echo(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"echoless:{name}"
    ann, ann_info = await person(sdk, rooms, f"ann-{name}")
    bob, _ = await person(sdk, rooms, f"bob-{name}")
    at_ann, at_bob = await ann.subscribed(channel), await bob.subscribed(channel)
    await ann.publish(channel, "mine")
    assert (await at_bob.log.take("publication")).info == ann_info
    await bob.publish(channel, "yours")
    assert await at_ann.log.take_data(1) == ["yours"]


async def test_a_hook_changes_refuses_and_narrows_what_is_published(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"moderated:{name}"
    ann, _ = await person(sdk, rooms, f"ann-{name}")
    bob, _ = await person(sdk, rooms, f"bob-{name}")
    at_ann, at_bob = await ann.subscribed(channel), await bob.subscribed(channel)
    with pytest.raises(SdkError) as refused:
        await ann.publish(channel, {"rude": True})
    assert (refused.value.code, refused.value.message) == (103, "mind your words")
    await ann.publish(channel, {"to_others": "psst"})
    await ann.publish(channel, "aloud")
    heard = await at_bob.log.take("publication")
    assert (heard.data, heard.tags) == ({"text": "psst"}, {"by": "hook"})
    assert await at_ann.log.take_data(1) == await at_bob.log.take_data(1) == ["aloud"]


async def test_a_hook_opens_a_closed_room(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"closed:{name}"
    ann, info = await person(sdk, rooms, name)
    room = await ann.subscription(channel, data={"password": "sesame"})
    assert (await room.subscribed()).data == {"topic": "caves"}
    with_seat = Info(name, info.client, None, {"seat": 7})
    assert (await room.log.take("join")).info == with_seat
    assert await ann.presence(channel) == {info.client: with_seat}


async def test_a_dialog_of_two(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"dialog:#ann-{name},bob-{name}"
    ann, _ = await person(sdk, rooms, f"ann-{name}")
    eve, _ = await person(sdk, rooms, f"eve-{name}")
    await ann.subscribed(channel)
    at_eve = await eve.subscription(channel)
    await at_eve.subscribe()
    assert (await at_eve.log.take("unsubscribed")).code == 103


async def test_messages_reach_the_application(sdks: list[Sdk], rooms: Rooms, name: str) -> None:
    able = [sdk for sdk in sdks if sdk.can_send]
    assert able
    for sdk in able:
        ann, _ = await person(sdk, rooms, name)
        answers = await ann.subscribed(f"room:messages-{name}")
        await ann.send({"kind": "wave"})
        assert await answers.log.take_data(1) == [{"got": {"kind": "wave"}}]


async def test_bytes_over_protobuf(sdks: list[Sdk], rooms: Rooms, name: str) -> None:
    channel = f"binary:{name}"
    speaking = [await sdk.client(rooms.url) for sdk in sdks if sdk.protobuf]
    for client in speaking:
        await client.connected()
    subscriptions = [await client.subscribed(channel) for client in speaking]
    for client in speaking:
        for payload in BYTES:
            await client.publish(channel, payload)
    for subscription in subscriptions:
        assert await subscription.log.take_data(len(BYTES) * len(speaking)) == BYTES * len(speaking)
    for client in speaking:
        assert [p.data for p in (await client.history(channel, limit=len(BYTES))).publications] == BYTES


async def test_bytes_end_a_connection_that_speaks_json(sdks: list[Sdk], rooms: Rooms, name: str) -> None:
    channel = f"binary:{name}"
    speaking = next(sdk for sdk in sdks if sdk.protobuf)
    sender = await speaking.client(rooms.url)
    await sender.connected()
    await sender.subscribed(channel)
    readers = [await sdk.client(rooms.url) for sdk in sdks if not sdk.protobuf]
    for reader in readers:
        await reader.connected()
        await reader.subscribed(channel)
    await sender.publish(channel, b"\xff")
    for reader in readers:
        assert (await reader.log.take("disconnected")).code == 3506
