from __future__ import annotations

import json
import math
from collections import OrderedDict
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt import InvalidValue
from roomful.crdt.value import MAX_DEPTH, MAX_SAFE, freeze, freeze_element, packed, thaw, written

NUMBERS = st.integers(-MAX_SAFE, MAX_SAFE) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@given(JSON)
def test_a_json_value_comes_back_equal(value: Any) -> None:
    assert thaw(freeze(value)) == value
    assert freeze(thaw(freeze(value))) == freeze(value)
    assert freeze(json.loads(written(freeze(value)), parse_int=float)) == freeze(value)


@given(JSON)
def test_a_frozen_value_has_one_spelling(value: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in reversed(value)}
        if isinstance(value, list):
            return [shuffled(each) for each in value]
        return float(value) if type(value) is int else value

    assert packed(freeze(shuffled(value))) == packed(freeze(value))
    assert written(freeze(shuffled(value))) == written(freeze(value))


def test_a_reader_s_copy_is_the_reader_s() -> None:
    given_value = {"list": [1]}
    frozen = freeze(given_value)
    given_value["list"].append(2)
    thaw(frozen)["list"].append(3)
    assert thaw(frozen) == {"list": [1]}


@pytest.mark.parametrize(
    "value",
    [
        *(MAX_SAFE + 1, -MAX_SAFE - 1, 2**64, math.nan, math.inf, -math.inf),
        *("\ud800", {"\ud800": 1}, {1: 1}, {None: 1}, b"", {1}, object(), StrEnum("Word", ["a"])("a")),
        nested(MAX_DEPTH + 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_isn_t_json_everywhere_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue):
        freeze(value)


def test_what_is_just_inside() -> None:
    for value in (MAX_SAFE, -MAX_SAFE, nested(MAX_DEPTH), OrderedDict(b=1, a=2), (1, 2)):
        freeze(value)
    assert list(freeze({"\uffee": 1, "\U0001f600": 2, "10": 3, "9": 4})) == ["10", "9", "\uffee", "\U0001f600"]


@pytest.mark.parametrize(
    ("number", "one"), [(1.0, 1), (-0.0, 0), (float(MAX_SAFE), MAX_SAFE), (2.0**53, 2.0**53), (1.5, 1.5)]
)
def test_a_number_has_one_form(number: float, one: float) -> None:
    assert freeze(number) == one
    assert type(freeze(number)) is type(one)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0.1, "0.1"), (-1.5, "-1.5"), (123.456, "123.456"), (1e-6, "0.000001"), (1.25e-6, "0.00000125")),
        *((1e-7, "1e-7"), (1.5e-7, "1.5e-7"), (5e-324, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308")),
        *((2.0**53, "9007199254740992"), (1e20, "100000000000000000000"), (1e21, "1e+21"), (-1.2e22, "-1.2e+22")),
        *((123456789012345680000.0, "123456789012345680000"), (1e16, "10000000000000000")),
    ],
)
def test_json_numbers_are_written_as_ecmascript_does(number: float, text: str) -> None:
    assert written(freeze(number)).decode() == text
    assert written(freeze({"a": [number]})).decode() == f'{{"a":[{text}]}}'


@pytest.mark.parametrize("element", ["", "x", 0, 1.5, (), ("x", (1, 2.5))])
def test_elements(element: object) -> None:
    assert freeze_element(element) == element
    hash(freeze_element(element))


def test_a_list_is_the_same_element_as_its_tuple() -> None:
    assert freeze_element(["x", [1]]) == ("x", (1,))


@pytest.mark.parametrize("element", [None, True, {}, ["x", False], [{}], b""])
def test_what_can_t_be_an_element(element: object) -> None:
    with pytest.raises(InvalidValue):
        freeze_element(element)
