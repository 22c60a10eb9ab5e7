"""A room server for the tests of single transports, and clients that speak to it without any SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from roomful import ChannelOptions, Config
from roomful.auth.options import TokenOptions
from roomful.model.channel import Right
from roomful.server.app import Roomful
from roomful.session.options import ConnectionOptions, LimitOptions
from roomful.testing.stream_contract import Client

Document = dict[str, Any]


def open_rooms() -> Roomful:
    """Anybody may say and hear anything; without history, so that nothing is left for the next test."""
    return Roomful(
        Config(
            tokens=TokenOptions(anonymous=True, hmac_secret="a secret of sufficient length for it"),
            namespaces={"default": ChannelOptions(subscribe="client", publish=Right.CLIENT)},
            connection=ConnectionOptions(ping_s=1.0, pong_s=0.3),
            limits=LimitOptions(message_max_bytes=2_000),
        )
    )


def connect_parameter(*commands: Document) -> str:
    return "cf_connect=" + quote("\n".join(map(json.dumps, commands)))


class Listener:
    """The documents of a streamed response, one after the other."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.pings = 0
        self._documents = self._read()

    def next(self) -> Document:
        """The next one that isn't a ping; pings are counted."""
        while not (document := next(self._documents)):
            self.pings += 1
        return document

    def end(self) -> None:
        """Nothing more comes but pings, and the body has a proper end."""
        assert [document for document in self._documents if document] == []

    def _read(self) -> Iterator[Document]:
        events = (self.client.header("Content-Type") or "").startswith("text/event-stream")
        while line := self.client.response.readline():
            if not events:
                yield json.loads(line)
            elif line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))
            else:
                assert line in (b"\n", b"\r\n", b":\n")


def emulate(port: int, connected: Document, *commands: Document, **fields: str) -> int:
    """Sends commands in the way of a client without WebSocket; the status of the answer."""
    data = "\n".join(map(json.dumps, commands))
    body = {"session": connected["session"], "node": connected["node"], "data": data, **fields}
    client = Client(port).ask("POST", "/emulation", json.dumps(body).encode(), {"Content-Type": "application/json"})
    status = client.status
    client.close()
    return status
