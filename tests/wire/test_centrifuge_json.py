from __future__ import annotations

import json
import sys
from itertools import combinations
from typing import Any

import pytest
from centrifuge.codecs import _JsonCodec as Peer
from hypothesis import example, given
from hypothesis import strategies as st

from roomful.model import command, push, reply
from roomful.model.client import ClientInfo
from roomful.model.command import Command
from roomful.model.errors import Unencodable, WireError
from roomful.model.publication import DeltaPublication, Position, Publication
from roomful.model.push import Push
from roomful.model.reply import Failure, Result
from roomful.model.tags_filter import FilterNode
from roomful.wire import centrifuge_json
from roomful.wire.centrifuge_json import CentrifugeJSON
from tests.wire import words
from tests.wire.fuzz import LIMIT_S, mutants

JSON = CentrifugeJSON()
COMMANDS = words.commands(words.JSON_PAYLOADS)

ALICE = ClientInfo("42", "5f0c7e1e-6d5c-4a7e-9a55-0e6f3f1b2c3d")

# Section 28 of the protocol: what clients send, and what it means.
SENT: list[tuple[bytes, list[Command]]] = [
    (
        b'{"connect":{"token":"T","name":"js"},"id":1}\n{"subscribe":{"channel":"chat:lobby","flag":1},"id":2}',
        [command.Connect(1, token="T", name="js"), command.Subscribe(2, "chat:lobby", flag=1)],
    ),
    (
        b'{"publish":{"channel":"chat:lobby","data":{"text":"hi"}},"id":3}',
        [command.Publish(3, "chat:lobby", b'{"text":"hi"}')],
    ),
    (b"{}", [command.Pong()]),
    (
        b'{"subscribe":{"channel":"chat:lobby","recover":true,"epoch":"kWqz","offset":5,"flag":1},"id":2}',
        [command.Subscribe(2, "chat:lobby", recover=True, epoch="kWqz", offset=5, flag=1)],
    ),
    (b'{"subscribe":{"channel":"$private"},"id":4}', [command.Subscribe(4, "$private")]),
    (
        b'{"connect":{"token":"T","subs":{"#42":{"recover":true,"epoch":"pQrs","offset":2}}},"id":1}',
        [command.Connect(1, "T", subs={"#42": command.Subscribe(recover=True, epoch="pQrs", offset=2)})],
    ),
    (
        b'{"history":{"channel":"chat:lobby","limit":2,"reverse":true},"id":6}',
        [command.History(6, "chat:lobby", 2, reverse=True)],
    ),
    (
        b'{"history":{"channel":"chat:lobby","limit":-1,"since":{"epoch":"kWqz","offset":18446744073709551615}},"id":6}',
        [command.History(6, "chat:lobby", -1, Position("kWqz", 2**64 - 1))],
    ),
    (b'{"presence_stats":{"channel":"chat:lobby"},"id":7}', [command.PresenceStats(7, "chat:lobby")]),
    (b'{"presence":{"channel":"chat:lobby"},"id":7}', [command.Presence(7, "chat:lobby")]),
    (b'{"unsubscribe":{"channel":"chat:lobby"},"id":8}', [command.Unsubscribe(8, "chat:lobby")]),
    (b'{"rpc":{"method":"m","data":[1]},"id":9}', [command.Rpc(9, "m", b"[1]")]),
    (b'{"send":{"data":"x"}}', [command.Send(b'"x"')]),
    (b'{"refresh":{"token":"T"},"id":10}', [command.Refresh(10, "T")]),
    (b'{"sub_refresh":{"channel":"c","token":"T"},"id":11}', [command.SubRefresh(11, "c", "T")]),
    (
        b'{"subscribe":{"channel":"c","tf":{"cmp":"ex","key":"k"},"delta":"fossil"},"id":2}',
        [command.Subscribe(2, "c", filter=FilterNode(cmp="ex", key="k"), delta="fossil")],
    ),
    (
        b'{"subscribe":{"channel":"c","tf":{"op":"not","nodes":[{"key":"k","cmp":"in","vals":["a","\xc3\xa9"]}]}},"id":2}',
        [
            command.Subscribe(
                2, "c", filter=FilterNode(op="not", nodes=(FilterNode(key="k", cmp="in", vals=("a", "é")),))
            )
        ],
    ),
]

