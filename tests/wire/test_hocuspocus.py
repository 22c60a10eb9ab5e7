from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.document import (
    Authenticate,
    Authenticated,
    AwarenessEntry,
    AwarenessUpdate,
    Close,
    FromClient,
    PermissionDenied,
    Ping,
    Pong,
    QueryAwareness,
    Stateless,
    SyncStatus,
    SyncStep1,
    SyncStep2,
    SyncUpdate,
    ToClient,
    TokenRequest,
    Unknown,
    Violation,
)
from roomful.model.errors import WireError
from roomful.wire.hocuspocus import BARE, FRAMED

HI = bytes.fromhex("010101000401017402686900")
ANN = AwarenessUpdate((AwarenessEntry(1, 1, b'{"user":{"name":"Ann"}}'),))


@pytest.mark.parametrize(
    ("key", "message", "spelled"),
    [
        ("doc", Authenticate("tok", "4.8.0"), "03646f63020003746f6b05342e382e30"),
        ("doc", Authenticate("tok"), "03646f63020003746f6b"),
        ("doc", SyncStep1(b"\x00"), "03646f6300000100"),
        ("doc", SyncStep2(b"\x00\x00"), "03646f630001020000"),
        ("doc", SyncUpdate(HI), "03646f6300020c010101000401017402686900"),
        ("doc", ANN, "03646f63011b010101177b2275736572223a7b226e616d65223a22416e6e227d7d"),
        ("doc", Stateless("ping!"), "03646f63050570696e6721"),
        ("doc", Close(), "03646f6307"),
        ("doc", QueryAwareness(), "03646f6303"),
        ("doc\0s1", Authenticate("t", "4.8.0"), "06646f630073310200017405342e382e30"),
        ("", Ping(), "09"),
        ("", Pong(), "0a"),
        ("doc", SyncStep1(b"\x00"), "03646f6304000100"),
        ("doc", Unknown(99), "03646f6363"),
    ],
)
def test_what_clients_send(key: str, message: FromClient, spelled: str) -> None:
    assert BARE.decode(bytes.fromhex(spelled)) == [(key, message)]


@pytest.mark.parametrize(
    ("key", "message", "spelled"),
    [
        ("doc", Authenticated(True), "03646f6302020a726561642d7772697465"),
        ("doc", Authenticated(False), "03646f63020208726561646f6e6c79"),
        ("doc2", PermissionDenied("permission-denied"), "04646f63320201117065726d697373696f6e2d64656e696564"),
        ("doc", TokenRequest(), "03646f630200"),
        ("doc", SyncStep1(b"\x00"), "03646f6300000100"),
        ("doc", SyncStep2(b"\x00\x00"), "03646f630001020000"),
        ("doc", SyncUpdate(HI), "03646f6300020c010101000401017402686900"),
        ("doc", SyncStatus(True), "03646f630801"),
        ("doc", SyncStatus(False), "03646f630800"),
        ("doc", AwarenessUpdate(()), "03646f63010100"),
        ("doc", Stateless("ping!"), "03646f63050570696e6721"),
        ("doc", Close("provider_initiated"), "03646f63071270726f76696465725f696e69746961746564"),
        ("doc", Close("Reset Connection"), "03646f630710526573657420436f6e6e656374696f6e"),
        ("", Pong(), "0a"),
    ],
)
def test_what_the_server_sends(key: str, message: ToClient, spelled: str) -> None:
    assert BARE.encode(key, message).hex() == spelled


@pytest.mark.parametrize(
    "spelled", ["03646f630602", "03646f630205", "03646f630009", "03646f6300020c01", "03646f630101ff"]
)
def test_what_no_client_may_send(spelled: str) -> None:
    [(key, message)] = BARE.decode(bytes.fromhex(spelled))
    assert key == "doc"
    assert isinstance(message, Violation)


@pytest.mark.parametrize("spelled", ["", "03", "03646f", "03646f63", "02fffe00"])
def test_bytes_without_a_key_and_a_type(spelled: str) -> None:
    with pytest.raises(WireError):
        BARE.decode(bytes.fromhex(spelled))


def test_a_name_of_nine_letters_is_no_ping() -> None:
    assert BARE.decode(b"\x09documents" + bytes.fromhex("03")) == [("documents", QueryAwareness())]


def test_each_message_of_a_framed_wire_is_a_frame() -> None:
    assert FRAMED.join([FRAMED.encode("doc", SyncStatus(True))] * 2).hex() == "820603646f630801" * 2


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        assert len(BARE.decode(data)) == 1
    except WireError:
        return
