from __future__ import annotations

import pytest

from roomful.model.errors import ConfigError
from roomful.testing.echo import open_echo
from roomful.transports.negotiate import (
    DRAINING,
    Accepted,
    Refused,
    TransportOptions,
    WebSocketRoute,
    check_upgrade,
    choose_subprotocol,
    client_address,
    negotiate,
    origin_allowed,
    read_headers,
)

ROUTES = [WebSocketRoute("/rooms", open_echo, subprotocols=("centrifuge-json", "centrifuge-protobuf"))]


def verdict(path: str, headers: dict[str, str]) -> Accepted | Refused:
    return negotiate(path, b"a=1&a=2&b=%C3%A9", headers, "192.0.2.1", ROUTES, TransportOptions())


def test_who_comes_in_is_described() -> None:
    headers = {"sec-websocket-protocol": "centrifuge-protobuf", "x-forwarded-for": "203.0.113.9"}
    accepted = verdict("/rooms", headers)
    assert isinstance(accepted, Accepted)
    assert accepted.route is ROUTES[0]
    request = accepted.request
    assert (request.path, request.query, request.headers) == ("/rooms", {"a": "2", "b": "é"}, headers)
    assert (request.address, request.subprotocol) == ("192.0.2.1", "centrifuge-protobuf")


@pytest.mark.parametrize("path", ["/", "/room", "/rooms/", "/rooms/1", "/ROOMS", ""])
def test_a_path_is_exactly_a_route_or_nothing(path: str) -> None:
    refused = verdict(path, {})
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code) == (404, 104)


def test_a_strange_page_is_refused() -> None:
    refused = verdict("/rooms", {"origin": "https://evil.example"})
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code) == (403, 103)
    assert refused.body == b'{"error":{"code":103,"message":"pages of this origin may not connect"}}'
    assert refused.headers == {"Content-Type": "application/json", "Content-Length": "71"}


def test_draining_says_when_to_come_back() -> None:
    assert DRAINING.headers["Retry-After"] == "1"
    assert b'"retry_after":1' in DRAINING.body


@pytest.mark.parametrize(
    ("origin", "patterns", "allowed"),
    [
        (None, (), True),
        ("https://example.com", (), False),
        ("https://example.com", ("*",), True),
        ("null", ("*",), True),
        ("null", ("https://example.com",), False),
        ("https://example.com", ("https://example.com",), True),
        ("HTTPS://Example.COM", ("https://example.com",), True),
        ("https://example.com", ("https://EXAMPLE.com",), True),
        ("https://example.com", ("http://example.com", "https://example.com"), True),
        ("http://example.com", ("https://example.com",), False),
        ("https://example.com:8443", ("https://example.com",), False),
        ("https://example.com:8443", ("https://example.com:*",), True),
        ("https://a.example.com", ("https://*.example.com",), True),
        ("https://example.com", ("https://*.example.com",), False),
        ("https://a.example.com.evil.org", ("https://*.example.com",), False),
        ("https://evilexample.com", ("https://*.example.com",), False),
        ("https://aXexample.com", ("https://a.example.com",), False),
        ("http://[::1]:3000", ("http://[::1]:3000",), True),
        ("http://1:3000", ("http://[::1]:3000",), False),
        ("https://example.com", ("https://example.co?",), False),
        ("", ("https://example.com",), False),
    ],
)
def test_origins(origin: str | None, patterns: tuple[str, ...], allowed: bool) -> None:
    assert origin_allowed(origin, TransportOptions(allowed_origins=patterns)) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost", True),
        ("http://localhost:5173", True),
        ("https://LOCALHOST:8443", True),
        ("http://127.0.0.1:8000", True),
        ("http://127.9.8.7", True),
        ("http://[::1]:8000", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://128.0.0.1", False),
        ("http://0.0.0.0", False),
        ("http://localhost.evil.org", False),
        ("http://127.0.0.1.evil.org", False),
        ("http://evil.org/localhost", False),
        ("http://localhost@evil.org", False),
        ("http://evil.org@localhost", False),
        ("http://localhost:port", False),
        ("http://[::1", False),
        ("file://localhost", False),
        ("localhost", False),
        ("null", False),
        ("", False),
    ],
)
def test_loopback_origins(origin: str, allowed: bool) -> None:
    assert origin_allowed(origin, TransportOptions(loopback_origins=True)) is allowed
    assert not origin_allowed(origin, TransportOptions())


