from __future__ import annotations

import base64
from itertools import combinations
from typing import Any

import pytest
from centrifuge.codecs import _ProtobufCodec as Peer
from centrifuge.protocol import client_pb2 as official
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st

from roomful.model import command, push, reply
from roomful.model.client import ClientInfo
from roomful.model.command import Command
from roomful.model.errors import Unencodable, WireError
from roomful.model.publication import Position, Publication
from roomful.model.push import Push
from roomful.model.reply import Failure, Result
from roomful.model.tags_filter import FilterNode
from roomful.wire import centrifuge_pb2
from roomful.wire.centrifuge_protobuf import CentrifugeProtobuf
from tests.wire import words
from tests.wire.fuzz import LIMIT_S, mutants

PROTOBUF = CentrifugeProtobuf()
FILTER = FilterNode(
    op="not", nodes=(FilterNode(key="k", cmp="in", vals=("é",)), FilterNode(key="k", cmp="eq", val="v"))
)
COMMANDS = words.commands(words.ANY_PAYLOADS)
COMMANDS_OF_PYTHON = words.commands(words.ANY_PAYLOADS, types=st.just(0))  # centrifuge-python 0.7 knows no types

# Section 28.4 of the protocol.
SENT: list[tuple[str, list[Command]]] = [
    (
        "0c 08 01 22 08 0a 02 74 30 22 02 70 79  0e 08 02 2a 0a 0a 04 63 68 61 74 48 01 50 01",
        [command.Connect(1, "t0", name="py"), command.Subscribe(2, "chat", positioned=True, recoverable=True)],
    ),
    ("13 08 03 3a 0f 0a 04 63 68 61 74 12 07 7b 22 6e 22 3a 31 7d", [command.Publish(3, "chat", b'{"n":1}')]),
    ("00", [command.Pong()]),
    ("00 00", [command.Pong(), command.Pong()]),
    ("02 08 05", [command.Unknown(5)]),
    ("04 08 05 5a 00", [command.Unknown(5)]),
    ("04 62 02 0a 00", [command.Send()]),
    ("09 08 05 6a 00 a2 06 02 68 69", [command.Rpc(5)]),  # and field 100, which nobody knows
]
REPLIES: list[tuple[int, Result | Failure, str]] = [
    (1, reply.ConnectResult("c1", "R", ping=25, pong=True), "0f 08 01 2a 0b 0a 02 63 31 12 01 52 38 19 40 01"),
    (
        2,
        reply.SubscribeResult(recoverable=True, positioned=True, epoch="aBcD", offset=7),
        "10 08 02 32 0c 18 01 32 04 61 42 63 44 48 07 50 01",
    ),
    (3, reply.PublishResult(), "04 08 03 42 00"),
    (3, reply.UnsubscribeResult(), "04 08 03 3a 00"),
    (
        4,
        Failure(103, "permission denied"),
        "19 08 04 12 15 08 67 12 11 70 65 72 6d 69 73 73 69 6f 6e 20 64 65 6e 69 65 64",
    ),
]
PUSHES: list[tuple[Push, str]] = [
    (
        push.PublicationPush("chat", Publication(b'{"n":1}', 8), epoch="aBcD"),
        "15 22 13 12 04 63 68 61 74 22 0b 22 07 7b 22 6e 22 3a 31 7d 30 08",
    ),
    (
        push.UnsubscribePush("chat", 2500, "insufficient state"),
        "21 22 1f 12 04 63 68 61 74 3a 17 10 c4 13 1a 12 69 6e 73 75 66 66 69 63 69 65 6e 74 20 73 74 61 74 65",
    ),
    (push.DisconnectPush(3012, "no pong"), "10 22 0e 5a 0c 08 c4 17 12 07 6e 6f 20 70 6f 6e 67"),
]


def base64_text(payload: bytes) -> str:
    """How the official codec's dictionaries hold bytes."""
    return base64.b64encode(payload).decode()


def as_official(spelled: dict[str, Any]) -> dict[str, Any]:
    """A reply as the official codec gives it back: 64-bit numbers as texts, empty values left out."""
    found: dict[str, Any] = MessageToDict(ParseDict(spelled, official.Reply()), preserving_proto_field_name=True)
    return found


def length(message: bytes) -> bytes:
    """In three bytes, also where one would do."""
    size = len(message)
    return bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])


@pytest.mark.parametrize(("data", "expected"), SENT)
def test_what_clients_send(data: str, expected: list[Command]) -> None:
    assert PROTOBUF.decode(bytes.fromhex(data)) == expected


@pytest.mark.parametrize(("id", "result", "expected"), REPLIES)
def test_what_a_reply_looks_like(id: int, result: Result | Failure, expected: str) -> None:
    assert PROTOBUF.reply(id, result).hex(" ") == expected


@pytest.mark.parametrize(("word", "expected"), PUSHES)
def test_what_a_push_looks_like(word: Push, expected: str) -> None:
    assert PROTOBUF.push(word).hex(" ") == expected


