from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.errors import WireError
from roomful.model.publication import Position
from roomful.wire.stream_id import OFFSET_MAX, parse, spell
from tests.wire.fuzz import LIMIT_S, mutants

EPOCHS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
POSITIONS = st.none() | st.builds(Position, EPOCHS, st.integers(0, OFFSET_MAX))


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        ([Position("k2Jx", 0)], "k2Jx:0"),
        ([None], "-"),
        ([Position("k2Jx", 7), None, Position("9c", 12)], "k2Jx:7,-,9c:12"),
        ([Position("a:b,c-%\n", 1)], "a%3Ab%2Cc-%25%0A:1"),
    ],
)
def test_its_spelling(positions: list[Position | None], text: str) -> None:
    assert spell(positions) == text


@given(st.lists(POSITIONS, min_size=1, max_size=32))
def test_what_was_spelled_is_read(positions: list[Position | None]) -> None:
    text = spell(positions)
    assert text.isascii()
    assert text.isprintable()
    assert parse(text, len(positions)) == positions


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "-", "-,-,-", "e:1", "e:1,e:2,e:3", "e:1,", ",e:1", "e:1,e"),
        *("e:1,:2", "e:1,e:", "e:1,e:-1", "e:1,e:+1", "e:1,e:01", "e:1,e: 1", "e:1,e:1.0", "e:1,e:१"),
        *(f"e:1,e:{OFFSET_MAX + 1}", "e:1,e:" + "9" * 5000, "e:1," + "e" * 201 + ":1"),
        *("e:1,e:1:1", "e:1,a%2c:1", "e:1,%61:1", "e:1,%zz:1", "e:1,%:1", "e:1,a b:1", "e:1,é:1", "e:1,%00:1"),
        *("e:1,e%0A:1", "e:1,%FF:1", "e:1\n,e:1"),
    ],
)
def test_what_nobody_spelled(text: str) -> None:
    with pytest.raises(WireError):
        parse(text, 2)


@pytest.mark.timeout(LIMIT_S)
def test_anything_is_read_as_it_would_be_spelled_or_refused() -> None:
    for mutant in mutants([b"k2Jx:7,-,9c%3A:12", b"-,-,-", b"e:0,e:9223372036854775807,-"]):
        text = mutant.decode("latin-1")
        with suppress(WireError):
            assert spell(parse(text, 3)) == text
