"""A deadline for a whole call, however many requests it makes and whoever steps it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from roomful.model.errors import InternalError

ResultT = TypeVar("ResultT")


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
