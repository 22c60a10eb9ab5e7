from __future__ import annotations

import inspect

from roomful.crdt import ForeignReplica, FutureClock, errors


def test_the_page_shows_every_error() -> None:
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(each, errors.CRDTError) for each in classes)
    assert all(each.__name__ in (errors.__doc__ or "") for each in classes)


def test_errors_carry_facts() -> None:
    assert str(FutureClock(5, 3)) == "stamped 5 ms ahead of this clock, 3 ms are let through"
    assert str(ForeignReplica(list("abcdefg"))) == "the delta speaks for 'a', 'b', 'c', 'd', 'e'"
