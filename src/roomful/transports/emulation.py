"""The POST that brings a client's commands to its session, whichever node it meets. Source: section 19.4.

Answers: 204 taken, also where there is no such session any more; 404 when there is no such node, so that the client
connects anew. Of its end a session tells on its stream, and centrifuge-js cuts that at a 404: it would come back also
where it was told never to.
"""

from __future__ import annotations

import logging

from starlette.types import Receive, Scope, Send

from roomful.model.errors import RoomfulError, WireError
from roomful.node.relay import Arrival, Relay
from roomful.transports.asgi_websocket import raw_headers
from roomful.transports.cors import cors_headers, preflight_headers
from roomful.transports.http_request import answer, check_request, read_body
from roomful.transports.http_stream import PROTOBUF_TYPE
from roomful.transports.negotiate import Refused, TransportOptions, read_headers
from roomful.wire import centrifuge_json, centrifuge_protobuf

log = logging.getLogger("roomful.transports")

EMULATION_PATH = "/emulation"

_METHODS = ("POST",)
_ID_MAX_BYTES = 64
"""Ours are shorter; what is longer is no session's and no node's, and needn't be carried to others."""

_NOT_FOUND = Refused(404, 104, "there is no such node")
_TOO_MANY = Refused(429, 111, "too many commands wait already", retry_after_s=1)


class EmulationEndpoint:
    """Takes commands for any session. body_max_bytes: of a request."""

    def __init__(self, relay: Relay, options: TransportOptions, body_max_bytes: int) -> None:
        self._relay = relay
        self._options = options
        self._body_max_bytes = body_max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI HTTP request to its end."""
        headers, method = read_headers(raw_headers(scope)), str(scope["method"])
        if method == "OPTIONS":
            await answer(send, 204, preflight_headers(headers, _METHODS, self._options))
            return
        granted = cors_headers(headers, self._options)
        refused = check_request(method, headers, _METHODS, self._body_max_bytes, self._options)
        if refused is None:
            body = await read_body(receive, self._body_max_bytes, self._options.body_timeout_s)
            if body is None:
                return
            refused = body if isinstance(body, Refused) else await _take(body, headers, self._relay)
        if refused is None:
            await answer(send, 204, granted)
        else:
            await answer(send, refused.status, {**refused.headers, **granted}, refused.body)


async def _take(body: bytes, headers: dict[str, str], relay: Relay) -> Refused | None:
    """None: the session has it, or is over."""
    protobuf = headers.get("content-type") == PROTOBUF_TYPE
    read = centrifuge_protobuf.read_emulation if protobuf else centrifuge_json.read_emulation
    try:
        node, session, data = read(body)
    except WireError as error:
        return Refused(400, 107, str(error))
    if not node or not session or not data:
        return Refused(400, 107, "session, node and data are needed")
    if len(node) > _ID_MAX_BYTES or len(session) > _ID_MAX_BYTES:
        return _NOT_FOUND
    try:
        arrival = await relay.carry(node, session, data)
    except RoomfulError as error:
        log.warning("commands for a session of node %s: %s", node, error)
        return Refused(500, error.code, "nobody knows whether the commands arrived")
    return {Arrival.NOWHERE: _NOT_FOUND, Arrival.TOO_MANY: _TOO_MANY}.get(arrival)
