"""Which channels this node hears: the first who wants one subscribes it at the broker, the last one ends that.

For each channel one change at a time: an unsubscribe that is still under way is waited for before the next subscribe,
so the broker never sees the two in the wrong order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roomful.seams.engine import Broker


class Interest:
    """Keeps the broker in step. wanted: whether anybody here wants a channel; who does is kept there, and not twice."""

    __slots__ = ("_broker", "_changing", "_heard", "_wanted")

    def __init__(self, broker: Broker, wanted: Callable[[str], bool]) -> None:
        self._broker = broker
        self._wanted = wanted
        self._heard: set[str] = set()
        self._changing: dict[str, asyncio.Future[None]] = {}

    async def acquire(self, channel: str) -> None:
        """Somebody wants the channel. When this returns, the broker delivers it here. Raises what the broker raises;
        then the one who wanted it doesn't any more."""
        while channel not in self._heard:
            await self._step(channel, hear=True)

    async def release(self, channel: str) -> None:
        """Somebody doesn't want the channel any more."""
        while channel in self._heard and not self._wanted(channel):
            await self._step(channel, hear=False)

    async def _step(self, channel: str, *, hear: bool) -> None:
        """Waits for the change under way, or makes this one."""
        under_way = self._changing.get(channel)
        if under_way is not None:
            # shield: a waiter that is cancelled must not cancel the future of all the others
            await asyncio.shield(under_way)
            return
        done = self._changing[channel] = asyncio.get_running_loop().create_future()
        try:
            if hear:
                await self._broker.subscribe(channel)
                self._heard.add(channel)
            else:
                self._heard.discard(channel)
                await self._broker.unsubscribe(channel)
        finally:
            del self._changing[channel]
            done.set_result(None)
