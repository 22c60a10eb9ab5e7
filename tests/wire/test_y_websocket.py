from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.document import (
    AwarenessEntry,
    AwarenessUpdate,
    PermissionDenied,
    QueryAwareness,
    SyncStatus,
    SyncStep1,
    SyncStep2,
    SyncUpdate,
    ToClient,
    Unknown,
    Violation,
)
from roomful.wire.y_websocket import BARE, FRAMED, KEY

HI = bytes.fromhex("010101000401017402686900")

GOLDEN: list[tuple[ToClient, str]] = [
    (SyncStep1(b"\x00"), "00000100"),
    (SyncStep2(b"\x00\x00"), "0001020000"),
    (SyncUpdate(HI), "00020c010101000401017402686900"),
    (SyncStep1(bytes.fromhex("010102")), "000003010102"),
    (
        AwarenessUpdate((AwarenessEntry(1, 1, b'{"user":{"name":"Ann"}}'),)),
        "011b010101177b2275736572223a7b226e616d65223a22416e6e227d7d",
    ),
    (AwarenessUpdate((AwarenessEntry(1, 2, None),)), "0108010102046e756c6c"),
    (AwarenessUpdate(()), "010100"),
]


@pytest.mark.parametrize(("message", "spelled"), GOLDEN)
def test_messages(message: ToClient, spelled: str) -> None:
    assert BARE.encode(KEY, message).hex() == spelled
    assert BARE.decode(bytes.fromhex(spelled)) == [(KEY, message)]


def test_a_refusal() -> None:
    assert BARE.encode(KEY, PermissionDenied("no")).hex() == "0200026e6f"


def test_what_the_wire_cannot_say() -> None:
    with pytest.raises(TypeError):
        BARE.encode(KEY, SyncStatus(True))


def test_several_messages_in_one_frame() -> None:
    data = b"".join(bytes.fromhex(spelled) for _, spelled in GOLDEN) + b"\x03"
    assert BARE.decode(data) == [*((KEY, message) for message, _ in GOLDEN), (KEY, QueryAwareness())]


def test_an_unknown_message_ends_the_frame() -> None:
    assert BARE.decode(bytes.fromhex("00000100" + "63" + "00000100")) == [
        (KEY, SyncStep1(b"\x00")),
        (KEY, Unknown(0x63)),
    ]


def test_each_message_of_a_framed_wire_is_a_frame() -> None:
    frames = [FRAMED.encode(KEY, SyncStep1(b"\x00")), FRAMED.encode(KEY, AwarenessUpdate(()))]
    assert FRAMED.join(frames).hex() == "8204" + "00000100" + "8203" + "010100"


@given(st.binary())
def test_any_bytes_are_read_or_named_as_a_violation(data: bytes) -> None:
    messages = BARE.decode(data)
    assert all(not isinstance(message, Violation) for _, message in messages[:-1])
