"""The shapes of Centrifugo's HTTP proxy: each event's request, each answer's meaning."""

from __future__ import annotations

import contextlib
import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.client import Override
from roomful.model.disconnects import Disconnect
from roomful.model.errors import ApplicationError, Expired, Forbidden, RoomfulError
from roomful.model.event import (
    ConnectEvent,
    ConnectReply,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    RpcEvent,
    RpcReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
    SubscriptionOptions,
    Via,
)
from roomful.server.webhook_options import EventName
from roomful.server.webhook_words import QUESTIONS, BadAnswer, read_answer

VIA = Via("sse", "json")
WHERE = {"client": "c1", "transport": "sse", "protocol": "json", "encoding": "json"}


def test_every_event_that_can_be_named_has_its_question() -> None:
    assert tuple(QUESTIONS) == get_args(EventName)
    assert [name for name, question in QUESTIONS.items() if not question.deciding] == ["publish", "rpc"]


@pytest.mark.parametrize(
    ("name", "event", "body"),
    [
        ("connect", ConnectEvent("c1", via=VIA), WHERE),
        (
            "connect",
            ConnectEvent(
                "c1",
                user="ann",
                token_claims={"role": "host"},
                data={"a": 1},
                name="js",
                version="1",
                headers={"cookie": "x"},
                client_headers={"cookie": "y"},
                address="192.0.2.1",
                channels=["news"],
                via=VIA,
            ),
            WHERE
            | {
                "user": "ann",
                "token_claims": {"role": "host"},
                "data": {"a": 1},
                "name": "js",
                "version": "1",
                "address": "192.0.2.1",
                "channels": ["news"],
            },
        ),
        ("refresh", RefreshEvent("c1", "ann", {"m": 1}, VIA), WHERE | {"user": "ann", "meta": {"m": 1}}),
        ("subscribe", SubscribeEvent("c1", "", "news", via=VIA), WHERE | {"user": "", "channel": "news"}),
        (
            "subscribe",
            SubscribeEvent("c1", "ann", "news", [1], True, {"role": "x"}, {}, VIA),
            WHERE | {"user": "ann", "channel": "news", "data": [1], "granted": True, "token_claims": {"role": "x"}},
        ),
        ("sub_refresh", SubRefreshEvent("c1", "ann", "news", {}, VIA), WHERE | {"user": "ann", "channel": "news"}),
        (
            "publish",
            PublishEvent("c1", "ann", "news", 0, {}, VIA),
            WHERE | {"user": "ann", "channel": "news", "data": 0},
        ),
        (
            "publish",
            PublishEvent("c1", "ann", "news", b"\xff", {}, Via("websocket", "protobuf")),
            {
                "client": "c1",
                "transport": "websocket",
                "protocol": "protobuf",
                "encoding": "binary",
                "user": "ann",
                "channel": "news",
                "b64data": "/w==",
            },
        ),
        ("rpc", RpcEvent("c1", "ann", "", None, {}, VIA), WHERE | {"user": "ann", "method": ""}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, msgspec.Struct) else "",
)
def test_what_a_service_is_asked(name: EventName, event: Any, body: dict[str, Any]) -> None:
    assert json.loads(msgspec.json.encode(QUESTIONS[name].body(event))) == body


LOOK = '{"info": {"a": 1}, "data": 2, "expire_at": 9, "override": {"presence": {"value": true}}}'
OVERRIDE = Override(presence=True)


@pytest.mark.parametrize(
    ("name", "result", "reply"),
    [
        ("connect", "{}", ConnectReply()),
        ("connect", '{"user": ""}', ConnectReply("")),
        ("connect", '{"user": "ann", "expire_at": 0, "info": null}', ConnectReply("ann")),
        (
            "connect",
            '{"user": "ann", "info": 1, "data": 2, "expire_at": 9, "channels": ["a", "b"], "subs": {"b": '
            + LOOK
            + '}, "meta": {"m": 1}}',
            ConnectReply(
                "ann",
                b"1",
                b"2",
                9,
                {"a": SubscriptionOptions(), "b": SubscriptionOptions(b'{"a": 1}', b"2", 9, OVERRIDE)},
                {"m": 1},
            ),
        ),
        ("refresh", "{}", RefreshReply()),
        ("refresh", '{"expire_at": 9, "b64info": "MQ=="}', RefreshReply(9, b"1")),
        ("refresh", '{"expired": true}', RefreshReply(expires_at=1.0)),
        ("subscribe", "{}", SubscribeReply()),
        ("subscribe", LOOK, SubscribeReply(b'{"a": 1}', b"2", 9, OVERRIDE)),
        ("sub_refresh", '{"expire_at": 9}', SubRefreshReply(9)),
        ("sub_refresh", '{"expired": true, "expire_at": 9}', SubRefreshReply(expires_at=1.0)),
        ("publish", "{}", PublishReply()),
        (
            "publish",
            '{"b64data": "/w==", "skip_history": true, "tags": {"a": "b"}, "exclude": ["c1"]}',
            PublishReply(b"\xff", {"a": "b"}, frozenset({"c1"}), True),
        ),
        ("rpc", "{}", RpcReply()),
        ("rpc", '{"data": {"n": 1.0}}', RpcReply(b'{"n": 1.0}')),
    ],
)
def test_what_an_answer_means(name: EventName, result: str, reply: object) -> None:
    got = read_answer(QUESTIONS[name], b'{"result": ' + result.encode() + b"}")
    if isinstance(got, ConnectReply):
        assert got.subs == (reply.subs or {})  # type: ignore[attr-defined]
        got = msgspec.structs.replace(got, subs=reply.subs)  # type: ignore[attr-defined]
    assert got == reply


@pytest.mark.parametrize("name", get_args(EventName))
def test_an_empty_answer_is_no_opinion(name: EventName) -> None:
    assert read_answer(QUESTIONS[name], b"{}") is None
    assert read_answer(QUESTIONS[name], b'{"result": null, "error": null}') is None


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        ('{"error": {"code": 103, "message": "no"}}', Forbidden, (103, "no", False)),
        ('{"error": {"code": 110}}', Expired, (110, "expired", False)),
        ('{"error": {"code": 400, "message": "x", "temporary": true}}', ApplicationError, (400, "x", True)),
        ('{"error": {"code": 1999}, "result": {}}', ApplicationError, (1999, "application error", False)),
    ],
)
def test_an_error_of_a_service(answer: str, kind: type[RoomfulError], told: tuple[int, str, bool]) -> None:
    with pytest.raises(kind) as raised:
        read_answer(QUESTIONS["rpc"], answer.encode())
    assert (raised.value.code, raised.value.message, raised.value.temporary) == told


