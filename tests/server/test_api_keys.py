from __future__ import annotations

from pathlib import Path

import pytest

from roomful import ConfigError
from roomful.server.api_keys import ApiKeys
from roomful.server.config import ApiOptions


def allowed(keys: ApiKeys, key: str) -> bool:
    return keys.allow({"x-api-key": key})


def test_keys_of_the_settings_and_of_files(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("first\n\n  second  \r\n")
    (tmp_path / "two").write_text("third")
    keys = ApiKeys(ApiOptions(keys=("zeroth",), key_files=(str(tmp_path / "one"), str(tmp_path / "two"))))
    assert len(keys) == 4
    assert all(allowed(keys, key) for key in ("zeroth", "first", "second", "third"))
    assert not any(allowed(keys, key) for key in ("", "zeroth, first", "FIRST", "first\n", "fourth"))


def test_no_key_opens_what_has_none() -> None:
    keys = ApiKeys(ApiOptions())
    assert not len(keys)
    assert not allowed(keys, "")
    assert not keys.allow({})


def test_a_key_that_isnt_ascii_travels_in_latin_1_as_asgi_has_it() -> None:
    keys = ApiKeys(ApiOptions(keys=("schlüssel",)))
    assert allowed(keys, "schlüssel".encode().decode("latin-1"))
    assert not allowed(keys, "schlüssel")
    assert not allowed(keys, "\u4e2d")


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"\n \n", "no key"), (b"\xff", "UTF-8")])
def test_a_file_without_a_key_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"api.key_files.*{reason}"):
        ApiKeys(ApiOptions(key_files=(str(file),)))
