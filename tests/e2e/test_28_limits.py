"""What strangers may cost: handshakes and unauthenticated connections, on every transport, against `roomful serve`."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from roomful.testing.raw_websocket import TEXT, HandshakeRefused, RawWebSocket, frame
from tests.event_source import Parser
from tests.served import Serve, served

__all__ = ["served"]

PATH = "/connection/websocket"
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
