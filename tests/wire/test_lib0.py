from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.errors import WireError
from roomful.wire.lib0 import Reader, byte_string, string, uint


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (255, "ff01"),
        (300, "ac02"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2**21 - 1, "ffff7f"),
        (2**31 - 1, "ffffffff07"),
        (2**32, "8080808010"),
        (2**53 - 1, "ffffffffffffff0f"),
    ],
)
def test_numbers(value: int, spelled: str) -> None:
    assert uint(value).hex() == spelled
    reader = Reader(bytes.fromhex(spelled))
    assert reader.uint() == value
    assert reader.left == 0


@pytest.mark.parametrize("spelled", ["", "80", "ffffffffffffff10", "ffffffffffffffff01", "80808080808080808000"])
def test_numbers_that_are_cut_off_or_too_large(spelled: str) -> None:
    with pytest.raises(WireError):
        Reader(bytes.fromhex(spelled)).uint()


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("", "00"),
        ("hello", "0568656c6c6f"),
        ("é", "02c3a9"),
        ("日本", "06e697a5e69cac"),
        ("😀", "04f09f9880"),
        ("a\0b", "03610062"),
    ],
)
def test_strings(text: str, spelled: str) -> None:
    assert string(text).hex() == spelled
    assert Reader(bytes.fromhex(spelled)).string() == text


@pytest.mark.parametrize("spelled", ["01", "02ff", "01ff", "02c328", "ffffffff0f61"])
def test_strings_that_are_cut_off_or_no_utf8(spelled: str) -> None:
    with pytest.raises(WireError):
        Reader(bytes.fromhex(spelled)).string()


@given(st.lists(st.integers(0, 2**53 - 1) | st.text() | st.binary()))
def test_what_is_written_is_read(values: list[int | str | bytes]) -> None:
    spell = {int: uint, str: string, bytes: byte_string}
    reader = Reader(b"".join(spell[type(value)](value) for value in values))  # type: ignore[operator]
    for value in values:
        read = {int: reader.uint, str: reader.string, bytes: reader.byte_string}[type(value)]
        assert read() == value
    assert reader.left == 0
