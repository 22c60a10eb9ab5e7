from __future__ import annotations

import pytest
from msgspec import Raw

from roomful.model.client import ClientInfo
from roomful.model.errors import Unencodable
from roomful.wire.payload import client_info, raw_json


@pytest.mark.parametrize(
    ("payload", "raw"),
    [
        (b"", None),
        (b'{"a": 1}', b'{"a": 1}'),
        (b'{\r\n"a":\n1}', b'{"a":1}'),
        (b'"\\ud83d"', b'"\\ufffd"'),  # half an emoji
        ('"é"'.encode(), '"é"'.encode()),
    ],
)
def test_a_payload_on_one_line(payload: bytes, raw: bytes | None) -> None:
    found = raw_json(payload)
    assert (None if found is None else bytes(found)) == raw


@pytest.mark.parametrize("payload", [b"{", b"nul", b'"\xff"', b"\x00", b"[" * 100_000, b'"a\nb"'])
def test_what_is_no_json(payload: bytes) -> None:
    with pytest.raises(Unencodable):
        raw_json(payload)


def test_who_somebody_is() -> None:
    assert client_info(ClientInfo("ann", "c1")) == {"user": "ann", "client": "c1"}
    assert client_info(ClientInfo("", "c1", b"[1]", b"2")) == {
        "user": "",
        "client": "c1",
        "conn_info": Raw(b"[1]"),
        "chan_info": Raw(b"2"),
    }
