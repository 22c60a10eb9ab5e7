"""A small application for `serve`, in a process of its own: `python -m tests.server.tiny '{"port": 0}' WORD…`

It echoes at `/echo`, answers `/` over HTTP, prints what `serve` asks of it, and has the faults that the words name.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Sequence

import msgspec
from starlette.types import Receive, Scope, Send

from roomful.model.errors import ConfigError
from roomful.node.admission import Admission
from roomful.node.stats import Stats
from roomful.node.wheel import Wheel
from roomful.seams.transport import Request, Transport
from roomful.server.config import Config, ServerOptions
from roomful.server.serve import serve
from roomful.server.worker_peers import Peers
from roomful.testing.echo import EchoReceiver
from roomful.transports.negotiate import TransportOptions, WebSocketRoute
from roomful.transports.stream import Streams


class Tiny:
    def __init__(self, faults: set[str]) -> None:
        self.faults = faults
        self.transports: list[Transport] = []
        self.go = asyncio.Event()
        self._streams = Streams([], TransportOptions(), Wheel())

    def open(self, transport: Transport, request: Request) -> EchoReceiver:
        self.transports.append(transport)
        return EchoReceiver(transport)

    @property
    def websocket_routes(self) -> Sequence[WebSocketRoute]:
        return [WebSocketRoute("/echo", self.open)]

    @property
    def transport_options(self) -> TransportOptions:
        return TransportOptions()

    @property
    def admission(self) -> Admission:
        return Admission(Stats(), Wheel().now)

    @property
    def streams(self) -> Streams:
        return self._streams

    def join(self, peers: Peers) -> None:
        peers.answer("ready", lambda: b"true")

    def serving(self) -> None:
        self.say("serving")

    def reload(self, config: Config) -> list[str]:
        self.say("reload")
        return ["server.port"]

    async def start(self) -> None:
        self.say("start")
        if "start fails" in self.faults:
            raise ConfigError("engine.url: nobody is there")

    async def drain(self, drain_s: float) -> None:
        self.say("drain")
        for transport in self.transports:
            transport.close(3001, "shutdown")
        if "waits for go" in self.faults:
            await self.go.wait()
        if "drains for ever" in self.faults:
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    self.say("not cancelled")
        if "drain fails" in self.faults:
            raise RuntimeError("a bug in drain")

    async def stop(self) -> None:
        self.say("stop")
        if "stops for ever" in self.faults:
            await asyncio.sleep(3600)

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/go":
                self.go.set()
            case "/block":
                self.say("blocked")
                time.sleep(3600)  # noqa: ASYNC251  that is the fault
            case "/thread":
                threading.Thread(target=time.sleep, args=(3600,)).start()
            case "/hang":
                self.say("hanging")
                await asyncio.sleep(3600)
        body = f"{scope['client'] and scope['client'][0]} {scope['scheme']}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    def say(self, what: str) -> None:
        print(what, flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    serve(Tiny(set(sys.argv[2:])), msgspec.json.decode(sys.argv[1], type=ServerOptions))
