"""Key sets behind a URL, from a real server on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from roomful.auth import jwks as jwks_module
from roomful.auth.jwks import Jwks, download
from roomful.auth.options import TokenOptions
from roomful.auth.tokens import TokenAuthenticator
from roomful.model.errors import InternalError, InvalidToken


class Endpoint:
    """Answers every request with `status`, `headers` and `body`, once `open` is set; counts requests."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b'{"keys": []}'
        self.requests = 0
        self.asked = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.url = ""

    def serve(self, *kids: str) -> None:
        self.body = json.dumps({"keys": [{"kid": kid} for kid in kids]}).encode()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    behaviour = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behaviour.requests += 1
            behaviour.asked.set()
            behaviour.open.wait(10)
            self.send_response(behaviour.status)
            for name, value in behaviour.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(behaviour.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    behaviour.url = f"http://127.0.0.1:{server.server_port}/keys"
    yield behaviour
    behaviour.open.set()
    server.shutdown()
    thread.join()
    server.server_close()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def kid_of(entry: dict[str, Any]) -> str | None:
    return entry.get("kid")


@pytest.fixture
def keys(endpoint: Endpoint, clock: Clock) -> Jwks[str]:
    return Jwks(endpoint.url, kid_of, fresh_s=3600, retry_s=10, clock=clock)


async def test_fetched_once_and_kept(endpoint: Endpoint, keys: Jwks[str], clock: Clock) -> None:
    endpoint.serve("a", "b", "b")
    assert await keys.find("a") == ["a"]
    clock.now += 3599
    assert await keys.find("b") == ["b", "b"]
    assert endpoint.requests == 1


async def test_fetched_again_when_old(endpoint: Endpoint, keys: Jwks[str], clock: Clock) -> None:
    endpoint.serve("a")
    await keys.find("a")
    endpoint.serve("b")
    clock.now += 3600
    assert await keys.find("a") == []
    assert await keys.find("b") == ["b"]
    assert endpoint.requests == 2


async def test_an_unknown_id_fetches_again_but_not_often(endpoint: Endpoint, keys: Jwks[str], clock: Clock) -> None:
    endpoint.serve("a")
    await keys.find("a")
    endpoint.serve("a", "b")
    for number in range(50):
        assert await keys.find(f"x{number}") == []
    assert endpoint.requests == 1
    clock.now += 10
    assert await keys.find("b") == ["b"]
    assert endpoint.requests == 2


async def test_many_share_one_fetch(endpoint: Endpoint, keys: Jwks[str]) -> None:
    endpoint.serve("a")
    endpoint.open.clear()
    asking = [asyncio.create_task(keys.find("a")) for _ in range(20)]
    assert await asyncio.to_thread(endpoint.asked.wait, 10)
    asking.pop().cancel()
    endpoint.open.set()
    assert await asyncio.gather(*asking) == [["a"]] * 19
    assert endpoint.requests == 1


async def test_old_keys_stay_while_the_endpoint_fails(endpoint: Endpoint, keys: Jwks[str], clock: Clock) -> None:
    endpoint.serve("a")
    await keys.find("a")
    endpoint.status = 500
    clock.now += 3600
    for _ in range(5):
        assert await keys.find("a") == ["a"]
    with pytest.raises(InternalError) as failure:
        await keys.find("b")
    assert failure.value.temporary
    assert endpoint.requests == 2
    endpoint.status = 200
    clock.now += 10
    assert await keys.find("b") == []
    assert endpoint.requests == 3


BROKEN: dict[str, Callable[[Endpoint], None]] = {
    "status": lambda endpoint: setattr(endpoint, "status", 404),
    "not json": lambda endpoint: setattr(endpoint, "body", b"<html>"),
    "not utf-8": lambda endpoint: setattr(endpoint, "body", b'{"keys":[{"kid":"\xff"}]}'),
    "not a set": lambda endpoint: setattr(endpoint, "body", b'{"kid": "a"}'),
    "deep": lambda endpoint: setattr(endpoint, "body", b'{"keys":' + b"[" * 100_000),
    "no keys": lambda endpoint: setattr(endpoint, "body", b'{"keys": [1]}'),
    "too large": lambda endpoint: setattr(endpoint, "body", b" " * jwks_module.SET_MAX_BYTES + b'{"keys": []}'),
    "moved": lambda endpoint: endpoint.__dict__.update(status=302, headers={"Location": endpoint.url}),
    "moved to a file": lambda endpoint: endpoint.__dict__.update(status=302, headers={"Location": "file:///dev/null"}),
}


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, object, str]]:
    """Level, event and URL of each line."""
    return [(line.levelno, line.msg, str(line.args[0])) for line in caplog.records if isinstance(line.args, tuple)]