def test_a_disconnect_of_a_service_comes_before_all_else() -> None:
    answer = b'{"error": {"code": 103}, "disconnect": {"code": 4501, "reason": "out", "reconnect": false}}'
    with pytest.raises(Disconnect) as raised:
        read_answer(QUESTIONS["connect"], answer)
    assert (raised.value.code, raised.value.reason) == (4501, "out")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b'{"results": {}}',
        b'{"result": {"caps": []}}',
        b'{"result": {"info": 1, "b64info": "/w=="}}',
        b'{"result": {"expire_at": "soon"}}',
        b'{"error": {"code": 2000}}',
        b'{"error": {}}',
        b'{"disconnect": {"code": 3500, "reason": "x"}}',
        b'{"disconnect": {"code": 4000, "reason": "' + b"x" * 124 + b'"}}',
    ],
)
def test_an_answer_that_makes_no_sense(answer: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_answer(QUESTIONS["subscribe"], answer)


WORDS = ["result", "error", "disconnect", "code", "reason", "info", "b64info", "data", "subs", "channels", "expire_at"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.dictionaries(st.sampled_from(WORDS) | st.text(), inner) | st.lists(inner),
)


@given(st.sampled_from(list(QUESTIONS)), st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_answer_does_anything_else(name: EventName, answer: bytes) -> None:
    with contextlib.suppress(BadAnswer, RoomfulError, Disconnect):
        read_answer(QUESTIONS[name], answer)
