"""The `[people]` table says what the design says."""

from __future__ import annotations

import msgspec
import pytest

from roomful.node.people_options import PeopleOptions


def test_the_grace_is_that_of_the_design() -> None:
    assert PeopleOptions() == PeopleOptions(grace_s=75.0, shown_max=100, status_max_bytes=1024)


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"grace": 1.0}, PeopleOptions)
