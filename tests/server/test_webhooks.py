"""Webhooks against a real service: what it is asked, what it may answer, and what it can't do to us."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomful import (
    ChannelOptions,
    Config,
    ConfigError,
    ConnectEvent,
    ConnectReply,
    Disconnect,
    Forbidden,
    PublishEvent,
    Roomful,
)
from roomful.model.channel import Right
from roomful.model.errors import InternalError
from roomful.node import eager
from roomful.node.hooks import Hooks
from roomful.node.stats import Stats
from roomful.server import webhooks
from roomful.server.webhook_options import WebhookOptions, secret_bytes
from roomful.server.webhooks import Service, Webhooks
from roomful.session.refresh import on_expiry
from roomful.testing.client import Client, Closed, CommandError, connect, open_client
from roomful.testing.fault_proxy import FaultProxy
from tests.server.webhook_service import Asked, Raw, WebhookService, serving
from tests.session.world import session_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
ALL_BUT_RPC: Any = ("connect", "refresh", "subscribe", "sub_refresh", "publish")
CHAT = ChannelOptions(history_size=10, history_ttl_s=60.0, presence=True)


@pytest.fixture
async def service() -> AsyncIterator[WebhookService]:
    async with serving(WebhookService()) as service:
        service.answers["connect"] = {"result": {"user": "ann"}}
        yield service


@pytest.fixture
async def make(service: WebhookService) -> AsyncIterator[Callable[..., Any]]:
    """A started server with webhooks for the service. rpc: other options of the one for rpc."""
    apps: list[Roomful] = []

    async def make(*, url: str = "", rpc: dict[str, Any] | None = None, **options: Any) -> Roomful:
        common = {"url": url or service.url, "timeout_s": 9.0, **options}
        app = Roomful(
            Config(
                webhooks={
                    "users": WebhookOptions(events=ALL_BUT_RPC, **common),
                    "calls": WebhookOptions(events=("rpc",), **common | (rpc or {})),
                },
                namespaces={"chat": CHAT},
            )
        )
        apps.append(app)
        await app.start()
        return app

    yield make
    for app in apps:
        await app.stop()


async def code_of(call: Any) -> int:
    with pytest.raises(CommandError) as raised:
        await call
    return int(raised.value.code)


# The life of a client


async def test_a_client_by_webhooks_alone(service: WebhookService, make: Callable[..., Any]) -> None:
    app = await make()
    service.answers |= {
        "connect": {
            "result": {
                "user": "ann",
                "info": {"name": "Ann"},
                "data": {"welcome": True},
                "meta": {"tenant": 7},
                "channels": ["chat:lobby"],
                "subs": {
                    "chat:vip": {"info": {"role": "guest"}, "data": 1, "override": {"presence": {"value": False}}}
                },
            }
        },
        "subscribe": {"result": {"info": {"seat": 3}, "data": {"topic": "x"}}},
        "publish": lambda asked: {"result": {"data": {"said": asked.said["data"]}, "tags": {"a": "b"}}},
        "rpc": lambda asked: {"result": {"data": [asked.said["method"], asked.said["data"]]}},
    }
    client = await opened(app, data={"from": "js"}, name="js", version="1.0")
    assert client.connected["data"] == {"welcome": True}
    assert client.connected["subs"]["chat:vip"]["data"] == 1
    assert set(client.connected["subs"]) == {"chat:lobby", "chat:vip"}
    assert await app.presence("chat:vip") == {}
    assert (await client.subscribe("chat:1"))["data"] == {"topic": "x"}
    (seen,) = (await app.presence("chat:1")).values()
    assert (seen.user, seen.conn_info, seen.chan_info) == ("ann", b'{"name": "Ann"}', b'{"seat": 3}')
    await client.publish("chat:1", "hi")
    (pub,) = [push["pub"] for push in await client.settle() if "pub" in push]
    assert (pub["data"], pub["tags"], pub["info"]["user"]) == ({"said": "hi"}, {"a": "b"}, "ann")
    assert await client.call(rpc={"method": "add", "data": [1]}) == {"data": ["add", [1]]}

    known = {"client": client.id, "transport": "memory", "protocol": "json", "encoding": "json"}
    later = known | {"user": "ann", "meta": {"tenant": 7}}
    assert [(asked.event, asked.said) for asked in service.asked] == [
        ("connect", known | {"data": {"from": "js"}, "name": "js", "version": "1.0"}),
        ("subscribe", later | {"channel": "chat:1"}),
        ("publish", later | {"channel": "chat:1", "data": "hi"}),
        ("rpc", later | {"method": "add", "data": [1]}),
    ]
    client.cut()


async def opened(app: Roomful, *, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """A client that tells what its connect was answered."""
    client: Any = open_client(app, headers=headers)
    client.connected = await client.connect(**fields)
    return client


async def test_a_token_comes_first_and_the_service_is_told(service: WebhookService, make: Callable[..., Any]) -> None:
    app = await make()
    service.answers["connect"] = {}
    with pytest.raises(Closed) as closed:  # no opinion, no token, no anonymous clients
        async with connect(app):
            pass
    assert closed.value.code == 3501
    service.answers["connect"] = {"result": {}}
    async with connect(app) as client:  # let in, as nobody in particular
        assert await code_of(client.subscribe("chat:1")) == 103
    assert "user" not in service.asked[-2].said


async def test_binary_payloads_travel_in_base64(service: WebhookService, make: Callable[..., Any]) -> None:
    service.answers["rpc"] = {"result": {"b64data": "eyJhIjoxfQ=="}}
    app = await make()
    async with connect(app) as client:
        assert await client.call(rpc={"method": "x"}) == {"data": {"a": 1}}
    assert "data" not in service.about("rpc")[0].said


async def test_a_publication_that_skips_history_and_its_author(
    service: WebhookService, make: Callable[..., Any]
) -> None:
    service.answers |= {
        "subscribe": {"result": {}},
        "publish": lambda asked: {"result": {"skip_history": True, "exclude": [asked.said["client"]]}},
    }
    app = await make()
    async with connect(app) as ann, connect(app) as other:
        await ann.subscribe("chat:1")
        await other.subscribe("chat:1")
        await ann.publish("chat:1", "psst")
        assert [push["pub"]["data"] for push in await other.settle() if "pub" in push] == ["psst"]
        assert [push for push in await ann.settle() if "pub" in push] == []
    assert (await app.history("chat:1", limit=None)).publications == []


class Wall:
    """The time of day of a server, which the test moves. expire: what is due then has its turn, to the end."""

    def __init__(self, app: Roomful) -> None:
        self.now = 1_000.0
        app.live.node.wall_clock = lambda: self.now

    async def expire(self, client: Client, at: float) -> None:
        self.now = at
        on_expiry(session_of(client))
        await eager.finished(10.0)


async def test_the_service_renews_and_ends_connections(service: WebhookService, make: Callable[..., Any]) -> None:
    service.answers |= {
        "connect": {"result": {"user": "ann", "expire_at": 1_100, "meta": {"m": 1}}},
        "refresh": lambda asked: {"result": {"expired": True} if asked.number else {"expire_at": 1_200, "info": 7}},
    }
    app = await make()
    wall = Wall(app)
    async with connect(app) as client:
        await wall.expire(client, 1_100.0)
        assert (session_of(client).expires_at, session_of(client).conn_info) == (1_200, b"7")
        await wall.expire(client, 1_200.0)
        assert await client.closed() == (3005, "connection expired")
    first = service.about("refresh")[0].said
    assert (first["user"], first["meta"], first["client"]) == ("ann", {"m": 1}, client.id)


async def test_a_service_that_is_down_at_a_refresh_is_asked_again(
    service: WebhookService, make: Callable[..., Any]
) -> None:
    service.answers |= {
        "connect": {"result": {"user": "ann", "expire_at": 1_100}},
        "refresh": lambda asked: {"result": {"expire_at": 1_200}} if asked.number else Raw(500),
    }
    app = await make()
    wall = Wall(app)
    async with connect(app) as client:
        await wall.expire(client, 1_100.0)
        assert session_of(client).expires_at == 1_100, "not yet, and still there"
        await wall.expire(client, 1_100.5)
        assert session_of(client).expires_at == 1_200
        assert client.transport.closed is None


async def test_the_service_renews_and_ends_subscriptions(service: WebhookService, make: Callable[..., Any]) -> None:
    service.answers |= {
        "subscribe": {"result": {"expire_at": 1_100}},
        "sub_refresh": lambda asked: {"result": {"expired": True} if asked.number else {"expire_at": 1_200}},
    }
    app = await make()
    wall = Wall(app)
    async with connect(app) as client:
        await client.subscribe("chat:1")
        await wall.expire(client, 1_100.0)
        assert session_of(client).subscriptions["chat:1"].expires_at == 1_200
        await wall.expire(client, 1_200.0)
        push = await client.next_push()
        assert push == {"channel": "chat:1", "unsubscribe": {"code": 2501, "reason": "subscription expired"}}
    assert [asked.said["channel"] for asked in service.about("sub_refresh")] == ["chat:1", "chat:1"]


# What it refuses with


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"error": {"code": 103, "message": "no"}}, 103),
        ({"error": {"code": 1000, "message": "custom", "temporary": True}}, 1000),
        ({"error": {"code": 111, "message": ""}}, 111),
        ({"error": {"code": 5, "message": "not a code"}}, 100),
        ({}, 103),
        ({"result": None}, 103),
    ],
    ids=str,
)
async def test_a_refusal_answers_the_command(
    service: WebhookService, make: Callable[..., Any], answer: Any, code: int
) -> None:
    service.answers["subscribe"] = answer
    app = await make()
    async with connect(app) as client:
        assert await code_of(client.subscribe("chat:1")) == code
        assert client.transport.closed is None


async def test_a_refused_connect_is_for_good(service: WebhookService, make: Callable[..., Any]) -> None:
    app = await make()
    for answer, code in [
        ({"error": {"code": 103, "message": "no"}}, 3507),
        ({"disconnect": {"code": 4501, "reason": "unauthorized"}}, 4501),
    ]:
        service.answers["connect"] = answer
        with pytest.raises(Closed) as closed:
            async with connect(app):
                pass
        assert closed.value.code == code


# What goes wrong

FAILURES: dict[str, Any] = {
    "hangs": Raw(hangs=True),
    "breaks": Raw(breaks=True),
    "fails": Raw(500, b"boom"),
    "redirects": Raw(307, b"", {"location": "http://127.0.0.1:1/"}),
    "created": Raw(201),
    "no json": Raw(body=b"<html>"),
    "no utf-8": Raw(body=b'{"result": {"data": "\xff"}}'),
    "a list": [],
    "a typo": {"resutl": {}},
    "a typo in the result": {"result": {"expire_att": 1}},
    "a wrong type": {"result": {"data": 1, "b64data": 1}},
    "no base64": {"result": {"b64data": "!"}},
    "deep": Raw(body=b'{"result": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "compressed": Raw(body=gzip.compress(b"{}"), headers={"content-encoding": "gzip"}),
    "a wrong disconnect": {"disconnect": {"code": 3000, "reason": "x"}},
    "a disconnect without a reason": {"disconnect": {"code": 4000, "reason": ""}},
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_service_that_fails_costs_one_command(
    service: WebhookService, make: Callable[..., Any], caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    service.answers |= {"rpc": FAILURES[failure], "subscribe": {"result": {}}}
    timeout_s = 0.1 if failure == "hangs" else 9.0
    app = await make(secrets=(SECRET,), forward_headers=("cookie",), rpc={"timeout_s": timeout_s})
    async with connect(app, headers={"cookie": "sid=hush"}) as client:
        assert await code_of(client.call(rpc={"method": "x", "data": "quiet"})) == 100
        await client.subscribe("chat:1")
        assert client.transport.closed is None
    (line,) = [r for r in caplog.records if r.levelno >= logging.WARNING and r.name.startswith("roomful")]
    assert (line.levelno, line.msg) == (logging.WARNING, "webhook %s, asked about a %s: %s")
    assert line.getMessage().startswith("webhook calls, asked about a rpc: ")
    assert not any(secret in caplog.text for secret in ("hush", "quiet", SECRET, "Traceback"))
    assert sum(app.stats.hook_errors.values()) == 1


async def test_an_answer_that_is_too_large(
    service: WebhookService, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "ANSWER_MAX_BYTES", 1000)
    service.answers["rpc"] = {"result": {"data": "x" * 1000}}
    app = await make()
    async with connect(app) as client:
        assert await code_of(client.call(rpc={"method": "x"})) == 100


async def test_a_service_that_isnt_there(make: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    app = await make(url="http://secret-user:secret-password@127.0.0.1:1/")
    with pytest.raises(CommandError) as raised:
        async with connect(app):
            pass
    assert (raised.value.code, raised.value.temporary) == (100, True)
    assert "can't be reached" in caplog.text
    assert "secret" not in caplog.text


async def test_others_go_on_while_one_waits(service: WebhookService, make: Callable[..., Any]) -> None:
    go = asyncio.Event()

    async def answer(asked: Asked) -> Any:
        if asked.said["method"] == "slow":
            await go.wait()
        return {"result": {"data": asked.said["method"]}}

    service.answers["rpc"] = answer
    app = await make()
    async with connect(app) as slow, connect(app) as quick:
        waiting = asyncio.create_task(slow.call(rpc={"method": "slow"}))
        assert await quick.call(rpc={"method": "quick"}) == {"data": "quick"}
        assert not waiting.done()
        go.set()
        assert await waiting == {"data": "slow"}


async def test_it_has_only_so_many_connections(service: WebhookService, make: Callable[..., Any]) -> None:
    async def slowly(_asked: Asked) -> Any:
        await asyncio.sleep(0.01)
        return {"result": {}}

    service.answers["rpc"] = slowly
    app = await make(connections_max=2)
    clients = [await opened(app) for _ in range(12)]
    await asyncio.gather(*(client.call(rpc={"method": "x"}) for client in clients))
    assert len(service.about("rpc")) == 12
    assert service.most_at_once == 2
    for client in clients:
        client.cut()


# Retries


@pytest.mark.parametrize("first", [Raw(503), Raw(502), Raw(504), Raw(breaks=True)], ids=lambda raw: str(raw.status))
async def test_a_decision_is_asked_for_again(service: WebhookService, make: Callable[..., Any], first: Raw) -> None:
    service.answers["connect"] = lambda asked: first if asked.number == 0 else {"result": {"user": "ann"}}
    app = await make(secrets=(SECRET,))
    async with connect(app):
        pass
    one, two = service.about("connect")
    assert one.headers["webhook-id"] == two.headers["webhook-id"]
    assert one.body == two.body


@pytest.mark.parametrize("event", ["publish", "rpc"])
@pytest.mark.parametrize("first", [Raw(503), Raw(breaks=True)], ids=["503", "breaks"])
async def test_what_may_have_been_done_isnt_asked_again(
    service: WebhookService, make: Callable[..., Any], event: str, first: Raw
) -> None:
    service.answers[event] = lambda asked: first if asked.number == 0 else {"result": {}}
    app = await make(retries=3)
    async with connect(app) as client:
        command = {"method": "x"} if event == "rpc" else {"channel": "chat:1", "data": 1}
        assert await code_of(client.call(**{event: command})) == 100
        assert len(service.about(event)) == 1
        await client.call(**{event: command})


async def test_a_decision_that_stays_away_is_asked_for_so_often(
    service: WebhookService, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "RETRY_PAUSE_S", 0.001)
    service.answers["connect"] = Raw(503)
    app = await make(retries=2)
    with pytest.raises(CommandError):
        async with connect(app):
            pass
    assert len(service.about("connect")) == 3
    service.answers["connect"] = Raw(500)  # its own mistake, which it would make again
    with pytest.raises(CommandError):
        async with connect(app):
            pass
    assert len(service.about("connect")) == 4


async def test_what_never_reached_the_service_is_asked_again(service: WebhookService) -> None:
    """Also a publish: on the first try nobody listens, on the second somebody does."""
    async with FaultProxy(service.port) as proxy:
        proxy.refusing = True
        options = WebhookOptions(url=f"http://127.0.0.1:{proxy.port}/", events=("publish",), timeout_s=5.0, retries=5)
        asking = Service("users", options)
        answer = asyncio.create_task(asking.ask("publish", b"{}", {}, deciding=True))
        await asyncio.sleep(0)
        proxy.heal()
        assert await answer == b"{}"
        await asking.close()


# Headers


async def test_headers_are_forwarded_only_where_that_is_said(service: WebhookService, make: Callable[..., Any]) -> None:
    service.answers["rpc"] = {"result": {}}
    app = await make(forward_headers=("Cookie", "X-Tenant"))
    headers = {"cookie": "sid=1; naïve=é", "authorization": "Bearer secret", "roomful-event": "rpc", "host": "evil"}
    client = await opened(app, headers=headers)
    await client.call(rpc={"method": "x"})
    for asked in service.asked:
        assert asked.headers["cookie"] == "sid=1; naïve=é"
        assert not {"authorization", "x-tenant"} & asked.headers.keys()
        assert asked.headers["host"] == f"127.0.0.1:{service.port}"
    assert [asked.event for asked in service.asked] == ["connect", "rpc"]
    assert session_of(client).request.headers == {"cookie": "sid=1; naïve=é"}
    client.cut()


async def test_nothing_is_forwarded_or_kept_by_default(service: WebhookService, make: Callable[..., Any]) -> None:
    app = await make()
    client = await opened(app, headers={"cookie": "sid=1", "authorization": "x", "x-api-key": "x", "origin": "x"})
    assert not {"cookie", "authorization", "x-api-key", "origin"} & service.asked[0].headers.keys()
    assert session_of(client).request.headers == {}
    client.cut()


# Signatures


def test_the_test_vector_of_standard_webhooks() -> None:
    options = WebhookOptions(url="http://127.0.0.1/", secrets=(SECRET,))
    service = Service("users", options, clock=lambda: 1614265330.9)
    assert service._signed("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}') == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


async def test_each_secret_signs_while_one_replaces_the_other(
    service: WebhookService, make: Callable[..., Any]
) -> None:
    app = await make(secrets=(SECRET, OTHER_SECRET))
    async with connect(app):
        pass
    (asked,) = service.asked
    assert len(asked.headers["webhook-signature"].split()) == 2
    assert abs(int(asked.headers["webhook-timestamp"]) - time.time()) < 60


async def test_without_a_secret_nothing_is_signed(service: WebhookService, make: Callable[..., Any]) -> None:
    app = await make()
    async with connect(app):
        pass
    assert "webhook-signature" not in service.asked[0].headers


# Beside other hooks


async def test_the_most_specific_pattern_wins(service: WebhookService) -> None:
    def hook(channel: str | None) -> WebhookOptions:
        name = "any" if channel is None else channel
        return WebhookOptions(url=f"{service.url}/{name}", events=("publish",), channel=channel)

    everywhere = ChannelOptions(publish=Right.CLIENT)
    app = Roomful(
        Config(
            webhooks={"any": hook(None), "chat": hook("chat:*")},
            namespaces={"chat": everywhere, "news": everywhere},
        )
    )
    heard: list[str] = []

    @app.on(ConnectEvent)
    async def who(_event: ConnectEvent) -> ConnectReply:
        return ConnectReply(user="ann")

    @app.on(PublishEvent, channel="chat:room:*")
    async def note(event: PublishEvent) -> None:
        heard.append(event.channel)

    service.answers["publish"] = {"error": {"code": 1000, "message": "asked"}}
    async with connect(app) as client:
        assert await code_of(client.publish("chat:1", 1)) == 1000
        assert await code_of(client.publish("news:1", 1)) == 1000
        await client.publish("chat:room:1", 1)
    assert heard == ["chat:room:1"]
    assert [asked.said["channel"] for asked in service.asked] == ["chat:1", "news:1"]
    await app.stop()


async def test_a_hook_and_a_webhook_for_the_same_are_an_error_at_the_start(service: WebhookService) -> None:
    hooks = {
        "fine": WebhookOptions(url=service.url, events=("rpc",)),
        "twice": WebhookOptions(url=service.url, events=("subscribe", "publish"), channel="chat:*"),
    }
    app = Roomful(Config(webhooks=hooks, namespaces={"chat": CHAT}))

    @app.on(PublishEvent, channel="chat:*")
    async def note(_event: PublishEvent) -> None: ...

    for _ in range(2):  # the first try leaves nothing behind
        with pytest.raises(ConfigError, match=r"webhooks.twice: there are two hooks for PublishEvent and 'chat:\*'"):
            await app.start()
    app.configure(Config(webhooks={"fine": hooks["fine"]}, namespaces={"chat": CHAT}))
    for _ in range(2):  # and neither does a life of the server
        await app.start()
        await app.stop()


async def test_after_its_end_a_service_isnt_asked_any_more(service: WebhookService) -> None:
    stats = Stats()
    hooks = Hooks(stats)
    added = Webhooks({"users": WebhookOptions(url=service.url, events=("connect",))}, hooks, stats)
    assert hooks.has(ConnectEvent)
    assert (await hooks.call(ConnectEvent("c1"))).user == "ann"
    await added.close()
    assert not hooks.has(ConnectEvent)


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        ({"error": {"code": 103, "message": "no"}}, Forbidden),
        ({"disconnect": {"code": 4000, "reason": "go"}}, Disconnect),
        (Raw(500), InternalError),
    ],
)
async def test_as_a_hook_it_raises_what_hooks_raise(
    service: WebhookService, answer: Any, raised: type[Exception]
) -> None:
    service.answers["connect"] = answer
    stats = Stats()
    hooks = Hooks(stats)
    added = Webhooks({"users": WebhookOptions(url=service.url, events=("connect",))}, hooks, stats)
    with pytest.raises(raised):
        await hooks.call(ConnectEvent("c1"))
    assert len(secret_bytes(SECRET)) == 24
    await added.close()
