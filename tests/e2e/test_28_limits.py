"""What strangers may cost, and what they may learn: limits, origins, nothing before the token, no token in the log; on
every transport, against `roomful serve`."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import sign
from roomful.testing.raw_websocket import BINARY, CLOSE, TEXT, HandshakeRefused, RawWebSocket, frame
from roomful.wire.lib0 import string
from tests.event_source import Parser
from tests.served import Serve, Server, served

__all__ = ["served"]

PATH = "/connection/websocket"
SECRET = "a secret of more than thirty-two bytes"
OPEN = '[tokens]\nanonymous = true\n[namespaces.chat]\nsubscribe = "client"\nhistory_size = 10\nhistory_ttl_s = 60\n'
NAMED = {"X-Forwarded-For": "192.0.2.7"}


async def refused(port: int, headers: dict[str, str]) -> HandshakeRefused:
    def knock() -> HandshakeRefused:
        with RawWebSocket(("127.0.0.1", port)) as client, pytest.raises(HandshakeRefused) as caught:
            client.open(PATH, {**headers})
        return caught.value

    return await asyncio.to_thread(knock)


async def test_28_who_comes_too_fast_is_sent_away_before_anything_is_done_for_him(served: Serve) -> None:
    config = OPEN + '[limits]\nhandshakes_per_s = 0.01\n[api]\nkeys = ["secret-key-for-tests"]\n'
    server = await served(dev=False, config=config)
    async with httpx.AsyncClient(base_url=server.url) as http:
        first = await http.get("/poll", params={"channel": "chat:1", "wait": "0"})
        assert first.status_code == 200
        poll = await http.get("/poll", params={"channel": "chat:1", "wait": "0"})
        assert (poll.status_code, poll.json()["error"]["code"]) == (503, 111)
        assert int(poll.headers["Retry-After"]) == poll.json()["error"]["retry_after"] >= 1
        stream = await http.post("/connection/http_stream", content=b'{"connect":{},"id":1}')
        assert (stream.status_code, "Retry-After" in stream.headers) == (503, True)
        events = await http.get("/events", params={"channel": "chat:1"})
        parser = Parser()
        told = parser.feed(events.content)
        assert (events.status_code, parser.retry_ms > 0) == (200, True)
        assert [(event.type, event.data["code"]) for event in told] == [("drain", 3013)]
        guess = await http.post("/api/info", json={}, headers={"X-API-Key": "a guess"})
        assert (guess.status_code, "Retry-After" in guess.headers) == (503, True)
        known = await http.post("/api/info", json={}, headers={"X-API-Key": "secret-key-for-tests"})
        assert known.status_code == 200
    socket = await refused(server.port, {})
    assert (socket.status, json.loads(socket.body)["error"]["code"]) == (503, 111)
    assert int(socket.headers["retry-after"]) >= 1


async def test_28_an_address_has_so_many_places_for_those_who_have_not_said_who_they_are(served: Serve) -> None:
    config = OPEN + '[limits]\nunauthenticated_per_address_max = 1\n[server]\ntrusted_proxies = ["127.0.0.1"]\n'
    server = await served(dev=False, config=config)

    def come(headers: dict[str, str]) -> RawWebSocket:
        return RawWebSocket(("127.0.0.1", server.port)).open(PATH, {**headers})

    with await asyncio.to_thread(come, NAMED) as silent:
        assert (await refused(server.port, NAMED)).status == 429
        with await asyncio.to_thread(come, {"X-Forwarded-For": "192.0.2.8"}):
            pass  # another address has its own places
        silent.send(frame(TEXT, b'{"connect":{},"id":1}'))
        _, said = await asyncio.to_thread(silent.receive)
        assert "connect" in json.loads(said)
        with await asyncio.to_thread(come, NAMED):
            pass  # who has said who he is takes no place any more


async def test_28_commands_that_come_too_often_cost_only_their_sender(served: Serve) -> None:
    rates = f"""[tokens]
