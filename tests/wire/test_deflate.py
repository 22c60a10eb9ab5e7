"""Messages that are compressed by themselves. Source: RFC 7692 section 7.2."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from roomful.model.errors import WireError
from roomful.wire.deflate import WINDOW_BITS, TooLong, deflated, inflated
from tests.wire.fuzz import LIMIT_S, mutants

MAX_BYTES = 100_000

payloads = st.binary(max_size=300) | st.builds(
    lambda part, count: part * count, st.binary(min_size=1, max_size=40), st.integers(1, 200)
)


def peer() -> PerMessageDeflate:
    """The other side, in another implementation, as it was agreed on."""
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=WINDOW_BITS,
        local_max_window_bits=15,
    )


@given(st.lists(payloads, max_size=4))
def test_another_implementation_reads_what_we_compress(messages: list[bytes]) -> None:
    reader = peer()
    for payload in messages:
        frame = Frame(Opcode.BINARY, deflated(payload), rsv1=True)
        assert bytes(reader.decode(frame, max_size=MAX_BYTES).data) == payload


@given(st.lists(payloads, max_size=4))
def test_we_read_what_another_implementation_compresses(messages: list[bytes]) -> None:
    writer = peer()
    for payload in messages:
        assert inflated(bytes(writer.encode(Frame(Opcode.BINARY, payload)).data), MAX_BYTES) == payload


@pytest.mark.parametrize(
    "data",
    [
        "f2 48 cd c9 c9 07 00",  # the examples of RFC 7692 section 7.2.3
        "00 05 00 fa ff 48 65 6c 6c 6f 00",
        "f3 48 cd c9 c9 07 00 00",
        "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
    ],
)
def test_the_examples_of_the_standard(data: str) -> None:
    assert inflated(bytes.fromhex(data), 5) == b"Hello"


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 70_000])
def test_the_limit_is_exact(size: int) -> None:
    data = deflated(b"x" * size)
    assert len(inflated(data, size)) == size
    if size:
        with pytest.raises(TooLong):
            inflated(data, size - 1)


def test_a_bomb_takes_no_more_than_its_limit() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bomb.compress(bytes(64 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    assert len(data) < 70_000
    with pytest.raises(TooLong):
        inflated(data[:-4], 65_536)


@pytest.mark.parametrize(
    "data",
    [
        b"Hello",
        b"\xff" * 20,
        deflated(b"a message that is cut off, with many letters")[:-8],
        deflated(b"x" * 300)[:-2],
        bytes.fromhex("f348cdc9c9070000") + b"behind the last block",
    ],
)
def test_what_is_not_whole_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        inflated(data, MAX_BYTES)


def test_what_leans_on_the_message_before_is_refused() -> None:
    """It was agreed that nothing is kept."""
    writer = PerMessageDeflate(False, False, 15, 15)
    first, second = (bytes(writer.encode(Frame(Opcode.TEXT, b"the same words " * 9)).data) for _ in range(2))
    assert inflated(first, MAX_BYTES)
    with pytest.raises(WireError):
        inflated(second, MAX_BYTES)


@pytest.mark.timeout(LIMIT_S)
def test_no_broken_message_does_worse_than_a_wire_error() -> None:
    seeds = [deflated(payload) for payload in (b"", b"Hello", b"x" * 5000, bytes(range(256)) * 3)]
    for mutant in mutants(seeds):
        try:
            assert len(inflated(mutant, 10_000)) <= 10_000
        except WireError:
            continue
