from __future__ import annotations

from roomful.crdt import DisableWinsFlag, EnableWinsFlag


def test_of_an_enable_and_a_disable_at_once_the_one_in_the_name_wins() -> None:
    for kind, winner in ((EnableWinsFlag, True), (DisableWinsFlag, False)):
        a, b = kind("a"), kind("b")
        a.enable()
        b.merge(a.disable())
        b.merge(a)
        a.enable()
        b.disable()
        a.merge(b)
        b.merge(a)
        assert a.value == b.value == winner
        assert bool(a) == winner


def test_at_first() -> None:
    assert not EnableWinsFlag("a").value
    assert DisableWinsFlag("a").value


def test_a_disable_ends_only_the_enables_it_has_seen() -> None:
    a, b = EnableWinsFlag("a"), EnableWinsFlag("b")
    b.merge(a.enable())
    again = a.enable()
    a.merge(b.disable())
    assert a.value
    b.merge(again)
    assert b.value


def test_switching_leaves_nothing_behind() -> None:
    flag = EnableWinsFlag("a")
    for _ in range(100):
        flag.enable()
        flag.disable()
    assert flag._dots() == []
    assert list(flag.context.bounds("a")) == [1, 101]
