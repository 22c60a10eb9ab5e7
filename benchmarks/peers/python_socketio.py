"""python-socketio under uvicorn: a room that clients join with "join"; "publish" goes to all of it; "echo" comes
back."""

from __future__ import annotations

from typing import Any

import socketio
from serving import serve

server = socketio.AsyncServer(async_mode="asgi", ping_interval=600, http_compression=False)


@server.on("join")
async def join(sid: str) -> None:
    await server.enter_room(sid, "bench:room")


@server.on("publish")
async def publish(sid: str, data: Any) -> None:
    await server.emit("publication", data, room="bench:room")


@server.on("echo")
async def echo(sid: str, data: Any) -> None:
    await server.emit("echo", data, to=sid)


if __name__ == "__main__":
    serve(socketio.ASGIApp(server))
