from __future__ import annotations

import pytest

from roomful.model.errors import BadRequest
from roomful.model.stream import RESERVED_EVENTS, check_event_name


@pytest.mark.parametrize("tags", [None, {}, {"key": "a"}, {"event": "price"}, {"event": "Новость"}, {"key": "gap"}])
def test_names_of_an_application(tags: dict[str, str] | None) -> None:
    check_event_name(tags)


@pytest.mark.parametrize("name", [*sorted(RESERVED_EVENTS), "", "a\nb", "a\rdata: x", "a\x00", "\u2028"])
def test_names_that_are_ours_or_no_line(name: str) -> None:
    with pytest.raises(BadRequest):
        check_event_name({"event": name})
