"""Each cause of an end, provoked on each transport: one code, one reason, for the client, the log and the metric.

Whether the official client comes back: tests/e2e/sdks/test_17_retries.py.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from roomful import ChannelOptions, Config, ConnectEvent, Disconnect, Forbidden, Publication, Roomful
from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from roomful.model.channel import Right
from roomful.model.disconnects import DISCONNECTS
from roomful.session.options import ConnectionOptions, LimitOptions
from tests.transports.hosts import Host, roomful
from tests.transports.lines import TRANSPORTS, EventsLine, Line, WebSocketLine
from tests.transports.rooms import emulate

DOCS = Path(__file__).parent.parent.parent / "docs" / "closes.md"
ALL_TRANSPORTS = {**TRANSPORTS, "events": EventsLine}
TOKENS = TokenOptions(hmac_secret="a secret of sufficient length for it")
MESSAGE_MAX_BYTES = 2_000

OPEN = ChannelOptions(subscribe="client", publish=Right.CLIENT)
LOG = ChannelOptions(subscribe="client", publish=Right.CLIENT, history_size=10, history_ttl_s=60.0, recover=True)
RAW = ChannelOptions(subscribe="client", publish=Right.CLIENT, data_format="binary")

CONFIG = Config(
    tokens=TOKENS,
    namespaces={"default": OPEN, "log": LOG, "raw": RAW},
    connection=ConnectionOptions(ping_s=1.0, pong_s=0.3, stale_s=0.5, expired_grace_s=0.0),
    limits=LimitOptions(
        message_max_bytes=MESSAGE_MAX_BYTES, outbox_max_bytes=100_000, channels_max=2, connections_per_user_max=1
    ),
)


class Stage:
    """The server, and one client that nobody else has to do with."""

    def __init__(self, app: Roomful, host: Host, transport: str) -> None:
        self.app = app
        self.transport = transport
        self.port = int(host.address[1])
        self.user = uuid4().hex
        self.room = f"log:{uuid4().hex}"
        self._host = host
        self._lines: list[Line] = []

    def run(self, what: Any) -> Any:
        """In the server's loop."""
        return asyncio.run_coroutine_threadsafe(what, self._host.loop).result(10)

    def line(self) -> Line:
        line = ALL_TRANSPORTS[self.transport](self.port, self.transport)
        self._lines.append(line)
        return line

    def token(self, *rooms: str) -> str:
        claims = {"subs": {room: {} for room in rooms}} if rooms else {}
        return sign(TOKENS, claims, user=self.user, now=time.time(), ttl_s=600.0)

    def member(self) -> Line:
        """Is in, and subscribed to the room by the server."""
        return self.line().connected({"token": self.token(self.room)})

    def close(self) -> None:
        for line in self._lines:
            line.close()
        self.run(self._empty())

    async def _empty(self) -> None:
        async with asyncio.timeout(10):
            while self.app.live.node.connections:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)


def invalid_token(stage: Stage) -> Line:
    return stage.line().connect({"token": "nonsense"})


def no_token(stage: Stage) -> Line:
    return stage.line().connect({})


def refused_by_a_hook(stage: Stage) -> Line:
    return stage.line().connect({"data": "refuse"})


def ended_by_a_hook(stage: Stage) -> Line:
    return stage.line().connect({"data": "ban"})


def too_many_channels(stage: Stage) -> Line:
    return stage.line().connect({"token": stage.token("a", "b", "c")})


def too_many_connections(stage: Stage) -> Line:
    stage.member()
    return stage.line().connect({"token": stage.token()})


def never_says_connect(stage: Stage) -> Line:
    line = stage.line()
    assert isinstance(line, WebSocketLine)
    return line.silent()


def ended_by_the_application(stage: Stage) -> Line:
    line = stage.member()
    stage.run(stage.app.disconnect(stage.user))
    return line


def revoked(stage: Stage) -> Line:
    line = stage.member()
    stage.run(stage.app.revoke(user=stage.user))
    return line


def told_to_come_again(stage: Stage) -> Line:
    line = stage.member()
    stage.run(stage.app.disconnect(stage.user, code=3011, reason="force reconnect"))
    return line


def expired(stage: Stage) -> Line:
    line = stage.member()
    stage.run(stage.app.refresh(stage.user, expired=True))
    return line


def subscription_expired(stage: Stage) -> Line:
    line = stage.line().connected({"token": stage.token()})
    stage.run(stage.app.subscribe(stage.user, "a", expires_at=time.time() + 0.05))
    return line


def what_json_cant_say(stage: Stage) -> Line:
    line = stage.line().connected({"token": stage.token("raw:1")})
    stage.run(stage.app.publish("raw:1", b"\xff"))
    return line


def another_life_of_the_log(stage: Stage) -> Line:
    line = stage.member()

    async def publish() -> None:
        stage.app.live.node.hub.broadcast(stage.room, Publication(b"1", 7), "another life")

    stage.run(publish())
    return line


def doesnt_read(stage: Stage) -> Line:
    line = stage.line().connected({"token": stage.token("bare")})

    async def publish() -> None:
        for _ in range(400):
            await stage.app.publish("bare", "x" * 60_000)
            await asyncio.sleep(0)

    stage.run(publish())
    return line


def answers_no_ping(stage: Stage) -> Line:
    return stage.member()


def breaks_the_protocol(stage: Stage) -> Line:
    line = stage.member()
    line.say({"subscribe": {}, "id": 5})
    return line


