"""The table of URLs over HTTP, and the ASGI lifespan. WebSocket paths stand in `wiring.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from roomful.server.wiring import ROOMS_PATH
from roomful.server.worker_peers import Peers

STATIC = files("roomful.server") / "static"
"""The demo's bundle; `make setup` puts it there."""


class Reported(Protocol):
    """What the routes need of the application."""

    @property
    def peers(self) -> Peers | None: ...

    @property
    def trouble(self) -> str: ...

    @property
    def dev(self) -> bool: ...


def http_app(app: Reported, more: Iterable[BaseRoute]) -> ASGIApp:
    """Health, readiness, a word to whoever takes the WebSocket for a page, and under `--dev` the demo.

    more: the endpoints that stand in files of their own."""

    async def health(_request: Request) -> Response:
        return JSONResponse({})

    async def ready(_request: Request) -> Response:
        if app.peers is None:
            trouble = app.trouble
            return JSONResponse({"ready": False, "reason": trouble}, 503) if trouble else JSONResponse({"ready": True})
        said = await app.peers.ask("ready")
        all_are = all(answer == b"true" for answer in said.values())
        workers = {str(number): _worker(answer) for number, answer in said.items()}
        return JSONResponse({"ready": all_are, "workers": workers}, 200 if all_are else 503)

    async def websocket_only(_request: Request) -> Response:
        message = "this is a WebSocket endpoint; connect to it with a Centrifuge client"
        return error(426, 107, message, {"Upgrade": "websocket", "Connection": "Upgrade"})

    async def missing(_request: Request, _error: Exception) -> Response:
        return error(404, 104, "there is nothing here")

    async def wrong_method(_request: Request, refused: Exception) -> Response:
        headers = dict(refused.headers or {}) if isinstance(refused, HTTPException) else None
        return error(405, 107, "this address doesn't take that method", headers)

    routes: list[BaseRoute] = [
        Route("/health", health),
        Route("/ready", ready),
        Route(ROOMS_PATH, websocket_only),
        *more,
        Mount("/", _demo(app)),
    ]
    return Starlette(routes=routes, exception_handlers={404: missing, 405: wrong_method})


def error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An error as every HTTP endpoint answers it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def _worker(answer: bytes | None) -> str:
    """What a worker said of itself, as `/ready` shows it."""
    if not answer:
        return "missing"
    return "ready" if answer == b"true" else f"not ready: {answer.decode(errors='replace')}"


def _demo(app: Reported) -> ASGIApp:
    """The demo's files under `--dev`, else nothing. Whether it is `--dev` is known only when it is served."""
    files_app = StaticFiles(directory=str(STATIC), html=True, check_dir=False)

    async def demo(scope: Scope, receive: Receive, send: Send) -> None:
        if app.dev and STATIC.is_dir():
            await files_app(scope, receive, send)
        else:
            raise HTTPException(404)

    return demo


async def serve_lifespan(
    lifespan: Callable[[], AbstractAsyncContextManager[None]], receive: Receive, send: Send
) -> None:
    """The ASGI lifespan protocol: start, wait, stop; a start that fails is told to the host in one sentence."""
    await receive()
    try:
        async with lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as failure:
        await send({"type": "lifespan.startup.failed", "message": str(failure)})
        raise
    await send({"type": "lifespan.shutdown.complete"})
