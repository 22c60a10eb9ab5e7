"""Whether a client may open a WebSocket here, and as what. Pure functions over the HTTP request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import msgspec

from roomful.model.errors import ConfigError
from roomful.node.admission import Admission, SentAway
from roomful.seams.transport import Endpoint, Request

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""

_Address: TypeAlias = IPv4Address | IPv6Address
_Network: TypeAlias = IPv4Network | IPv6Network

_FORBIDDEN, _NOT_FOUND, _BAD_REQUEST, _TRY_LATER = 103, 104, 107, 111  # codes of model/errors.py
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")


class WebSocketRoute(msgspec.Struct, frozen=True):
    """Where an endpoint is reached. subprotocols: those that it knows; "*" for any, the first offered one is taken.

    path: exactly this one; with `below`, every longer one that begins with it.
    kind: `Transport.kind` of its connections. check: what it has against a request, before the upgrade.
    deflate: clients that offer permessage-deflate may send compressed messages, and get some. Under a foreign server
    compression is that server's business.
    """

    path: str
    endpoint: Endpoint
    max_message_bytes: int = 65_536
    subprotocols: tuple[str, ...] = ()
    deflate: bool = False
    below: bool = False
    kind: str = "websocket"
    check: Callable[[Request], Refused | None] | None = None

    def matches(self, path: str) -> bool:
        return path.startswith(self.path) and len(path) > len(self.path) if self.below else path == self.path


class TransportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What all transports share.

    allowed_origins: web pages that may connect; `*` in them stands for any text. Clients that send no `Origin`
    always may. loopback_origins: pages of this machine may too, on any port.
    trusted_proxies: addresses and networks whose `X-Forwarded-For` is believed.
    close_timeout_s: how long a closing handshake, or a last write, may take before the connection is cut. RFC 6455
    names no figure; most implementations wait between 5 and 10 s.
    write_high_water_bytes, write_low_water_bytes: waiting in the socket's buffer when writing pauses and goes on;
    the outbox above it holds the rest. asyncio's own defaults.
    head_timeout_s, body_timeout_s: how long an HTTP request may take to arrive. head_max_bytes: request line and
    headers together.
    heartbeat_s: how often a stream that has a heartbeat gets one; proxies cut what is silent for 30 to 60 s.
    unread_timeout_s: how long what was written to a stream may stay unacknowledged, or unread behind full buffers,
    before the system cuts it (TCP_USER_TIMEOUT, on Linux): nothing on a stream answers our heartbeats.
    Raises ConfigError for a trusted proxy that is neither an address nor a network.
    """

    allowed_origins: tuple[str, ...] = ()
    loopback_origins: bool = False
    trusted_proxies: tuple[str, ...] = ()
    close_timeout_s: float = 5.0
    write_high_water_bytes: int = 65_536
    write_low_water_bytes: int = 16_384
    head_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    head_max_bytes: int = 131_072
    heartbeat_s: float = 15.0
    unread_timeout_s: float = 20.0

    def __post_init__(self) -> None:
        _networks(self.trusted_proxies)


class Accepted(msgspec.Struct, frozen=True):
    """The client may come in. `request.subprotocol` is what the answer must echo, "" for none."""

    route: WebSocketRoute
    request: Request


class Refused(msgspec.Struct, frozen=True):
    """Answered over HTTP instead. code: what stands in the body, one of `model/errors.py`."""

    status: int
    code: int
    message: str
    extra_headers: dict[str, str] = {}
    retry_after_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        length = str(len(self.body))
        headers = {"Content-Type": "application/json", "Content-Length": length, **self.extra_headers}
        return headers if self.retry_after_s is None else {**headers, "Retry-After": str(self.retry_after_s)}

    @property
    def body(self) -> bytes:
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.retry_after_s is not None:
            error["retry_after"] = self.retry_after_s
        return msgspec.json.encode({"error": error})


NOTHING_HERE = Refused(404, _NOT_FOUND, "there is nothing here")
FOREIGN_ORIGIN = Refused(403, _FORBIDDEN, "pages of this origin may not connect")
DRAINING = Refused(503, _TRY_LATER, "the server is about to stop", retry_after_s=1)
OUR_FAULT = Refused(500, 100, "internal server error")


def negotiate(
    path: str,
    query_string: bytes,
    headers: dict[str, str],
    peer: str,
    routes: Sequence[WebSocketRoute],
    options: TransportOptions,
    admission: Admission | None = None,
) -> Accepted | Refused:
    """Route, origin, subprotocol and client address of a handshake.

    path: decoded. headers: as `read_headers` gives them. peer: "" on a Unix socket."""
    route = next((route for route in routes if route.matches(path)), None)
    if route is None:
        return NOTHING_HERE
    if not origin_allowed(headers.get("origin"), options):
        return FOREIGN_ORIGIN
    offered = headers.get("sec-websocket-protocol", "")
    subprotocol = choose_subprotocol(offered, route.subprotocols) if offered else ""
    request = read_request("GET", path, query_string, headers, peer, options)
    sent_away = admission.ask(request.address) if admission is not None else None
    if sent_away is not None:
        return refusal_of(sent_away)
    refused = route.check(request) if route.check is not None else None
    if subprotocol:
        request = msgspec.structs.replace(request, subprotocol=subprotocol)
    return refused or Accepted(route, request)


