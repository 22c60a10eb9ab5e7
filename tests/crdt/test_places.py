"""The order against its definition: the in-order walk of the tree, however the tree came to be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.causal import Dot
from roomful.crdt.places import LEFT, PATIENCE, RIGHT, ROOT, Places
from tests.crdt.histories import examples

DOTS = st.tuples(st.sampled_from("ab"), st.integers(1, 6))


class Model:
    """Places as a plain dict, walked anew each time."""

    def __init__(self) -> None:
        self.parents: dict[Dot, tuple[Dot, int]] = {}
        self.filled: set[Dot] = set()

    def shown(self) -> list[Dot]:
        orphans = sorted(dot for dot, (parent, _) in self.parents.items() if parent not in {ROOT, *self.parents})
        order = self.below(ROOT, RIGHT) + [dot for orphan in orphans for dot in self.walk(orphan)]
        return [dot for dot in order if dot in self.filled]

    def walk(self, dot: Dot) -> list[Dot]:
        return [*self.below(dot, LEFT), dot, *self.below(dot, RIGHT)]

    def below(self, dot: Dot, side: int) -> list[Dot]:
        children = sorted(child for child, hangs in self.parents.items() if hangs == (dot, side))
        return [each for child in children for each in self.walk(child)]


@given(st.data())
@examples(120)
def test_the_order_is_the_walk(data: st.DataObject) -> None:
    """Children before parents, circles, orphans, removals in between; read now and then."""
    places, model = Places(), Model()
    for _ in range(data.draw(st.integers(1, 30))):
        dot = data.draw(DOTS)
        match data.draw(st.sampled_from(["add", "add", "fill", "remove", "empty", "read"])):
            case "add" if dot not in model.parents:
                parent, side = data.draw(st.just((ROOT, RIGHT)) | st.tuples(DOTS, st.sampled_from([LEFT, RIGHT])))
                places.add(dot, parent, side)
                model.parents[dot] = (parent, side)
            case "remove" if dot in model.parents:
                places.remove(dot)
                del model.parents[dot]
            case "fill" if dot not in model.filled:
                places.fill(dot)
                model.filled.add(dot)
            case "empty" if dot in model.filled:
                places.empty(dot)
                model.filled.discard(dot)
            case "read":
                assert places.shown() == model.shown()
        assert (dot in places) == (dot in model.parents)
    assert places.shown() == model.shown()


@given(st.data())
@examples(60)
def test_a_new_place_comes_where_it_was_wanted(data: st.DataObject) -> None:
    places = Places()
    shown: list[Dot] = []
    for number in range(1, data.draw(st.integers(2, 25))):
        if shown and data.draw(st.booleans()):
            places.empty(shown.pop(data.draw(st.integers(0, len(shown) - 1))))
        else:
            index, dot = data.draw(st.integers(0, len(shown))), (data.draw(st.sampled_from("ab")), number)
            places.add(dot, *places.origin(index))
            places.fill(dot)
            shown.insert(index, dot)
        assert places.shown() == shown


@given(st.data())
@examples(60)
def test_nothing_ever_hangs_on_a_dead_end(data: st.DataObject) -> None:
    """So that a dead end can be collected while others still have it."""
    places = Places()
    made: list[Dot] = []
    shown: set[Dot] = set()
    for number in range(1, data.draw(st.integers(2, 25))):
        if shown and data.draw(st.booleans()):
            dot = data.draw(st.sampled_from(sorted(shown)))
            places.empty(dot)
            shown.discard(dot)
        else:
            parent, side = places.origin(data.draw(st.integers(0, len(shown))))
            assert parent not in places.dead_ends(set(made) - shown)
            places.add(("a", number), parent, side)
            places.fill(("a", number))
            made.append(("a", number))
            shown.add(("a", number))


def test_dead_ends_go_from_the_leaves_inwards() -> None:
    places = Places()
    chain = [("a", n) for n in range(1, 6)]
    for parent, dot in zip([ROOT, *chain], chain, strict=False):
        places.add(dot, parent, RIGHT)
    assert set(places.dead_ends(set(chain))) == set(chain)
    assert set(places.dead_ends({*chain} - {chain[2]})) == {chain[3], chain[4]}
    assert places.dead_ends({chain[0], chain[2]}) == []


def test_a_branch_deeper_than_anybody_s_patience() -> None:
    places = Places()
    depth = 20 * PATIENCE
    chain = [("a", n) for n in range(1, depth)]
    for parent, dot in zip([ROOT, *chain], chain, strict=False):
        places.add(dot, parent, RIGHT)
        places.fill(dot)
    assert places.shown() == chain
    places.add(("b", 1), ROOT, RIGHT)  # after all of the branch
    places.fill(("b", 1))
    assert places.shown() == [*chain, ("b", 1)]
