"""The page about the configuration says what the code says."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_origin

import msgspec
import pytest

from roomful.server.config import Config
from roomful.server.config_reference import descriptions, reference

PAGE = Path(__file__).parent.parent.parent / "docs" / "configuration.md"

TABLES = [
    get_args(field.type)[1] if get_origin(field.type) is dict else field.type
    for field in msgspec.structs.fields(Config)
]


def test_the_page_is_what_the_options_say() -> None:
    assert PAGE.read_text("utf-8") == reference(), (
        "write it anew: python -m roomful.server.config_reference > docs/configuration.md"
    )


@pytest.mark.parametrize("table", TABLES)
def test_every_option_is_described_once(table: type[msgspec.Struct]) -> None:
    found = descriptions(table)
    assert sorted(name for names in found for name in names) == sorted(table.__struct_fields__)
    assert all(len(text) > 5 for text in found.values())


def test_a_text_ends_where_the_next_begins() -> None:
    class Options(msgspec.Struct):
        """The table. Not an option: this.

        alpha, beta: about both,
        over two lines; gamma: is no row here. delta: a row. (In brackets.) gamma: too.

        Introduction to more:
        epsilon: with zeta inside.
        """

        alpha: int = 1
        beta: int = 1
        gamma: int = 1
        delta: int = 1
        epsilon: int = 1
        zeta: int = 1

    assert descriptions(Options) == {
        ("alpha", "beta"): "about both, over two lines; gamma: is no row here.",
        ("delta",): "a row. (In brackets.)",
        ("gamma",): "too.",
        ("epsilon", "zeta"): "with zeta inside.",
    }