# Sections 12 and 28: what a server says, byte by byte.
REPLIES: list[tuple[int, Result | Failure, bytes]] = [
    (
        1,
        reply.ConnectResult("c1", "Roomful 0.1", ping=25, pong=True),
        b'{"id":1,"connect":{"client":"c1","version":"Roomful 0.1","ping":25,"pong":true}}',
    ),
    (
        2,
        reply.SubscribeResult(recoverable=True, positioned=True, epoch="kWqz", offset=4),
        b'{"id":2,"subscribe":{"recoverable":true,"epoch":"kWqz","offset":4,"positioned":true}}',
    ),
    (
        2,
        reply.SubscribeResult(
            recoverable=True,
            positioned=True,
            epoch="kWqz",
            offset=5,
            was_recovering=True,
            recovered=True,
            publications=[Publication(b'{"text":"a"}', 6), Publication(b'{"text":"b"}', 7)],
        ),
        b'{"id":2,"subscribe":{"recoverable":true,"epoch":"kWqz","publications":[{"data":{"text":"a"},"offset":6},'
        b'{"data":{"text":"b"},"offset":7}],"recovered":true,"offset":5,"positioned":true,"was_recovering":true}}',
    ),
    (3, reply.PublishResult(), b'{"id":3,"publish":{}}'),
    (4, Failure(103, "permission denied"), b'{"id":4,"error":{"code":103,"message":"permission denied"}}'),
    (4, Failure(100, "oops", True), b'{"id":4,"error":{"code":100,"message":"oops","temporary":true}}'),
    (5, reply.UnsubscribeResult(), b'{"id":5,"unsubscribe":{}}'),
    (
        6,
        reply.HistoryResult([Publication(b'{"text":"b"}', 7), Publication(b'{"text":"a"}', 6)], "kWqz", 7),
        b'{"id":6,"history":{"publications":[{"data":{"text":"b"},"offset":7},{"data":{"text":"a"},"offset":6}],'
        b'"epoch":"kWqz","offset":7}}',
    ),
    (6, reply.HistoryResult([], "", 0), b'{"id":6,"history":{"publications":[],"epoch":"","offset":0}}'),
    (7, reply.PresenceStatsResult(1, 1), b'{"id":7,"presence_stats":{"num_clients":1,"num_users":1}}'),
    (7, reply.PresenceStatsResult(0, 0), b'{"id":7,"presence_stats":{"num_clients":0,"num_users":0}}'),
    (8, reply.PresenceResult({}), b'{"id":8,"presence":{"presence":{}}}'),
    (
        8,
        reply.PresenceResult({"c3": ClientInfo("", "c3", b'{"name":"Ann"}')}),
        b'{"id":8,"presence":{"presence":{"c3":{"user":"","client":"c3","conn_info":{"name":"Ann"}}}}}',
    ),
    (9, reply.RpcResult(), b'{"id":9,"rpc":{}}'),
    (9, reply.RpcResult(b"null"), b'{"id":9,"rpc":{"data":null}}'),
]
PUSHES: list[tuple[Push, bytes]] = [
    (
        push.PublicationPush("chat:lobby", Publication(b'{"text":"hi"}', 5, ALICE), epoch="kWqz"),
        b'{"push":{"channel":"chat:lobby","pub":{"data":{"text":"hi"},'
        b'"info":{"user":"42","client":"5f0c7e1e-6d5c-4a7e-9a55-0e6f3f1b2c3d"},"offset":5}}}',
    ),
    (
        push.PublicationPush("news", Publication(b'"hi"', 13, tags={"lang": "en"}, exclude=frozenset({"c"}))),
        b'{"push":{"channel":"news","pub":{"data":"hi","offset":13,"tags":{"lang":"en"}}}}',
    ),
    (
        # The example of section 15.4.
        push.PublicationPush(
            "stock",
            DeltaPublication(
                Publication(b'{"ticker":"ACME","price":101.75,"volume":100000,"venue":"XNYS"}', 9),
                b'{"ticker":"ACME","price":101.25,"volume":100000,"venue":"XNYS"}',
            ),
        ),
        rb'{"push":{"channel":"stock","pub":{"data":"~\nT@0,1:7X@U,1HclGQ;","delta":true,"offset":9}}}',
    ),
    (
        push.PublicationPush("stock", DeltaPublication(Publication('{"é":\n1}'.encode(), 8)), number=3),
        '{"push":{"id":3,"pub":{"data":"{\\"é\\":\\n1}","offset":8}}}'.encode(),
    ),
    (push.JoinPush("news", ClientInfo("7", "c2"), 5), b'{"push":{"id":5,"join":{"info":{"user":"7","client":"c2"}}}}'),
    (push.PublicationPush("news", Publication(b"")), b'{"push":{"channel":"news","pub":{}}}'),
    (
        push.JoinPush("news", ClientInfo("7", "c2", chan_info=b"[1]")),
        b'{"push":{"channel":"news","join":{"info":{"user":"7","client":"c2","chan_info":[1]}}}}',
    ),
    (
        push.LeavePush("news", ClientInfo("", "c3")),
        b'{"push":{"channel":"news","leave":{"info":{"user":"","client":"c3"}}}}',
    ),
    (
        push.UnsubscribePush("news", 2500, "insufficient state"),
        b'{"push":{"channel":"news","unsubscribe":{"code":2500,"reason":"insufficient state"}}}',
    ),
    (
        push.SubscribePush("inbox:#42", True, "kWqz", 4, True),
        b'{"push":{"channel":"inbox:#42","subscribe":'
        b'{"recoverable":true,"epoch":"kWqz","offset":4,"positioned":true}}}',
    ),
    (push.MessagePush(b'{"kind":"toast"}'), b'{"push":{"message":{"data":{"kind":"toast"}}}}'),
    (push.RefreshPush(True, 300), b'{"push":{"refresh":{"expires":true,"ttl":300}}}'),
    (push.DisconnectPush(3001, "shutdown"), b'{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}'),
]


