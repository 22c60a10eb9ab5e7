"""A deadline for a whole call, however many requests it makes and whoever steps it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from roomful.engines.nats_link import Link
from roomful.model.errors import InternalError

ResultT = TypeVar("ResultT")


class Deadline:
    """The time that each call has. While the server is away all calls share one, counted from when it was last there:
    so whoever asks one thing after the other gets each answer in time."""

    __slots__ = ("_link", "_seconds")

    def __init__(self, link: Link, seconds: float) -> None:
        self._link = link
        self._seconds = seconds

    async def __call__(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """What the work gives. Raises InternalError when it takes longer."""
        left_s = self._seconds - self._link.away_s()
        if left_s <= 0:
            work.close()
            raise InternalError("NATS can't be reached")
        return await within(left_s, work)


async def within(seconds: float, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """What the work gives. Raises InternalError when it takes longer; then it is cancelled.

    A task of its own, because `asyncio.timeout` needs one, and commands that step themselves have none.
    """
    task = asyncio.get_running_loop().create_task(work)
    late = False

    def give_up() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, give_up)
    try:
        return await task
    except asyncio.CancelledError:
        if late:
            raise InternalError(f"NATS hasn't answered within {seconds:g} s") from None
        task.cancel()
        raise
    finally:
        timer.cancel()
