"""An engine as far away as a real one: each call takes its time, and so does what it reports.

It wraps the memory engine. A call travels, has its effect, and its answer travels back: two waits, each of which the
test ends when and in which order it likes. What the engine has to report waits in a queue of its own, in order, because
a broker's messages come over another connection than its answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from roomful.model.errors import InternalError
from roomful.seams.engine import Engine, Sink


class SlowEngine:
    """quick: nothing waits, as long as it is set. broken: names of calls that fail before they have an effect."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.broker = _Slow(engine.broker, self)
        self.presence = _Slow(engine.presence, self)
        self.control = _Slow(engine.control, self)
        self.ready, self.alone = True, engine.alone
        self.quick = True
        self.broken: set[str] = set()
        self.waits: list[tuple[str, asyncio.Future[None]]] = []
        self.reports: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    async def start(self, sink: Sink, node: str) -> None:
        await self._engine.start(_Reports(sink, self), node)

    async def stop(self) -> None:
        await self._engine.stop()

    async def wait(self, name: str) -> None:
        """A message that travels. One that has been let go by is over when its own call was cancelled."""
        if self.quick:
            return
        wait = asyncio.get_running_loop().create_future()
        entry = (name, wait)
        self.waits.append(entry)
        try:
            await wait
        finally:
            if entry in self.waits:
                self.waits.remove(entry)

    def let(self, number: int = 0, name: str = "") -> bool:
        """Lets one of the waiting messages (of calls of that name) arrive; whether there was one."""
        waiting = [entry for entry in self.waits if name in ("", entry[0])]
        if not waiting:
            return False
        entry = waiting[number % len(waiting)]
        self.waits.remove(entry)
        if not entry[1].done():
            entry[1].set_result(None)
        return True

    def report(self) -> bool:
        """Lets the next report arrive at the node; whether there was one."""
        if not self.reports:
            return False
        call, arguments = self.reports.popleft()
        call(*arguments)
        return True

    def lose_publication(self, channels: Collection[str]) -> None:
        """The next report doesn't arrive, as it may happen with a broker's pub/sub; only a publication of one of these
        channels, whose subscribers have a position: it is the log that gives those back. In a `latest` channel, which
        is never positioned, nobody could know."""
        if self.reports and self.reports[0][1][0] in channels and getattr(self.reports[0][1][1], "offset", 0):
            self.reports.popleft()

    async def rush(self) -> None:
        """From now on nothing waits, and what does arrives."""
        self.quick = True
        for _ in range(1_000):
            while self.let() or self.report():
                pass
            for _ in range(10):
                await asyncio.sleep(0)
            if not self.waits and not self.reports:
                return
        raise AssertionError("the engine never comes to rest")


class _Slow:
    """One part of the engine."""

    def __init__(self, part: Any, engine: SlowEngine) -> None:
        self._part = part
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._part, name)

        async def slowly(*arguments: Any) -> Any:
            await self._engine.wait(name)
            if name in self._engine.broken:
                raise InternalError(f"{name} is broken")
            result = await call(*arguments)
            await self._engine.wait(name)
            return result

        return slowly


class _Reports:
    """The sink that the engine knows."""

    def __init__(self, sink: Sink, engine: SlowEngine) -> None:
        self._sink = sink
        self._engine = engine

    def __getattr__(self, name: str) -> Callable[..., None]:
        call: Callable[..., None] = getattr(self._sink, name)

        def report(*arguments: Any) -> None:
            if self._engine.quick and not self._engine.reports:
                call(*arguments)
            else:
                self._engine.reports.append((call, arguments))

        return report