hmac_secret = "{SECRET}"
anonymous = true
[namespaces.chat]
subscribe = "client"
publish = "client"
history_size = 10
history_ttl_s = 60
[api]
keys = ["secret-key-for-tests"]
[limits.rates.connection]
publish = "1/h burst 2"
[limits.rates.user]
connect = "1/h"
poll = "1/h"
"""
    server = await served(dev=False, config=rates)
    command = b'{"publish":{"channel":"chat:1","data":{}},"id":%d}'

    def flood() -> list[dict[str, object]]:
        with RawWebSocket(("127.0.0.1", server.port)).open(PATH) as client:
            client.send(frame(TEXT, b'{"connect":{},"id":1}'))
            client.receive()
            client.send(*(frame(TEXT, command % id) for id in range(2, 6)))
            answers: list[dict[str, object]] = []
            while len(answers) < 4:
                _, said = client.receive()
                answers += [json.loads(line) for line in said.split(b"\n")]
            return answers

    for answers in (await asyncio.to_thread(flood), await asyncio.to_thread(flood)):  # each connection has its own
        assert [answer.get("error") is None for answer in answers] == [True, True, False, False]
        error = answers[-1]["error"]
        assert isinstance(error, dict)
        assert (error["code"], error["temporary"]) == (111, True)
        assert 3590 <= float(error["message"].removesuffix(" s").rpartition(" ")[2]) <= 3600
    token = sign(
        TokenOptions(hmac_secret="a secret of more than thirty-two bytes"), {}, user="ann", now=time.time(), ttl_s=None
    )
    async with httpx.AsyncClient(base_url=server.url, params={"channel": "chat:1", "token": token}) as http:
        assert (await http.get("/poll")).status_code == 200
        poll = await http.get("/poll")
        assert (poll.status_code, poll.json()["error"]["code"]) == (429, 111)
        assert int(poll.headers["Retry-After"]) == poll.json()["error"]["retry_after"] > 3590
        async with http.stream("GET", "/events") as first:
            assert (await anext(first.aiter_lines())).startswith("retry:")
            events = await http.get("/events")
        parser = Parser()
        told = parser.feed(events.content)
        assert (events.status_code, parser.retry_ms > 3_590_000) == (200, True)
        assert [(event.type, event.data["code"]) for event in told] == [("drain", 3013)]
        metrics = await http.get("/metrics", headers={"X-API-Key": "secret-key-for-tests"})
    for by, count in {'by="connection",command="publish"': 4, 'by="user",command="connect"': 1}.items():
        assert f"roomful_rate_limited_total{{{by}}} {count}.0" in metrics.text


# Pages of other origins

SOCKETS = (PATH, "/connection/uni_websocket", "/yjs/notes", "/hocuspocus")
REQUESTS = (
    ("POST", "/connection/http_stream"),
    ("GET", "/connection/sse"),
    ("POST", "/connection/uni_http_stream"),
    ("GET", "/connection/uni_sse"),
    ("GET", "/events?channel=chat:1"),
    ("GET", "/poll?channel=chat:1&wait=0"),
    ("POST", "/emulation"),
)
PAGES = {"https://app.example.com": True, "https://example.com.evil.test": False, "null": False, "": True}
"""Origin → whether it may; "": no such header, as of clients that are no browsers."""


async def test_28_pages_of_other_origins_come_in_by_no_transport(served: Serve) -> None:
    config = OPEN + '[server]\nallowed_origins = ["https://*.example.com"]\n[documents]\naccess = "client"\n'
    server = await served(dev=False, config=config)

    def upgraded(path: str, origin: str) -> int:
        with RawWebSocket(("127.0.0.1", server.port)) as client:
            try:
                client.open(path, {"Origin": origin or None})
            except HandshakeRefused as refusal:
                return refusal.status
            return 101

    for origin, allowed in PAGES.items():
        for path in SOCKETS:
            assert await asyncio.to_thread(upgraded, path, origin) == (101 if allowed else 403), (path, origin)
    async with httpx.AsyncClient(base_url=server.url) as http:
        for origin, allowed in PAGES.items():
            for method, path in REQUESTS:
                headers = {"Origin": origin} if origin else {}
                async with http.stream(method, path, headers=headers, content=b"{}") as answer:
                    shown = answer.headers.get("access-control-allow-origin")
                    assert (answer.status_code == 403) is not allowed, (path, origin)
                    assert shown == (origin if allowed and origin else None), (path, origin)


# Nothing before the token, and no token in the log

OPAQUE = "opaque-MARKER-0123"
API_KEY = "api-key-MARKER-0123456789"
GUARDED = f"""[tokens]
hmac_secret = "{SECRET}"
[api]
keys = ["{API_KEY}"]
[namespaces.chat]
subscribe = "user"
publish = "user"
presence = true
join_leave = true
history_size = 10
history_ttl_s = 60
[documents]
access = "user"
[limits]
unauthenticated_per_address_max = 0
"""


def forms(token: str, command: str = "connect") -> list[bytes]:
    """A command with a token as a client spells it, and as one does that gets it wrong."""
    right = json.dumps({"id": 1, command: {"token": token, "subs": {"chat:1": {}}}})
    return [right.encode(), right[:-2].encode(), json.dumps({"id": 1, command: {"tokens": [token]}}).encode()]


def by_socket(port: int, token: str) -> None:
    """In the address, in a header, in a cookie, in messages, on every WebSocket; what is answered doesn't matter."""
    messages: dict[str, list[tuple[int, bytes]]] = {
        PATH: [(TEXT, form) for command in ("connect", "refresh") for form in forms(token, command)],
        "/connection/uni_websocket": [(TEXT, form) for form in (*forms(token), json.dumps({"token": token}).encode())],
        "/yjs/notes": [(BINARY, string(token)), (TEXT, token.encode())],
        "/hocuspocus": [(BINARY, string("notes") + b"\x02\x00" + string(token)), (BINARY, string(token))],
    }
    for path, said in messages.items():
        places: list[tuple[str, dict[str, str | None]]] = [
            (path + f"?token={token}&cf_connect={quote(forms(token)[0])}", {}),
            (path, {"Authorization": f"Bearer {token}"}),
            (path, {"Cookie": f"theme=dark; roomful_token={token}"}),
            (path, {"X-API-Key": token}),
        ]
        for target, headers in places:
            for opcode, message in said:
                with RawWebSocket(("127.0.0.1", port), timeout_s=5.0) as client, suppress(HandshakeRefused, EOFError):
                    client.open(target, headers)
                    client.send(frame(opcode, message), frame(CLOSE, b"\x03\xe8"))
                    while client.receive()[0] != CLOSE:
                        continue


