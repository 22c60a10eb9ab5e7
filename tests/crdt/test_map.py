from __future__ import annotations

from typing import Any

import pytest

from roomful.crdt import (
    EnableWinsFlag,
    Fugue,
    GCounter,
    InvalidValue,
    LWWMap,
    LWWRegister,
    LWWSet,
    Malformed,
    MVRegister,
    ORMap,
    ORSet,
    PNCounter,
    ReadOnly,
    TwoPhaseSet,
    from_plain,
    to_plain,
)
from roomful.crdt.map import MAX_NESTING
from tests.crdt.histories import copy


def task(tasks: ORMap, name: str, title: str) -> ORMap:
    """One entry of a to-do list."""

    def change(entry: ORMap) -> None:
        entry.update("title", LWWRegister, lambda register: register.set(title))
        entry.update("tags", ORSet, lambda tags: tags.add("new"))

    return tasks.update(name, ORMap, change)


def test_an_lww_map_is_a_mapping() -> None:
    state = LWWMap[Any]("a")
    state.set("k", [1])
    state.set("l", None)
    state.delete("m")
    assert dict(state) == state.value == {"k": [1], "l": None}
    assert state.get("k") == state["k"] == [1]
    assert state.get("m") is None
    assert "l" in state
    assert "m" not in state
    assert len(state) == 2
    assert list(state) == list(state.keys())
    with pytest.raises(KeyError):
        state["m"]
    with pytest.raises(InvalidValue):
        state.set(1, 1)  # type: ignore[arg-type]
    state["k"].append(2)
    assert state["k"] == [1]


def test_a_map_reads_like_a_mapping_of_objects() -> None:
    tasks = ORMap("a")
    task(tasks, "1", "paint")
    assert tasks.value == {"1": {"title": "paint", "tags": frozenset({"new"})}}
    assert "1" in tasks
    assert "2" not in tasks
    assert len(tasks) == 1
    assert list(tasks) == list(tasks.keys()) == ["1"]
    assert [(key, entry.value) for key, entry in tasks.items()] == [("1", tasks["1"].value)]
    assert tasks.at("1", ORMap).at("title", LWWRegister).value == "paint"
    assert tasks.at("1", PNCounter).value == 0
    assert "1" in tasks
    with pytest.raises(KeyError):
        tasks["2"]


def test_a_concurrent_change_survives_a_removal_alone() -> None:
    a, b = ORMap("a"), ORMap("b")
    task(a, "1", "paint")
    b.merge(a)
    removal = a.remove("1")
    b.update("1", ORMap, lambda entry: entry.update("tags", ORSet, lambda tags: tags.add("urgent")))
    b.merge(removal)
    a.merge(b)
    assert a.value == b.value == {"1": {"tags": frozenset({"urgent"})}}


def test_a_removal_leaves_nothing() -> None:
    tasks = ORMap("a")
    for n in range(20):
        task(tasks, str(n), "x")
    for n in range(20):
        tasks.remove(str(n))
    assert tasks.value == {}
    assert to_plain(tasks) == [1, "ormap", [["a", [1, 41]]]]


def test_who_never_reads_remembers_nothing_of_the_past() -> None:
    settings, tasks = LWWMap[int]("a"), ORMap("a")
    for n in range(20):
        settings.set(str(n), 1)
        settings.delete(str(n))
        settings.collect(settings.context)
        task(tasks, str(n), "x")
        tasks.remove(str(n))
    assert (len(settings._undecided), len(tasks._changed), len(tasks._children)) == (0, 0, 0)


def test_all_changes_of_an_update_are_one_delta() -> None:
    a, b = ORMap("a"), ORMap("b")
    delta = task(a, "1", "paint")
    b.merge(copy(delta))
    assert a == b
    again = a.update("1", ORMap, lambda entry: (entry.remove("tags"), entry.remove("title")))
    b.merge(again)
    assert a.value == b.value == {}


def test_an_object_that_empties_during_an_update_is_still_the_one_in_the_map() -> None:
    a = ORMap("a")

    def change(tags: ORSet[str]) -> None:
        tags.add("x")
        tags.clear()
        tags.add("y")
        assert tags.value == {"y"}

    delta = a.update("tags", ORSet, change)
    assert a.value == delta.value == {"tags": frozenset({"y"})}
    assert a == copy(a)


def test_an_update_may_change_the_map_around_it() -> None:
    a, b = ORMap("a"), ORMap("b")

    def change(tags: ORSet[str]) -> None:
        tags.add("x")
        a.remove("tags")
        a.update("likes", GCounter, lambda likes: likes.increment())
        tags.add("y")

    b.merge(a.update("tags", ORSet, change))
    assert a.value == {"tags": frozenset({"y"}), "likes": 1}
    assert set(b) <= set(a)
    b.merge(a.delta_since(b.context))
    assert a == b


