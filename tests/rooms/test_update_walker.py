from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText, get_state, merge_updates

from roomful.rooms.update_walker import (
    NOTHING,
    Malformed,
    delete_set,
    deletions_only,
    lacking,
    merge_ranges,
    missing_from,
    read_state_vector,
    state_vector,
    walk,
)

HI = bytes.fromhex("010101000401017402686900")


def rich_document() -> bytes:
    """Every kind of content that the engine writes."""
    doc: Doc[Any] = Doc(client_id=7)
    text = doc.get("text", type=Text)
    text += "a😀é日"
    text.format(0, 1, {"bold": True})
    text.insert_embed(0, {"image": "x"})
    del text[1:2]
    array = doc.get("array", type=Array)
    array.extend([1, -1, 1.5, 2**40, 0.1, True, False, None, "text", b"bytes", [1, [2, {"a": "b"}]], {"c": 1}])
    map_ = doc.get("map", type=Map)
    map_["text"] = Text("nested")
    map_["map"] = Map({"deep": Array([1])})
    map_["text"] = "replaced"
    fragment = doc.get("xml", type=XmlFragment)
    fragment.children.append(XmlElement("p", {"class": "x"}, [XmlText("hello")]))
    map_["doc"] = Doc()
    return doc.get_update()


def test_a_typing_update() -> None:
    walked = walk(HI)
    assert walked.structs == {1: [(0, 2)]}
    assert walked.deletions == {}
    assert HI[walked.at :] == b"\x00"


def test_a_deletion() -> None:
    walked = walk(bytes.fromhex("000101010001"))
    assert walked.structs == {}
    assert walked.deletions == {1: [(0, 1)]}


def test_the_whole_document_afterwards() -> None:
    walked = walk(bytes.fromhex("01020100010101740184010001690101010001"))
    assert walked.structs == {1: [(0, 2)]}
    assert walked.deletions == {1: [(0, 1)]}


def test_a_gap_is_no_struct() -> None:
    first, third = Doc[Any](client_id=1), Doc[Any](client_id=1)
    text = first.get("t", type=Text)
    text += "one"
    first_update = first.get_update()
    text += "two"
    vector = first.get_state()
    text += "three"
    last = first.get_update(vector)
    assert walk(merge_updates(first_update, last)).structs == {1: [(0, 3), (6, 11)]}
    assert third.get_state() == b"\x00"


def test_every_kind_of_content() -> None:
    update = rich_document()
    walked = walk(update)
    vector = read_state_vector(get_state(update))
    assert {client: ranges[-1][1] for client, ranges in walked.structs.items()} == vector


@pytest.mark.parametrize("at", range(len(HI)))
def test_an_update_that_is_cut_off(at: int) -> None:
    with pytest.raises(Malformed):
        walk(HI[:at])