def value(payload: bytes) -> Any:
    return json.loads(payload)


def strictly(text: str) -> Any:
    """What standard JSON allows, and no more."""

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(("data", "expected"), SENT)
def test_what_clients_send(data: bytes, expected: list[Command]) -> None:
    assert JSON.decode(data) == expected
    assert JSON.decode(data + b"\n") == expected


@pytest.mark.parametrize(("id", "result", "expected"), REPLIES)
def test_what_a_reply_looks_like(id: int, result: Result | Failure, expected: bytes) -> None:
    assert JSON.reply(id, result) == expected


@pytest.mark.parametrize(("word", "expected"), PUSHES)
def test_what_a_push_looks_like(word: Push, expected: bytes) -> None:
    assert JSON.push(word) == expected


def test_a_ping_is_an_empty_reply() -> None:
    assert JSON.ping() == b"{}"


@given(st.lists(COMMANDS, min_size=1, max_size=5))
def test_whatever_the_official_client_sends_is_understood(sent: list[Command]) -> None:
    spelled = [words.spelled_command(word, value) for word in sent]
    got = JSON.decode(Peer.encode_commands(spelled).encode())
    assert [type(word) for word in got] == [type(word) for word in sent]
    assert [words.spelled_command(word, value) for word in got] == spelled


@given(st.lists(st.tuples(words.IDS, words.results(words.JSON_PAYLOADS)), min_size=1, max_size=4))
def test_the_official_client_understands_every_reply(answers: list[tuple[int, Result | Failure]]) -> None:
    message = JSON.join([JSON.reply(id, result) for id, result in answers])
    expected = [words.spelled_reply(id, result, value, json=True) for id, result in answers]
    assert Peer.decode_replies(message.decode()) == expected


@given(st.lists(words.pushes(words.JSON_PAYLOADS), min_size=1, max_size=4))
def test_the_official_client_understands_every_push(pushed: list[Push]) -> None:
    message = JSON.join([JSON.push(word) for word in pushed])
    expected = [words.spelled_push(word, value, json=True) for word in pushed]
    assert Peer.decode_replies(message.decode()) == expected


@pytest.mark.parametrize("result", words.EMPTY_RESULTS, ids=lambda result: type(result).__name__)
def test_an_empty_result_is_still_named(result: Result) -> None:
    assert json.loads(JSON.reply(5, result)) == words.spelled_reply(5, result, value, json=True)


@pytest.mark.parametrize("word", words.EMPTY_PUSHES, ids=lambda word: type(word).__name__)
def test_an_empty_push_is_still_named(word: Push) -> None:
    assert json.loads(JSON.push(word)) == words.spelled_push(word, value, json=True)


@given(st.lists(COMMANDS, min_size=1, max_size=6))
def test_commands_mean_the_same_in_one_message_or_in_many(sent: list[Command]) -> None:
    documents = [json.dumps(words.spelled_command(word, value)).encode() for word in sent]
    apart = [word for document in documents for word in JSON.decode(document)]
    assert JSON.decode(b"\n".join(documents)) == apart
    assert JSON.decode(b"\n".join(documents) + b"\n") == apart


