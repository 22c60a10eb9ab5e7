from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.testing.raw_websocket import frame
from roomful.testing.websocket_cases import Case, all_cases, compressed, deflate_cases
from roomful.transports.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    Violation,
    close_frame,
    close_reason,
    control_frame,
    parse_close,
)

MAX_BYTES = 1000

masks = st.binary(min_size=4, max_size=4)
texts = st.text(max_size=300).map(str.encode).filter(lambda data: len(data) <= MAX_BYTES)
messages = st.one_of(
    st.tuples(st.just(TEXT), texts),
    st.tuples(st.just(BINARY), st.binary(max_size=MAX_BYTES)),
)
controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def fragmented(draw: st.DrawFn, deflate: bool = False) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Bytes of a client that obeys the rules, and what they mean. deflate: some messages are compressed."""
    data, meant = b"", []
    for _ in range(draw(st.integers(1, 6))):
        opcode, message = draw(messages)
        compresses = deflate and draw(st.booleans())
        payload = compressed(message) if compresses else message
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
        starts, ends = [0, *cuts], [*cuts, len(payload)]
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            final = number == len(cuts)
            kind, reserved = (opcode, 4 * compresses) if number == 0 else (0, 0)
            data += frame(kind, payload[start:end], final=final, reserved=reserved, mask=draw(masks))
            if not final and draw(st.booleans()):
                control = draw(controls)
                data += frame(*control, mask=draw(masks))
                meant.append(control)
        meant.append((opcode, message))
    return data, meant


@st.composite
def segments_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(fragmented(), st.data())
def test_however_it_is_cut_it_means_the_same(sent: tuple[bytes, list[tuple[int, bytes]]], data: st.DataObject) -> None:
    octets, meant = sent
    reader = FrameReader(MAX_BYTES)
    assert [read for segment in data.draw(segments_of(octets)) for read in reader.feed(segment)] == meant
    assert reader.violation is None
    assert reader.feed(frame(TEXT, b"next")) == [(TEXT, b"next")]


@given(fragmented(deflate=True), st.data())
def test_so_do_compressed_messages(sent: tuple[bytes, list[tuple[int, bytes]]], data: st.DataObject) -> None:
    octets, meant = sent
    reader = FrameReader(MAX_BYTES, deflate=True)
    assert [read for segment in data.draw(segments_of(octets)) for read in reader.feed(segment)] == meant
    assert reader.violation is None


@pytest.mark.parametrize("case", deflate_cases(), ids=str)
def test_compressed_messages(case: Case) -> None:
    reader = FrameReader(65_536, deflate=True)
    read = [each for segment in case.segments for each in reader.feed(segment)]
    assert [(PONG if opcode == PING else opcode, payload) for opcode, payload in read] == list(case.answers)
    assert (reader.violation and reader.violation.code) == case.code


def test_many_small_bombs_are_one_large_one() -> None:
    bomb = frame(BINARY, compressed(bytes(65_536)), reserved=4)
    reader = FrameReader(65_536, deflate=True)
    read = reader.feed(bomb * 1000)
    assert reader.violation is not None
    assert reader.violation.code == 1009
    assert sum(len(payload) for _, payload in read) <= 16 * len(bomb) * 1000 + 8 * 65_536
    patient = FrameReader(65_536, deflate=True)
    assert all(patient.feed(bomb) == [(BINARY, bytes(65_536))] for _ in range(20))


def test_without_an_agreement_nothing_is_inflated() -> None:
    reader = FrameReader(MAX_BYTES)
    assert reader.feed(frame(TEXT, compressed(b"Hello"), reserved=4)) == []
    assert reader.violation is not None
    assert reader.violation.code == 1002


@given(st.binary(max_size=400), st.data())
def test_any_bytes_mean_the_same_however_they_are_cut(octets: bytes, data: st.DataObject) -> None:
    whole, cut = FrameReader(MAX_BYTES), FrameReader(MAX_BYTES)
    at_once = whole.feed(octets)
    assert [read for segment in data.draw(segments_of(octets)) for read in cut.feed(segment)] == at_once
    assert repr(cut.violation) == repr(whole.violation)


VIOLATIONS = [case for case in all_cases() if case.code in (1002, 1007) and not case.name.startswith("7 code")]


@pytest.mark.parametrize("case", VIOLATIONS, ids=str)
def test_a_violation_is_noticed_at_the_same_byte_in_every_cut(case: Case) -> None:
    """And what stands before it was read."""
    whole, octets = FrameReader(65_536), b"".join(case.segments)
    read = whole.feed(octets)
    assert [(opcode, payload) for opcode, payload in read if opcode in (TEXT, BINARY)] == list(case.answers)
    assert whole.violation is not None
    assert whole.violation.code == case.code
    single = FrameReader(65_536)
    assert [each for octet in octets for each in single.feed(bytes([octet]))] == read
    assert repr(single.violation) == repr(whole.violation)


@pytest.mark.timeout(60)
def test_mutated_bytes_end_in_a_violation_or_in_messages_and_in_time() -> None:
    """Never in another exception; what is read is within its limits."""
    seed = 20_240_229
    chance = random.Random(seed)
    cases = [*all_cases(), *deflate_cases()]
    good = b"".join(segment for case in cases if case.code is None for segment in case.segments if len(segment) < 999)
    for _ in range(3000):
        start = chance.randrange(len(good))
        octets = bytearray(good[start : start + chance.randrange(1, 400)])
        for _ in range(chance.randrange(4)):
            octets[chance.randrange(len(octets))] = chance.randrange(256)
        reader = FrameReader(MAX_BYTES, deflate=chance.random() < 0.5)
        for opcode, payload in reader.feed(bytes(octets)):
            assert opcode in (TEXT, BINARY, CLOSE, PING, PONG), seed
            assert len(payload) <= (MAX_BYTES if opcode in (TEXT, BINARY) else 125), seed


@pytest.mark.parametrize(
    "octets",
    [
        frame(BINARY, b"*" * (MAX_BYTES + 1))[:4],
        frame(BINARY, b"*" * 70_000)[:10],
        frame(BINARY, b"*" * 600, final=False) + frame(0, b"*" * 401)[:4],
    ],
)
def test_too_long_is_known_by_the_header(octets: bytes) -> None:
    reader = FrameReader(MAX_BYTES)
    reader.feed(octets)
    assert reader.violation is not None
    assert (reader.violation.code, reader.violation.reason) == (1009, "message longer than 1000 bytes")


def test_nothing_is_read_after_the_end() -> None:
    closed = FrameReader(MAX_BYTES)
    assert closed.feed(frame(CLOSE) + frame(TEXT, b"x")) == [(CLOSE, b"")]
    assert closed.feed(frame(TEXT, b"x")) == []
    broken = FrameReader(MAX_BYTES)
    assert broken.feed(frame(3)) == []
    assert broken.feed(frame(TEXT, b"x")) == []


@pytest.mark.timeout(20)
def test_a_large_message_in_small_segments_is_read_in_linear_time() -> None:
    """8 MiB in 8,192 segments is a matter of milliseconds; if each segment copied what is there, it would be 32 GiB."""
    octets = frame(BINARY, b"*" * (8 << 20))
    reader = FrameReader(16 << 20)
    read = [each for at in range(0, len(octets), 1024) for each in reader.feed(octets[at : at + 1024])]
    assert [len(payload) for _, payload in read] == [8 << 20]


@pytest.mark.parametrize(
    ("payload", "meaning"),
    [(b"", (1005, "")), (b"\x03\xe8", (1000, "")), (b"\x0f\xa0" + "grüß".encode(), (4000, "grüß"))],
)
def test_a_close_frame_is_code_and_reason(payload: bytes, meaning: tuple[int, str]) -> None:
    assert parse_close(payload) == meaning


@pytest.mark.parametrize(("payload", "code"), [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xe8\xff", 1007)])
def test_a_bad_close_frame_is_a_violation(payload: bytes, code: int) -> None:
    with pytest.raises(Violation) as raised:
        parse_close(payload)
    assert raised.value.code == code


@given(st.text(max_size=200))
def test_a_reason_fits_and_is_whole_characters(reason: str) -> None:
    try:
        octets = reason.encode()
    except UnicodeEncodeError:
        octets = reason.encode("utf-8", "replace")
    cut = close_reason(reason).encode()
    assert len(cut) <= 123
    assert octets.startswith(cut)
    assert len(octets) - len(cut) < 4 or len(cut) > 119


def test_a_servers_control_frames() -> None:
    assert control_frame(PONG, b"abc") == b"\x8a\x03abc"
    assert close_frame(3001, "shutdown") == b"\x88\x0a\x0b\xb9shutdown"