async def by_request(url: str, token: str) -> None:
    """The same by every address that HTTP reaches."""
    async with httpx.AsyncClient(base_url=url, timeout=10.0) as http:
        paths = [*REQUESTS, ("POST", "/api/info"), ("POST", "/api"), ("GET", "/metrics"), ("GET", "/nothing/here")]
        for method, path in paths:
            bodies = [b"", *forms(token), json.dumps({"session": token, "node": token, "data": "x"}).encode()]
            sent = [{"content": body} for body in (bodies if method == "POST" else bodies[:1])]
            asks = "&" if "?" in path else "?"
            query = f"{asks}token={token}&api_key={token}&cf_connect={quote(forms(token)[0])}"
            for target, headers in (
                (path + query, {}),
                (path, {"Authorization": f"Bearer {token}"}),
                (path, {"Authorization": f"apikey {token}"}),
                (path, {"Cookie": f"theme=dark; roomful_token={token}"}),
                (path, {"X-API-Key": token}),
            ):
                for content in sent:
                    async with http.stream(method, target, headers=headers, **content) as answer:
                        async for _ in answer.aiter_bytes():
                            break


LEAKY = """
from roomful import ConnectEvent, DocumentOpenEvent, Roomful

app = Roomful()


@app.on(ConnectEvent)
async def careless(event):
    raise RuntimeError(f"who is that? {event.headers!r} {event}")


@app.on(DocumentOpenEvent)
def just_as_careless(event):
    raise RuntimeError(f"which document? {event.headers!r} {event}")
"""
"""Its hooks fail with everything that they were told; what they raise is logged."""


@pytest.fixture
async def careless(served: Serve, tmp_path: Path) -> Server:
    (tmp_path / "leaky.py").write_text(LEAKY)
    return await served("leaky:app", dev=False, config=GUARDED)


async def test_28_the_log_never_contains_a_token(careless: Server) -> None:
    def signed(ttl_s: float | None = None) -> str:
        return sign(TokenOptions(hmac_secret=SECRET), {"MARKER": 1}, user="ann", now=time.time(), ttl_s=ttl_s)

    good = signed()
    tokens = {
        "valid": good,
        "forged": good[:-8] + "AAAAAAAA",
        "expired": signed(ttl_s=-1),
        "opaque": "opaque-MARKER-0123",
    }
    for token in tokens.values():
        await asyncio.to_thread(by_socket, careless.port, token)
        await by_request(careless.url, token)
    async with httpx.AsyncClient(base_url=careless.url) as http:
        known = await http.post("/api/info", json={}, headers={"X-API-Key": API_KEY})
        assert known.status_code == 200
    await careless.stop()
    assert careless.log.count("who is that?") > 10
    assert careless.log.count("bad token") > 10
    for name, token in {**tokens, "API key": API_KEY, "secret": SECRET}.items():
        for part in (token, token.rpartition(".")[2]):
            found = careless.log.find(part)
            assert found < 0, f"the {name} stands in the log: {careless.log[max(0, found - 200) : found + 80]}"


async def test_28_who_may_not_come_in_has_made_nothing(served: Serve) -> None:
    """No session, no channel, no document, and no question to the engine beside those that the node itself has."""
    server = await served(dev=False, config=GUARDED)

    async def values() -> dict[str, float]:
        async with httpx.AsyncClient(base_url=server.url, headers={"X-API-Key": API_KEY}) as http:
            lines = (await http.get("/metrics")).text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    before = await values()
    for token in ("x", OPAQUE):
        await asyncio.to_thread(by_socket, server.port, token)
        await by_request(server.url, token)
    after = await values()
    assert after["roomful_connections_opened_total"] > 50
    for name in ("sessions", "channels", "subscriptions", "documents", "publications_total"):
        assert after[f"roomful_{name}"] == 0, name
    asked = {name for name, value in after.items() if value != before.get(name) and "engine_seconds_count" in name}
    words = ("publish", "history", "presence", "subscribe", "members", "counts", "join", "leave")
    assert not [name for name in asked if any(word in name for word in words)]
