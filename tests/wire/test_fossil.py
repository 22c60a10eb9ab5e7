"""The delta format, with the decoder of the official Python client as a second opinion on everything that is made."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from centrifuge.fossil import apply_delta
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.model.errors import WireError
from roomful.wire.fossil import COPY_EFFORT, EFFORT, apply, create
from tests.wire.fuzz import LIMIT_S, mutants

OLD = b'{"ticker":"ACME","price":101.25,"volume":100000,"venue":"XNYS"}'
NEW = b'{"ticker":"ACME","price":101.75,"volume":100000,"venue":"XNYS"}'
DELTA = b"~\nT@0,1:7X@U,1HclGQ;"


def made(source: bytes, target: bytes) -> bytes:
    """The delta, after both decoders have made the target of it."""
    delta = create(source, target)
    assert apply(source, delta) == target
    assert apply_delta(source, delta) == target
    return delta


def inserts(delta: bytes) -> list[bytes]:
    """The runs that a delta inserts."""
    runs = []
    place = delta.index(b"\n") + 1
    while command := re.compile(rb"([0-9A-Za-z_~]+)(?:@[0-9A-Za-z_~]+,|(:))").match(delta, place):
        place = command.end()
        if command[2]:
            count = 0
            for digit in command[1]:
                count = count * 64 + b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~".index(digit)
            runs.append(delta[place : place + count])
            place += count
    return runs


# The format


@pytest.mark.parametrize(
    ("source", "target", "delta"),
    [
        (OLD, NEW, DELTA),
        (b"", b"hi", b"2\n2:hi1dQG00;"),
        (b"", b"", b"0\n0;"),
        (b"", b"a", b"1\n1:a1X0000;"),
        (b"", b"abcd", b"4\n4:abcd1XObD_;"),
        (b"", b"abcde", b"5\n5:abcde36ObD_;"),
        (OLD, OLD, b"~\n~@0,1HbWGQ;"),
        (OLD, b"", b"0\n0;"),
    ],
)
def test_golden_bytes(source: bytes, target: bytes, delta: bytes) -> None:
    assert made(source, target) == delta


@pytest.mark.parametrize(
    ("size", "spelled"),
    [(9, b"9"), (10, b"A"), (35, b"Z"), (36, b"_"), (37, b"a"), (62, b"z"), (63, b"~"), (64, b"10"), (4095, b"~~")],
)
def test_digits(size: int, spelled: bytes) -> None:
    delta = made(b"", bytes(size))
    assert delta == spelled + b"\n" + spelled + b":" + bytes(size) + b"0;"


def test_the_checksum_is_exact_where_sums_are_largest() -> None:
    words = 64 * 1024 // 4
    assert made(b"", b"\xff" * (4 * words)).endswith(b"3~~x00;")  # 2^32 - words
    assert apply(b"", b"1000\n1000:" + bytes(64**3) + b"0;") == bytes(64**3)


# Deltas of any bytes


@given(st.binary(max_size=400), st.binary(max_size=400))
@settings(deadline=None)
def test_any_bytes(source: bytes, target: bytes) -> None:
    made(source, target)


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_any_bytes_that_share_parts(data: st.DataObject) -> None:
    runs = data.draw(st.lists(st.binary(min_size=1, max_size=70), min_size=1, max_size=6))
    made(*(b"".join(data.draw(st.lists(st.sampled_from(runs), max_size=12))) for _ in range(2)))


@pytest.mark.parametrize("size", [16, 700, 64 * 1024])
def test_what_was_made_to_cost_much(size: int) -> None:
    random = Random(1)
    blocks = [random.randbytes(16) for _ in range(size // 16)]
    everything = b"".join(blocks)
    for source, target in [
        (random.randbytes(size), random.randbytes(size)),
        (bytes(size), b"x" + bytes(size) + b"x"),
        (b"a" * size, b"x" + (b"a" * 17 + b"b") * (size // 18)),
        (b"a" * size + b"b", (b"b" + b"a" * 15) * (size // 16)),
        (everything, b"".join(b"%b-" % random.choice(blocks) for _ in blocks)),
        (everything, b"".join(block[1:] + block[:1] for block in blocks)),
        (everything, b"".join(reversed(blocks))),
    ]:
        assert len(inserts(made(source, target))) <= EFFORT // COPY_EFFORT + 1


# Deltas of text

LOOKALIKES = [  # characters that share bytes: at the beginning, at the end, at both
    *("éè", "éĩ", "中丮", "丮⸮", "丮严", "😀😁", "😀\U00010000", "😀\U0001f000", "😀\U0005f600", "😀\U0001f640"),
    *("a中", "é中", "é😀", "中😀", "\x7f\x80"),
]
PIECES = [
    *"".join(LOOKALIKES),
    "e\u0301",
    "e\u0300",
    "👩‍👩‍👧",
    "👨‍👩‍👧",
    '{"ticker":"ACME"',
    ',"text":"naïve café"',
    "кириллица",
    "😀" * 6,
]
CHARACTERS = st.characters(codec="utf-8")
RUNS = st.lists(st.sampled_from(PIECES) | st.text(CHARACTERS, max_size=3), max_size=30)


@st.composite
def edited_texts(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A text, and what it has become."""
    runs = draw(RUNS)
    edited = list(runs)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(edited)))
        edited[start : start + draw(st.integers(0, 3))] = draw(RUNS)[:3]
    return "".join(runs).encode(), "".join(edited).encode()


