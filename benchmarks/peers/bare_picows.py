"""The peer to be measured against: picows by itself, relaying each frame of /pub to all of /sub with one send each;
/echo sends back."""

from __future__ import annotations

import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

subscribers: set[WSTransport] = set()


class Subscriber(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        subscribers.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        subscribers.discard(transport)


class Publisher(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        for subscriber in subscribers:
            subscriber.send(WSMsgType.TEXT, payload)


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())


LISTENERS = {b"/pub": Publisher, b"/echo": Echo}


def open_listener(request: WSUpgradeRequest) -> WSListener:
    return LISTENERS.get(request.path, Subscriber)()


async def main(port: int) -> None:
    # The small buffer is for the idle rows: a connection's memory is mostly its buffer. Frames here are small.
    server = await ws_create_server(open_listener, "127.0.0.1", port, read_buffer_init_size=512, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
