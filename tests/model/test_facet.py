from __future__ import annotations

import pytest

from roomful.model.channel import RESERVED_NAMESPACES
from roomful.model.facet import OPTIONS, Facet, facet_of, facets_of, is_between_nodes


@pytest.mark.parametrize(
    ("channel", "facet"),
    [
        ("typing:chat:1", Facet("typing", "chat:1")),
        ("people:lobby", Facet("people", "lobby")),
        ("typing:$chat:1", Facet("typing", "$chat:1")),
        ("typing:typing:chat:1", Facet("typing", "typing:chat:1")),
        ("typing", None),
        ("chat:typing:1", None),
        ("$typing:chat:1", None),
        ("Typing:chat:1", None),
    ],
)
def test_which_names_are_facets(channel: str, facet: Facet | None) -> None:
    assert facet_of(channel) == facet


@pytest.mark.parametrize(("channel", "expected"), [("people:chat:1", True), ("state:chat:1", False), ("people", False)])
def test_which_logs_are_not_for_clients(channel: str, expected: bool) -> None:
    assert is_between_nodes(channel) == expected


def test_a_room_and_its_facets() -> None:
    assert [facet_of(channel) for channel in facets_of("chat:1")] == [Facet(kind, "chat:1") for kind in OPTIONS]
    assert OPTIONS.keys() <= RESERVED_NAMESPACES


@pytest.mark.parametrize("kind", OPTIONS)
def test_what_is_remembered_of_a_room_that_nobody_is_in_ends_within_the_hour(kind: str) -> None:
    keep = OPTIONS[kind].retention
    assert not keep.keeps or keep.ttl_s + keep.meta_ttl_s <= 3600