def test_loopback_origins_come_on_top() -> None:
    options = TransportOptions(loopback_origins=True, allowed_origins=("https://example.com",))
    assert origin_allowed("https://example.com", options)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("", ""),
        (" ", ""),
        (",", ""),
        ("centrifuge-json", "centrifuge-json"),
        ("centrifuge-protobuf, centrifuge-json", "centrifuge-protobuf"),
        ("unknown,centrifuge-json", "centrifuge-json"),
        ("unknown", ""),
        ("CENTRIFUGE-JSON", ""),
    ],
)
def test_the_first_known_subprotocol_is_chosen(offered: str, chosen: str) -> None:
    assert choose_subprotocol(offered, ROUTES[0].subprotocols) == chosen


PROXIES = ("10.0.0.0/8", "192.0.2.7", "2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("203.0.113.1", "", (), "203.0.113.1"),
        ("203.0.113.1", "198.51.100.1", (), "203.0.113.1"),
        ("203.0.113.1", "198.51.100.1", PROXIES, "203.0.113.1"),
        ("10.0.0.1", "", PROXIES, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", PROXIES, "198.51.100.1"),
        ("192.0.2.7", "198.51.100.1", PROXIES, "198.51.100.1"),
        ("192.0.2.8", "198.51.100.1", PROXIES, "192.0.2.8"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", PROXIES, "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", PROXIES, "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1 , 10.3.0.1,192.0.2.7", PROXIES, "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", PROXIES, "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1:4711", PROXIES, "198.51.100.1"),
        ("10.0.0.1", "[2a00::1]:4711", PROXIES, "2a00::1"),
        ("10.0.0.1", "2a00::1", PROXIES, "2a00::1"),
        ("10.0.0.1", "unknown", PROXIES, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", PROXIES, "10.0.0.2"),
        ("10.0.0.1", ",,", PROXIES, "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", PROXIES, "198.51.100.1"),
        ("::ffff:203.0.113.1", "", (), "203.0.113.1"),
        ("2001:db8::5", "198.51.100.1", PROXIES, "198.51.100.1"),
        ("fe80::1%eth0", "", (), "fe80::1"),
        ("", "198.51.100.1", PROXIES, ""),
        ("", "", ("0.0.0.0/0",), ""),
    ],
)
def test_client_addresses(peer: str, forwarded: str, trusted: tuple[str, ...], address: str) -> None:
    assert client_address(peer, forwarded, trusted) == address


def test_a_bad_proxy_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"server\.trusted_proxies: 'nginx' is neither an address nor a network"):
        TransportOptions(trusted_proxies=("10.0.0.0/8", "nginx"))


GOOD = {"sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", GOOD, None),
        ("POST", GOOD, 405),
        ("GET", {**GOOD, "sec-websocket-version": "12"}, 426),
        ("GET", {"sec-websocket-key": GOOD["sec-websocket-key"]}, 426),
        ("GET", {"sec-websocket-version": "13"}, 400),
        ("GET", {**GOOD, "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
        ("GET", {**GOOD, "sec-websocket-key": "dGhlIHNhbXBsZQ=="}, 400),
        ("GET", {**GOOD, "sec-websocket-key": "\r\n"}, 400),
    ],
)
def test_upgrades(method: str, headers: dict[str, str], status: int | None) -> None:
    refused = check_upgrade(method, headers)
    assert (refused.status if refused else None) == status


def test_repeated_headers_are_joined() -> None:
    raw = [(b"x-forwarded-for", b"1.1.1.1"), (b"cookie", b"a=1"), (b"x-forwarded-for", b"2.2.2.2"), (b"cookie", b"b=2")]
    assert read_headers(raw) == {"x-forwarded-for": "1.1.1.1, 2.2.2.2", "cookie": "a=1; b=2"}
