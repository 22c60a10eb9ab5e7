"""The tree: it can be made in Python, and is safe to print."""

from __future__ import annotations

import msgspec
import pytest
from rich.pretty import pretty_repr

from roomful.auth.options import TokenOptions
from roomful.engines.options import EngineOptions
from roomful.model.channel import ChannelOptions, Right
from roomful.server.config import ApiOptions, Config, without_password
from roomful.server.config_check import check
from roomful.server.webhook_options import WebhookOptions
from roomful.session.options import ConnectionOptions, LimitOptions

SECRET = "swordfish-swordfish-swordfish-42"

FULL = Config(
    tokens=TokenOptions(hmac_secret=SECRET, hmac_previous_secret=f"old {SECRET}"),
    api=ApiOptions(keys=(SECRET, f"other {SECRET}")),
    engine=EngineOptions(url=f"redis://:{SECRET}@127.0.0.1:6379/0"),
    webhooks={"users": WebhookOptions(url=f"https://ann:{SECRET}@example.com/")},
    namespaces={"chat": ChannelOptions(presence=True, publish=Right.SUBSCRIBER)},
)


@pytest.mark.parametrize(
    "show", [repr, str, pretty_repr, "{}".format, "%r".__mod__, lambda c: repr([c, c.api, c.tokens])]
)
def test_no_secret_is_ever_printed(show: object) -> None:
    text = show(FULL)  # type: ignore[operator] # each of them takes one object
    assert SECRET not in text
    assert "presence=True" in text or "api" in text.lower()


def test_an_error_about_it_tells_no_secret() -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert({"tokens": {"hmac_secret": SECRET, "issuer": 1}}, Config)
    assert SECRET not in str(error.value)


def test_the_defaults_are_good() -> None:
    check(Config())
    assert Config().server.host == "127.0.0.1"
    assert not Config().tokens.anonymous
    assert Config().api.keys == ()


def test_the_defaults_are_those_that_clients_are_made_for() -> None:
    """Centrifuge protocol, section 22."""
    connection, limits = ConnectionOptions(), LimitOptions()
    assert (connection.ping_s, connection.pong_s) == (25, 8)
    assert (connection.stale_s, connection.expired_grace_s) == (10, 25)
    assert (limits.channels_max, limits.channel_max_bytes) == (128, 255)
    assert (limits.outbox_max_bytes, limits.message_max_bytes) == (1_048_576, 65_536)
    assert (limits.history_max, limits.recovery_max) == (300, 300)
    assert ChannelOptions().history_meta_ttl_s == 30 * 86400


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://", "memory://"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:p%40ss@host/0", "redis://***@host/0"),
        ("rediss://ann:pass@host:1/0?db=@", "rediss://***@host:1/0?db=@"),
        ("nats://token@a:4222", "nats://***@a:4222"),
        ("nats://ann:x@a:4222,nats://bob:y@b:4222", "nats://***@a:4222,nats://***@b:4222"),
    ],
)
def test_urls_are_shown_without_passwords(url: str, shown: str) -> None:
    assert without_password(url) == shown
