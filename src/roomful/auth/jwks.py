"""Keys of a JSON Web Key Set that lies behind a URL: fetched, kept, fetched again. Source: RFC 7517."""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import Any, Generic, TypeVar

import msgspec

from roomful.model.errors import InternalError

logger = logging.getLogger("roomful.auth.jwks")

TIMEOUT_S = 5.0
SET_MAX_BYTES = 262_144

Key = TypeVar("Key")


class _Set(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class Jwks(Generic[Key]):
    """The keys by their id. However many ask, one fetch is under way at a time, and at most one in `retry_s`.

    make: a key from one entry of the set, None for an entry that can't be used. clock: monotonic seconds.
    """

    __slots__ = (
        "_clock",
        "_failed",
        "_flight",
        "_fresh_s",
        "_keys",
        "_make",
        "_next_at",
        "_retry_s",
        "_stale_at",
        "_url",
    )

    def __init__(
        self,
        url: str,
        make: Callable[[dict[str, Any]], Key | None],
        *,
        fresh_s: float = 3600.0,
        retry_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._make = make
        self._fresh_s = fresh_s
        self._retry_s = retry_s
        self._clock = clock
        self._keys: dict[str, list[Key]] = {}
        self._stale_at = float("-inf")
        self._next_at = float("-inf")
        self._failed = False
        self._flight: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> list[Key]:
        """The keys with that id, none if the set has no such id.

        Raises InternalError, which is temporary, if the id is unknown only because the set couldn't be fetched: a
        client must not be sent away for good because an endpoint had a bad minute.
        """
        if self._due(kid):
            if self._flight is None:
                self._flight = asyncio.create_task(self._fetch())
            await asyncio.shield(self._flight)
        keys = self._keys.get(kid, [])
        if self._failed and not keys:
            raise InternalError("the token's key can't be fetched")
        return keys

    def _due(self, kid: str) -> bool:
        now = self._clock()
        wanted = kid not in self._keys or now >= self._stale_at
        return wanted and (self._flight is not None or now >= self._next_at)

    async def _fetch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._keys = self._parse(await loop.run_in_executor(None, download, self._url))
            self._stale_at = self._clock() + self._fresh_s
            self._failed = False
        except (OSError, HTTPException, ValueError) as error:
            logger.warning("the key set at %s can't be fetched: %s", self._url, error)
            self._failed = True
        finally:
            self._next_at = self._clock() + self._retry_s
            self._flight = None

    def _parse(self, document: bytes) -> dict[str, list[Key]]:
        """Raises ValueError if it is no key set; entries that can't be used are passed over."""
        try:
            entries = msgspec.json.decode(document, type=_Set).keys
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"no key set: {error}") from error
        keys: dict[str, list[Key]] = {}
        for entry in entries:
            kid, key = entry.get("kid"), self._make(entry)
            if isinstance(kid, str) and key is not None:
                keys.setdefault(kid, []).append(key)
        return keys


def download(url: str) -> bytes:
    """What an http(s) URL answers, without following redirects. Blocks, for a few seconds at most.

    Raises OSError (also for a status other than 200, a redirect, a timeout), HTTPException, ValueError (too large).
    """
    deadline = time.monotonic() + TIMEOUT_S
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "roomful"})
    body = bytearray()
    response: HTTPResponse
    with _opener().open(request, timeout=TIMEOUT_S) as response:
        while chunk := response.read1(65_536):
            body += chunk
            if len(body) > SET_MAX_BYTES:
                raise ValueError(f"larger than {SET_MAX_BYTES} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("it takes too long")
    return bytes(body)


def _opener() -> urllib.request.OpenerDirector:
    """Neither files nor FTP, and no redirects: a set that moves to plain HTTP or to an inner address is not ours."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
