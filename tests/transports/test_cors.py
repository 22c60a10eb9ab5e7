from __future__ import annotations

import pytest

from roomful.transports.cors import cors_headers, preflight_headers
from roomful.transports.negotiate import TransportOptions

OPTIONS = TransportOptions(allowed_origins=("https://*.example.com",))
PAGE = {"origin": "https://shop.example.com"}


@pytest.mark.parametrize("headers", [{}, {"origin": "https://evil.test"}, {"origin": "null"}])
def test_who_is_no_page_of_ours_is_granted_nothing(headers: dict[str, str]) -> None:
    assert cors_headers(headers, OPTIONS) == {}
    assert preflight_headers(headers, ("GET", "POST"), OPTIONS) == {"Allow": "GET, POST, OPTIONS"}


def test_an_allowed_page() -> None:
    assert cors_headers(PAGE, OPTIONS) == {
        "Access-Control-Allow-Origin": "https://shop.example.com",
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }


def test_its_preflight() -> None:
    asks = {**PAGE, "access-control-request-headers": "content-type, x-mine"}
    granted = preflight_headers(asks, ("POST",), OPTIONS)
    assert granted["Access-Control-Allow-Headers"] == "content-type, x-mine"
    assert granted["Access-Control-Allow-Methods"] == granted["Allow"] == "POST, OPTIONS"
    assert granted["Access-Control-Max-Age"] == "300"


def test_never_any_page_with_credentials() -> None:
    """`*` in the options allows all pages, each by its own name."""
    granted = cors_headers({"origin": "https://evil.test"}, TransportOptions(allowed_origins=("*",)))
    assert granted["Access-Control-Allow-Origin"] == "https://evil.test"