def test_a_ping_is_an_empty_message() -> None:
    assert PROTOBUF.ping() == b"\x00"


@pytest.mark.parametrize("name", official.DESCRIPTOR.message_types_by_name)
def test_every_message_of_the_official_client_is_spelled_alike(name: str) -> None:
    theirs = official.DESCRIPTOR.message_types_by_name[name]
    ours = centrifuge_pb2.DESCRIPTOR.message_types_by_name[name]
    for field in theirs.fields:
        our_field = ours.fields_by_name[field.name]
        assert (our_field.number, our_field.type, our_field.is_repeated) == (
            field.number,
            field.type,
            field.is_repeated,
        )


@given(st.lists(COMMANDS_OF_PYTHON, min_size=1, max_size=5))
def test_whatever_the_official_client_sends_is_understood(sent: list[Command]) -> None:
    data = Peer.encode_commands([words.spelled_command(word, base64_text) for word in sent])
    assert PROTOBUF.decode(data) == sent


@given(st.lists(st.tuples(words.IDS, words.results(words.ANY_PAYLOADS)), min_size=1, max_size=4))
def test_the_official_client_understands_every_reply(answers: list[tuple[int, Result | Failure]]) -> None:
    frame = PROTOBUF.join([PROTOBUF.reply(id, result) for id, result in answers])
    expected = [as_official(words.spelled_reply(id, result, base64_text, json=False)) for id, result in answers]
    assert Peer.decode_replies(frame) == expected


@given(st.lists(words.pushes(words.ANY_PAYLOADS), min_size=1, max_size=4))
def test_the_official_client_understands_every_push(pushed: list[Push]) -> None:
    frame = PROTOBUF.join([PROTOBUF.push(word) for word in pushed])
    expected = [as_official(words.spelled_push(word, base64_text, json=False)) for word in pushed]
    assert Peer.decode_replies(frame) == expected


@pytest.mark.parametrize("result", words.EMPTY_RESULTS, ids=lambda result: type(result).__name__)
def test_an_empty_result_is_still_named(result: Result) -> None:
    assert Peer.decode_replies(PROTOBUF.reply(5, result)) == [{"id": 5, words.RESULTS[type(result)]: {}}]


@pytest.mark.parametrize("word", words.EMPTY_PUSHES, ids=lambda word: type(word).__name__)
def test_an_empty_push_is_still_named(word: Push) -> None:
    expected = as_official(words.spelled_push(word, base64_text, json=False))
    assert words.PUSHES[type(word)] in expected["push"]
    assert Peer.decode_replies(PROTOBUF.push(word)) == [expected]


@given(st.lists(COMMANDS, min_size=1, max_size=6))
def test_commands_mean_the_same_in_one_frame_or_in_many(sent: list[Command]) -> None:
    messages = []
    for word in sent:
        message = ParseDict(words.spelled_command(word, base64_text), centrifuge_pb2.Command()).SerializeToString()
        messages.append(length(message) + message)
    assert [PROTOBUF.decode(message) for message in messages] == [[word] for word in sent]
    assert PROTOBUF.decode(b"".join(messages)) == sent


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 200, 16383, 16384, 70000])
def test_lengths_of_one_byte_and_more(size: int) -> None:
    payload = b"x" * size
    (got,) = Peer.decode_replies(PROTOBUF.reply(1, reply.RpcResult(payload)))
    assert got == {"id": 1, "rpc": {"data": base64_text(payload)} if payload else {}}
    sent = Peer.encode_commands([{"id": 1, "rpc": {"data": base64_text(payload)}}])
    assert PROTOBUF.decode(sent) == [command.Rpc(1, "", payload)]


@pytest.mark.parametrize(("first", "second"), list(combinations(words.REQUESTS, 2)))
def test_of_several_requests_the_first_in_the_table_counts(first: str, second: str) -> None:
    message = centrifuge_pb2.Command(id=1, **{first: {}, second: {}}).SerializeToString()
    assert PROTOBUF.decode(length(message) + message) == [words.REQUESTS[first]]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (centrifuge_pb2.Command(subscribe={"channel": "c"}), command.Pong()),
        (centrifuge_pb2.Command(publish={"channel": "c"}, send={"data": b"1"}), command.Send(b"1")),
        (centrifuge_pb2.Command(id=2, subscribe={"tf": {}}), command.Subscribe(2, filter=FilterNode())),
        (centrifuge_pb2.Command(id=2, history={"since": {}}), command.History(2, since=Position("", 0))),
    ],
)
def test_commands_at_the_edge(message: centrifuge_pb2.Command, expected: Command) -> None:
    data = message.SerializeToString()
    assert PROTOBUF.decode(length(data) + data) == [expected]


