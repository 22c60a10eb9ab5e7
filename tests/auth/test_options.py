"""The `[tokens]` table."""

from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from roomful.auth.options import TokenOptions


def test_secrets_are_never_printed() -> None:
    options = TokenOptions(hmac_secret="first-secret", hmac_previous_secret="other-secret", issuer="me")
    for text in (repr(options), str(options), f"{options}", pretty_repr(options)):
        assert "secret'" not in text.replace("***", "")
        assert "first-secret" not in text
        assert "other-secret" not in text
        assert "issuer='me'" in text


@pytest.mark.parametrize("name", ["hmac_secret", "hmac_previous_secret", "public_key", "jwks_url"])
def test_any_key_is_a_key(name: str) -> None:
    assert TokenOptions(**{name: "x"}).has_key
    assert not TokenOptions(**{name: ""}).has_key
