from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.client import ClientInfo, Override
from roomful.model.errors import BadRequest
from roomful.model.publication import Position, Publication
from roomful.server import api_words as w


def publish(text: str) -> w.PublishRequest:
    return msgspec.json.decode(text, type=w.PublishRequest)


def test_data_goes_through_as_it_was_written() -> None:
    assert publish('{"channel": "a", "data": {"n": 1.0,  "big": 123456789012345678901234567890}}').payload() == (
        b'{"n": 1.0,  "big": 123456789012345678901234567890}'
    )
    assert publish('{"channel": "a", "data": null}').payload() == b"null"


def test_base64_takes_precedence() -> None:
    assert publish('{"channel": "a", "data": 1, "b64data": "/wA="}').payload() == b"\xff\x00"
    assert publish('{"channel": "a", "b64data": ""}').payload() == b""
    assert publish('{"channel": "a", "data": 1, "b64data": null}').payload() == b"1"


def test_data_has_to_be_there() -> None:
    with pytest.raises(BadRequest, match="missing"):
        publish('{"channel": "a"}').payload()
    with pytest.raises(BadRequest, match="base64"):
        publish('{"channel": "a", "b64data": "/wA"}').payload()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", None),
        (', "info": null', None),
        (', "info": {"a": 1}', b'{"a": 1}'),
        (', "info": 1, "b64info": "Mg=="', b"2"),
        (', "b64info": ""', None),
    ],
)
def test_info_may_be_absent_in_every_way(words: str, expected: bytes | None) -> None:
    asked = msgspec.json.decode('{"user": "ann"' + words + "}", type=w.RefreshRequest)
    assert w.optional(asked.info, asked.b64info) == expected


def test_a_null_counts_as_absent() -> None:
    text = '{"user": "a", "channel": "b", "client": null, "expire_at": null, "recover_since": null, "override": null}'
    asked = msgspec.json.decode(text, type=w.SubscribeRequest)
    assert w.StreamPosition.meant(asked.recover_since) is None
    since = msgspec.json.decode('{"offset": null}', type=w.StreamPosition)
    assert w.StreamPosition.meant(since) == Position("", 0)


def test_overrides() -> None:
    words = msgspec.json.decode('{"presence": {"value": true}, "join_leave": {}}', type=w.OverrideWords)
    assert words.override() == Override(presence=True, join_leave=False)


@pytest.mark.parametrize(
    "text",
    [
        '{"channel": "a", "limit": 2147483648}',
        '{"channel": "a", "since": {"offset": -1}}',
        '{"channel": "a", "since": {"offset": 9223372036854775808}}',
        '{"channel": "a", "limit": 1.5}',
        '{"channel": "a", "reverse": 1}',
    ],
)
def test_numbers_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=w.HistoryRequest)


@given(st.binary())
def test_any_payload_can_be_answered(payload: bytes) -> None:
    said = msgspec.json.decode(msgspec.json.encode(w.Publication.of(Publication(payload))))
    if "b64data" in said:
        assert base64.b64decode(said["b64data"]) == payload
    elif payload:
        assert said["data"] == msgspec.json.decode(payload)
    else:
        assert said == {}


def test_what_is_known_of_a_publication_and_of_its_client() -> None:
    info = ClientInfo("ann", "c1", b'{"name": "Ann"}', b"\xff")
    kept = Publication(b'"hi"', 7, info, {"a": "b"})
    assert msgspec.json.decode(msgspec.json.encode(w.Publication.of(kept))) == {
        "data": "hi",
        "info": {"user": "ann", "client": "c1", "conn_info": {"name": "Ann"}, "b64chan_info": "/w=="},
        "offset": 7,
        "tags": {"a": "b"},
    }


def test_which_empty_fields_are_left_out() -> None:
    assert msgspec.json.encode(w.PublishResult.of(None)) == b"{}"
    assert msgspec.json.encode(w.HistoryResult([], "", 0)) == b'{"publications":[],"epoch":"","offset":0}'
    assert msgspec.json.encode(w.PresenceResult({})) == b'{"presence":{}}'
    assert msgspec.json.encode(w.PresenceStatsResult(0, 0)) == b'{"num_clients":0,"num_users":0}'
    assert msgspec.json.encode(w.ClientInfo.of(ClientInfo("", "c"))) == b'{"user":"","client":"c"}'
    assert msgspec.json.encode(w.RpcResult.of(b"")) == b"{}"
