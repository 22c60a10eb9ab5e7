"""The SDKs, and servers that all their tests share. Everything here lives on one event loop, that of the session."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from roomful.testing.fault_proxy import FaultProxy
from tests.e2e.sdks.js_sdk import Bridge, JsSdk
from tests.e2e.sdks.python_sdk import PythonSdk
from tests.e2e.sdks.rooms import ROOMS, STRICT, Rooms, new_name
from tests.e2e.sdks.sdk import SDKS, STREAMED, Sdk
from tests.served import Server, serve

WANTED_CRASH = "a crash that the tests want"


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def bridge() -> AsyncIterator[Bridge]:
    bridge = Bridge()
    yield bridge
    await bridge.stop()


@pytest_asyncio.fixture(loop_scope="session", params=[*SDKS, *STREAMED])
async def sdk(request: pytest.FixtureRequest, bridge: Bridge, component: Callable[[str], str]) -> AsyncIterator[Sdk]:
    """Each SDK in each encoding and over each transport; all its clients are disconnected after the test."""
    sdk = await opened(request.param, bridge, component)
    yield sdk
    await sdk.close()


@pytest_asyncio.fixture(loop_scope="session")
async def sdks(bridge: Bridge, component: Callable[[str], str]) -> AsyncIterator[list[Sdk]]:
    """All of them at once."""
    sdks = [await opened(name, bridge, component) for name in (*SDKS, *STREAMED)]
    yield sdks
    for sdk in sdks:
        await sdk.close()


async def opened(name: str, bridge: Bridge, component: Callable[[str], str]) -> Sdk:
    """The SDK of that name in `SDKS`."""
    language, encoding, *transports = name.split("-")
    if language == "python":
        return PythonSdk(encoding == "protobuf")
    await bridge.start(component("node"))
    return JsSdk(encoding == "protobuf", bridge, transports)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def rooms(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rooms]:
    """`rooms_app` with `ROOMS`."""
    directory = tmp_path_factory.mktemp("rooms")
    shutil.copy(Path(__file__).with_name("rooms_app.py"), directory)
    server = await serve(directory, "rooms_app:app", dev=False, config=ROOMS)
    rooms = Rooms(server)
    await rooms.open()
    yield rooms
    await rooms.close()
    assert tracebacks(server) == []


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def deflating(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rooms]:
    """The same with compressed WebSocket messages."""
    directory = tmp_path_factory.mktemp("deflating")
    shutil.copy(Path(__file__).with_name("rooms_app.py"), directory)
    server = await serve(directory, "rooms_app:app", dev=False, config="[server]\ndeflate = true\n" + ROOMS)
    rooms = Rooms(server)
    await rooms.open()
    yield rooms
    await rooms.close()
    assert tracebacks(server) == []


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server without an application, with `STRICT`."""
    server = await serve(tmp_path_factory.mktemp("strict"), dev=False, config=STRICT)
    yield server
    await server.stop()
    assert tracebacks(server) == []


def tracebacks(server: Server) -> list[str]:
    """Lines of the log, each a JSON document, with an exception that no test has asked for."""
    return [line for line in server.log.splitlines() if "Traceback" in line and WANTED_CRASH not in line]


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(rooms: Rooms) -> AsyncIterator[FaultProxy]:
    """On the way to `rooms`."""
    async with FaultProxy(rooms.server.port) as proxy:
        yield proxy


@pytest.fixture
def name() -> str:
    """Of a user, a channel or both, that nobody else has."""
    return new_name()
