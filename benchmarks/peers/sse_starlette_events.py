"""sse-starlette under uvicorn: each frame of /pub goes into the queue of each of /sub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from serving import serve
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

queues: set[asyncio.Queue[str]] = set()


async def events() -> AsyncIterator[str]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    queues.add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        queues.discard(queue)


async def subscribe(_: Request) -> EventSourceResponse:
    return EventSourceResponse(events())


async def publish(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        for queue in queues:
            queue.put_nowait(text)


app = Starlette(routes=[Route("/sub", subscribe), WebSocketRoute("/pub", publish)])

if __name__ == "__main__":
    serve(app)
