"""Starlette's WebSocket under uvicorn with uvloop and websockets: each frame of /pub goes to all of /sub; /echo sends
back."""

from __future__ import annotations

from serving import serve
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


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


app = Starlette(
    routes=[WebSocketRoute("/sub", subscribe), WebSocketRoute("/pub", publish), WebSocketRoute("/echo", echo)]
)

if __name__ == "__main__":
    serve(app)