@given(words.VALUES, st.sampled_from([None, 1]), st.booleans())
def test_a_payload_keeps_its_bytes(payload: Any, indent: int | None, ascii: bool) -> None:
    data = json.dumps(payload, indent=indent, ensure_ascii=ascii).encode().replace(b"\n", b"\t")
    assert JSON.decode(b'{"id":1,"rpc": {"data" : ' + data + b" } }") == [command.Rpc(1, "", data)]
    assert JSON.decode(b'{"send":{"data":' + data + b"}}") == [command.Send(data)]


@pytest.mark.parametrize("name", words.REQUESTS)
def test_an_empty_request(name: str) -> None:
    assert JSON.decode(json.dumps({"id": 1, name: {}}).encode()) == [words.REQUESTS[name]]


@pytest.mark.parametrize(("first", "second"), list(combinations(words.REQUESTS, 2)))
def test_of_several_requests_the_first_in_the_table_counts(first: str, second: str) -> None:
    assert JSON.decode(json.dumps({second: {}, first: {}, "id": 1}).encode()) == [words.REQUESTS[first]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"id":0}', command.Pong()),
        (b'{"id":null}', command.Pong()),
        (b'{"subscribe":{"channel":"c"}}', command.Pong()),
        (b'{"id":0,"publish":{"channel":"c"},"send":{"data":1}}', command.Send(b"1")),
        (b'{"id":4}', command.Unknown(4)),
        (b'{"id":4,"dance":{}}', command.Unknown(4)),
        (b' {\t"id" : 4 , "rpc":{} }\r', command.Rpc(4)),
    ],
)
def test_commands_without_a_request_or_an_id(data: bytes, expected: Command) -> None:
    assert JSON.decode(data) == [expected]


