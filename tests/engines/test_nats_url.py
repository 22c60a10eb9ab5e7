from __future__ import annotations

import pytest

from roomful.engines.nats_url import servers
from roomful.model.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("nats://127.0.0.1:4222", ["nats://127.0.0.1:4222"]),
        ("nats://one", ["nats://one"]),
        ("tls://one:1,two:2", ["tls://one:1", "tls://two:2"]),
        ("nats://ann:s@cret@one:1, [::1]:2", ["nats://ann:s@cret@one:1", "nats://ann:s@cret@[::1]:2"]),
    ],
)
def test_one_url_a_server(url: str, wanted: list[str]) -> None:
    assert servers(url) == wanted


@pytest.mark.parametrize("url", ["nats://", "nats://one:x", "nats://one:70000", "nats://one,,two", "nats://one/path"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.url"):
        servers(url)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(ConfigError) as told:
        servers("nats://ann:secret@:x")
    assert "secret" not in str(told.value)
