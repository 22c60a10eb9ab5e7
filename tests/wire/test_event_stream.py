from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model import push as p
from roomful.model.client import ClientInfo
from roomful.model.errors import Unencodable, WireError
from roomful.model.publication import Position, Publication
from roomful.model.reply import PublishResult
from roomful.model.stream import Joined, Missing
from roomful.wire.event_stream import EVENTS, EVENTS_MANY, retry
from tests.event_source import Parser, read
from tests.wire.words import ANY_PAYLOADS, JSON_PAYLOADS

ANN = ClientInfo("ann", "c1", b'{"name":"Ann"}')
SHARED = [
    (
        p.PublicationPush("news", Publication(b'{"text":\n"hi"}', 7), "k2"),
        b'id: k2:7\ndata: {"channel":"news","data":{"text":"hi"},"offset":7}\n\n',
    ),
    (
        p.PublicationPush("news", Publication(b"1", 8, ANN, {"event": "price", "key": "a"}), "k2"),
        b'event: price\nid: k2:8\ndata: {"channel":"news","data":1,"offset":8,"info":{"user":"ann","client":"c1",'
        b'"conn_info":{"name":"Ann"}},"tags":{"event":"price","key":"a"}}\n\n',
    ),
    (p.PublicationPush("news", Publication(b"1")), b'data: {"channel":"news","data":1}\n\n'),
    (
        p.JoinPush("news", ClientInfo("", "c2")),
        b'event: join\ndata: {"channel":"news","info":{"user":"","client":"c2"}}\n\n',
    ),
    (
        p.LeavePush("news", ClientInfo("", "c2")),
        b'event: leave\ndata: {"channel":"news","info":{"user":"","client":"c2"}}\n\n',
    ),
    (
        p.UnsubscribePush("news", 2000, "server unsubscribe"),
        b'event: expired\ndata: {"channel":"news","code":2000,"reason":"server unsubscribe"}\n\n',
    ),
    (p.RefreshPush(True, 3), b":\n\n"),
]


@pytest.mark.parametrize(("push", "frame"), SHARED)
def test_spelling(push: p.Push, frame: bytes) -> None:
    assert EVENTS.push(push) == frame
    without_id = b"".join(line for line in frame.splitlines(keepends=True) if not line.startswith(b"id:"))
    assert EVENTS_MANY.push(push) == without_id


def test_the_first_event() -> None:
    channels = {"a": Joined(Position("k2", 3), True), "b": Joined(data=b'{"topic":1}')}
    frame = EVENTS.subscribed(channels, [Position("k2", 3), None])
    assert frame == (
        b"event: subscribed\n"
        b'data: {"channels":{"a":{"recovered":true,"epoch":"k2","offset":3},'
        b'"b":{"recovered":false,"data":{"topic":1}}}}\n'
        b"id: k2:3,-\n\n"
    )
    assert EVENTS_MANY.subscribed(channels, [Position("k2", 3), None]) == frame


def test_gaps() -> None:
    gap = Missing("news", Position("k2", 3), Position("k2", 9), "trimmed")
    since, to = b'{"epoch":"k2","offset":3}', b'{"epoch":"k2","offset":9}'
    data = b'data: {"channel":"news","from":%s,"to":%s,"reason":"trimmed"}\n' % (since, to)
    assert EVENTS.missing(gap, [gap.to]) == b"event: gap\n" + data + b"id: k2:9\n\n"
    assert EVENTS_MANY.missing(gap, [None, gap.to]) == b"event: gap\n" + data + b"id: -,k2:9\n\n"
    assert EVENTS.missing(Missing("news", None, None, "deaf"), [None]) == (
        b'event: gap\ndata: {"channel":"news","from":null,"to":null,"reason":"deaf"}\nid: -\n\n'
    )


def test_an_id_is_stamped_into_its_event() -> None:
    frames = [EVENTS_MANY.push(push) for push, _ in SHARED[:2]]
    ids = [[Position("k2", 7), None], [Position("k2", 7), Position("x,y", 1)]]
    stamped = EVENTS_MANY.join([EVENTS_MANY.stamped(frame, id) for frame, id in zip(frames, ids, strict=True)])
    assert [(event.type, event.last_event_id) for event in read(stamped)] == [
        ("message", "k2:7,-"),
        ("price", "k2:7,x%2Cy:1"),
    ]


@given(data=JSON_PAYLOADS, info=st.none() | st.builds(ClientInfo, conn_info=JSON_PAYLOADS), tag=st.text(max_size=8))
def test_any_publication_is_one_event(data: bytes, info: ClientInfo | None, tag: str) -> None:
    publication = Publication(data, 7, info, {"event": tag})
    try:
        frame = EVENTS.push(p.PublicationPush("news", publication, "e\n"))
    except Unencodable:
        with pytest.raises(UnicodeEncodeError):
            tag.encode()
        return
    (event,) = read(frame)
    assert event.data["data"] == (json.loads(data) if data else None)
    assert event.last_event_id == "e%0A:7"
    assert read(EVENTS_MANY.stamped(EVENTS_MANY.push(p.PublicationPush("news", publication, "e\n")), [None])) == [
        event._replace(last_event_id="-")
    ]


@given(ANY_PAYLOADS)
def test_what_is_no_json_is_no_event(data: bytes) -> None:
    try:
        json.loads(data)
    except ValueError:
        if data:
            with pytest.raises(Unencodable):
                EVENTS.push(p.PublicationPush("news", Publication(data, 7), "e"))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        *((3000, "drain"), (3001, "drain"), (3008, "drain"), (3010, "drain"), (4000, "drain")),
        *((3005, "expired"), (3006, "expired"), (3500, "expired"), (3503, "expired"), (4500, "expired")),
        *((2000, "expired"), (2501, "expired")),
    ],
)
def test_how_a_stream_ends(code: int, name: str) -> None:
    frame = b'event: %s\ndata: {"code":%d,"reason":"x"}\n\n' % (name.encode(), code)
    assert EVENTS.push(p.DisconnectPush(code, "x")) == EVENTS_MANY.push(p.DisconnectPush(code, "x")) == frame


def test_when_to_come_back() -> None:
    parser = Parser()
    assert parser.feed(retry(1500)) == []
    assert parser.retry_ms == 1500


def test_a_client_says_nothing() -> None:
    with pytest.raises(WireError):
        EVENTS.decode(b"{}")
    with pytest.raises(Unencodable):
        EVENTS.reply(1, PublishResult())
    assert read(EVENTS.ping()) == []