@given(edited_texts())
@settings(deadline=None, max_examples=500)
def test_what_is_inserted_is_text(texts: tuple[bytes, bytes]) -> None:
    delta = made(*texts)
    delta.decode()
    for run in inserts(delta):
        run.decode()


@given(st.binary(max_size=100), RUNS)
@settings(deadline=None)
def test_what_is_inserted_is_text_even_if_the_source_was_none(source: bytes, runs: list[str]) -> None:
    made(source, "".join(runs).encode()).decode()


@pytest.mark.parametrize("pair", [*LOOKALIKES, *(pair[::-1] for pair in LOOKALIKES)])
@pytest.mark.parametrize("around", ["", "long enough to be found", "é" * 9, "😀" * 5])
def test_only_whole_characters_are_replaced(pair: str, around: str) -> None:
    old, new = (f"A beginning, {around}{it}{around}, and an end.".encode() for it in pair)
    assert inserts(made(old, new)) == [pair[1].encode()]


# How small they are


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def quotes(count: int) -> list[dict[str, Any]]:
    random = Random(1)
    return [
        {"symbol": f"S{i:03}", "price": random.randint(100, 999) / 8, "size": random.randrange(10**6), "venue": "XNYS"}
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [4, 40, 800])
@pytest.mark.parametrize(
    ("change", "at_most"),
    [
        (lambda items: items[len(items) // 2].update(price=7.5), 40),
        (lambda items: (items[0].update(size=7), items[-1].update(size=1234567)), 55),
        (lambda items: items.insert(1, {"a": "new one"}), 55),
        (lambda items: items.pop(1), 40),
        (lambda items: items.append(items.pop(0)), 65),
        (lambda items: items.append({**items[-1], "symbol": "S999"}), 65),
        (lambda items: items.insert(0, {"x": 0, **items[len(items) // 40 + 1], "symbol": "S999"}), 65),
    ],
)
def test_small_changes_make_small_deltas(
    count: int, change: Callable[[list[dict[str, Any]]], object], at_most: int
) -> None:
    items = quotes(count)
    source = encoded({"time": 1700000000000, "items": items})
    change(items)
    assert len(made(source, encoded({"time": 1700000001000, "items": items}))) <= at_most


@pytest.mark.parametrize(
    ("change", "at_most"),
    [
        (lambda item: item.update(price=item["price"] * 1.25), 15),
        (lambda item: item.pop("size"), 11),
    ],
)
def test_a_change_in_every_record(change: Callable[[dict[str, Any]], object], at_most: int) -> None:
    items = quotes(400)
    source = encoded(items)
    for item in items:
        change(item)
    assert len(made(source, encoded(items))) <= at_most * 400


def test_what_is_added_resembles_what_stands_before_it() -> None:
    items = quotes(40)
    assert len(made(encoded(items), encoded([*items, {**items[-2], "symbol": "S999"}]))) <= 45


def test_a_copy_is_shorter_than_what_it_copies() -> None:
    assert b"@" not in made(b"abc", b"abd") + made(b"[1]", b"[2]") + made(b"[15]", b"[165]")


# Deltas of others


@pytest.mark.parametrize(
    "delta",
    [
        b"",
        b"~",
        b"~;",
        b"\n1HclGQ;",
        b"~\n",
        b"~\nT@0",
        b"~\nT@0;",
        b"~\nT@,1:7X@U,1HclGQ;",
        b"~\n@0,1:7X@U,1HclGQ;",
        b"~\nT0,1:7X@U,1HclGQ;",
        b"~\nT@0,1:7X@U,",
        b"~\nT@0,1:7X@U,1HclGQ",
        b"~\nT@0,1:7X@U,;",
        b"~\nT@0,1:7X@U,1HclGQ;;",
        b"~\nT@0,1:7X@U,1HclGQ;\n",
        b"~\nT@0,1:7X@V,1HclGQ;",
        b"~\nT@0,1:8X@U,1HclGQ;",
        b"~\nT@0,1:7X@U,1HclGR;",
        b"~\nT@0,2:7X@U,1HclGQ;",
        b"~\nT@0,~:7X@U,1HclGQ;",
        b"~\nT@0,1:7X@U\n1HclGQ;",
        b"10\nT@0,1:7X@U,1HclGQ;",
        b"z\nT@0,1:7X@U,1HclGQ;",
        b"0~\nT@0,1:7X@U,1HclGQ;",
        b"~\nT@00,1:7X@U,1HclGQ;",
        b"~\nT@-1,1:7X@U,1HclGQ;",
        b"~\nT@0,1:7X@U,0000001HclGQ;",
        b"~\nT@0,1:7X@U,4HclGQ0;",
        b"~\nT@3~~~~~,1:7X@U,1HclGQ;",
        b"~\n3~~~~~@0,1:7X@U,1HclGQ;",
        b"\xc3\xa9\nT@0,1:7X@U,1HclGQ;",
        b"1000000\n",
        b"0\n0@10,0;",
        b"3\n3:ab",
        b"3\n3:ab;",
    ],
)
def test_malformed(delta: bytes) -> None:
    with pytest.raises(WireError):
        apply(OLD, delta)


def test_made_from_another_source() -> None:
    with pytest.raises(WireError, match="another source"):
        apply(NEW.replace(b"ACME", b"ECMA"), DELTA)


def test_a_target_has_a_limit() -> None:
    assert apply(OLD, DELTA, max_bytes=63) == NEW
    with pytest.raises(WireError, match="makes 63 bytes, at most 62"):
        apply(OLD, DELTA, max_bytes=62)


def test_no_memory_for_promises() -> None:
    tracemalloc.start()
    try:
        for delta in (b"3~~~~~\n1:a0;", b"3~~~~~\n3~~~~~:a0;", b"3~~~~~\n" + b"~@0," * 1000 + b"0;"):
            with pytest.raises(WireError):
                apply(OLD, delta, max_bytes=2**32)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(LIMIT_S)
def test_broken_deltas() -> None:
    targets = [NEW, OLD, b"", OLD * 3, NEW[::-1], "é😀".encode() * 9 + OLD[7:]]
    for delta in mutants([create(OLD, target) for target in targets]):
        try:
            target = apply(OLD, delta)
        except WireError:
            continue
        assert target == apply_delta(OLD, delta)
