from __future__ import annotations

import json

import pytest

from roomful.model.client import ClientInfo
from roomful.model.errors import Unencodable, WireError
from roomful.model.publication import Position, Publication
from roomful.model.push import PublicationPush
from roomful.model.reply import PublishResult
from roomful.model.stream import Missing
from roomful.wire.poll import POLL, news


def test_an_answer() -> None:
    publications = [
        ("a", Publication(b'{"n":\n1}', 8, ClientInfo("ann", "c1"), {"event": "x"})),
        ("b", Publication(b"2")),
    ]
    missing = [Missing("a", Position("k", 3), Position("k", 7), "trimmed")]
    assert json.loads(news([Position("k", 8), None], publications, missing, {"b": b"[1]"})) == {
        "next": "k:8,-",
        "publications": [
            {
                "channel": "a",
                "data": {"n": 1},
                "offset": 8,
                "info": {"user": "ann", "client": "c1"},
                "tags": {"event": "x"},
            },
            {"channel": "b", "data": 2},
        ],
        "gap": [
            {
                "channel": "a",
                "from": {"epoch": "k", "offset": 3},
                "to": {"epoch": "k", "offset": 7},
                "reason": "trimmed",
            }
        ],
        "state": {"b": [1]},
    }
    assert news([None], [], [], {}) == b'{"next":"-","publications":[],"gap":[],"state":{}}'


@pytest.mark.parametrize("data", [b"\xff", b"{"])
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(Unencodable):
        news([None], [("a", Publication(data))], [], {})
    with pytest.raises(Unencodable):
        news([None], [], [], {"a": data})


def test_who_waits_is_woken_by_nothing() -> None:
    push = PublicationPush("a", Publication(b"\xff", 8), "k")
    assert POLL.join([POLL.push(push), POLL.ping()]) == b""
    with pytest.raises(WireError):
        POLL.decode(b"{}")
    with pytest.raises(Unencodable):
        POLL.reply(1, PublishResult())
