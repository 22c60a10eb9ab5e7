"""uvicorn as the peers want it: quiet, without compression and pings, on a free port that it prints."""

from __future__ import annotations

import signal
import socket
import sys
from typing import Any

import uvicorn


def server_of(app: Any) -> tuple[uvicorn.Server, socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app, log_level="warning", ws_per_message_deflate=False, ws_ping_interval=None, backlog=4096, lifespan="off"
    )
    return uvicorn.Server(config), listener


def serve(app: Any) -> None:
    # uvicorn raises the signal once more when it is done: as an exception, so that who called can clean up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server, listener = server_of(app)
    server.run([listener])
