"""Where a plain HTTP request carries its token. None of the places is ever logged (`server/logs.py`)."""

from __future__ import annotations

from roomful.seams.transport import Request

COOKIE = "roomful_token"
PARAMETER = "token"


def token_of(request: Request) -> str:
    """`Authorization: Bearer …`, else the cookie `roomful_token`, else the parameter `token`; "" without any."""
    scheme, _, bearer = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    return _cookie(request.headers.get("cookie", "")) or request.query.get(PARAMETER, "")


def _cookie(header: str) -> str:
    """Source: RFC 6265 section 5.4; the quotes are part of a value there, but nobody means them."""
    for pair in header.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value.strip('"')
    return ""