def read_request(
    method: str, path: str, query_string: bytes, headers: dict[str, str], peer: str, options: TransportOptions
) -> Request:
    """A request without its body. path: decoded. peer: "" on a Unix socket."""
    return Request(
        path=path,
        query=dict(parse_qsl(query_string.decode("utf-8", "replace"), keep_blank_values=True)) if query_string else {},
        headers=headers,
        address=client_address(peer, headers.get("x-forwarded-for", ""), options.trusted_proxies),
        method=method,
        query_string=query_string,
    )


def refusal_of(sent_away: SentAway) -> Refused:
    """What a client that isn't admitted hears; RFC 6585 section 4, RFC 9110 section 15.6.4."""
    if sent_away.crowded:
        message = "too many connections of this address haven't said who they are"
        return Refused(429, _TRY_LATER, message, retry_after_s=sent_away.retry_after_s)
    return Refused(503, _TRY_LATER, "too many clients at once", retry_after_s=sent_away.retry_after_s)


def check_upgrade(method: str, headers: dict[str, str]) -> Refused | None:
    """What is wrong with a handshake that asks for an upgrade to WebSocket. Source: RFC 6455 section 4.2.1."""
    if method != "GET":
        return Refused(405, _BAD_REQUEST, "a WebSocket is opened by GET", {"Allow": "GET"})
    if headers.get("sec-websocket-version", "").strip() != "13":
        return Refused(426, _BAD_REQUEST, "only WebSocket version 13 is spoken", {"Sec-WebSocket-Version": "13"})
    if not _KEY.fullmatch(headers.get("sec-websocket-key", "").strip()):
        return Refused(400, _BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64")
    return None


def read_headers(raw: RawHeaders) -> dict[str, str]:
    """By name; the values of a repeated one joined by commas, or semicolons where commas mean something else."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    return headers


def choose_subprotocol(offered: str, known: Sequence[str]) -> str:
    """The first offered one that is known, "" for none. An empty header offers none (centrifuge-python sends one)."""
    names = (part.strip() for part in offered.split(","))
    return next((name for name in names if name and (name in known or "*" in known)), "")


def origin_allowed(origin: str | None, options: TransportOptions) -> bool:
    """Whether a page of this origin may connect; None: the client is no page.

    Source: Centrifuge protocol, section 18.
    """
    if origin is None:
        return True
    origin = origin.lower()
    if options.loopback_origins and _is_loopback(origin):
        return True
    return any(_origin_pattern(pattern).fullmatch(origin) for pattern in options.allowed_origins)


@lru_cache(maxsize=256)
def _origin_pattern(pattern: str) -> re.Pattern[str]:
    # Not fnmatch: "[::1]" in an origin is an address, not a set of characters.
    return re.compile(".*".join(re.escape(part) for part in pattern.lower().split("*")))


def _is_loopback(origin: str) -> bool:
    try:
        url = urlsplit(origin)
        host, _ = url.hostname or "", url.port
    except ValueError:
        return False
    if url.scheme not in ("http", "https") or url.username is not None or url.path or url.query or url.fragment:
        return False
    address = _parse_address(host)
    return host == "localhost" if address is None else address.is_loopback


def client_address(peer: str, forwarded_for: str, trusted_proxies: tuple[str, ...]) -> str:
    """The client's IP address: the last hop that isn't one of our own proxies; "" on a Unix socket.

    peer: of the TCP connection. forwarded_for: X-Forwarded-For; only what trusted proxies have appended is believed.
    """
    if not forwarded_for:
        return _spelled(peer)
    address = _parse_address(peer)
    if address is None:
        return ""
    networks = _networks(trusted_proxies)
    for hop in reversed(forwarded_for.split(",")):
        if not any(address in network for network in networks):
            break
        before = _parse_address(_without_port(hop.strip()))
        if before is None:
            break
        address = before
    return str(address)


@lru_cache(maxsize=1024)
def _spelled(peer: str) -> str:
    """Each address in one way, "" for none. Kept, for who comes back mostly comes from where others did."""
    address = _parse_address(peer)
    return "" if address is None else str(address)


@lru_cache(maxsize=16)
def _networks(trusted_proxies: tuple[str, ...]) -> tuple[_Network, ...]:
    networks = []
    for text in trusted_proxies:
        try:
            networks.append(ip_network(text, strict=False))
        except ValueError:
            raise ConfigError(f"server.trusted_proxies: {text!r} is neither an address nor a network") from None
    return tuple(networks)


def _parse_address(text: str) -> _Address | None:
    """None for anything else. IPv4 in IPv6, as a socket for both has it, becomes IPv4."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _without_port(hop: str) -> str:
    """Some proxies write the port too: "192.0.2.1:47011", "[2001:db8::1]:47011"."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
