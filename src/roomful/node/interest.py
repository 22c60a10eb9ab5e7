"""Which channels this node hears: the first subscriber subscribes it at the broker, the last one ends that.

For each channel one change at a time: an unsubscribe that is still under way is waited for before the next subscribe,
so the broker never sees the two in the wrong order.
"""

from __future__ import annotations

import asyncio

from roomful.seams.engine import Broker


class Interest:
    """Counts subscribers for each channel and keeps the broker in step."""

    __slots__ = ("_broker", "_changing", "_counts", "_heard")

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._counts: dict[str, int] = {}
        self._heard: set[str] = set()
        self._changing: dict[str, asyncio.Future[None]] = {}

    async def acquire(self, channel: str) -> None:
        """When this returns, the broker delivers the channel here. Raises what it raises, and then holds nothing."""
        self._counts[channel] = self._counts.get(channel, 0) + 1
        try:
            while channel not in self._heard:
                await self._step(channel)
        except BaseException:
            self._lower(channel)
            raise

    async def release(self, channel: str) -> None:
        """Gives one acquisition back."""
        self._lower(channel)
        while channel in self._heard and channel not in self._counts:
            await self._step(channel)

    def _lower(self, channel: str) -> None:
        count = self._counts[channel] - 1
        if count:
            self._counts[channel] = count
        else:
            del self._counts[channel]

    async def _step(self, channel: str) -> None:
        """Waits for the change under way, or makes the one that is due."""
        under_way = self._changing.get(channel)
        if under_way is not None:
            # shield: a waiter that is cancelled must not cancel the future of all the others
            await asyncio.shield(under_way)
            return
        done = self._changing[channel] = asyncio.get_running_loop().create_future()
        try:
            if channel in self._counts:
                await self._broker.subscribe(channel)
                self._heard.add(channel)
            else:
                self._heard.discard(channel)
                await self._broker.unsubscribe(channel)
        finally:
            del self._changing[channel]
            done.set_result(None)
