"""What `roomful check` says."""

from __future__ import annotations

from typing import Any

import pytest

from roomful.auth.options import TokenOptions
from roomful.model.channel import ChannelOptions, Right
from roomful.node.rate_options import RateOptions, RoomRates, VisitorRates
from roomful.server.config import ApiOptions, Config, ServerOptions
from roomful.server.config_explain import address, explain
from roomful.server.webhook_options import WebhookOptions
from roomful.session.options import LimitOptions
from tests.server.test_config import FULL, SECRET


def test_everything_that_matters_is_said() -> None:
    config = Config(
        server=ServerOptions(allowed_origins=("https://example.com",)),
        tokens=TokenOptions(hmac_secret="x" * 32, anonymous=True),
        api=ApiOptions(keys=("k" * 16,)),
        namespaces={
            "default": ChannelOptions(),
            "chat": ChannelOptions(
                history_size=100,
                history_ttl_s=300,
                recover=True,
                presence=True,
                join_leave="all",
                subscribe="client",
                publish=Right.SUBSCRIBER,
            ),
        },
    )
    assert explain(config).splitlines() == [
        "Listens on   http://127.0.0.1:8000",
        "Web pages    https://example.com",
        "Tokens       hmac_secret (HS256, HS384, HS512)",
        "No token     may connect, anonymously",
        "API          1 key",
        "Metrics      with a key",
        "Engine       memory://",
        "Rates        none: commands may come as fast as they do",
        "Documents    opened by whom a token or a hook lets; kept in sqlite:///roomful.db",
        "",
        "[namespaces.chat] channels chat:…",
        "  subscribe    everybody, anonymous too",
        "  publish      subscribers of the channel",
        "  history      100 publications, 300 s; recovery for all; read by subscribers of the channel",
        "  presence     kept; seen by subscribers of the channel; join and leave to all",
        "  slow client  reads from history what it missed, or is told of the gap",
        "[namespaces.default] channels without a namespace",
        "  subscribe    whom a token or a hook lets",
        "  publish      whom a token or a hook lets",
        "  history      none",
        "  presence     not kept",
        "  slow client  is disconnected",
    ]


def test_how_often() -> None:
    user, room = VisitorRates(publish="10/s burst 30", connect="6/min"), RoomRates(publish="100/s")
    lines = explain(Config(limits=LimitOptions(rates=RateOptions(user=user, room=room)))).splitlines()
    begin = lines.index("Rates        each user: publish 10/s burst 30, connect 6/min")
    assert lines[begin + 1] == "             each room: publish 100/s"


def test_what_there_is_on_request() -> None:
    chat = ChannelOptions(history_size=9, history_ttl_s=5, mode="cache", delta=True, compact=True)
    lines = explain(Config(namespaces={"chat": chat})).splitlines()
    assert "  history      9 publications, 5 s; the newest at once for all; read by subscribers of the channel" in lines
    assert "  on request   what changed instead of all of it, a number in place of the channel's name" in lines


def test_nothing_configured_is_explained_with_warnings() -> None:
    text = explain(Config())
    assert "No namespaces, so no channels." in text
    assert "no key, so none is accepted" in text
    assert text.count("Warning: ") == 2


def test_webhooks_and_key_files_are_said() -> None:
    users = WebhookOptions(
        url="https://ann:hunter2@example.com/hooks",
        events=("connect", "publish", "rpc"),
        channel="chat:*",
        secrets=("whsec_" + "A" * 32,),
        forward_headers=("Cookie",),
    )
    plain = WebhookOptions(url="http://127.0.0.1:3000/", events=("rpc",), method="math.*", retries=0)
    config = Config(webhooks={"users": users, "plain": plain}, api=ApiOptions(keys=("k",), key_files=("/run/keys",)))
    text = explain(config)
    assert "API          1 key and those in /run/keys" in text
    assert text.split("\n\n")[1:3] == [
        "[webhooks.plain] http://127.0.0.1:3000/\n"
        "  decides      rpc (math.*)\n"
        "  is told      no headers of the client's request\n"
        "  signed       no\n"
        "  waits        5 s",
        "[webhooks.users] https://***@example.com/hooks\n"
        "  decides      connect, publish (chat:*), rpc\n"
        "  is told      cookie of the client's request\n"
        "  signed       with 1 secret\n"
        "  waits        5 s, 2 tries at most; publish and rpc once",
    ]


def test_no_secret_is_shown() -> None:
    assert SECRET not in explain(FULL)
    assert "redis://***@127.0.0.1:6379/0" in explain(FULL)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "::1", "port": 1}, "http://[::1]:1"),
        ({"tls_cert": "c", "tls_key": "k"}, "https://127.0.0.1:8000"),
        ({"uds": "/run/roomful.sock"}, "unix:/run/roomful.sock"),
    ],
)
def test_the_address(options: dict[str, Any], shown: str) -> None:
    assert address(ServerOptions(**options)) == shown
