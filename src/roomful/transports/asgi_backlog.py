"""Writing without waiting over ASGI's `send`, which may have to be waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from starlette.types import Message, Send

from roomful.transports.negotiate import TransportOptions


class Backlog:
    """Messages on their way out, and the task that sends them while there are any.

    Its bytes are bounded by whoever writes: `paused` says when to stop, `on_writable` when to go on. on_lost: `send`
    failed, because the connection is gone; what waited is dropped.
    """

    __slots__ = ("_bytes", "_messages", "_on_lost", "_on_writable", "_options", "_send", "_sender", "paused")

    def __init__(
        self, send: Send, options: TransportOptions, on_writable: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self.paused = False
        self._send = send
        self._options = options
        self._on_writable = on_writable
        self._on_lost = on_lost
        self._messages: deque[tuple[Message, int]] = deque()
        self._bytes = 0
        self._sender: asyncio.Task[None] | None = None

    def put(self, message: Message, size: int) -> None:
        """Sends it after all others. size: its bytes."""
        self._messages.append((message, size))
        self._bytes += size
        if self._bytes > self._options.write_high_water_bytes:
            self.paused = True
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._work())

    def drop(self) -> None:
        """Sends no more."""
        self._messages.clear()
        if self._sender is not None:
            self._sender.cancel()

    async def _work(self) -> None:
        try:
            while self._messages:
                message, size = self._messages.popleft()
                await self._send(message)
                self._bytes -= size
                if self.paused and self._bytes <= self._options.write_low_water_bytes:
                    self.paused = False
                    self._on_writable()
            self._sender = None
        except (OSError, RuntimeError):
            # OSError is what ASGI's `send` raises when the client is gone; uvicorn, when it has closed the connection
            # for a violation, raises RuntimeError. How it went, `receive` tells.
            self._messages.clear()
            self._on_lost()