@pytest.mark.parametrize(
    ("spelled", "why"),
    [
        ("010101000401017402686900" + "00", "follows"),
        ("ffffffff0f", "announces more"),
        ("01ffffffff0f010004", "announces more"),
        ("00ffffffff0f", "announces more"),
        ("000101ffffffff0f00", "announces more"),
        ("0101010004010174ffffffff0f686900", "cut off"),
        ("01010100040101740000", "without length"),
        ("010101000b01017400", "no content 11"),
        ("010101000701017405016100", "no shared type 5"),
        ("01010100070101740900", "no shared type 9"),
        ("0101010004020174026869 00", "neither root nor struct"),
        ("ffffffffffffffffff01", "53 bits"),
        ("010101000401017402ff fe00", "UTF-8"),
        ("0101010008010174016500", "no value with tag"),
    ],
)
def test_what_is_refused(spelled: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        walk(bytes.fromhex(spelled))


@pytest.mark.parametrize("opening", [b"\x75\x01", b"\x76\x01\x01a"])
def test_nesting_that_would_overflow_the_engines_stack(opening: bytes) -> None:
    def nested(levels: int) -> bytes:
        return bytes.fromhex("010101000801017401") + opening * levels + b"\x7e" + b"\x00"

    assert walk(nested(64)).structs == {1: [(0, 1)]}
    with pytest.raises(Malformed, match="nested deeper"):
        walk(nested(65))
    with pytest.raises(Malformed, match="nested deeper"):
        walk(nested(26_000))


def test_nesting_in_json_texts() -> None:
    deep = b"[" * 100 + b"]" * 100
    with pytest.raises(Malformed, match="nested deeper"):
        walk(bytes.fromhex("0101010005010174") + b"\xc8\x01" + deep + b"\x00")
    quoted = b'"' + b"[" * 100 + b'"'
    assert walk(bytes.fromhex("0101010005010174") + b"\x66" + quoted + b"\x00").structs == {1: [(0, 1)]}


def test_too_many_clients() -> None:
    with pytest.raises(Malformed, match="at most 0"):
        walk(HI, clients_max=0)


@pytest.mark.parametrize(("spelled", "vector"), [("00", {}), ("010102", {1: 2}), ("02ac02010102", {300: 1, 1: 2})])
def test_state_vectors(spelled: str, vector: dict[int, int]) -> None:
    assert read_state_vector(bytes.fromhex(spelled)) == vector
    assert state_vector(vector).hex() == spelled


@pytest.mark.parametrize("spelled", ["", "01", "0101", "010102ff", "ffffffff0f0000"])
def test_state_vectors_that_are_none(spelled: str) -> None:
    with pytest.raises(Malformed):
        read_state_vector(bytes.fromhex(spelled))


@pytest.mark.parametrize(
    ("update", "clocks", "expected"),
    [
        (HI, {}, {}),
        ("01010a03840a01016100", {}, {10: 1}),  # client 10 clock 3, after its own clock 1
        ("01010a03840a01016100", {10: 2}, {10: 2}),
        ("01010a03840a01016100", {10: 3}, {}),
        ("01010a00c40b040c020161 00", {11: 5}, {12: 2}),  # between (11, 4) and (12, 2)
        ("01010a00c40b040c020161 00", {12: 9}, {11: 4}),
        ("01010a000400 0b03 0161 00", {}, {11: 3}),  # in the type that (11, 3) made
        ("02010a00840b000161010a05840a00016200", {}, {11: 0, 10: 0}),
    ],
)
def test_what_an_update_leans_on(update: str | bytes, clocks: dict[int, int], expected: dict[int, int]) -> None:
    data = update if isinstance(update, bytes) else bytes.fromhex(update)
    assert lacking(data, walk(data), clocks) == expected


RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))).map(merge_ranges)


@given(RANGES, RANGES)
def test_missing_ranges_are_the_difference_of_the_sets(
    wanted: list[tuple[int, int]], known: list[tuple[int, int]]
) -> None:
    def points(ranges: list[tuple[int, int]]) -> set[int]:
        return {point for start, end in ranges for point in range(start, end)}

    missing = missing_from(wanted, known)
    assert points(missing) == points(wanted) - points(known)
    assert missing == merge_ranges(missing)


@given(st.dictionaries(st.integers(0, 2**53 - 1), RANGES.filter(bool)))
def test_deletions_are_read_as_they_were_written(deletions: dict[int, list[tuple[int, int]]]) -> None:
    update = deletions_only(deletions)
    assert walk(update).deletions == deletions
    assert update == b"\x00" + delete_set(deletions)
    assert deletions_only({}) == NOTHING


@settings(max_examples=300)
@given(st.data())
def test_a_mutated_update_is_read_or_refused(data: st.DataObject) -> None:
    update = bytearray(rich_document())
    for _ in range(data.draw(st.integers(1, 4))):
        update[data.draw(st.integers(0, len(update) - 1))] = data.draw(st.integers(0, 255))
    try:
        walk(bytes(update[: data.draw(st.integers(0, len(update)))]))
    except Malformed:
        return
