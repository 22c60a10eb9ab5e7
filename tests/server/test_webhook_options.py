from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from roomful.server.webhook_options import WebhookOptions, secret_bytes

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_secret_is_base64_behind_its_prefix() -> None:
    assert secret_bytes("whsec_AAEC") == b"\x00\x01\x02"


@pytest.mark.parametrize("secret", ["", "AAEC", "whsec_hunter2!", "whsec_AAE"])
def test_what_is_no_secret_is_told_without_telling_it(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_") as raised:
        secret_bytes(secret)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("show", [repr, pretty_repr])
def test_no_secret_is_shown(show: object) -> None:
    options = WebhookOptions(url="https://ann:hunter2@example.com/x", secrets=(SECRET, SECRET))
    text = show(options)  # type: ignore[operator] # each of them takes one object
    assert SECRET not in text
    assert "hunter2" not in text
    assert "https://***@example.com/x" in text


def test_names_of_headers_have_no_case() -> None:
    assert WebhookOptions(forward_headers=("Cookie", "X-A", "cookie")).headers_forwarded == {"cookie", "x-a"}
