from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from roomful.wire.framing import DEFLATE_FROM_BYTES, deflated_frame, websocket_frame


def parsed(data: bytes, count: int, *, compressed: bool = False) -> list[Frame]:
    """The frames in `data`, as another library reads them; fails on anything behind them."""
    extensions = [PerMessageDeflate(True, True, 12, 15)] if compressed else []
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames = []
    for _ in range(count):
        with pytest.raises(StopIteration) as end:
            next(Frame.parse(reader.read_exact, mask=False, extensions=extensions))
        frames.append(end.value.value)
    with pytest.raises(StopIteration):
        next(reader.read_to_eof(0))
    return frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 1 << 20])
def test_every_length_of_header(size: int) -> None:
    payload = b"x" * size
    assert parsed(websocket_frame(payload, binary=False), 1) == [Frame(Opcode.TEXT, payload)]
    assert parsed(websocket_frame(payload, binary=True), 1) == [Frame(Opcode.BINARY, payload)]


@pytest.mark.parametrize("payload", [b"", b"x" * (DEFLATE_FROM_BYTES - 1), Random(1).randbytes(500)])
def test_what_would_gain_nothing_goes_as_it_is(payload: bytes) -> None:
    assert deflated_frame(payload, binary=True) == websocket_frame(payload, binary=True)


@pytest.mark.parametrize("size", [DEFLATE_FROM_BYTES, 65_536, 1 << 24])
def test_the_rest_is_compressed_and_says_so(size: int) -> None:
    payload = b"x" * size
    for binary, opcode in ((False, Opcode.TEXT), (True, Opcode.BINARY)):
        (frame,) = parsed(deflated_frame(payload, binary), 1, compressed=True)
        assert (frame.opcode, frame.data) == (opcode, payload)


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans(), st.booleans()), max_size=5))
def test_compressed_ones_and_others_can_be_strung_together(messages: list[tuple[bytes, bool, bool]]) -> None:
    stream, expected = b"", []
    for payload, binary, twice in messages:
        payload += payload * twice
        stream += deflated_frame(payload, binary)
        expected.append(Frame(Opcode.BINARY if binary else Opcode.TEXT, payload))
    assert parsed(stream, len(messages), compressed=True) == expected


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=5))
def test_frames_can_be_strung_together(messages: list[tuple[bytes, bool]]) -> None:
    stream = b"".join(websocket_frame(payload, binary) for payload, binary in messages)
    expected = [Frame(Opcode.BINARY if binary else Opcode.TEXT, payload) for payload, binary in messages]
    assert parsed(stream, len(messages)) == expected
