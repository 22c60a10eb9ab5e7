"""The server API as backends use it: the `cent` package as it is, curl-like requests, and a fuzzer of the document."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import cent
import httpx
import pytest
import pytest_asyncio

from roomful.server.api_methods import METHODS
from tests.e2e.sdks.python_sdk import PythonSdk
from tests.e2e.sdks.rooms import SECRET, new_name, token, url_of
from tests.served import Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "a key that nobody guesses"
KEYED = {"X-API-Key": KEY}

CONFIG = f"""
[tokens]
hmac_secret = "{SECRET}"

[api]
keys = ["{KEY}"]
key_files = ["more-keys"]
body_max_bytes = 65536
body_timeout_s = 2

[namespaces.default]
history_size = 10
history_ttl_s = 300
presence = true
[namespaces.plain]
subscribe = "user"
"""

APP = """
from roomful import Roomful, RpcReply, ServerRpcEvent

app = Roomful()


@app.on(ServerRpcEvent, method="sum")
async def total(event: ServerRpcEvent) -> RpcReply:
    return RpcReply(sum(event.data))
"""


@pytest.fixture
def name() -> str:
    """Of a channel and of a user that no other test has."""
    return new_name()


Send = Callable[[Any], Awaitable[Any]]
"""A request of `cent` to its result."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    directory = tmp_path_factory.mktemp("api")
    (directory / "backend.py").write_text(APP)
    (directory / "roomful-data").mkdir()
    (directory / "roomful-data" / "more-keys").write_text("another key, from a file\n")
    server = await serve(directory, "backend:app", dev=False, config=CONFIG)
    yield server
    await server.stop()
    assert "Traceback" not in server.log
    assert KEY not in server.log


@pytest_asyncio.fixture(loop_scope="module", params=["asynchronous", "synchronous"])
async def send(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Send]:
    """Both clients of `cent`."""
    url = f"{server.url}/api"
    if request.param == "asynchronous":
        client = cent.AsyncClient(url, KEY)
        yield lambda asked: getattr(client, asked.api_method)(asked)
        await client.close()
    else:
        blocking = cent.Client(url, KEY)
        yield lambda asked: asyncio.to_thread(getattr(blocking, asked.api_method), asked)
        blocking.close()


async def test_cent_publishes_and_reads(send: Send, name: str) -> None:
    first = await send(cent.PublishRequest(channel=name, data={"n": 1}, tags={"a": "b"}, idempotency_key="k"))
    assert (first.offset, bool(first.epoch)) == (1, True)
    assert await send(cent.PublishRequest(channel=name, data={"n": 1}, idempotency_key="k")) == first
    assert (await send(cent.PublishRequest(channel=name, data="passing", skip_history=True))).offset == 0
    told = await send(cent.BroadcastRequest(channels=[name, "nowhere:1", "plain:1"], data=None, b64data="Mg=="))
    assert [each.error and each.error.code for each in told.responses] == [None, 102, None]
    assert told.responses[0].result.offset == 2

    head = await send(cent.HistoryRequest(channel=name))
    assert (head.publications, head.offset, head.epoch) == ([], 2, first.epoch)
    since = cent.StreamPosition(offset=0, epoch=first.epoch)
    page = await send(cent.HistoryRequest(channel=name, limit=10, since=since, reverse=False))
    assert [(p.offset, p.data, p.tags) for p in page.publications] == [(1, {"n": 1}, {"a": "b"}), (2, 2, None)]
    await send(cent.HistoryRemoveRequest(channel=name))
    assert (await send(cent.HistoryRequest(channel=name, limit=10))).publications == []


async def test_cent_directs_connections(send: Send, server: Server, name: str) -> None:
    sdk = PythonSdk(False)
    ann = await sdk.client(url_of(server.port), token=token(name, info={"name": "Ann"}))
    client = (await ann.connected()).client
    await send(cent.SubscribeRequest(user=name, channel=name, info={"role": "guest"}, data={"hello": 1}))
    entered = await ann.log.take("subscribed")
    assert (entered.channel, entered.data) == (name, {"hello": 1})
    await send(cent.PublishRequest(channel=name, data="hi"))
    assert await ann.log.take_data(1) == ["hi"]

    present = (await send(cent.PresenceRequest(channel=name))).presence
    assert {key: (info.user, info.conn_info, info.chan_info) for key, info in present.items()} == {
        client: (name, {"name": "Ann"}, {"role": "guest"})
    }
    counts = await send(cent.PresenceStatsRequest(channel=name))
    assert (counts.num_clients, counts.num_users) == (1, 1)
    channels = (await send(cent.ChannelsRequest(pattern=name[:-1] + "?"))).channels
    assert {name: info.num_clients for name, info in channels.items()} == {name: 1}
    (node,) = (await send(cent.InfoRequest())).nodes
    assert (node.num_clients, node.num_users, node.num_channels, node.num_subs) == (1, 1, 1, 1)
    assert node.name

    await send(cent.RefreshRequest(user=name, client=client, expire_at=2**40))
    await send(cent.UnsubscribeRequest(user=name, channel=name, client=client))
    assert (await ann.log.take("unsubscribed")).channel == name
    await send(cent.DisconnectRequest(user=name, disconnect=cent.Disconnect(code=4500, reason="go"), whitelist=["x"]))
    gone = await ann.log.take("disconnected")
    assert (gone.code, gone.reason) == (4500, "go")
    await sdk.close()