def test_what_an_update_raises_goes_on_and_the_state_stays_whole() -> None:
    a, b = ORMap("a"), ORMap("b")

    def change(likes: GCounter) -> None:
        likes.increment()
        raise LookupError

    with pytest.raises(LookupError):
        a.update("likes", GCounter, change)
    b.merge(a.delta_since(b.context))
    assert a.value == b.value == {"likes": 1}
    assert a == b == copy(a)
    with pytest.raises(ReadOnly):
        a.at("likes", GCounter).increment()


def test_nested_objects_are_changed_only_through_update() -> None:
    a = ORMap("a")
    task(a, "1", "paint")
    entry = a.at("1", ORMap)
    before = to_plain(a)
    for change in (
        lambda: entry.remove("tags"),
        lambda: entry.at("tags", ORSet).add("x"),
        lambda: entry.merge(ORMap("b")),
        lambda: ORMap("b").merge(entry),
        lambda: entry.collect(a.context),
        lambda: entry.update("tags", ORSet, lambda tags: tags.add("x")),
    ):
        with pytest.raises(ReadOnly):
            change()
    assert to_plain(a) == before
    assert a == copy(a)


def test_two_types_under_one_key_live_side_by_side() -> None:
    a, b = ORMap("a"), ORMap("b")
    a.update("k", MVRegister, lambda register: register.set(1))
    b.update("k", GCounter, lambda counter: counter.increment())
    a.merge(b)
    b.merge(a)
    assert a.kinds("k") == ["gcounter", "mv"]
    assert a.value == b.value == {"k": 1}
    assert type(a["k"]) is GCounter
    assert a.at("k", MVRegister).value == [1]
    a.remove("k")
    assert a.kinds("k") == []


def test_an_object_with_nothing_in_it_isn_t_there() -> None:
    a = ORMap("a")
    a.update("flag", EnableWinsFlag, lambda flag: flag.disable())
    a.update("list", Fugue, lambda items: items.insert(0))
    assert len(a) == 0
    a.update("flag", EnableWinsFlag, lambda flag: flag.enable())
    a.clear()
    assert len(a) == 0


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("kind", "fill", "empty"),
    [
        (Fugue, lambda items: items.append(1), lambda items: items.delete(0)),
        (LWWMap, lambda entries: entries.set("k", 1), lambda entries: entries.delete("k")),
        (LWWSet, lambda elements: elements.add("x"), lambda elements: elements.remove("x")),
        (TwoPhaseSet, lambda elements: elements.add("x"), lambda elements: elements.remove("x")),
    ],
)
def test_an_object_of_which_only_deletions_are_left_isn_t_there(kind: Any, fill: Any, empty: Any, depth: int) -> None:
    """They are remembered, but show nowhere: a key that `collect` takes away would be a change that nobody has made."""

    def update(change: Any) -> Any:
        deep = change if depth == 1 else lambda entry: entry.update("k", kind, change)
        return a.update("k", kind if depth == 1 else ORMap, deep)

    a = ORMap("a")
    update(fill)
    assert len(a) == 1
    update(empty)
    assert (a.value, len(a), list(a), a.kinds("k")) == ({}, 0, [], [])
    assert "k" not in a
    assert copy(a).value == {}
    a.collect(a.context)
    assert a.value == {}
    if kind is not TwoPhaseSet:
        assert to_plain(a)[2][0][2:] == []
        update(fill)
        assert list(a) == ["k"]
    a.remove("k")
    assert to_plain(a)[2][0][2:] == []


def test_a_list_whose_places_were_removed_hangs_at_the_end() -> None:
    a, b = ORMap("a"), ORMap("b")
    a.update("list", Fugue, lambda items: items.append(1, 2))
    b.merge(a)
    removal = a.remove("list")
    b.update("list", Fugue, lambda items: (items.insert(1, 5, 6), items.append(7)))
    a.merge(b)
    b.merge(removal)
    assert a == b
    assert sorted(a.value["list"]) == [5, 6, 7]
    assert a.value == b.value == copy(a).value


def nested(depth: int) -> Any:
    """An update of a counter inside so many maps, the outermost included."""

    def change(entry: ORMap) -> None:
        if depth > 1:
            entry.update("k", ORMap, nested(depth - 1))
        else:
            entry.update("n", GCounter, lambda counter: counter.increment())

    return change


def test_maps_end_somewhere() -> None:
    deep = ORMap("a")
    nested(MAX_NESTING)(deep)
    assert copy(deep) == deep
    with pytest.raises(InvalidValue):
        nested(MAX_NESTING + 1)(ORMap("a"))
    item: Any = ["n", "gcounter", 1]
    for _ in range(MAX_NESTING):
        item = ["k", "ormap", item]
    with pytest.raises(Malformed):
        from_plain([1, "ormap", [["a", [1, 2], 1, item]]], ORMap)
