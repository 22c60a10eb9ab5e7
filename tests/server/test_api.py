"""The server API as HTTP: who may, what a body may be, how errors are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from roomful import ChannelOptions, Config, Roomful, ServerRpcEvent
from roomful.server.config import ApiOptions
from roomful.transports import http_request

KEY = "a key that nobody guesses"
KEYED = {"X-API-Key": KEY}
ROOM = ChannelOptions(history_size=10, history_ttl_s=60.0)


def client_of(app: Roomful, **more: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://roomful.test", **more)


@pytest.fixture
async def app() -> AsyncIterator[Roomful]:
    app = Roomful(
        Config(
            namespaces={"room": ROOM, "plain": ChannelOptions()},
            api=ApiOptions(keys=("another", KEY), body_max_bytes=1000),
        )
    )
    await app.start()
    yield app
    await app.stop()


@pytest.fixture
async def client(app: Roomful) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, headers=KEYED) as client:
        yield client


def error_of(answer: httpx.Response) -> tuple[int, int]:
    """Status and code."""
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error["message"]
    return answer.status_code, error["code"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (KEYED, 200),
        ({"X-API-Key": "another"}, 200),
        ({"Authorization": f"apikey {KEY}"}, 200),
        ({"Authorization": f"ApiKey  {KEY}"}, 200),
        ({"X-API-Key": "wrong", "Authorization": f"apikey {KEY}"}, 200),
        ({}, 401),
        ({"X-API-Key": ""}, 401),
        ({"X-API-Key": KEY[:-1]}, 401),
        ({"X-API-Key": KEY + "x"}, 401),
        ({"Authorization": f"Bearer {KEY}"}, 401),
        ({"Authorization": "apikey"}, 401),
    ],
    ids=str,
)
async def test_only_who_has_a_key_may(app: Roomful, headers: dict[str, str], status: int) -> None:
    async with client_of(app) as client:
        for answer in (
            await client.post("/api/info", json={}, headers=headers),
            await client.get("/api/openapi.json", headers=headers),
        ):
            assert answer.status_code == status
            if status == 401:
                assert error_of(answer) == (401, 101)


async def test_a_key_in_the_query_is_none(app: Roomful) -> None:
    async with client_of(app) as client:
        assert error_of(await client.post("/api/info", json={}, params={"api_key": KEY})) == (401, 101)


async def test_who_has_no_key_learns_nothing(app: Roomful) -> None:
    async with client_of(app) as client:
        for path in ("/api/info", "/api/nothing", "/api"):
            for method in ("POST", "GET"):
                assert error_of(await client.request(method, path)) == (401, 101)


async def test_without_a_key_in_the_settings_it_is_closed() -> None:
    app = Roomful(Config())
    async with client_of(app, headers=KEYED) as client:
        assert error_of(await client.post("/api/info", json={})) == (404, 104)
        assert error_of(await client.get("/api/openapi.json")) == (404, 104)
    await app.stop()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://127.0.0.1:8000", 200),
        ("http://localhost", 200),
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
async def test_under_dev_it_is_open_but_not_to_pages_from_elsewhere(origin: str | None, status: int) -> None:
    app = Roomful(Config(), dev=True)
    headers = {"X-API-Key": "whatever"} | ({"Origin": origin} if origin else {})
    async with client_of(app, headers=headers) as client:
        answer = await client.post("/api/publish", json={"channel": "room:1", "data": 1})
        assert answer.status_code == status
        if status == 403:
            assert error_of(answer) == (403, 103)
    await app.stop()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_refused(client: httpx.AsyncClient, method: str) -> None:
    for path in ("/api/info", "/api", "/api/nothing"):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        if method != "HEAD":
            assert error_of(answer) == (405, 107)
    answer = await client.post("/api/openapi.json")
    assert (error_of(answer), answer.headers["allow"]) == ((405, 107), "GET")


async def test_a_method_that_isnt_there(client: httpx.AsyncClient) -> None:
    assert error_of(await client.post("/api/map_publish", json={})) == (404, 104)
    assert error_of(await client.post("/api", json={"method": "map_publish", "params": {}})) == (404, 104)
    assert error_of(await client.post("/api", json={})) == (404, 104)


async def test_the_older_way_names_the_method_in_the_body(client: httpx.AsyncClient) -> None:
    body = {"method": "publish", "params": {"channel": "room:1", "data": {"n": 1}}}
    assert (await client.post("/api", json=body)).json()["result"]["offset"] == 1
    assert error_of(await client.post("/api", json={"method": "publish"})) == (200, 107)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"channel": "room:1", "data": "\xff"}',
        b"channel=room:1",
        b'{"channel": "room:1", "data": 1} x',
    ],
    ids=repr,
)
async def test_what_isnt_json_is_told_so(client: httpx.AsyncClient, body: bytes) -> None:
    assert error_of(await client.post("/api/publish", content=body)) == (400, 107)
    assert error_of(await client.post("/api", content=body)) == (400, 107)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"{}",
        b'{"channel": 1, "data": 1}',
        b'{"channel": "room:1"}',
        b'{"channel": "room:1", "data": 1, "idempotencyKey": "k"}',
        b'{"channel": "room:1", "data": 1, "tags": {"n": 1}}',
        b'{"channel": "room:1", "b64data": "!"}',
        b'{"channel": "", "data": 1}',
        b'{"channel": "room:1", "b64data": "/w=="}',
        b'{"channel": "room:1", "data": ' + b"[" * 400 + b"]" * 400 + b', "x": 1}',
    ],
    ids=repr,
)
async def test_what_makes_no_sense_is_a_bad_request(app: Roomful, client: httpx.AsyncClient, body: bytes) -> None:
    assert error_of(await client.post("/api/publish", content=body)) == (200, 107)
    assert (await app.history("room:1")).head.offset == 0


async def test_deep_nesting_is_refused_not_followed() -> None:
    app = Roomful(Config(api=ApiOptions(keys=(KEY,)), namespaces={"room": ROOM}))
    async with client_of(app, headers=KEYED) as client:
        deep = b"[" * 100_000 + b"]" * 100_000
        for path in ("/api/publish", "/api"):
            answer = await client.post(path, content=b'{"channel": "room:1", "params": {}, "data": ' + deep + b"}")
            assert answer.json()["error"]["code"] == 107
    await app.stop()


async def test_the_content_type_isnt_looked_at(client: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await client.post("/api/info", content=b"{}", headers={"Content-Type": kind})
        assert "result" in answer.json()


async def test_a_compressed_body_is_refused(client: httpx.AsyncClient) -> None:
    assert error_of(await client.post("/api/info", content=b"{}", headers={"Content-Encoding": "gzip"})) == (415, 107)


async def test_a_body_that_is_too_large(app: Roomful, client: httpx.AsyncClient) -> None:
    for size in (1000, 2_000_000):
        answer = await client.post("/api/publish", json={"channel": "room:1", "data": "x" * size})
        assert error_of(answer) == (413, 107)
        assert answer.headers["connection"] == "close"
    assert (await app.history("room:1")).head.offset == 0
    fits = json.dumps({"channel": "room:1", "data": ""}).encode()
    fits = fits[:-2] + b"x" * (1000 - len(fits)) + fits[-2:]
    assert (await client.post("/api/publish", content=fits)).json()["result"]["offset"] == 1


async def test_a_body_without_end_is_read_only_so_far(app: Roomful, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_request, "DISCARD_MAX_BYTES", 10_000)
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1000
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    assert (await raw(app, receive))[:2] == (413, 107)
    assert read == 12_000


async def test_a_body_that_never_ends_in_time() -> None:
    app = Roomful(Config(api=ApiOptions(keys=(KEY,), body_timeout_s=0.05)))

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    assert await raw(app, receive) == (408, 107, "close")
    await app.stop()


async def test_a_client_that_goes_within_its_body(app: Roomful) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert (await raw(app, receive))[:2] == (400, 107)


async def raw(app: Roomful, receive: Any) -> tuple[int, int, str]:
    """Status, code and `Connection` of a publish whose body comes from `receive`."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/publish",
        "headers": [(b"x-api-key", KEY.encode())],
        "query_string": b"",
    }
    await app.asgi(scope, receive, send)
    headers = dict(sent[0]["headers"])
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]["code"], headers.get(b"connection", b"").decode()


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/api/publish", {"channel": "nowhere:1", "data": 1}, 404, 102),
        ("/api/rpc", {"method": "nothing"}, 404, 104),
        ("/api/publish", {}, 400, 107),
        ("/api/presence", {"channel": "room:1"}, 400, 108),
        ("/api/history", {"channel": "room:1", "limit": 1, "since": {"offset": 1, "epoch": "other"}}, 416, 112),
        ("/api/rpc", {"method": "broken"}, 500, 100),
        ("/api/nothing", {}, 404, 104),
    ],
    ids=str,
)
async def test_errors_by_status_for_who_wants_that(
    app: Roomful, client: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, code: int
) -> None:
    @app.on(ServerRpcEvent, method="broken")
    async def broken(_event: ServerRpcEvent) -> None:
        raise ValueError("a secret")

    told = await client.post(path, json=body, headers={"X-Centrifugo-Error-Mode": "transport"})
    assert told.status_code == status
    assert told.json() == {"code": code, "message": told.json()["message"]}
    assert "secret" not in told.text
    assert (await client.post(path, json=body)).json()["error"]["code"] == code


async def test_it_works_where_it_is_mounted(app: Roomful) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    host = Starlette(routes=[Mount("/realtime", app.asgi)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://t", headers=KEYED) as client:
        assert "result" in (await client.post("/realtime/api/info", json={})).json()
        document = (await client.get("/realtime/api/openapi.json")).json()
        assert document["servers"] == [{"url": "/realtime"}]
