"""Configurations that can be read and still make no sense, one by one; and those that do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from roomful.auth.options import TokenOptions
from roomful.engines.options import EngineOptions
from roomful.model.channel import ChannelOptions
from roomful.model.errors import ConfigError
from roomful.node.rate_options import RateOptions, VisitorRates
from roomful.node.revocations import RevocationOptions
from roomful.server.config import ApiOptions, Config, ServerOptions
from roomful.server.config_check import ABOVE_ZERO, check, dev_problems, is_loopback, problems, warnings
from roomful.server.webhook_options import WebhookOptions
from roomful.session.options import ConnectionOptions, LimitOptions

HISTORY: dict[str, Any] = {"history_size": 10, "history_ttl_s": 60}


def found(config: Config) -> set[str]:
    return {".".join(problem.path) for problem in problems(config)}


@pytest.mark.parametrize(
    ("rate", "told"), [("20/s burst 40", ""), ("6/min", ""), ("often", "is no rate"), ("0/s", "nothing through")]
)
def test_rates_are_rates(rate: str, told: str) -> None:
    config = Config(limits=LimitOptions(rates=RateOptions(user=VisitorRates(publish=rate))))
    reasons = {".".join(problem.path): problem.reason for problem in problems(config)}
    assert set(reasons) == ({"limits.rates.user.publish"} if told else set())
    assert told in "".join(reasons.values())


def namespace(name: str = "chat", **options: Any) -> Config:
    return Config(namespaces={name: ChannelOptions(**options)})


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, set()),
        (HISTORY, set()),
        ({"history_size": 10}, {"history_ttl_s"}),
        ({"history_ttl_s": 10}, {"history_size"}),
        ({"history_size": -1}, {"history_size"}),
        ({"history_ttl_s": float("nan")}, {"history_ttl_s"}),
        ({"history_ttl_s": float("inf"), "history_size": 1}, {"history_ttl_s"}),
        ({"recover": True}, {"recover"}),
        ({"recover": True, **HISTORY}, set()),
        ({"position": True}, {"position"}),
        ({"position": True, **HISTORY}, set()),
        ({"slow": "latest"}, set()),
        ({"slow": "latest", **HISTORY}, set()),
        ({"slow": "latest", "recover": True, **HISTORY}, {"recover"}),
        ({"delta": True}, {"delta"}),
        ({"delta": True, **HISTORY}, set()),
        ({"slow": "latest", "delta": True, **HISTORY}, {"delta"}),
        ({"mode": "cache"}, {"mode"}),
        ({"mode": "cache", **HISTORY}, set()),
        ({"slow": "latest", "mode": "cache", **HISTORY}, {"mode"}),
        ({"slow": "latest", "position": True, **HISTORY}, {"position"}),
        ({"slow": "resume"}, {"slow"}),
        ({"slow": "resume", **HISTORY}, set()),
        ({"channel_regex": "[a-z]+"}, set()),
        ({"channel_regex": "["}, {"channel_regex"}),
        ({"join_leave": True}, set()),
        ({"join_leave": "all", "presence": True}, set()),
    ],
)
def test_a_namespace(options: dict[str, Any], keys: set[str]) -> None:
    assert found(namespace(**options)) == {f"namespaces.chat.{key}" for key in keys}


@pytest.mark.parametrize("name", ["chat", "ab", "a-b_c.d", "CHAT", "42", "default"])
def test_a_namespace_may_be_called(name: str) -> None:
    assert found(namespace(name)) == set()


@pytest.mark.parametrize("name", ["", "a", "typing", "people", "state", "chat room", "a:b", "$chat", "chät", "ab\n"])
def test_a_namespace_may_not_be_called(name: str) -> None:
    assert found(namespace(name)) == {f"namespaces.{name}"}


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"port": 0}, set()),
        ({"port": 65_535}, set()),
        ({"port": 65_536}, {"port"}),
        ({"port": -1}, {"port"}),
        ({"host": ""}, {"host"}),
        ({"host": "", "uds": "/run/roomful.sock"}, set()),
        ({"tls_cert": "c.pem"}, {"tls_key"}),
        ({"tls_key": "k.pem"}, {"tls_cert"}),
        ({"tls_key": "k.pem", "tls_cert": "c.pem"}, set()),
        ({"drain_s": -1}, {"drain_s"}),
        ({"workers": 0}, {"workers"}),
        ({"workers": 2}, {"workers"}),
        ({"trusted_proxies": ("10.0.0.0/8", "127.0.0.1", "::1", "fd00::/8", "10.0.0.1/8")}, set()),
        ({"trusted_proxies": ("localhost",)}, {"trusted_proxies"}),
    ],
)
def test_the_server(options: dict[str, Any], keys: set[str]) -> None:
    assert found(Config(server=ServerOptions(**options))) == {f"server.{key}" for key in keys}


@pytest.mark.parametrize(
    ("url", "keep_s", "fits"),
    [
        ("memory://", 50 * 86400.0, True),
        ("nats://host", 39 * 86400.0, True),
        ("nats://host", 40 * 86400.0, False),
        ("nats://host", 0.0, False),
    ],
)
def test_27_revocations_are_remembered_while_the_engine_remembers(url: str, keep_s: float, fits: bool) -> None:
    config = Config(engine=EngineOptions(url=url), revocations=RevocationOptions(keep_s=keep_s))
    assert found(config) == (set() if fits else {"revocations.keep_s"})


@pytest.mark.parametrize(
    "origin",
    ["*", "https://example.com", "http://localhost:3000", "https://*.example.com", "*://example.com", "app://-"],
)
def test_an_origin(origin: str) -> None:
    assert found(Config(server=ServerOptions(allowed_origins=(origin,)))) == set()


@pytest.mark.parametrize(
    "origin", ["example.com", "https://example.com/", "https://Example.com", "https://", "", "https://a b"]
)
def test_no_origin(origin: str) -> None:
    assert found(Config(server=ServerOptions(allowed_origins=(origin,)))) == {"server.allowed_origins"}


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"lease_s": 30, "renew_s": 15}, set()),
        ({"lease_s": 29, "renew_s": 15}, {"renew_s"}),
        ({"prefix": "shop-1.a_b"}, set()),
        ({"prefix": "a{b}"}, {"prefix"}),
        ({"prefix": ""}, {"prefix"}),
    ],
)
def test_the_engine(options: dict[str, Any], keys: set[str]) -> None:
    assert found(Config(engine=EngineOptions(**options))) == {f"engine.{key}" for key in keys}


@pytest.mark.parametrize("url", ["memory://", "memory"])
def test_workers_that_would_not_hear_each_other_are_refused_and_told_what_to_do(url: str) -> None:
    config = Config(server=ServerOptions(workers=4), engine=EngineOptions(url=url))
    (problem,) = problems(config)
    assert "workers = 1" in problem.reason
    assert "local://" in problem.reason


@pytest.mark.parametrize("url", ["local", "redis://127.0.0.1", "nats://127.0.0.1"])
def test_workers_with_an_engine_that_they_share(url: str) -> None:
    assert problems(Config(server=ServerOptions(workers=4), engine=EngineOptions(url=url))) == []
    (problem,) = problems(Config(server=ServerOptions(workers=4, uds="s"), engine=EngineOptions(url=url)))
    assert "Unix socket" in problem.reason


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"ping_s": 0, "pong_s": 0}, set()),
        ({"ping_s": 0.5, "pong_s": 0.2}, {"ping_s"}),
        ({"ping_s": 5, "pong_s": 5}, {"pong_s"}),
        ({"pong_s": 0}, {"pong_s"}),
        ({"stale_s": 0}, {"stale_s"}),
        ({"expired_grace_s": 0}, set()),
        ({"single_connection": True}, {"single_connection"}),
        ({"personal_channel": True}, {"personal_channel"}),
    ],
)
def test_connections(options: dict[str, Any], keys: set[str]) -> None:
    assert found(Config(connection=ConnectionOptions(**options))) == {f"connection.{key}" for key in keys}


@pytest.mark.parametrize("name", ["", "inbox"])
def test_the_personal_channel_needs_its_namespace(name: str) -> None:
    options = ConnectionOptions(personal_channel=True, personal_namespace=name, single_connection=True)
    silent, present = ChannelOptions(), ChannelOptions(presence=True)
    assert found(Config(connection=options)) == {"connection.personal_channel"}
    assert found(Config(connection=options, namespaces={name or "default": present})) == set()
    assert found(Config(connection=options, namespaces={name or "default": silent})) == {"connection.single_connection"}


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"hmac_secret": "x" * 32, "jwks_url": "https://example.com/keys"}, set()),
        ({"user_claim": ""}, {"user_claim"}),
        ({"jwks_url": "file:///keys"}, {"jwks_url"}),
        ({"jwks_url": "https://"}, {"jwks_url"}),
        ({"jwks_url": "http://[::1"}, {"jwks_url"}),
        ({"public_key": "/nowhere.pem"}, {"public_key"}),
        ({"leeway_s": -1}, {"leeway_s"}),
    ],
)
def test_tokens(options: dict[str, Any], keys: set[str]) -> None:
    assert found(Config(tokens=TokenOptions(**options))) == {f"tokens.{key}" for key in keys}


HOOK: dict[str, Any] = {"url": "http://127.0.0.1:3000/", "events": ("connect",)}
SIGNED = {"secrets": ("whsec_" + "A" * 32,)}


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (HOOK, set()),
        ({}, {"url", "events"}),
        (HOOK | {"url": "users.example.com"}, {"url"}),
        (HOOK | {"url": "ftp://users.example.com"}, {"url"}),
        (HOOK | {"events": ("connect", "rpc", "connect")}, {"events"}),
        (HOOK | {"channel": "chat:*"}, {"channel"}),
        (HOOK | {"channel": "chat:*", "events": ("connect", "publish")}, set()),
        (HOOK | {"method": "math.*"}, {"method"}),
        (HOOK | {"method": "math.*", "events": ("rpc",)}, set()),
        (HOOK | SIGNED, set()),
        (HOOK | {"secrets": ("secret",)}, {"secrets"}),
        (HOOK | {"secrets": ("whsec_!",)}, {"secrets"}),
        (HOOK | {"forward_headers": ("Cookie", "X-Tenant", "authorization")}, set()),
        (HOOK | {"forward_headers": ("cookie: x",)}, {"forward_headers"}),
        *((HOOK | {"forward_headers": (name,)}, {"forward_headers"}) for name in ("", "Host", "Content-Length", "TE")),
        *((HOOK | {"forward_headers": (name,)}, {"forward_headers"}) for name in ("Webhook-Id", "Roomful-Event")),
        (HOOK | {"timeout_s": 0.0}, {"timeout_s"}),
        (HOOK | {"timeout_s": -1.0}, {"timeout_s"}),
        (HOOK | {"timeout_s": 10.0}, {"timeout_s"}),
        (HOOK | {"connections_max": 0}, {"connections_max"}),
        (HOOK | {"retries": 0}, set()),
        (HOOK | {"retries": 6}, {"retries"}),
    ],
    ids=str,
)
def test_a_webhook(options: dict[str, Any], keys: set[str]) -> None:
    assert found(Config(webhooks={"users": WebhookOptions(**options)})) == {f"webhooks.users.{key}" for key in keys}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (HOOK, None),
        (HOOK | {"url": "https://users.example.com/"}, "no secrets"),
        (HOOK | {"url": "https://users.example.com/"} | SIGNED, None),
        (HOOK | {"url": "http://users.example.com/"} | SIGNED, "plain http"),
        (HOOK | {"secrets": ("whsec_AAAA",)}, "shorter than 24"),
    ],
    ids=str,
)
def test_a_webhook_that_is_weak(options: dict[str, Any], word: str | None) -> None:
    config = Config(webhooks={"users": WebhookOptions(**options)}, namespaces={"chat": ChannelOptions()})
    told = warnings(config)  # and no word about nobody being able to connect: the service decides
    assert (len(told), word is None or word in told[0]) == (0 if word is None else 1, True)


def test_an_empty_api_key_would_open_the_api() -> None:
    assert found(Config(api=ApiOptions(keys=("x" * 16, "")))) == {"api.keys"}


@pytest.mark.parametrize(("table", "key"), sorted(ABOVE_ZERO))
def test_what_has_to_be_more_than_zero(table: str, key: str) -> None:
    options = msgspec.structs.replace(getattr(Config(), table), **{key: 0})
    assert found(Config(**{table: options})) == {f"{table}.{key}"}


def test_all_problems_are_told_at_once_a_line_each(tmp_path: Path) -> None:
    config = Config(
        server=ServerOptions(port=70_000, tls_cert="c.pem"),
        limits=LimitOptions(message_max_bytes=0),
        namespaces={"typing": ChannelOptions(), "chat": ChannelOptions(recover=True, channel_regex="(")},
    )
    with pytest.raises(ConfigError) as error:
        check(config)
    lines = str(error.value).splitlines()
    assert len(lines) == 6
    assert "namespaces.chat.recover: needs history: history_size and history_ttl_s" in lines
    assert all(line.partition(": ")[2] for line in lines)


SAFE = Config(tokens=TokenOptions(hmac_secret="x" * 32), namespaces={"chat": ChannelOptions()})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tokens": TokenOptions(hmac_secret="secret")}, "hmac_secret"),
        ({"tokens": TokenOptions(hmac_secret="x" * 32, hmac_previous_secret="y")}, "hmac_previous_secret"),
        ({"tokens": TokenOptions(jwks_url="http://keys.example.com/")}, "plain http"),
        ({"tokens": TokenOptions()}, "nobody can connect"),
        ({"api": ApiOptions(keys=("short",))}, "api.keys"),
        ({"namespaces": {}}, "no channels"),
        ({"limits": LimitOptions(outbox_max_bytes=65_536)}, "recovery_max_bytes"),
        ({"limits": LimitOptions(outboxes_max_bytes=65_536)}, "outboxes_max_bytes"),
    ],
)
def test_weak_or_useless(change: dict[str, Any], word: str) -> None:
    (warning,) = warnings(msgspec.structs.replace(SAFE, **change))
    assert word in warning
    assert "secret'" not in warning
    assert "short'" not in warning


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"tokens": TokenOptions(anonymous=True)},
        {"tokens": TokenOptions(jwks_url="http://127.0.0.1:9/keys")},
        {"tokens": TokenOptions(jwks_url="https://keys.example.com/")},
        {"api": ApiOptions(keys=("x" * 16,))},
    ],
)
def test_nothing_to_warn_of(change: dict[str, Any]) -> None:
    assert warnings(msgspec.structs.replace(SAFE, **change)) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_dev_on_loopback(host: str) -> None:
    assert is_loopback(host)
    assert dev_problems(Config(server=ServerOptions(host=host))) == []


@pytest.mark.parametrize(
    "options",
    [{"host": "0.0.0.0"}, {"host": "::"}, {"host": "192.168.0.7"}, {"host": "example.com"}, {"uds": "/run/a"}],
)
def test_dev_nowhere_else(options: dict[str, Any]) -> None:
    (problem,) = dev_problems(Config(server=ServerOptions(**options)))
    assert "loopback" in problem.reason
