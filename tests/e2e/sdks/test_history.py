"""History: how much, from where, in which direction."""

from __future__ import annotations

from typing import Any

import pytest

from roomful import Position
from tests.e2e.sdks.rooms import Rooms, token
from tests.e2e.sdks.sdk import Client, Info, Sdk, SdkError

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES: list[tuple[dict[str, Any], list[int]]] = [
    ({"limit": 0}, []),
    ({"limit": -1}, [1, 2, 3, 4, 5]),
    ({"limit": 2}, [1, 2]),
    ({"limit": 2, "reverse": True}, [5, 4]),
    ({"limit": -1, "reverse": True}, [5, 4, 3, 2, 1]),
    ({"limit": -1, "since": 3}, [4, 5]),
    ({"limit": 1, "since": 3}, [4]),
    ({"limit": -1, "since": 5}, []),
    ({"limit": -1, "since": 3, "reverse": True}, [2, 1]),
    ({"limit": 1, "since": 3, "reverse": True}, [2]),
]


async def in_a_room(sdk: Sdk, rooms: Rooms, name: str) -> tuple[Client, Info]:
    client = await sdk.client(rooms.url, token=token(name))
    info = Info(name, (await client.connected()).client)
    await client.subscribed(f"room:{name}")
    return client, info


async def test_pages(sdk: Sdk, rooms: Rooms, name: str) -> None:
    channel = f"room:{name}"
    ann, info = await in_a_room(sdk, rooms, name)
    empty = await ann.history(channel)
    assert (empty.publications, empty.offset) == ([], 0)
    assert empty.epoch
    for number in range(1, 6):
        await ann.publish(channel, {"n": number})
    for asked, numbers in PAGES:
        since = Position(empty.epoch, asked["since"]) if "since" in asked else None
        page = await ann.history(channel, **asked | {"since": since})
        assert [(p.offset, p.data, p.info) for p in page.publications] == [(n, {"n": n}, info) for n in numbers], asked
        assert (page.epoch, page.offset) == (empty.epoch, 5)


@pytest.mark.parametrize(
    ("since", "reverse", "code"), [(Position("another", 1), False, 112), (Position("", 0), True, 107)]
)
async def test_a_place_that_is_none(
    sdk: Sdk, rooms: Rooms, name: str, since: Position, reverse: bool, code: int
) -> None:
    ann, _ = await in_a_room(sdk, rooms, name)
    with pytest.raises(SdkError) as refused:
        await ann.history(f"room:{name}", limit=-1, since=since, reverse=reverse)
    assert refused.value.code == code
