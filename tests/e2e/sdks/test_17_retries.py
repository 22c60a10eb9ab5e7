"""Ends that are for good: the official clients, over every transport, make no attempt more.

Each cause with its code, by the wire alone: tests/transports/test_17_closes.py.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.e2e.sdks.conftest import tracebacks
from tests.e2e.sdks.rooms import OPEN, SECRET, Rooms, token
from tests.e2e.sdks.sdk import Client, Sdk
from tests.served import serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "k" * 32
CONFIG = f"""
[tokens]
hmac_secret = "{SECRET}"
[api]
keys = ["{KEY}"]
[metrics]
open = true
[limits]
channels_max = 2
connections_per_user_max = 1
[namespaces.room]
{OPEN}
[namespaces.raw]
{OPEN}
data_format = "binary"
"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def closing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rooms]:
    directory = tmp_path_factory.mktemp("closing")
    shutil.copy(Path(__file__).with_name("rooms_app.py"), directory)
    rooms = Rooms(await serve(directory, "rooms_app:app", dev=False, config=CONFIG))
    await rooms.open()
    yield rooms
    await rooms.close()
    assert tracebacks(rooms.server) == []


async def opened(rooms: Rooms) -> int:
    """Connections since the server's start."""
    async with httpx.AsyncClient(base_url=rooms.server.url) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    (count,) = [line.split()[1] for line in lines if line.startswith("roomful_connections_opened_total ")]
    return round(float(count))


async def refused(sdk: Sdk, rooms: Rooms, name: str) -> dict[int, Client]:
    """Clients that aren't let in, by the code that they are to hear."""
    subs = {channel: {} for channel in ("room:a", "room:b", "room:c")}
    return {
        3500: await sdk.client(rooms.url, token="nonsense"),
        3501: await sdk.client(rooms.url),
        3504: await sdk.client(rooms.url, token=token(name)),
        3505: await sdk.client(rooms.url, token=token(f"{name}-wide", subs=subs)),
        3507: await sdk.client(rooms.url, token=token(f"{name}-refused"), data={"refused": True}),
        4500: await sdk.client(rooms.url, token=token(f"{name}-ended"), data={"end": [4500, "go away"]}),
    }


async def test_17_after_never_no_sdk_tries_again(sdk: Sdk, closing: Rooms, name: str) -> None:
    before = await opened(closing)
    first = await sdk.client(closing.url, token=token(name))
    await first.connected()
    expected = await refused(sdk, closing, name)
    for code, client in expected.items():
        await client.connect()
        assert (await client.log.take("disconnected")).code == code
    await closing.call("disconnect", name)
    assert (await first.log.take("disconnected")).code == 3503
    expected[3503] = first
    if not sdk.protobuf:
        expected[3506] = await bytes_for_json(sdk, closing, name)

    patient = await sdk.client(closing.url, token=token(f"{name}-patient"))
    await patient.connected()
    for _ in range(4):  # as long as a wrong attempt would take
        await closing.call("disconnect", f"{name}-patient", code=4000, reason="come back")
        await patient.log.take("connected")
    assert {code: len(client.log.named("connecting")) for code, client in expected.items()} == dict.fromkeys(
        expected, 1
    )
    assert await opened(closing) == before + len(expected) + 1 + 4


async def bytes_for_json(sdk: Sdk, rooms: Rooms, name: str) -> Client:
    client = await sdk.client(rooms.url, token=token(f"{name}-json"))
    await client.connected()
    await client.subscribed(f"raw:{name}")
    async with httpx.AsyncClient(base_url=rooms.server.url, headers={"X-API-Key": KEY}) as http:
        answer = await http.post("/api/publish", json={"channel": f"raw:{name}", "b64data": "//4="})
        assert "result" in answer.json(), answer.text
    assert (await client.log.take("disconnected")).code == 3506
    return client