async def test_cent_in_a_batch(send: Send, name: str) -> None:
    asked = [
        cent.PublishRequest(channel=name, data=1),
        cent.PresenceStatsRequest(channel=name),
        cent.InfoRequest(),
    ]
    for parallel in (False, True):
        told = await send(cent.BatchRequest(requests=asked, parallel=parallel))
        assert told.replies[0].offset == 1 + parallel
        assert told.replies[1].num_clients == 0
        assert len(told.replies[2].nodes) == 1


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (cent.PublishRequest(channel="nowhere:1", data=1), 102),
        (cent.PublishRequest(channel="", data=1), 107),
        (cent.PresenceRequest(channel="plain:1"), 108),
        (cent.HistoryRequest(channel="news", since=cent.StreamPosition(offset=1, epoch="other")), 112),
    ],
    ids=lambda value: getattr(value, "api_method", value),
)
async def test_cent_is_told_errors(server: Server, asked: Any, code: int) -> None:
    client = cent.AsyncClient(f"{server.url}/api", KEY)
    with pytest.raises(cent.CentApiResponseError) as raised:
        await getattr(client, asked.api_method)(asked)
    assert raised.value.code == code
    await client.close()


async def test_cent_without_a_key(server: Server) -> None:
    client = cent.AsyncClient(f"{server.url}/api", "wrong")
    with pytest.raises(cent.CentUnauthorizedError):
        await client.info(cent.InfoRequest())
    await client.close()


async def test_a_key_of_a_file_and_a_method_of_the_application(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        headers = {"Authorization": "apikey another key, from a file"}
        told = await client.post("/api/rpc", json={"method": "sum", "params": [1, 2]}, headers=headers)
        assert told.json() == {"result": {"data": 3}}


async def test_bodies_that_come_slowly_or_never_or_too_large(server: Server) -> None:
    """Each costs its own connection, which is closed; the server goes on."""
    head = f"POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: %d\r\n\r\n"
    assert await answer(server, head % 100 + "{") == (408, True)
    assert await answer(server, head % 200_000 + "x" * 200_000) == (413, True)
    assert await answer(server, head % 2 + "{}") == (200, False)
    async with httpx.AsyncClient(base_url=server.url, headers=KEYED) as client:
        assert "result" in (await client.post("/api/info", json={})).json()


async def answer(server: Server, request: str) -> tuple[int, bool]:
    """Status, and whether the server closes the connection behind its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request.encode())
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split()[0])
        assert b'"message"' in await reader.readexactly(length)
        closed = "connection: close" in head
        if closed:
            assert await reader.read() == b""
    writer.close()
    return int(head.split()[1]), closed


ANSWERS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXPECTED = {
    # All but that what the document allows is accepted: whether a channel exists, no document can say.
    "transport": ("--checks", "all", "--exclude-checks", "positive_data_acceptance", "--phases", "coverage,fuzzing"),
    "": ("--checks", ANSWERS, "--phases", "fuzzing"),  # every error is a 200 here
}
"""Error mode → what the fuzzer has to find true."""


@pytest.mark.parametrize("mode", EXPECTED)
async def test_the_document_holds_for_what_a_fuzzer_sends(server: Server, mode: str, tmp_path: Path) -> None:
    schemathesis = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert schemathesis is not None
    process = await asyncio.create_subprocess_exec(
        schemathesis, "run", f"{server.url}/api/openapi.json", "--header", f"X-API-Key: {KEY}",
        *(["--header", f"X-Centrifugo-Error-Mode: {mode}"] if mode else []),
        *EXPECTED[mode], "--max-examples", "10", "--generation-deterministic", "--no-color", cwd=tmp_path,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(100):
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    assert f"{len(METHODS)} selected / {len(METHODS)} total" in printed.decode()
