from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from roomful.wire.framing import websocket_frame


def parsed(data: bytes, count: int) -> list[Frame]:
    """The frames in `data`, as another library reads them; fails on anything behind them."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames = []
    for _ in range(count):
        with pytest.raises(StopIteration) as end:
            next(Frame.parse(reader.read_exact, mask=False))
        frames.append(end.value.value)
    with pytest.raises(StopIteration):
        next(reader.read_to_eof(0))
    return frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 1 << 20])
def test_every_length_of_header(size: int) -> None:
    payload = b"x" * size
    assert parsed(websocket_frame(payload, binary=False), 1) == [Frame(Opcode.TEXT, payload)]
    assert parsed(websocket_frame(payload, binary=True), 1) == [Frame(Opcode.BINARY, payload)]


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=5))
def test_frames_can_be_strung_together(messages: list[tuple[bytes, bool]]) -> None:
    stream = b"".join(websocket_frame(payload, binary) for payload, binary in messages)
    expected = [Frame(Opcode.BINARY if binary else Opcode.TEXT, payload) for payload, binary in messages]
    assert parsed(stream, len(messages)) == expected
