"""The table of states holds every command that there is."""

from __future__ import annotations

from roomful.model.command import Pong
from roomful.session.dispatch import HANDLERS
from roomful.session.life import ALLOWED, State


def test_each_state_says_what_it_allows() -> None:
    assert ALLOWED.keys() == set(State)
    assert ALLOWED[State.OPENED] | ALLOWED[State.CONNECTED] == HANDLERS.keys() | {Pong}
    assert not ALLOWED[State.OPENED] & ALLOWED[State.CONNECTED]
