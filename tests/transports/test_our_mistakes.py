"""What fails in us costs one connection or one request, is told as our mistake without its words, and is logged."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from roomful import Config, Roomful
from roomful.auth.options import TokenOptions
from roomful.model.channel import ChannelOptions
from roomful.model.errors import InternalError
from roomful.node.relay import Relay
from roomful.session.event_stream import EventStream
from roomful.session.poll import Poll
from roomful.transports import emulation

SECRET = "swordfish"
CONFIG = Config(
    tokens=TokenOptions(anonymous=True),
    namespaces={"chat": ChannelOptions(subscribe="client", history_size=9, history_ttl_s=60)},
)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = Roomful(CONFIG)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://127.0.0.1") as client,
    ):
        yield client


def failing(*_arguments: Any, **_more: Any) -> Any:
    raise ZeroDivisionError(SECRET)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, object, bool]]:
    return [(line.levelno, line.msg, bool(line.exc_info)) for line in caplog.records if line.name.startswith("roomful")]


async def test_a_poll(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Poll, "ask", failing)
    answer = await http.get("/poll", params={"channel": "chat:1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, 100)
    assert SECRET not in answer.text
    assert logged(caplog) == [(logging.ERROR, "a poll failed", True)]


async def test_an_event_stream(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(EventStream, "follow", failing)
    answer = await http.get("/events", params={"channel": "chat:1"})
    assert "event: drain" in answer.text
    assert SECRET not in answer.text
    assert logged(caplog) == [(logging.ERROR, "an event stream could not be served", True)]
    assert caplog.records[-1].__dict__["client"]


async def test_an_endpoint(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(EventStream, "__init__", failing)
    answer = await http.get("/events", params={"channel": "chat:1"})
    assert SECRET not in answer.text
    assert logged(caplog) == [(logging.ERROR, "an endpoint failed; its stream is refused", True)]


async def test_commands_that_cannot_be_carried_to_their_node(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def silent(*_arguments: Any) -> Any:
        raise InternalError("the node of this session doesn't answer")

    monkeypatch.setattr(Relay, "carry", silent)
    body = b'{"node": "n", "session": "s", "data": "{}"}'
    refused = await emulation._take(body, {}, Relay(None, "here"))  # type: ignore[arg-type]  # nothing is sent
    assert refused is not None
    assert refused.status == 500
    assert logged(caplog) == [(logging.WARNING, "commands for a session of node %s: %s", False)]
