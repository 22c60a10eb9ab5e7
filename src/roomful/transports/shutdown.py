"""The end of what is still open when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

_POLL_S = 0.02


class Closable(Protocol):
    def close(self, code: int, reason: str) -> None: ...

    def abort(self) -> None: ...


async def close_all(connections: Collection[Closable], code: int, reason: str, timeout_s: float) -> None:
    """Closes what is in the collection, waits until nothing is, and cuts what is left after `timeout_s`.

    connections: of `Closable`s that take themselves out when they are gone.
    """
    for connection in tuple(connections):
        connection.close(code, reason)
    waited_s = 0.0
    while connections and waited_s < timeout_s:
        await asyncio.sleep(_POLL_S)
        waited_s += _POLL_S
    for connection in tuple(connections):
        connection.abort()