@pytest.mark.parametrize("case", BROKEN)
async def test_an_endpoint_that_gives_no_set(
    endpoint: Endpoint, keys: Jwks[str], case: str, caplog: pytest.LogCaptureFixture
) -> None:
    BROKEN[case](endpoint)
    with pytest.raises(InternalError):
        await keys.find("a")
    assert endpoint.requests == 1
    assert logged(caplog) == [(logging.WARNING, "the key set at %s can't be fetched: %s", endpoint.url)]


async def test_nobody_there(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    keys = Jwks("http://127.0.0.1:1/keys", kid_of, clock=clock)
    with pytest.raises(InternalError):
        await keys.find("a")
    assert logged(caplog) == [(logging.WARNING, "the key set at %s can't be fetched: %s", "http://127.0.0.1:1/keys")]


async def test_an_endpoint_that_never_answers(
    endpoint: Endpoint, keys: Jwks[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks_module, "TIMEOUT_S", 0.05)
    endpoint.open.clear()
    with pytest.raises(InternalError):
        await keys.find("a")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/keys", "data:,x", "keys.json"])
def test_only_http(url: str) -> None:
    with pytest.raises((OSError, ValueError)):
        download(url)


def public(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    algorithm = {"RSAPrivateKey": "RS256", "ECPrivateKey": "ES256", "Ed25519PrivateKey": "EdDSA"}
    return {
        **jwt.get_algorithm_by_name(algorithm[type(key).__name__]).to_jwk(key.public_key(), as_dict=True),
        "kid": kid,
        **more,
    }


RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


async def test_tokens_choose_their_key(endpoint: Endpoint) -> None:
    entries: list[dict[str, Any]] = [
        public(RSA, "rsa", use="sig", key_ops=["verify"], x5c=["AAAA"]),
        public(RSA, "rsa512", alg="RS512"),
        public(RSA, "enc", use="enc"),
        public(RSA, "oaep", alg="RSA-OAEP"),
        public(EC, "ec"),
        public(ED, "ed"),
        public(EC, "same"),
        public(ED, "same"),
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
        {"kty": "EC", "crv": "P-256", "kid": "broken", "x": "AA", "y": "AA"},
        {"kty": ["EC"], "kid": ["broken"]},
        {"kid": "empty"},
        {"kty": "RSA", "alg": "none", "kid": "none"},
        public(ED, "no id") | {"kid": 7},
    ]
    endpoint.body = json.dumps({"keys": entries}).encode()
    checker = TokenAuthenticator(TokenOptions(jwks_url=endpoint.url))

    async def accepted(key: Any, algorithm: str, kid: str | None) -> bool:
        token = jwt.encode({"sub": "ann"}, key, algorithm, headers={"kid": kid} if kid is not None else {})
        try:
            return (await checker.connection(token)).user == "ann"
        except InvalidToken:
            return False

    assert await accepted(RSA, "RS256", "rsa")
    assert await accepted(RSA, "RS384", "rsa")
    assert await accepted(RSA, "RS512", "rsa512")
    assert await accepted(EC, "ES256", "ec")
    assert await accepted(ED, "EdDSA", "ed")
    assert await accepted(EC, "ES256", "same")
    assert await accepted(ED, "EdDSA", "same")
    assert not await accepted(RSA, "RS256", "rsa512")
    assert not await accepted(RSA, "RS256", "enc")
    assert not await accepted(RSA, "RS256", "oaep")
    assert not await accepted(EC, "ES256", "ed")
    assert not await accepted(EC, "ES256", "broken")
    assert not await accepted(ED, "EdDSA", None)
    assert not await accepted("secret-secret-secret-secret-secret", "HS256", "oct")
    assert not await accepted(RSA, "RS256", "unknown")
    assert endpoint.requests == 1
