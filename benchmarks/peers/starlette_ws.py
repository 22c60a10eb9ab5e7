"""Starlette's WebSocket under uvicorn with uvloop and websockets: each frame of /pub goes to all of /sub."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

subscribers: set[WebSocket] = set()


async def subscribe(websocket: WebSocket) -> None:
    await websocket.accept()
    subscribers.add(websocket)
    try:
        async for _ in websocket.iter_text():
            pass
    finally:
        subscribers.discard(websocket)


async def publish(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        for subscriber in tuple(subscribers):
            await subscriber.send_text(text)


app = Starlette(routes=[WebSocketRoute("/sub", subscribe), WebSocketRoute("/pub", publish)])

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", ws_per_message_deflate=False, ws_ping_interval=None)
    uvicorn.Server(config).run([listener])
