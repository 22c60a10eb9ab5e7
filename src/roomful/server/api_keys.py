"""The keys of the server API: read from the settings and from files, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from pathlib import Path

from roomful.model.errors import ConfigError
from roomful.server.config import ApiOptions

SCHEME = "apikey "
"""Of the `Authorization` header. Source: Centrifuge protocol, section 23.1."""


class ApiKeys:
    """Who may use the server API. Raises ConfigError for a key file that can't be read, or holds no key."""

    def __init__(self, options: ApiOptions) -> None:
        self._hashes = [_hash(key.encode()) for key in keys_of(options)]

    def __len__(self) -> int:
        return len(self._hashes)

    def allow(self, headers: Mapping[str, str]) -> bool:
        """Whether a request brings one of the keys, in `X-API-Key` or as `Authorization: apikey …`.

        headers: as ASGI has them, in Latin-1. Not in the query, where logs and histories would keep it.
        """
        sent = [_hash(text.encode("latin-1", "replace")) for text in _sent(headers)]
        # All of them, hashed and without a way out in between: the time tells nothing about any key.
        return sum(hmac.compare_digest(key, one) for key in self._hashes for one in sent) > 0


def keys_of(options: ApiOptions) -> list[str]:
    """All keys of the settings. Raises ConfigError for a key file that can't be read, or holds no key."""
    return list(dict.fromkeys([*options.keys, *(key for file in options.key_files for key in _read(file))]))


def _sent(headers: Mapping[str, str]) -> Iterator[str]:
    if "x-api-key" in headers:
        yield headers["x-api-key"]
    authorization = headers.get("authorization", "")
    if authorization[: len(SCHEME)].lower() == SCHEME:
        yield authorization[len(SCHEME) :].strip()


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _read(file: str) -> list[str]:
    """One key a line; blank lines are skipped."""
    try:
        keys = [line.strip() for line in Path(file).read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"api.key_files: {file}: {reason}") from error
    if not keys:
        raise ConfigError(f"api.key_files: {file}: there is no key in it")
    return keys
