from __future__ import annotations

import msgspec
import pytest

from roomful.engines.options import EngineOptions


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("memory://", "memory"),
        ("memory", "memory"),
        ("redis://localhost:6379/0", "redis"),
        ("redis+cluster://localhost", "redis+cluster"),
    ],
)
def test_the_scheme_names_the_engine(url: str, scheme: str) -> None:
    assert EngineOptions(url=url).scheme == scheme


def test_one_process_is_the_default() -> None:
    assert EngineOptions().scheme == "memory"


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="adress"):
        msgspec.convert({"adress": "memory://"}, EngineOptions)