@pytest.mark.parametrize(
    "data",
    [
        "",  # nothing at all
        "05",  # a length without message
        "05 08 01",  # a message that is cut off
        "00 05",
        "80",  # a length that is cut off
        "80 80 80 80 80 80 80 80 80 80 01",  # a length beyond 64 bits
        "ff ff ff ff ff ff ff ff ff 01",  # 2**64 - 1 bytes to come
        "ff ff ff ff 0f 08 01",
        "01 08",  # a number that is cut off
        "02 ff ff",
        "04 08 01 3a 05",  # a request that is longer than its message
        "02 09 01",  # a wrong kind of field, cut off
        "01 0f",  # a kind of field that doesn't exist
        "06 08 01 6a 02 12 05",  # a text that is cut off
        "07 08 01 6a 03 12 01 ff",  # a text that isn't UTF-8
        "09 08 01 6a 05 12 03 ed a0 80",  # a surrogate
        "0b 08 01 22 07 32 05 0a 01 ff 12 00",  # a name in a map that isn't UTF-8
        "03 08 01 0c",  # the end of a group that never began
    ],
)
def test_what_is_no_command(data: str) -> None:
    with pytest.raises(WireError):
        PROTOBUF.decode(bytes.fromhex(data))


def test_a_filter_deeper_than_the_parser_goes() -> None:
    node = b""
    for _ in range(2000):
        node = b"\x32" + length(node) + node
    inner = centrifuge_pb2.SubscribeRequest(channel="c").SerializeToString() + b"\x6a" + length(node) + node
    message = b"\x08\x01\x2a" + length(inner) + inner
    with pytest.raises(WireError):
        PROTOBUF.decode(length(message) + message)


@pytest.mark.parametrize(("ttl", "written"), [(2**40, 2**32 - 1), (-5, None), (3600, 3600)])
def test_a_ttl_stays_within_32_bits(ttl: int, written: int | None) -> None:
    for result in (reply.ConnectResult(ttl=ttl), reply.SubscribeResult(ttl=ttl), reply.SubRefreshResult(ttl=ttl)):
        (got,) = Peer.decode_replies(PROTOBUF.reply(1, result))
        assert got[words.RESULTS[type(result)]].get("ttl") == written
    (got,) = Peer.decode_replies(PROTOBUF.push(push.RefreshPush(True, ttl)))
    assert got["push"]["refresh"].get("ttl") == written


@pytest.mark.parametrize(
    "result",
    [
        Failure(2**32, "too large"),
        Failure(-1, "too small"),
        Failure(400, "\ud800"),
        reply.PresenceStatsResult(2**32, 0),
        reply.HistoryResult([], "", 2**64),
        reply.HistoryResult([Publication(b"", 2**64)], "", 0),
        reply.SubscribeResult(offset=-1),
        reply.SubscribeResult(number=2**63),
        reply.ConnectResult(ping=2**32),
        reply.ConnectResult(time=2**63),
        reply.PresenceResult({"c": ClientInfo("\udfff", "c")}),
    ],
)
def test_what_doesnt_fit_into_a_field_cant_be_carried(result: Result | Failure) -> None:
    with pytest.raises(Unencodable):
        PROTOBUF.reply(1, result)


@pytest.mark.parametrize(
    "word",
    [
        push.UnsubscribePush("c", 2**32, "r"),
        push.DisconnectPush(-1, "r"),
        push.PublicationPush("\ud800", Publication(b"")),
        push.PublicationPush("c", Publication(b"", tags={"a": "\ud800"})),
        push.JoinPush("c", ClientInfo("", ""), 2**63),
    ],
)
def test_what_doesnt_fit_into_a_push_cant_be_carried(word: Push) -> None:
    with pytest.raises(Unencodable):
        PROTOBUF.push(word)


def test_an_error_and_an_ending_always_have_a_text() -> None:
    assert Peer.decode_replies(PROTOBUF.reply(1, Failure(400, "")))[0]["error"]["message"]
    assert Peer.decode_replies(PROTOBUF.push(push.UnsubscribePush("c", 2000, "")))[0]["push"]["unsubscribe"]["reason"]
    assert Peer.decode_replies(PROTOBUF.push(push.DisconnectPush(3000, "")))[0]["push"]["disconnect"]["reason"]


@given(st.binary())
def test_no_bytes_do_worse_than_a_wire_error(data: bytes) -> None:
    decoded_or_refused(data)


@pytest.mark.timeout(LIMIT_S)
def test_no_broken_frame_does_worse_than_a_wire_error() -> None:
    seeds = [bytes.fromhex(data) for data, _ in SENT]
    rich = command.Connect(
        7, "t", b"\xff", {"c": command.Subscribe(0, "c", filter=FILTER, offset=2**64 - 1)}, "n", "v", {"h": "é"}
    )
    history = command.History(8, "c", -1, Position("e", 5), True)
    seeds.append(Peer.encode_commands([words.spelled_command(word, base64_text) for word in (rich, history)]))
    for mutant in mutants(seeds):
        decoded_or_refused(mutant)


def decoded_or_refused(data: bytes) -> None:
    try:
        decoded = PROTOBUF.decode(data)
    except WireError:
        return
    except Exception as error:
        pytest.fail(f"{error!r} for {data!r}")
    assert decoded
