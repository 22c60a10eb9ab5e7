from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from centrifuge import Filter
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.model.errors import BadRequest
from roomful.model.tags_filter import FilterNode
from roomful.rooms.tags_filter import COMPARISONS, NUMBER_MAX_CHARS, FilterLimits, compiled, number, validate

LEAF = FilterNode(key="k", cmp="eq", val="v")
LIMITS = FilterLimits()

NUMBERS = [
    "10",
    "9",
    "-9",
    "+9",
    "9.0",
    "09",
    "-0",
    "0",
    ".5",
    "0.5",
    "5.",
    "1000000000000000000000",
    "0.3",
    "0.30000000000000001",
]
NO_NUMBERS = [
    "",
    "+",
    ".",
    "-.",
    "1e3",
    "1E3",
    "NaN",
    "Infinity",
    "inf",
    " 1",
    "1 ",
    "1\n",
    "1_0",
    "0x1",
    "1.2.3",
    "--1",
    "٣",
    "1" * 201,
]
WORDS = ["chess", "che", "ess", "hes", "CHESS", "é", "e\u0301"]

keys = st.sampled_from(["sport", "elo", "x"])
values = st.sampled_from([*NUMBERS, *NO_NUMBERS, *WORDS])
tags = st.dictionaries(keys, values)

leaves = st.one_of(
    st.builds(FilterNode, key=keys, cmp=st.sampled_from(["ex", "nex"])),
    st.builds(
        FilterNode,
        key=keys,
        cmp=st.sampled_from(["in", "nin"]),
        vals=st.lists(values, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(
        FilterNode,
        key=keys,
        cmp=st.sampled_from(["eq", "neq", "sw", "ew", "ct", "lt", "lte", "gt", "gte"]),
        val=values.filter(bool),
    ),
)


def branches(nodes: st.SearchStrategy[FilterNode]) -> st.SearchStrategy[FilterNode]:
    many = st.lists(nodes, min_size=1, max_size=4).map(tuple)
    return st.builds(FilterNode, op=st.sampled_from(["and", "or"]), nodes=many) | st.builds(
        FilterNode, op=st.just("not"), nodes=st.tuples(nodes)
    )


filters = st.recursive(leaves, branches, max_leaves=10)


def fraction(text: str) -> Fraction | None:
    try:
        return Fraction(text) if len(text) <= NUMBER_MAX_CHARS and set(text) <= set("+-.0123456789") else None
    except ValueError:
        return None


def holds(node: FilterNode, tags: dict[str, str]) -> bool:
    """The table of the protocol, read line by line."""
    exists, value = node.key in tags, tags.get(node.key, "")
    ours, theirs = fraction(value), fraction(node.val)
    numbers = exists and ours is not None and theirs is not None
    match node.op or node.cmp:
        case "and":
            return False not in [holds(child, tags) for child in node.nodes]
        case "or":
            return True in [holds(child, tags) for child in node.nodes]
        case "not":
            return not holds(node.nodes[0], tags)
        case "eq":
            return exists and value == node.val
        case "neq":
            return not exists or value != node.val
        case "in":
            return value in node.vals
        case "nin":
            return value not in node.vals
        case "ex":
            return exists
        case "nex":
            return not exists
        case "sw":
            return exists and value[: len(node.val)] == node.val
        case "ew":
            return exists and value[-len(node.val) :] == node.val
        case "ct":
            return exists and value.find(node.val) >= 0
        case "lt":
            return numbers and ours < theirs
        case "lte":
            return numbers and ours <= theirs
        case "gt":
            return numbers and ours > theirs
        case "gte":
            return numbers and ours >= theirs
    raise AssertionError(node)


@given(filters, st.lists(tags, min_size=1, max_size=5))
@settings(deadline=None, max_examples=1000)
def test_what_matches(node: FilterNode, publications: list[dict[str, str]]) -> None:
    validate(node, LIMITS)
    match = compiled(node)
    assert [match(tags) for tags in publications] == [holds(node, tags) for tags in publications]


@pytest.mark.parametrize("cmp", ["eq", "neq", "sw", "ew", "ct", "lt", "lte", "gt", "gte"])
def test_each_pair_of_values(cmp: str) -> None:
    for val in filter(None, [*NUMBERS, *NO_NUMBERS, *WORDS]):
        node = FilterNode(key="k", cmp=cmp, val=val)
        match = compiled(node)
        for tags in [{}, *({"k": value} for value in [*NUMBERS, *NO_NUMBERS, *WORDS])]:
            assert match(tags) is holds(node, tags), (tags, cmp, val)


@pytest.mark.parametrize("tags", [{}, {"k": ""}, {"k": "v"}, {"other": "v"}])
@pytest.mark.parametrize("vals", [("",), ("v",), ("w",), ("w", ""), ("w", "v")])
def test_a_missing_tag_is_in_a_list_with_the_empty_text(vals: tuple[str, ...], tags: dict[str, str]) -> None:
    for cmp in ("in", "nin"):
        node = FilterNode(key="k", cmp=cmp, vals=vals)
        assert compiled(node)(tags) is holds(node, tags)


def test_the_example_of_the_protocol() -> None:
    match = compiled(
        FilterNode(
            op="and",
            nodes=(
                FilterNode(key="sport", cmp="eq", val="chess"),
                FilterNode(key="elo", cmp="gte", val="2000"),
            ),
        )
    )
    assert match({"sport": "chess", "elo": "2000.0"})
    assert not match({"sport": "chess", "elo": "1999.99"})
    assert not match({"sport": "chess"})
    assert not match({})


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers(text: str) -> None:
    found = number(text)
    assert found is not None
    assert Fraction(found) == Fraction(text)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_no_numbers(text: str) -> None:
    assert number(text) is None


# Validation


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ({}, "tf: needs op or cmp"),
        ({"key": "k"}, "tf: needs op or cmp"),
        ({"cmp": "like", "key": "k", "val": "v"}, "tf: unknown cmp 'like'"),
        ({"cmp": "x" * 99}, f"tf: unknown cmp '{'x' * 16}'"),
        ({"cmp": "EQ", "key": "k", "val": "v"}, "tf: unknown cmp 'EQ'"),
        *(({"cmp": cmp, "val": "v"}, f"tf: {cmp} needs key") for cmp in COMPARISONS),
        ({"cmp": "eq", "key": "k", "val": "v", "nodes": [{}]}, "tf: eq takes no nodes"),
        *(({"cmp": cmp, "key": "k"}, f"tf: {cmp} needs val") for cmp in ("eq", "neq", "sw", "ew", "ct")),
        *(({"cmp": cmp, "key": "k"}, f"tf: {cmp} needs val") for cmp in ("lt", "lte", "gt", "gte")),
        ({"cmp": "eq", "key": "k", "val": "v", "vals": ["v"]}, "tf: eq takes no vals"),
        ({"cmp": "lt", "key": "k", "vals": ["v"]}, "tf: lt needs val"),
        ({"cmp": "in", "key": "k"}, "tf: in needs vals"),
        ({"cmp": "in", "key": "k", "val": "v"}, "tf: in takes no val"),
        ({"cmp": "nin", "key": "k", "val": "v", "vals": ["v"]}, "tf: nin takes no val"),
        ({"cmp": "ex", "key": "k", "val": "v"}, "tf: ex takes no val"),
        ({"cmp": "nex", "key": "k", "vals": ["v"]}, "tf: nex takes no vals"),
        ({"op": "xor", "nodes": [{}]}, "tf: unknown op 'xor'"),
        ({"op": "and"}, "tf: and needs nodes"),
        ({"op": "or", "nodes": []}, "tf: or needs nodes"),
        ({"op": "not"}, "tf: not needs nodes"),
        ({"op": "not", "nodes": [{}, {}]}, "tf: not takes one node, got 2"),
        ({"op": "and", "key": "k", "nodes": [{}]}, "tf: and takes nothing but nodes"),
        ({"op": "or", "cmp": "eq", "nodes": [{}]}, "tf: or takes nothing but nodes"),
        ({"op": "not", "vals": ["v"], "nodes": [{}]}, "tf: not takes nothing but nodes"),
        (
            {"op": "and", "nodes": [{"cmp": "ex", "key": "k"}, {"op": "not", "nodes": [{}]}]},
            "tf.nodes[1].nodes[0]: needs op or cmp",
        ),
    ],
)
def test_malformed(node: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest) as raised:
        validate(msgspec.convert(node, FilterNode), LIMITS)
    assert raised.value.message == reason


