"""The endpoint over a stream in memory; real clients are in tests/e2e/plain_http/."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import msgspec
import pytest

from roomful.model.channel import ChannelOptions
from roomful.model.disconnects import Disconnect
from roomful.model.errors import ApplicationError, Forbidden, TooManyRequests
from roomful.model.event import ConnectEvent
from roomful.model.order import SubscribeOrder
from roomful.node.rate_options import RateOptions, RoomRates, VisitorRates
from roomful.node.rates import Rates
from roomful.seams.transport import Request
from roomful.transports.events import events_route
from roomful.transports.negotiate import TransportOptions
from roomful.transports.stream import Opening, Stream, Streams
from tests.event_source import Event, read
from tests.session.world import World


class Recorded(Stream):
    """status 0: nothing has been sent yet."""

    def __init__(self, world: World, streams: Streams, request: Request) -> None:
        route = events_route(world.context)
        super().__init__(route.kind, streams, {})
        self.status = 0
        self.body = b""
        self.ended = False
        self._begin(Opening(route, request, {}))

    @property
    def paused(self) -> bool:
        return False

    @property
    def events(self) -> list[Event]:
        return read(self.body)

    @property
    def error(self) -> int:
        code: int = msgspec.json.decode(self.body)["error"]["code"]
        return code

    def write(self, data: bytes, binary: bool) -> None:
        assert self.started
        assert not self.ended
        self.body += data

    def gone(self) -> None:
        self._tell()

    def _send_head(self, headers: dict[str, str]) -> None:
        self.status = 200
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"

    def _send_answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.body = status, body

    def _send_end(self) -> None:
        self.ended = True


class Served:
    """A world with the endpoint."""

    def __init__(self) -> None:
        self.world = World(anonymous=False, secret=ChannelOptions())
        self.streams = Streams((), TransportOptions(), self.world.node.wheel)
        self.opened: list[Recorded] = []

    async def get(self, *channels: str, headers: dict[str, str] | None = None, **more: str) -> Recorded:
        query = [("channel", channel) for channel in channels] + list(more.items())
        request = Request("/events", more, headers or {}, query_string=urlencode(query).encode())
        stream = Recorded(self.world, self.streams, request)
        self.opened.append(stream)
        async with asyncio.timeout(5):
            while not stream.status:  # noqa: ASYNC110  # hooks run in tasks of their own
                await asyncio.sleep(0.001)
        await self.world.settle()
        return stream


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.world.start()
    yield served
    for stream in served.opened:
        stream.gone()
    await served.world.stop()


async def test_the_first_bytes_say_when_to_come_back(served: Served) -> None:
    stream = await served.get("log:1", token=served.world.token("ann"))
    assert stream.body.startswith(b"retry: 2000\n\n")
    assert [event.type for event in stream.events] == ["subscribed"]


@pytest.mark.parametrize("place", ["header", "cookie", "parameter"])
async def test_a_token_by_header_cookie_or_parameter(served: Served, place: str) -> None:
    token = served.world.token("ann")
    headers = {"header": {"authorization": f"Bearer {token}"}, "cookie": {"cookie": f"roomful_token={token}"}}
    more = {"token": token} if place == "parameter" else {}
    stream = await served.get("log:1", headers=headers.get(place), **more)
    assert stream.status == 200


@pytest.mark.parametrize("place", ["last-event-id", "lastEventId", "both"])
async def test_the_header_knows_more_than_the_address(served: Served, place: str) -> None:
    for number in range(3):
        await served.world.publish("log:1", b"%d" % number)
    epoch = (await served.world.head("log:1")).epoch
    headers = {} if place == "lastEventId" else {"last-event-id": f"{epoch}:2"}
    more = {} if place == "last-event-id" else {"lastEventId": f"{epoch}:{0 if place == 'both' else 2}"}
    stream = await served.get("log:1", headers=headers, token=served.world.token("ann"), **more)
    assert [event.data.get("offset") for event in stream.events[1:]] == [3]


@pytest.mark.parametrize(
    ("channels", "more", "status", "code"),
    [
        ((), {}, 400, 107),
        (("",), {}, 400, 107),
        (("log:1",), {"lastEventId": "nonsense"}, 400, 107),
        (("log:1", "log:2"), {"lastEventId": "e:1"}, 400, 107),
        (("ü",), {}, 400, 107),
        (("x" * 256,), {}, 400, 107),
        (("nowhere:1",), {}, 404, 102),
        (("secret:1",), {}, 403, 103),
        (("$log:1",), {}, 403, 103),
        (("log:1", "secret:1"), {}, 403, 103),
        (tuple(f"log:{number}" for number in range(33)), {}, 400, 106),
    ],
)
async def test_what_must_not_be_tried_again(
    served: Served, channels: tuple[str, ...], more: dict[str, str], status: int, code: int
) -> None:
    stream = await served.get(*channels, token=served.world.token("ann"), **more)
    assert (stream.status, stream.error) == (status, code)


async def test_credentials_that_are_none(served: Served) -> None:
    answers = {}
    for name, token in {"none": "", "no token": "x", "expired": served.world.token("ann", ttl_s=-1)}.items():
        stream = await served.get("log:1", token=token)
        answers[name] = (stream.status, stream.error)
    assert answers == {"none": (401, 101), "no token": (401, 101), "expired": (401, 109)}


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (Forbidden("no"), 403, 103),
        (ApplicationError(410, "gone"), 400, 410),
        (Disconnect(4500, "never"), 403, 103),
        (Disconnect(4000, "later"), 200, 4000),
        (TooManyRequests("later"), 200, 3013),
        (ApplicationError(410, "busy", temporary=True), 200, 3004),
        (ValueError("a bug"), 200, 3004),
    ],
)
async def test_what_a_hook_may_say(served: Served, raised: Exception, status: int, code: int) -> None:
    @served.world.on(ConnectEvent)
    async def on_connect(event: ConnectEvent) -> None:
        raise raised

    stream = await served.get("log:1", token=served.world.token("ann"))
    assert stream.status == status
    if status == 200:  # to be tried again, which an EventSource does after a 200 only
        assert [(event.type, event.data["code"]) for event in stream.events] == [("drain", code)]
        assert stream.body.startswith(b"retry: ")
        assert stream.ended
    else:
        assert stream.error == code


async def test_who_comes_while_it_drains(served: Served) -> None:
    served.streams.draining = True
    stream = await served.get("log:1", token="whatever")
    assert stream.body == b'retry: 2000\n\nevent: drain\ndata: {"code":3001,"reason":"shutdown"}\n\n'
    assert stream.ended


async def test_its_channels_are_those_of_its_request(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    stream = await served.get("log:1", token=served.world.token("ann"))
    with caplog.at_level(logging.INFO, "roomful"):
        served.world.node.on_order(SubscribeOrder("ann", "log:2"))
        await served.world.settle()
    assert [(line.levelno, line.msg, line.args, line.__dict__["user"]) for line in caplog.records] == [
        (logging.INFO, "an event stream has the channels of its request: %r is not added", ("log:2",), "ann")
    ]
    await served.world.publish("log:2", b"1")
    await served.world.settle()
    assert [event.type for event in stream.events] == ["subscribed"]


async def test_who_comes_too_often_is_told_when_to_come_back(served: Served) -> None:
    rates = RateOptions(user=VisitorRates(connect="1/min burst 1"), room=RoomRates(subscribe="0.05/s burst 2"))
    served.world.node.rates = Rates(served.world.stats, served.world.clock, rates)
    assert (await served.get("log:1", token=served.world.token("ann"))).events[0].type == "subscribed"
    late = await served.get("log:1", token=served.world.token("ann"))
    assert late.body.startswith(b"retry: 61000\n\n")  # and a second on average, so that they don't come all at once
    assert [(event.type, event.data["code"]) for event in late.events] == [("drain", 3013)]
    assert (await served.get("log:1", token=served.world.token("bob"))).events[0].type == "subscribed"
    crowded = await served.get("log:1", token=served.world.token("carl"))
    assert crowded.body.startswith(b"retry: 21000\n\n")
    assert served.world.stats.rate_limited == {("user", "connect"): 1, ("room", "subscribe"): 1}
