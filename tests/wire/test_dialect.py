from __future__ import annotations

import pytest

from roomful.model.client import ClientInfo
from roomful.model.command import Pong, Publish
from roomful.model.publication import Publication
from roomful.model.push import JoinPush, PublicationPush, Push
from roomful.model.reply import Failure, PublishResult
from roomful.wire.dialect import (
    JSON_BARE,
    JSON_DEFLATED,
    JSON_FRAMED,
    PROTOBUF_BARE,
    PROTOBUF_DEFLATED,
    PROTOBUF_FRAMED,
    SUBPROTOCOLS,
    Codec,
    Framed,
    choose,
)
from roomful.wire.framing import deflated_frame, websocket_frame

PAIRS = [(JSON_BARE, JSON_FRAMED), (PROTOBUF_BARE, PROTOBUF_FRAMED)]
PUSHED: list[Push] = [
    PublicationPush("chat:1", Publication(b'{"text":"hi"}', 7)),
    PublicationPush("chat:1", Publication(b'"' + b"x" * 70000 + b'"', 8)),
    JoinPush("chat:1", ClientInfo("ann", "c1")),
]


@pytest.mark.parametrize(
    ("query", "subprotocol", "protobuf"),
    [
        ({}, "", False),
        ({"format": "protobuf"}, "", True),
        ({"cf_protocol": "protobuf"}, "", True),
        ({"format": "json", "cf_protocol": "protobuf"}, "", True),
        ({"format": "protobuf"}, "centrifuge-json", True),
        ({}, "centrifuge-protobuf", True),
        ({}, "centrifuge-json", False),
        ({"format": "json"}, "", False),
        ({"format": "Protobuf", "cf_ws_frame_ping_pong": "true"}, "", False),
    ],
)
def test_which_dialect_a_client_speaks(query: dict[str, str], subprotocol: str, protobuf: bool) -> None:
    bare, framed = PAIRS[protobuf]
    assert choose(query, subprotocol, framed=False) is bare
    assert choose(query, subprotocol, framed=True) is framed
    assert choose(query, subprotocol, framed=True, deflate=True) is (PROTOBUF_DEFLATED if protobuf else JSON_DEFLATED)


def test_subprotocols_are_the_names_of_the_codecs() -> None:
    assert (JSON_BARE.name, PROTOBUF_BARE.name) == SUBPROTOCOLS


@pytest.mark.parametrize(("bare", "framed"), PAIRS)
def test_what_is_said_of_a_codec_holds_in_its_frames(bare: Codec, framed: Framed) -> None:
    assert (framed.name, framed.binary, framed.json) == (bare.name, bare.binary, bare.json)
    assert bare.json is not bare.binary


@pytest.mark.parametrize(("bare", "framed"), PAIRS)
def test_frames_are_the_documents_of_the_codec_in_a_row(bare: Codec, framed: Framed) -> None:
    documents = [bare.reply(1, PublishResult()), bare.reply(2, Failure(103, "no")), bare.ping()]
    documents += [bare.push(word) for word in PUSHED]
    frames = [framed.reply(1, PublishResult()), framed.reply(2, Failure(103, "no")), framed.ping()]
    frames += [framed.push(word) for word in PUSHED]
    assert frames == [websocket_frame(document, bare.binary) for document in documents]
    assert framed.join(frames) == b"".join(frames)


@pytest.mark.parametrize(("bare", "framed"), [(JSON_BARE, JSON_DEFLATED), (PROTOBUF_BARE, PROTOBUF_DEFLATED)])
def test_so_are_compressed_ones(bare: Codec, framed: Framed) -> None:
    assert [framed.push(word) for word in PUSHED] == [deflated_frame(bare.push(word), bare.binary) for word in PUSHED]
    assert len(framed.push(PUSHED[1])) < 500
    assert (framed.name, framed.binary, framed.json) == (bare.name, bare.binary, bare.json)


def test_documents_of_one_message() -> None:
    assert JSON_BARE.join([b"{}", b'{"id":1}', b"{}"]) == b'{}\n{"id":1}\n{}'
    assert PROTOBUF_BARE.join([b"\x00", b"\x02\x08\x01"]) == b"\x00\x02\x08\x01"
    for bare, _ in PAIRS:
        assert bare.join([bare.ping()]) == bare.ping()


def test_both_decode_alike() -> None:
    json = b'{"id":3,"publish":{"channel":"chat","data":{"n":1}}}\n{}'
    protobuf = bytes.fromhex("13 08 03 3a 0f 0a 04 63 68 61 74 12 07 7b 22 6e 22 3a 31 7d 00")
    for (bare, framed), data in zip(PAIRS, (json, protobuf), strict=True):
        assert bare.decode(data) == framed.decode(data) == [Publish(3, "chat", b'{"n":1}'), Pong()]
