from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt import (
    KINDS,
    ForeignReplica,
    Fugue,
    GCounter,
    GSet,
    LWWRegister,
    ORMap,
    ORSet,
    RemovedForever,
    Replicated,
    authors,
    check_authors,
    from_plain,
)
from tests.crdt.histories import Play, examples, histories


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(data=st.data())
@examples(15)
def test_an_honest_change_speaks_for_its_replica_alone(kind: str, data: st.DataObject) -> None:
    """A server that merges every delta when it is made; replicas hear of others through it alone."""
    play = Play()
    server = KINDS[kind]()
    for step in data.draw(histories(kind)):
        if step[0] == "merge":
            play.objects[step[1]].merge(server)
            continue
        if step[0] == "do":
            play.objects.pop(step[1], None)
            with suppress(RemovedForever):
                play.step(*step)
            if step[1] in play.objects:
                delta = play.objects[step[1]]
                assert authors(delta, server) <= {play.objects[step[2]].replica}
                server.merge(delta)
                assert authors(delta, server) == frozenset()
        elif step[0] != "since":
            play.step(*step)


def test_a_removal_of_what_is_known_is_nobody_s_speech() -> None:
    server, a, b = ORSet[str](), ORSet[str]("a"), ORSet[str]("b")
    server.merge(a.add("x"))
    b.merge(server)
    assert authors(b.remove("x"), server) == frozenset()


def test_a_removal_of_what_isn_t_known_yet_speaks_for_its_author() -> None:
    a, b = ORSet[str]("a"), ORSet[str]("b")
    b.merge(a.add("x"))
    assert authors(b.remove("x"), ORSet()) == {"a"}


@pytest.mark.parametrize(
    ("known", "delta"),
    [
        ([["a", [1, 2], 1, 5]], [["a", [1, 3], 2, 9]]),  # a new total
        ([["a", [1, 2], 1, 5]], [["a", [1, 2], 1, 9]]),  # another item for a known dot
        ([["a", [1, 2], 1, 5]], [["a", [1, 2]]]),  # takes back what a said
        ([], [["a", [1, 2**52]]]),  # seen before it was said: would end all that a will ever say
    ],
)
def test_forgeries_are_seen(known: list[object], delta: list[object]) -> None:
    server, forged = from_plain([1, "gcounter", known], GCounter), from_plain([1, "gcounter", delta], GCounter)
    assert authors(forged, server) == {"a"}
    with pytest.raises(ForeignReplica) as caught:
        check_authors(forged, server, lambda replica: replica.startswith("b/"))
    assert caught.value.replicas == ["a"]
    check_authors(forged, server, lambda replica: replica == "a")


def test_only_types_that_grow_guard_what_is_theirs() -> None:
    assert {kind for kind, each in KINDS.items() if each.guarded} == {"gcounter", "pncounter", "gset", "2pset"}
    g, o = GSet[str]("a"), ORSet[str]("a")
    for state in (g, o):
        state.add("x")
    ends = [["a", [1, 2]]]
    assert authors(from_plain([1, "gset", ends], GSet), g) == {"a"}
    assert authors(from_plain([1, "orset", ends], ORSet), o) == frozenset()


def test_inside_a_map_and_in_a_list() -> None:
    states: list[Replicated] = [ORMap("a"), Fugue("a"), LWWRegister("a")]
    a_map, a_list, a_register = states
    assert isinstance(a_map, ORMap)
    assert isinstance(a_list, Fugue)
    assert isinstance(a_register, LWWRegister)
    delta = a_map.update("k", GCounter, lambda counter: counter.increment())
    assert authors(delta, ORMap()) == {"a"}
    assert authors(a_list.append(1), Fugue()) == {"a"}
    assert authors(a_register.set(1), LWWRegister()) == {"a"}
