"""A service that answers webhooks, under a real uvicorn on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

Answer = Callable[["Asked"], Any]


@dataclass(frozen=True)
class Asked:
    """A request as it came. number: how many of its event there were before."""

    event: str
    body: bytes
    headers: dict[str, str]
    number: int

    @property
    def said(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Raw:
    """An answer that isn't 200 with JSON. hangs: none at all. breaks: the connection ends within it."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    breaks: bool = False


class WebhookService:
    """answers: by event, an object or a function of the request; `{}` for all others. asked: what came."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[Asked] = []
        self.at_once = 0
        self.most_at_once = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    def about(self, event: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.event == event]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        event = headers.get("roomful-event", "")
        asked = Asked(event, body, headers, len(self.about(event)))
        self.asked.append(asked)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._answer(asked, receive, send)
        finally:
            self.at_once -= 1

    async def _answer(self, asked: Asked, receive: Any, send: Any) -> None:
        answer = self.answers.get(asked.event, {})
        if callable(answer):
            answer = answer(asked)
            if asyncio.iscoroutine(answer):
                answer = await answer
        raw = answer if isinstance(answer, Raw) else Raw(body=json.dumps(answer).encode())
        if raw.hangs:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        length = len(raw.body) + raw.breaks
        sent = {"content-length": str(length), **raw.headers}
        await send(
            {
                "type": "http.response.start",
                "status": raw.status,
                "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            }
        )
        if raw.breaks:
            return  # uvicorn closes the connection of an application that ends too early
        await send({"type": "http.response.body", "body": raw.body})


@asynccontextmanager
async def serving(service: WebhookService) -> AsyncIterator[WebhookService]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        service.port = listener.getsockname()[1]
        config = uvicorn.Config(service, log_config=None, lifespan="off", interface="asgi3")
        config.timeout_graceful_shutdown = 1
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])  # without its main loop, which has signals and ticks of its own
        try:
            yield service
        finally:
            await server.shutdown([listener])
