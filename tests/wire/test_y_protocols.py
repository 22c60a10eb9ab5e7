from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.document import AwarenessEntry, AwarenessUpdate, SyncStep1, SyncStep2, SyncUpdate, Violation
from roomful.model.errors import WireError
from roomful.wire.lib0 import Reader, byte_string
from roomful.wire.y_protocols import read_awareness, read_sync, write_awareness, write_sync

ANN = b'{"user":{"name":"Ann"}}'


@pytest.mark.parametrize(
    ("message", "spelled"),
    [
        (SyncStep1(b"\x00"), "000100"),
        (SyncStep2(b"\x00\x00"), "01020000"),
        (SyncUpdate(bytes.fromhex("010101000401017402686900")), "020c010101000401017402686900"),
    ],
)
def test_sync(message: SyncStep1 | SyncStep2 | SyncUpdate, spelled: str) -> None:
    assert write_sync(message).hex() == spelled
    assert read_sync(Reader(bytes.fromhex(spelled))) == message


def test_a_kind_of_sync_message_that_does_not_exist() -> None:
    assert isinstance(read_sync(Reader(b"\x03\x00")), Violation)


@pytest.mark.parametrize(
    ("entries", "spelled"),
    [
        ((), "00"),
        ((AwarenessEntry(1, 0, b"{}"),), "010100027b7d"),
        ((AwarenessEntry(1, 1, ANN),), "010101177b2275736572223a7b226e616d65223a22416e6e227d7d"),
        ((AwarenessEntry(1, 2, None),), "010102046e756c6c"),
    ],
)
def test_awareness(entries: tuple[AwarenessEntry, ...], spelled: str) -> None:
    body = bytes.fromhex(spelled)
    assert write_awareness(AwarenessUpdate(entries)) == byte_string(body)
    assert read_awareness(Reader(byte_string(body))) == AwarenessUpdate(entries)


def test_a_count_of_millions_makes_nothing() -> None:
    with pytest.raises(WireError):
        read_awareness(Reader(byte_string(bytes.fromhex("ffffffff0f00"))))


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_sync, read_awareness):
        try:
            read(Reader(data))
        except WireError:
            continue
