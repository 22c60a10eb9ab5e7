"""`GET /poll`: long polling, and plain polling with `wait=0`."""

from __future__ import annotations

import asyncio
import logging
import re
from hashlib import blake2b
from typing import Any

from starlette.types import Receive, Scope, Send

from roomful.model.disconnects import DISCONNECTS, Disconnect
from roomful.model.errors import BadRequest, RoomfulError, Unencodable
from roomful.model.order import SubscribeOrder, UnsubscribeOrder
from roomful.seams.transport import Request
from roomful.session.poll import News, Poll
from roomful.session.session import Context, Session
from roomful.transports.asgi_websocket import raw_headers
from roomful.transports.cors import cors_headers, preflight_headers
from roomful.transports.credentials import token_of
from roomful.transports.following import of_followers, parameters, positions
from roomful.transports.http_errors import refused
from roomful.transports.http_request import answer, check_request
from roomful.transports.negotiate import DRAINING, OUR_FAULT, Refused, read_headers, read_request
from roomful.transports.stream import Streams
from roomful.wire.poll import POLL, news

log = logging.getLogger("roomful.transports")

PATH = "/poll"

WAIT_S, WAIT_MAX_S = 25.0, 60.0
"""How long a poll waits unless it says otherwise: less than the 30 s after which many proxies give up. And at most."""

_METHODS = ("GET",)
_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-cache, private",
    "X-Content-Type-Options": "nosniff",
}
_WAIT = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_NOT_JSON = Refused(404, 108, "something was published here that can't be said in JSON")


class PollEndpoint:
    """Answers polls. streams: knows the options of all transports, and whether the server is about to stop."""

    def __init__(self, context: Context, streams: Streams) -> None:
        self._context = of_followers(context, {SubscribeOrder: _no_matter, UnsubscribeOrder: _ask_again})
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI HTTP request to its end."""
        headers, method, options = read_headers(raw_headers(scope)), str(scope["method"]), self._streams.options
        if method == "OPTIONS":
            await answer(send, 204, preflight_headers(headers, _METHODS, options))
            return
        granted = cors_headers(headers, options)
        wrong = check_request(method, headers, _METHODS, 0, options)
        if wrong is None and self._streams.draining:
            wrong = DRAINING
        if wrong is not None:
            await answer(send, wrong.status, {**wrong.headers, **granted}, wrong.body)
            return
        peer = scope["client"][0] if scope.get("client") else ""
        request = read_request(method, PATH, scope.get("query_string", b""), headers, peer, options)
        wrong = self._streams.admit(request)
        if wrong is not None:
            await answer(send, wrong.status, {**wrong.headers, **granted}, wrong.body)
            return
        answering = asyncio.ensure_future(self._answer(request))
        if not await _before_client_goes(answering, receive):
            return
        status, more, body = answering.result()
        await answer(send, status, {**more, **granted}, body)

    async def _answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        try:
            asked = parameters(request)
            wait_s = _wait(asked.get("wait", [str(WAIT_S)])[-1])
            known = asked.get("since", [""])[-1]
            since = positions(asked.get("channel", []), known)
            poll = Poll(self._context, POLL, request, since, first=not known)
            body = _body(await poll.ask(token_of(request), wait_s))
        except (RoomfulError, Disconnect) as reason:
            return _refusal(refused(reason))
        except Unencodable:
            return _refusal(_NOT_JSON)
        except Exception:
            log.exception("a poll failed")
            return _refusal(OUR_FAULT)
        headers = {**_HEADERS, "Content-Length": str(len(body))}
        if wait_s:
            return 200, headers, body
        etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
        if _knows(request.headers.get("if-none-match", ""), etag):
            return 304, {"Cache-Control": _HEADERS["Cache-Control"], "ETag": etag}, b""
        return 200, {**headers, "ETag": etag}, body


async def _before_client_goes(work: asyncio.Future[tuple[int, dict[str, str], bytes]], receive: Receive) -> bool:
    """Waits for the work; False: the client went, and the work has been ended."""
    going = asyncio.ensure_future(_client_goes(receive))
    try:
        either: list[asyncio.Future[Any]] = [work, going]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return work.done()
    finally:
        going.cancel()
        if work.cancel():  # it was still under way
            await asyncio.wait((work,))


async def _client_goes(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _wait(text: str) -> float:
    if not _WAIT.fullmatch(text):
        raise BadRequest("wait is a number of seconds")
    return min(float(text), WAIT_MAX_S)


def _body(found: News) -> bytes:
    return news(found.next.values(), found.publications, found.missing, found.state)


def _refusal(reason: Refused) -> tuple[int, dict[str, str], bytes]:
    return reason.status, {**_HEADERS, **reason.headers}, reason.body


def _knows(if_none_match: str, etag: str) -> bool:
    """Source: RFC 9110 section 13.1.2; proxies that compress make a tag weak."""
    return any(tag.strip().removeprefix("W/") in (etag, "*") for tag in if_none_match.split(","))


async def _no_matter(session: Session, order: SubscribeOrder) -> None:
    """A poll's channels are those of its request."""


async def _ask_again(session: Session, order: UnsubscribeOrder) -> None:
    """Whether the client may still be in the channel, its next poll will tell."""
    session.end(*DISCONNECTS["force_reconnect"])
