"""Payloads between clients and the application."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.errors import BadRequest
from roomful.session.payload import check_payload, from_client, to_client

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON.filter(lambda value: value is not None))
def test_what_json_can_say_goes_there_and_back(value: Any) -> None:
    assert from_client(to_client(value)) == value


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", None), (b"null", None), (b"1", 1), (b"\xff", b"\xff"), (b"{", b"{"), (b"[" * 100_000, b"[" * 100_000)],
    ids=lambda value: repr(value)[:10],
)
def test_from_client(data: bytes, value: Any) -> None:
    assert from_client(data) == value


@pytest.mark.parametrize(
    ("value", "data"), [(None, b""), (b"\xff", b"\xff"), ("", b'""'), (0, b"0"), ({"a": [1]}, b'{"a":[1]}')]
)
def test_to_client(value: Any, data: bytes) -> None:
    assert to_client(value) == data


@pytest.mark.parametrize("value", [object(), {1: object()}, 1j])
def test_what_json_cant_say(value: Any) -> None:
    with pytest.raises(TypeError):
        to_client(value)


@given(st.binary() | JSON.map(msgspec.json.encode), st.sampled_from(["json", "json_object", "binary"]))
def test_a_format_takes_exactly_what_it_says(
    data: bytes, data_format: Literal["json", "json_object", "binary"]
) -> None:
    try:
        value = msgspec.json.decode(data)
        fits = data_format != "json_object" or isinstance(value, dict)
    except msgspec.DecodeError:
        fits = False
    if data_format == "binary" or fits:
        check_payload(data, data_format)
    else:
        with pytest.raises(BadRequest):
            check_payload(data, data_format)