def nested(levels: int) -> FilterNode:
    node = LEAF
    for _ in range(levels - 1):
        node = FilterNode(op="not", nodes=(node,))
    return node


@pytest.mark.parametrize(
    ("largest", "too_large", "reason"),
    [
        (nested(3), nested(4), "at most 3 levels"),
        (
            FilterNode(op="or", nodes=(LEAF,) * 4),
            FilterNode(op="or", nodes=(LEAF,) * 5),
            "at most 5 nodes",
        ),
        (
            FilterNode(op="or", nodes=(FilterNode(op="and", nodes=(LEAF,)), LEAF, LEAF)),
            FilterNode(op="or", nodes=(FilterNode(op="and", nodes=(LEAF, LEAF)), LEAF, LEAF)),
            "at most 5 nodes",
        ),
        (
            FilterNode(key="k" * 10, cmp="eq", val="v" * 10),
            FilterNode(key="k" * 10, cmp="eq", val="v" * 11),
            "at most 20 characters",
        ),
        (
            FilterNode(key="k", cmp="in", vals=("",) * 19),
            FilterNode(key="k", cmp="in", vals=("",) * 20),
            "at most 20 characters",
        ),
    ],
)
def test_limits(largest: FilterNode, too_large: FilterNode, reason: str) -> None:
    limits = FilterLimits(max_depth=3, max_nodes=5, max_chars=20)
    validate(largest, limits)
    with pytest.raises(BadRequest, match=reason):
        validate(too_large, limits)


def test_a_filter_of_the_official_client() -> None:
    built = Filter.all(
        Filter.any(Filter.eq("a", "1"), Filter.neq("a", "1"), Filter.is_in("a", ["1"]), Filter.not_in("a", ["1"])),
        Filter.negate(Filter.all(Filter.exists("b"), Filter.not_exists("c"))),
        Filter.any(Filter.starts_with("a", "1"), Filter.ends_with("a", "1"), Filter.contains("a", "1")),
        Filter.any(Filter.lt("a", "1"), Filter.lte("a", "1"), Filter.gt("a", "1"), Filter.gte("a", "1")),
    )
    node = msgspec.convert(built.node, FilterNode)
    validate(node, LIMITS)
    match = compiled(node)
    assert match({"a": "1"})
    assert not match({"a": "1", "b": ""})
