"""The server API over HTTP: `POST /api/{method}` with a key. What the methods do stands in `api_methods.py`.

Source: Centrifuge protocol, section 23.1; the `cent` package for Python works with it as it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from roomful.model.errors import BadRequest, Forbidden, MethodNotFound, Unauthorized
from roomful.server import api_words as w
from roomful.server import trace_stream
from roomful.server.api_methods import METHODS, Method, outcome
from roomful.server.api_openapi import document
from roomful.server.calls import Calls
from roomful.server.config import ApiOptions
from roomful.server.wiring import Live
from roomful.transports.http_request import read_body
from roomful.transports.negotiate import Refused, origin_allowed

TRANSPORT_STATUS = {100: 500, 102: 404, 104: 404, 107: 400, 108: 400, 112: 416, 113: 409}
"""In error mode `transport`: error code → HTTP status, 500 for every other one."""

CLOSE = {"Connection": "close"}


class Legacy(msgspec.Struct, frozen=True):
    """The body of `POST /api`, as older clients have it."""

    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Refusal(Exception):
    """Ends a request before any method is called, with a status of its own in either error mode."""

    def __init__(self, status: int, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = w.Error(code, message)
        self.headers = headers


class Asked(NamedTuple):
    method: Method
    body: bytes


class Endpoint:
    """One address. An ASGI application, so that Starlette leaves it every method: a wrong one is ours to answer."""

    def __init__(self, calls: Calls, method: str, answer: Callable[[Calls, Request], Awaitable[Response]]) -> None:
        self._calls = calls
        self._method = method
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            _admit(self._calls.live, request)
            if request.method != self._method:
                raise Refusal(405, BadRequest.code, f"it takes {self._method} only", {"Allow": self._method})
            response = await self._answer(self._calls, request)
        except Refusal as refusal:
            response = _error(request, refusal.error, refusal.status, refusal.headers)
        await response(scope, receive, send)


def routes(calls: Calls) -> list[BaseRoute]:
    """The endpoints of the API, and its OpenAPI document."""
    return [
        Route("/api/openapi.json", Endpoint(calls, "GET", _openapi)),
        Route("/api/trace", Endpoint(calls, "GET", _trace)),
        Route("/api/{method}", Endpoint(calls, "POST", _answer)),
        Route("/api", Endpoint(calls, "POST", _answer)),
    ]


async def _openapi(calls: Calls, request: Request) -> Response:
    return _json(document(calls.live.node.version, request.scope.get("root_path", "")))


async def _trace(calls: Calls, request: Request) -> Response:
    live = calls.live
    stream = trace_stream.respond(request, live.node, lambda: live.streams.draining)
    if stream is None:
        raise Refusal(400, BadRequest.code, "say ?user=… or ?channel=…, or both")
    return stream


async def _answer(calls: Calls, request: Request) -> Response:
    asked = await _read(request, calls.live.config.api, request.path_params.get("method"))
    try:
        wanted = msgspec.json.decode(asked.body, type=asked.method.request)
    except (msgspec.ValidationError, RecursionError) as error:
        return _error(request, w.Error(BadRequest.code, f"bad request: {error}"))
    except msgspec.DecodeError as error:
        return _error(request, w.Error(BadRequest.code, f"the body isn't JSON: {error}"), 400)
    result = await outcome(asked.method, calls, wanted)
    if isinstance(result, w.Error):
        return _error(request, result)
    return _json({"result": result} if asked.method.wrapped else result)


def _admit(live: Live, request: Request) -> None:
    """Raises Refusal for whoever may not use the API. Before anything else, so that a stranger learns nothing."""
    if live.context.insecure:
        # Anybody on this machine may; a page that somebody's browser has open is not on this machine.
        if not origin_allowed(request.headers.get("origin"), live.transport_options):
            raise Refusal(403, Forbidden.code, "pages of this origin may not use the API")
        return
    if not live.api_keys:
        # Not 401: no key would ever open it.
        raise Refusal(404, MethodNotFound.code, "the API is closed: no key is set in [api]")
    if not live.api_keys.allow(request.headers):
        sent_away = live.node.admission.spend()  # who has a key never waits for those who guess
        if sent_away is not None:
            raise Refusal(503, 111, "too many clients at once", {"Retry-After": str(sent_away.retry_after_s)})
        raise Refusal(401, Unauthorized.code, Unauthorized.text)


async def _read(request: Request, options: ApiOptions, name: str | None) -> Asked:
    """name: of the method; None: the body has it. Raises Refusal."""
    if name is not None and name not in METHODS:
        raise _unknown(name)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, BadRequest.code, "the body has to be JSON, not compressed", CLOSE)
    body = await _body(request, options)
    try:
        body.decode()  # msgspec doesn't look into the strings that it skips
        if name is not None:
            return Asked(METHODS[name], body)
        legacy = msgspec.json.decode(body, type=Legacy)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, BadRequest.code, f"the body can't be read: {error}") from None
    if legacy.method not in METHODS:
        raise _unknown(legacy.method)
    return Asked(METHODS[legacy.method], bytes(legacy.params))


def _unknown(name: str) -> Refusal:
    return Refusal(404, MethodNotFound.code, f"there is no method {name[:64]!r}; there are {', '.join(METHODS)}")


async def _body(request: Request, options: ApiOptions) -> bytes:
    """The whole body. Raises Refusal when it is too large or too slow."""
    body = await read_body(request.receive, options.body_max_bytes, options.body_timeout_s)
    if isinstance(body, Refused):
        raise Refusal(body.status, body.code, body.message, CLOSE)
    if body is None:
        raise Refusal(400, BadRequest.code, "the connection ended within the body")
    return body


def _error(
    request: Request, error: w.Error, status: int | None = None, headers: dict[str, str] | None = None
) -> Response:
    """An error as the client wants to be told. status: None: 200, or what belongs to the code in mode `transport`."""
    if request.headers.get("x-centrifugo-error-mode") == "transport":
        return _json(error, status or TRANSPORT_STATUS.get(error.code, 500), headers)
    return _json({"error": error}, status or 200, headers)


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json")