FIELDS = {
    "connect": ("token", "subs", "name", "version", "headers", "flag", "dict", "unheard_of"),
    "subscribe": (
        *("channel", "token", "recover", "epoch", "offset", "positioned", "recoverable", "join_leave", "delta", "tf"),
        *("flag", "type", "phase", "cursor", "limit", "asc"),
    ),
    "unsubscribe": ("channel",),
    "publish": ("channel", "type", "key", "removed"),
    "presence": ("channel",),
    "presence_stats": ("channel",),
    "history": ("channel", "limit", "since", "reverse"),
    "send": ("unheard_of",),
    "rpc": ("method",),
    "refresh": ("token",),
    "sub_refresh": ("channel", "token", "type", "track", "untrack"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_null_is_as_good_as_nothing(name: str) -> None:
    nothing = dict.fromkeys(FIELDS[name])
    others = dict.fromkeys(FIELDS.keys() - {name})
    assert JSON.decode(json.dumps({"id": 1, name: nothing} | others).encode()) == [words.REQUESTS[name]]


def test_nulls_inside() -> None:
    data = b'{"id":1,"connect":{"subs":{"c":null},"headers":{"h":null}}}'
    assert JSON.decode(data) == [command.Connect(1, subs={"c": command.Subscribe()}, headers={"h": ""})]


def test_a_null_can_be_published() -> None:
    assert JSON.decode(b'{"id":1,"publish":{"channel":"c","data":null}}') == [command.Publish(1, "c", b"null")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b" ",
        b"\n{}",
        b"{}\n\n",
        b"{}\n\n{}",
        b"{}{}",
        b"[]",
        b"[{}]",
        b"1",
        b"null",
        b"{",
        b'{"id":"1"}',
        b'{"id":1.5}',
        b'{"id":true}',
        b'{"id":-1}',
        b'{"id":4294967296}',
        b'{"id":' + b"9" * 5000 + b"}",
        b'{"id":1,"rpc":[]}',
        b'{"id":1,"rpc":true}',
        b'{"id":1,"rpc":{"method":5}}',
        b'{"id":1,"rpc":{"data":nope}}',
        b'{"id":1,"rpc":{"data":{"a":01}}}',
        b'{"id":1,"rpc":{"data":"\x01"}}',
        b'{"id":1,"rpc":{"data":"\\x"}}',
        b'{"id":1,"subscribe":{"offset":-1}}',
        b'{"id":1,"subscribe":{"offset":18446744073709551616}}',
        b'{"id":1,"subscribe":{"offset":"5"}}',
        b'{"id":1,"subscribe":{"flag":9223372036854775808}}',
        b'{"id":1,"subscribe":{"type":2147483648}}',
        b'{"id":1,"history":{"limit":2147483648}}',
        b'{"id":1,"history":{"since":{"offset":18446744073709551616}}}',
        b'{"id":1,"connect":{"subs":[]}}',
        b'{"id":1,"connect":{"headers":{"h":1}}}',
        b'\xef\xbb\xbf{"id":1}',
        # Text that isn't UTF-8: in a payload, in a name, in a field that we don't know and in its name.
        b'{"id":1,"rpc":{"data":"\xff"}}',
        b'{"id":1,"rpc":{"method":"\xc3"}}',
        b'{"id":1,"dance":"\xed\xa0\x80"}',
        b'{"id":1,"\xff":1}',
        # Deeper than the stack.
        b'{"id":1,"rpc":{"data":' + b"[" * 30000 + b"]" * 30000 + b"}}",
        b'{"id":1,"dance":' + b'{"a":' * 10000 + b"1" + b"}" * 10000 + b"}",
        b"[" * 60000,
    ],
)
def test_what_is_no_command(data: bytes) -> None:
    with pytest.raises(WireError):
        JSON.decode(data)


def deeper(levels: int, word: Push) -> bytes:
    return deeper(levels - 1, word) if levels else JSON.push(word)


def test_a_payload_that_was_let_in_can_be_pushed_from_further_down_the_stack() -> None:
    deepest = 0
    for depth in range(1, sys.getrecursionlimit()):
        try:
            (word,) = JSON.decode(b'{"id":1,"publish":{"channel":"c","data":' + b"[" * depth + b"]" * depth + b"}}")
        except WireError:
            break
        assert isinstance(word, command.Publish)
        deepest = depth
    assert deepest > 500
    payload = b"[" * deepest + b"]" * deepest
    assert payload in deeper(100, push.PublicationPush("c", Publication(payload)))


HALVES = [
    (rb'"\ud83d"', rb'"\ufffd"'),
    (rb'"\udc00 and \uD83D"', rb'"\ufffd and \ufffd"'),
    (rb'"\ud83d\ude00 \ud83d\ud83d\ude00"', rb'"\ud83d\ude00 \ufffd\ud83d\ude00"'),
    (rb'"\\ud83d \\\ud83d"', rb'"\\ud83d \\\ufffd"'),
    (rb'{"\ud83d":"\u0041\n"}', rb'{"\ufffd":"\u0041\n"}'),
]


@pytest.mark.parametrize(("half", "mended"), HALVES)
def test_half_an_emoji_becomes_the_replacement_character(half: bytes, mended: bytes) -> None:
    """JavaScript cuts texts between the halves of a surrogate pair; that is no reason to close a connection."""
    assert json.loads(half)
    assert JSON.decode(b'{"id":1,"rpc":{"data":' + half + b"}}") == [command.Rpc(1, "", mended)]
    assert JSON.push(push.MessagePush(half)) == b'{"push":{"message":{"data":' + mended + b"}}}"


def test_half_an_emoji_in_a_name() -> None:
    assert JSON.decode(rb'{"id":1,"rpc":{"method":"a\ud83d"}}') == [command.Rpc(1, "a�")]


@pytest.mark.parametrize(
    ("payload", "embedded"),
    [
        (b'{\n  "a": [\n    1\n  ]\n}\n', b'{  "a": [    1  ]}'),
        (b'{\r\n"a":\r1}', b'{"a":1}'),
        (b'"a\\nb"', b'"a\\nb"'),
        (' "\u2028é" '.encode(), '"\u2028é"'.encode()),
        (b"1e999", b"1e999"),
        (b"9" * 5000, b"9" * 5000),
    ],
)
def test_a_payload_in_a_line(payload: bytes, embedded: bytes) -> None:
    document = JSON.push(push.PublicationPush("c", Publication(payload)))
    assert (
        document.replace(b" ", b"") == b'{"push":{"channel":"c","pub":{"data":' + embedded.replace(b" ", b"") + b"}}}"
    )
    assert not set(document) & {0x0A, 0x0D}


@given(st.binary(min_size=1) | st.text(min_size=1).map(str.encode))
@example(b"\xef\xbb\xbf1")
@example(b"NaN")
@example(b"1 2")
@example(b'"\xff"')
@example(b'{"a":"\xed\xa0\x80"}')
@example(b"\x00")
@example('"é"'.encode("latin-1"))
@example('"é"'.encode("utf-16"))
def test_exactly_what_is_json_can_be_carried(payload: bytes) -> None:
    try:
        expected = strictly(payload.decode())
    except ValueError:
        for word in (
            push.MessagePush(payload),
            push.PublicationPush("c", Publication(payload)),
            push.PublicationPush("c", Publication(b"1", info=ClientInfo("u", "c", conn_info=payload))),
            push.JoinPush("c", ClientInfo("u", "c", chan_info=payload)),
        ):
            with pytest.raises(Unencodable):
                JSON.push(word)
        with pytest.raises(Unencodable):
            JSON.push(push.PublicationPush("c", DeltaPublication(Publication(payload), payload)))
        with pytest.raises(Unencodable):
            JSON.reply(1, reply.RpcResult(payload))
    else:
        assert json.loads(JSON.push(push.MessagePush(payload))) == {"push": {"message": {"data": expected}}}
        whole = json.loads(JSON.push(push.PublicationPush("c", DeltaPublication(Publication(payload)))))
        assert whole["push"]["pub"]["data"].encode() == payload


def test_texts_that_are_no_unicode_cant_be_carried() -> None:
    with pytest.raises(Unencodable):
        JSON.push(push.UnsubscribePush("c", 2000, "\ud800"))
    with pytest.raises(Unencodable):
        JSON.reply(1, Failure(400, "\ud800"))


@pytest.mark.parametrize(("ttl", "written"), [(2**40, 2**32 - 1), (-5, None), (3600, 3600)])
def test_a_ttl_stays_within_32_bits(ttl: int, written: int | None) -> None:
    for result in (reply.ConnectResult(ttl=ttl), reply.SubscribeResult(ttl=ttl), reply.SubRefreshResult(ttl=ttl)):
        (body,) = [body for name, body in json.loads(JSON.reply(1, result)).items() if name != "id"]
        assert body.get("ttl") == written


def test_an_error_and_an_ending_always_have_a_text() -> None:
    assert json.loads(JSON.reply(1, Failure(400, "")))["error"]["message"]
    assert json.loads(JSON.push(push.UnsubscribePush("c", 2000, "")))["push"]["unsubscribe"]["reason"]
    assert json.loads(JSON.push(push.DisconnectPush(3000, "")))["push"]["disconnect"]["reason"]


@given(st.binary())
def test_no_bytes_do_worse_than_a_wire_error(data: bytes) -> None:
    decoded_or_refused(data)


@pytest.mark.timeout(LIMIT_S)
def test_no_broken_message_does_worse_than_a_wire_error() -> None:
    for mutant in mutants([data for data, _ in SENT]):
        decoded_or_refused(mutant)


@pytest.mark.timeout(LIMIT_S)
def test_no_broken_payload_does_worse_than_unencodable() -> None:
    for mutant in mutants([b'{"a":[1,2.5e3,"\\ud83d\\ude00",null]}', b'"x\\n"', b"[[[]]]"]):
        try:
            document = JSON.push(push.PublicationPush("c", Publication(mutant)))
        except Unencodable:
            continue
        assert document.startswith(b'{"push":{"channel":"c","pub":{')
        assert b"\n" not in document


def decoded_or_refused(data: bytes) -> None:
    try:
        decoded = JSON.decode(data)
    except WireError:
        return
    except Exception as error:
        pytest.fail(f"{error!r} for {data!r}")
    assert len(decoded) == data.removesuffix(b"\n").count(b"\n") + 1


def test_publications_of_replies_are_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A room that comes back gets the same ones, as often as it has members."""
    publications = [Publication(b'{"a": 1}', 1), Publication(b'"' + b"x" * centrifuge_json.SHARED_MAX_BYTES + b'"', 2)]
    result = reply.HistoryResult(publications, "e", 2)
    before = JSON.reply(1, result)
    written: list[Publication] = []
    spell = centrifuge_json._publication
    monkeypatch.setattr(centrifuge_json, "_publication", lambda word: (written.append(word), spell(word))[1])
    assert JSON.reply(1, result) == before
    assert written == publications[1:], "only what is too long to be kept"


def test_no_more_of_them_are_kept_than_that() -> None:
    for offset in range(3 * centrifuge_json.SHARED_MAX):
        frame = JSON.reply(1, reply.HistoryResult([Publication(b"0", offset)], "", 0))
        assert b'"offset":%d' % offset in frame or not offset
        assert len(centrifuge_json._written) <= centrifuge_json.SHARED_MAX
