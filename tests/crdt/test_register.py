from __future__ import annotations

from roomful.crdt import HLC, LWWRegister, MVRegister


def test_a_fresh_register_is_empty() -> None:
    assert LWWRegister("a").value is None
    assert MVRegister("a").value == []


def test_the_set_that_has_seen_the_other_wins_whatever_the_clocks_say() -> None:
    a = LWWRegister[str]("a", clock=HLC(now=lambda: 9_000, max_ahead_ms=None))
    a.set("first")
    b = LWWRegister[str]("b", clock=HLC(now=lambda: 1, max_ahead_ms=None))
    b.merge(a)
    b.set("second")
    a.merge(b)
    assert a.value == b.value == "second"


def test_concurrent_values_wait_for_somebody_to_choose() -> None:
    a, b = MVRegister[str]("a"), MVRegister[str]("b")
    a.set("blue")
    b.set("red")
    a.merge(b)
    assert a.value == ["blue", "red"]
    assert len(a) == 2
    b.merge(a.set("violet"))
    assert a.value == b.value == ["violet"]


def test_values_are_copies() -> None:
    for register in (LWWRegister[list[int]]("a"), MVRegister[list[int]]("a")):
        given = [1]
        register.set(given)
        given.append(2)
        assert register.value in ([1], [[1]])
        register.value.append(3)  # type: ignore[union-attr, arg-type]
        assert register.value in ([1], [[1]])
