"""The rooms under servers that aren't ours: through a mount in somebody's application, and by themselves."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.rooms import ROOMS, Rooms, new_name, token
from tests.e2e.sdks.sdk import Sdk, SdkError, all_at_once
from tests.served import launch

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Host(NamedTuple):
    """How the application is run. empty_subprotocol: `Sec-WebSocket-Protocol` without a value is let in."""

    command: list[str]
    prefix: str = "/realtime"
    empty_subprotocol: bool = True


HOSTS = {
    "uvicorn": Host(["uvicorn", "mounted_app:site", "--port", "0"], empty_subprotocol=False),
    "uvicorn, wsproto": Host(["uvicorn", "mounted_app:site", "--port", "0", "--ws", "wsproto"]),
    "uvicorn, not mounted": Host(["uvicorn", "rooms_app:app.asgi", "--port", "0"], "", empty_subprotocol=False),
    "hypercorn": Host(["hypercorn", "mounted_app:site", "--bind", "127.0.0.1:0"]),
}


@pytest_asyncio.fixture(loop_scope="session", scope="module", params=HOSTS)
async def hosted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rooms]:
    host = HOSTS[request.param]
    directory = tmp_path_factory.mktemp("hosted")
    for name in ("rooms_app.py", "mounted_app.py"):
        shutil.copy(Path(__file__).with_name(name), directory)
    (directory / "roomful.toml").write_text(ROOMS)
    rooms = Rooms(await launch(directory, sys.executable, "-m", *host.command), host.prefix)
    await rooms.open()
    yield rooms
    await rooms.close()
    assert "Traceback" not in rooms.server.log, rooms.server.log


async def test_a_visit(sdks: list[Sdk], hosted: Rooms) -> None:
    async def scenario(sdk: Sdk) -> None:
        name = new_name()
        channel = f"room:{name}"
        async with FaultProxy(hosted.server.port) as proxy:
            client = await sdk.client(hosted.via(proxy), token=token(name))
            id = (await client.connected()).client
            room = await client.subscribed(channel)
            assert (await client.presence(channel)).keys() == {id}
            await client.publish(channel, {"text": "żółw 💬"})
            assert await room.log.take_data(1) == [{"text": "żółw 💬"}]

            proxy.refusing = True
            proxy.cut()
            await client.log.take("connecting")
            await hosted.publish_numbers(channel, 1, 400)
            proxy.heal()
            await client.log.take("connected")
            again = await room.log.take("subscribed")
            assert (again.was_recovering, again.recovered) == (True, False)  # more than the hundred that are kept
            proxy.refusing = True
            proxy.cut()
            await client.log.take("connecting")
            await hosted.publish_numbers(channel, 1, 100)
            proxy.heal()
            await client.log.take("connected")
            assert (await room.log.take("subscribed")).recovered
            assert await room.log.take_data(100) == [{"n": n} for n in range(1, 101)]

            for code in (3011, 4499):
                await hosted.call("disconnect", name, code=code, reason="once more")
                ending = await client.log.take("connecting")
                assert (ending.code, ending.reason) == (code, "once more")
                await client.log.take("connected")
                # Over HTTP a subscribe that is still on its way finds no session any more (404), and the SDK may hear
                # of that before it hears of the code.
                await room.log.take("subscribed")
            await hosted.call("disconnect", name, code=3000, reason="connection closed")
            assert (await client.log.take("connecting")).code == 1  # closed with 1000: "transport closed", says the SDK
            await client.log.take("connected")
            with pytest.raises(SdkError):
                await client.rpc("end", [4500, "never"])
            ending = await client.log.take("disconnected")
            assert (ending.code, ending.reason) == (4500, "never")

    await all_at_once(sdks, scenario)


async def test_a_bad_token(sdks: list[Sdk], hosted: Rooms) -> None:
    for sdk in sdks:
        client = await sdk.client(hosted.url, token="no token at all")
        await client.connect()
        ending = await client.log.take("disconnected")
        assert (ending.code, ending.reason) == (3500, "invalid token")


async def test_an_empty_subprotocol(request: pytest.FixtureRequest, hosted: Rooms) -> None:
    """centrifuge-python before 0.7 sends it with JSON. The library `websockets` as a server answers it with 400."""
    if HOSTS[request.node.callspec.params["hosted"]].empty_subprotocol:
        async with connect(hosted.url, subprotocols=[], proxy=None):
            return
    with pytest.raises(InvalidStatus) as refused:
        await connect(hosted.url, subprotocols=[], proxy=None)
    assert refused.value.response.status_code == 400