def talks_to_nobody(stage: Stage) -> Line:
    line = stage.member()
    line.say({"send": {"data": 1}})
    return line


def the_server_goes(stage: Stage) -> Line:
    line = stage.member()
    stage.run(stage.app.live.node.drain(0.2))
    return line


class Cause(NamedTuple):
    """name: of the table. on: the transports where it can happen, all of them if there are none. on_events: also on
    `/events`, which answers a refusal by its HTTP status."""

    provoke: Callable[[Stage], Line]
    name: str
    on: tuple[str, ...] = ()
    on_events: bool = False


BOTH_WAYS = ("websocket", "http_stream", "sse")
FRAMED = ("websocket", "uni_websocket")

CAUSES = [
    Cause(invalid_token, "invalid_token"),
    Cause(no_token, "bad_request"),
    Cause(refused_by_a_hook, "permission_denied"),
    Cause(too_many_channels, "channel_limit"),
    Cause(too_many_connections, "connection_limit"),
    Cause(never_says_connect, "stale", FRAMED),
    Cause(ended_by_the_application, "force_disconnect", on_events=True),
    Cause(revoked, "revoked"),
    Cause(told_to_come_again, "force_reconnect", on_events=True),
    Cause(expired, "expired", on_events=True),
    Cause(subscription_expired, "subscription_expired"),
    Cause(what_json_cant_say, "inappropriate_protocol"),
    Cause(another_life_of_the_log, "insufficient_state"),
    Cause(doesnt_read, "slow", on_events=True),
    Cause(answers_no_ping, "no_pong", BOTH_WAYS),
    Cause(breaks_the_protocol, "bad_request", BOTH_WAYS),
    Cause(talks_to_nobody, "not_available", BOTH_WAYS),
    Cause(the_server_goes, "shutdown", on_events=True),
]

ELSEWHERE = {
    "closed": "says nothing more, so no transport shows it",
    "internal": "test_an_internal_error below",
    "too_many_requests": "tests/session/test_rates.py",
    "state_invalidated": "the application's own, as force_reconnect",
    "write_error": "never sent",
    "too_many_errors": "never sent",
}


@pytest.fixture(scope="module")
def app() -> Roomful:
    app = Roomful(CONFIG)

    @app.on(ConnectEvent)
    async def connect(event: ConnectEvent) -> None:
        match event.data:
            case "refuse":
                raise Forbidden
            case "ban":
                raise Disconnect(4501, "banned")
            case "crash":
                raise LookupError("a crash that the test wants")

    return app


@pytest.fixture(scope="module")
def host(app: Roomful) -> Iterator[Host]:
    with roomful(app) as host:
        yield host


@pytest.fixture(params=TRANSPORTS)
def stage(request: pytest.FixtureRequest, app: Roomful, host: Host) -> Iterator[Stage]:
    with closing(Stage(app, host, request.param)) as stage:
        yield stage


@pytest.mark.parametrize(
    ("stage", "cause"),
    [
        pytest.param(transport, cause, id=f"{cause.provoke.__name__}-{transport}")
        for transport in TRANSPORTS
        for cause in CAUSES
        if transport in (cause.on or TRANSPORTS)
    ]
    + [pytest.param("events", cause, id=f"{cause.provoke.__name__}-events") for cause in CAUSES if cause.on_events],
    indirect=["stage"],
)
def test_17_each_cause_has_one_code_everywhere(stage: Stage, cause: Cause, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "roomful.session")
    code, reason = DISCONNECTS[cause.name]
    before = stage.app.stats.disconnects.get(code, 0)
    assert cause.provoke(stage).ending() == (code, reason)
    assert stage.app.stats.disconnects[code] == before + 1
    logged = {(line.levelno, line.msg, line.args) for line in caplog.records}
    assert ((logging.INFO, "it ends with %d: %s", (code, reason)) in logged) == (cause.name != "shutdown")


def test_17_a_hook_has_codes_of_its_own(stage: Stage) -> None:
    assert ended_by_a_hook(stage).ending() == (4501, "banned")


def test_17_an_internal_error_is_a_reply_where_there_are_replies(stage: Stage) -> None:
    line = stage.line().connect({"data": "crash"})
    if line.uni:
        assert line.ending() == DISCONNECTS["internal"]
    else:
        assert line.next()["error"] == {"code": 100, "message": "internal server error", "temporary": True}


def test_17_what_is_too_large_costs_its_request_or_is_1009(stage: Stage) -> None:
    """And what is published from code above what a client may send reaches all."""
    large = {"publish": {"channel": stage.room, "data": "x" * MESSAGE_MAX_BYTES}, "id": 5}
    line = stage.member()
    if isinstance(line, WebSocketLine):
        line.say(large)
        assert line.ending()[0] == 1009
        return
    if not line.uni:
        assert emulate(stage.port, line.welcome, large) == 413
    stage.run(stage.app.publish(stage.room, "y" * MESSAGE_MAX_BYTES))
    said = line.next()
    assert said.get("push", said)["pub"]["data"] == "y" * MESSAGE_MAX_BYTES


def test_17_every_end_of_the_table_is_provoked() -> None:
    assert {cause.name for cause in CAUSES} | ELSEWHERE.keys() == DISCONNECTS.keys()


def test_17_the_page_tells_the_table() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (yes|never) \|", DOCS.read_text(), re.MULTILINE)
    told = {int(code): (reason, comes_back == "yes") for code, reason, comes_back in rows}
    assert told == {code: (reason, Disconnect(code, reason).reconnect) for code, reason in DISCONNECTS.values()}
