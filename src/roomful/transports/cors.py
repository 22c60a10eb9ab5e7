"""What browsers have to hear before a page of another origin may use an HTTP endpoint. Pure; CORS is in Fetch, section
3.2; Centrifuge protocol, section 19.5.
"""

from __future__ import annotations

from collections.abc import Sequence

from roomful.transports.negotiate import TransportOptions, origin_allowed

PREFLIGHT_MAX_AGE_S = 300


def cors_headers(headers: dict[str, str], options: TransportOptions) -> dict[str, str]:
    """What every answer to such a page carries; nothing for clients that are no pages, and for foreign pages.

    headers: of the request, names in lower case.
    """
    origin = headers.get("origin")
    if origin is None or not origin_allowed(origin, options):
        return {}
    allowed = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }
    wanted = headers.get("access-control-request-headers")
    return allowed if wanted is None else {**allowed, "Access-Control-Allow-Headers": wanted}


def preflight_headers(headers: dict[str, str], methods: Sequence[str], options: TransportOptions) -> dict[str, str]:
    """Of the answer (204) to an OPTIONS request; `Allow` alone if it doesn't come from an allowed page."""
    allowed = ", ".join((*methods, "OPTIONS"))
    granted = cors_headers(headers, options)
    if not granted:
        return {"Allow": allowed}
    return {
        **granted,
        "Allow": allowed,
        "Access-Control-Allow-Methods": allowed,
        "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
    }
