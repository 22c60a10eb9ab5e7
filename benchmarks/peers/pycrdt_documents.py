"""pycrdt-websocket under uvicorn: documents in memory."""

from __future__ import annotations

import uvloop
from pycrdt.websocket import ASGIServer, WebsocketServer
from serving import server_of


async def main() -> None:
    async with WebsocketServer(auto_clean_rooms=False) as documents:
        server, listener = server_of(ASGIServer(documents))
        await server.serve([listener])


if __name__ == "__main__":
    uvloop.run(main())
