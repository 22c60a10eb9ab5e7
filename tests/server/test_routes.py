from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from roomful import Config, Roomful
from roomful.server import routes
from roomful.server.wiring import ROOMS_PATH
from roomful.server.worker_peers import Peers


def client_of(app: Roomful) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://roomful.test")


@pytest.fixture
async def dev() -> AsyncIterator[httpx.AsyncClient]:
    app = Roomful(Config(), dev=True)
    async with client_of(app) as client:
        yield client
    await app.stop()


async def test_health_and_readiness() -> None:
    app = Roomful(Config())
    async with client_of(app) as client:
        assert (await client.get("/health")).json() == {}
        assert (await client.get("/ready")).status_code == 200
        await app.drain(0.0)
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()) == (503, {"ready": False, "reason": "the server is stopping"})
        assert (await client.get("/health")).status_code == 200
    await app.stop()


async def test_readiness_is_that_of_all_workers(tmp_path: Path) -> None:
    app = Roomful(Config())
    app.join(Peers(tmp_path, 1, 2))
    other = Peers(tmp_path, 2, 2)
    ready = [b"true"]
    other.answer("ready", lambda: ready[0])
    await other.start()
    async with client_of(app) as client:
        said = await client.get("/ready")
        assert (said.status_code, said.json()) == (200, {"ready": True, "workers": {"1": "ready", "2": "ready"}})
        ready[0] = b"the engine can't be reached"
        said = await client.get("/ready")
        assert (said.status_code, said.json()["workers"]) == (
            503,
            {"1": "ready", "2": "not ready: the engine can't be reached"},
        )
        await other.stop()
        said = await client.get("/ready")
        assert (said.status_code, said.json()["workers"]) == (503, {"1": "ready", "2": "missing"})
    await app.stop()


async def test_a_websocket_endpoint_says_that_it_is_one(dev: httpx.AsyncClient) -> None:
    answer = await dev.get(ROOMS_PATH)
    assert answer.status_code == 426
    assert answer.headers["upgrade"] == "websocket"
    assert answer.json()["error"]["code"] == 107


@pytest.mark.parametrize("path", ["/nothing", "/apiary", "/../pyproject.toml", "/%2e%2e/config.py"])
async def test_what_isnt_there_is_answered_in_json(dev: httpx.AsyncClient, path: str) -> None:
    answer = await dev.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 104)


async def test_the_demo_is_there_under_dev_only(
    dev: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await dev.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>" in page.text
    app = Roomful(Config())
    async with client_of(app) as client:
        assert (await client.get("/")).status_code == 404
    await app.stop()
    monkeypatch.setattr(routes, "STATIC", tmp_path / "never-bundled")
    assert (await dev.get("/")).status_code == 404


async def test_other_methods_are_refused(dev: httpx.AsyncClient) -> None:
    assert (await dev.post("/health")).status_code == 405
