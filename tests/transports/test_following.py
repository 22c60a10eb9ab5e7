from __future__ import annotations

from contextlib import suppress

import pytest

from roomful.model.errors import BadRequest
from roomful.model.publication import Position
from roomful.seams.transport import Request
from roomful.transports.following import parameters, positions
from tests.wire.fuzz import LIMIT_S, mutants


def asked(query: bytes) -> dict[str, list[str]]:
    return parameters(Request("/events", query_string=query))


def test_parameters_may_come_several_times() -> None:
    assert asked(b"channel=b&channel=a%3A1&x=&channel=%C3%BC") == {"channel": ["b", "a:1", "ü"], "x": [""]}


@pytest.mark.parametrize("query", [b"channel=%ff", b"channel=\xc3\xbc", b"a=1&" * 300])
def test_what_is_no_query(query: bytes) -> None:
    with pytest.raises(BadRequest):
        asked(query)


def test_positions_stand_in_the_order_of_the_sorted_names() -> None:
    found = positions(["b", "a", "c", "a"], "x:1,-,z:3")
    assert list(found.items()) == [("a", Position("x", 1)), ("b", None), ("c", Position("z", 3))]
    assert list(positions(["b", "a"], "").items()) == [("a", None), ("b", None)]


@pytest.mark.parametrize(
    ("channels", "since"),
    [([], ""), ([""], ""), (["a", ""], ""), (["a"], "x"), (["a", "b"], "x:1"), (["a"], "x:1,y:2")],
)
def test_what_makes_no_sense(channels: list[str], since: str) -> None:
    with pytest.raises(BadRequest):
        positions(channels, since)


@pytest.mark.timeout(LIMIT_S)
def test_any_query_is_understood_or_refused() -> None:
    for mutant in mutants([b"channel=a&channel=b%3A1&since=k2:1,-&wait=25", b"lastEventId=k2%3A7&channel=%24x"]):
        with suppress(BadRequest):
            found = asked(mutant)
            positions(found.get("channel", []), found.get("since", [""])[-1])
