from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt import DottedVersionVector, VectorClock
from roomful.crdt.vector import context, newest, write

CLOCKS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)).map(VectorClock)


@given(CLOCKS, CLOCKS, CLOCKS)
def test_vector_clocks_are_a_lattice(x: VectorClock, y: VectorClock, z: VectorClock) -> None:
    assert x.merge(y) == y.merge(x)
    assert x.merge(y).merge(z) == x.merge(y.merge(z))
    assert x.merge(x) == x
    assert (x <= y) == (x.merge(y) == y)
    assert [x < y, y < x, x == y, x.concurrent(y)].count(True) == 1
    assert x < x.tick("a")
    assert not y.tick("a") <= y


def test_a_vector_clock_is_a_value() -> None:
    clock = VectorClock({"a": 1, "b": 0})
    assert clock.tick("a") == VectorClock({"a": 2})
    assert clock.counts() == {"a": 1}
    assert clock["b"] == 0
    assert hash(clock) == hash(VectorClock({"a": 1}))
    assert clock != {"a": 1}
    assert repr(clock) == "VectorClock({'a': 1})"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), max_size=12))
def test_dotted_versions_know_what_their_writers_had_read(writes: list[tuple[str, int]]) -> None:
    """Four clients write through two servers; each has read everything, or only what it read last."""
    kept: set[DottedVersionVector] = set()
    known = [VectorClock() for _ in range(4)]
    seen: list[set[DottedVersionVector]] = [set() for _ in range(4)]
    past: dict[DottedVersionVector, set[DottedVersionVector]] = {}
    for number, (server, client) in enumerate(writes):
        version = write(kept, known[client], server)
        assert version not in past
        past[version] = set(seen[client])
        kept = newest(kept | {version})
        if number % 2:
            known[client], seen[client] = context(kept), set(past)
    for x in past:
        for y in past:
            assert (x < y) == (x in past[y])
            assert x.concurrent(y) == (x != y and x not in past[y] and y not in past[x])
    assert kept == {version for version in past if not any(version in others for others in past.values())}


def test_two_writers_of_one_version_through_one_server_are_concurrent() -> None:
    first = write([], VectorClock(), "s")
    read = context([first])
    one = write([first], read, "s")
    two = write([first, one], read, "s")
    assert first < one
    assert first < two
    assert one.concurrent(two)
    assert newest([first, one, two]) == {one, two}
    assert one.dot == ("s", 2)
    assert one != 0
    assert repr(first) == "DottedVersionVector(('s', 1), VectorClock({}))"
