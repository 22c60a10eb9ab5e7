"""The endpoint as an ASGI application in memory; real clients are in tests/e2e/plain_http/."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message

from roomful.model.channel import ChannelOptions
from roomful.model.disconnects import Disconnect
from roomful.model.errors import TooManyRequests
from roomful.model.event import ConnectEvent
from roomful.model.order import SubscribeOrder, UnsubscribeOrder
from roomful.node.rate_options import RateOptions, VisitorRates
from roomful.node.rates import Rates
from roomful.transports.negotiate import TransportOptions
from roomful.transports.poll import PollEndpoint
from roomful.transports.stream import Streams
from tests.session.world import World

PAGE = "https://example.com"


class Served:
    """A world with the endpoint, and an HTTP client."""

    def __init__(self) -> None:
        self.world = World(anonymous=False, secret=ChannelOptions())
        options = TransportOptions(allowed_origins=(PAGE,))
        self.streams = Streams((), options, self.world.node.wheel)
        self.endpoint = PollEndpoint(self.world.context, self.streams)
        transport = httpx.ASGITransport(app=self.endpoint, raise_app_exceptions=True)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://roomful")
        self.token = self.world.token("ann")

    async def get(self, *channels: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        params = {"channel": list(channels), "token": self.token, **more}
        return await self.http.get("/poll", params=params, headers=headers)

    async def next(self, *channels: str) -> str:
        answer = await self.get(*channels)
        found: str = answer.json()["next"]
        return found


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.world.start()
    yield served
    await served.http.aclose()
    await served.world.stop()


async def test_an_answer(served: Served) -> None:
    since = await served.next("log:1", "log:2")
    assert since.count(":0") == 2
    polling = asyncio.create_task(served.get("log:2", "log:1", since=since))
    await served.world.settle(30)
    assert not polling.done()
    await served.world.publish("log:1", b'{"n":1}')
    answer = await polling
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache, private"
    assert answer.json() == {
        "next": since.replace(":0", ":1", 1),
        "publications": [{"channel": "log:1", "data": {"n": 1}, "offset": 1}],
        "gap": [],
        "state": {},
    }


async def test_plain_polling_with_etags(served: Served) -> None:
    since = await served.next("log:1")
    nothing = await served.get("log:1", since=since, wait=0)
    assert nothing.json()["publications"] == []
    etag = nothing.headers["etag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        unchanged = await served.get("log:1", since=since, wait=0, headers={"if-none-match": known})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    await served.world.publish("log:1", b"1")
    changed = await served.get("log:1", since=since, wait=0, headers={"if-none-match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    assert len(changed.json()["publications"]) == 1


@pytest.mark.parametrize("place", ["header", "cookie"])
async def test_a_token_by_header_or_cookie(served: Served, place: str) -> None:
    token, served.token = served.token, ""
    headers = {"header": {"authorization": f"Bearer {token}"}, "cookie": {"cookie": f"roomful_token={token}"}}
    assert (await served.get("log:1", headers=headers[place])).status_code == 200
    assert (await served.get("log:1")).status_code == 401


@pytest.mark.parametrize(
    ("channels", "more", "status", "code"),
    [
        ((), {}, 400, 107),
        (("log:1",), {"since": "nonsense"}, 400, 107),
        (("log:1", "log:2"), {"since": "e:1"}, 400, 107),
        *((("log:1",), {"wait": wait}, 400, 107) for wait in ("", "x", "-1", "nan", "inf", "1e3", "9" * 9, "٣")),
        (("news",), {}, 404, 108),
        (("nowhere:1",), {}, 404, 102),
        (("secret:1",), {}, 403, 103),
        (("log:1",), {"token": "x"}, 401, 101),
        (tuple(f"log:{number}" for number in range(33)), {}, 400, 106),
    ],
)
async def test_refusals(
    served: Served, channels: tuple[str, ...], more: dict[str, str], status: int, code: int
) -> None:
    answer = await served.get(*channels, **more)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_methods_origins_and_bodies(served: Served) -> None:
    http = served.http
    posted = await http.post("/poll", params={"channel": "log:1"})
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, OPTIONS")
    foreign = await served.get("log:1", headers={"origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, 103)
    assert "access-control-allow-origin" not in foreign.headers
    ours = await served.get("log:1", headers={"origin": PAGE})
    assert ours.headers["access-control-allow-origin"] == PAGE
    preflight = await http.options("/poll", headers={"origin": PAGE, "access-control-request-headers": "authorization"})
    assert (preflight.status_code, preflight.headers["access-control-allow-headers"]) == (204, "authorization")
    body = await http.request("GET", "/poll", params={"channel": "log:1"}, content=b"x" * 10)
    assert body.status_code == 413


async def test_what_a_hook_may_say(served: Served) -> None:
    raised: list[Exception] = [TooManyRequests(retry_after_s=7.5), Disconnect(4000, "later"), ValueError("a bug")]

    @served.world.on(ConnectEvent)
    async def on_connect(event: ConnectEvent) -> None:
        raise raised.pop(0)

    busy = await served.get("log:1")
    assert (busy.status_code, busy.headers["retry-after"], busy.json()["error"]["retry_after"]) == (429, "8", 8)
    assert (await served.get("log:1")).status_code == 429
    assert (await served.get("log:1")).status_code == 500


async def test_what_is_no_json(served: Served) -> None:
    since = await served.next("log:1")
    await served.world.publish("log:1", b"\xff")
    answer = await served.get("log:1", since=since)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 108)


async def test_orders_while_it_waits(served: Served) -> None:
    since = await served.next("log:1")
    polling = asyncio.create_task(served.get("log:1", since=since))
    await served.world.settle(30)
    served.world.node.on_order(SubscribeOrder("ann", "log:2"))
    await served.world.settle()
    assert not polling.done()
    served.world.node.on_order(UnsubscribeOrder("ann", "log:1"))
    again = await polling
    assert (again.status_code, again.headers["retry-after"]) == (429, "1")


async def test_draining(served: Served) -> None:
    since = await served.next("log:1")
    polling = asyncio.create_task(served.get("log:1", since=since))
    await served.world.settle(30)
    served.streams.draining = True
    served.world.node._end_all()
    assert (await polling).json() == {"next": since, "publications": [], "gap": [], "state": {}}
    refused = await served.get("log:1", since=since)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


async def test_a_client_that_goes_leaves_nothing_and_hears_nothing(served: Served) -> None:
    since = await served.next("log:1")
    gone, sent = asyncio.Event(), list[Message]()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    query = f"channel=log:1&since={since}&token={served.token}".encode()
    scope = {"type": "http", "method": "GET", "path": "/poll", "headers": [], "query_string": query}
    serving = asyncio.create_task(served.endpoint(scope, receive, send))
    await served.world.settle(30)
    assert len(served.world.node.directory) == 1
    gone.set()
    await serving
    await served.world.settle()
    assert sent == []
    served.world.assert_empty()


async def test_who_polls_too_often_is_told_when_to_come_back(served: Served) -> None:
    rates = RateOptions(user=VisitorRates(poll="6/min burst 2"))
    served.world.node.rates = Rates(served.world.stats, served.world.clock, rates)
    since = await served.next("log:1")
    assert (await served.get("log:1", since=since, wait="0")).status_code == 200
    late = await served.get("log:1", since=since, wait="0")
    error = late.json()["error"]
    assert (late.status_code, error["code"], error["retry_after"]) == (429, 111, 10)
    assert late.headers["retry-after"] == "10"
