"""A client without any SDK on each of the six transports of the Centrifuge protocol, in JSON, and one of `/events`.

They block.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod

import jwt

from roomful.testing.raw_websocket import CLOSE, PING, TEXT, RawWebSocket, frame
from roomful.testing.stream_contract import Client
from tests.event_source import Event, Parser
from tests.transports.rooms import Document, Listener, emulate


class Line(ABC):
    """A client on one transport. uni: it only listens."""

    uni = False

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = f"/connection/{path}"

    def connect(self, fields: Document) -> Line:
        """Asks to be let in."""
        self._begin(json.dumps(fields if self.uni else {"connect": fields, "id": 1}).encode())
        return self

    def connected(self, fields: Document) -> Line:
        """Is in."""
        self.connect(fields)
        self.welcome: Document = self.next()["connect"]
        return self

    def ending(self) -> tuple[int, str]:
        """Code and reason of its end. Whatever comes before isn't looked at."""
        while True:
            said = self.next()
            told = said.get("disconnect") or said.get("push", {}).get("disconnect")
            if told is not None:
                self.end_of_stream()
                return told["code"], told["reason"]

    @abstractmethod
    def _begin(self, said: bytes) -> None: ...

    @abstractmethod
    def next(self) -> Document:
        """The next thing that is said."""

    @abstractmethod
    def say(self, *commands: Document) -> None: ...

    @abstractmethod
    def end_of_stream(self) -> None:
        """Nothing more may come."""

    @abstractmethod
    def close(self) -> None: ...


class WebSocketLine(Line):
    def silent(self) -> Line:
        """Opened, and nothing said."""
        self._socket = RawWebSocket(("127.0.0.1", self._port)).open(self._path)
        self._waiting: list[Document] = []
        self._closed = False
        return self

    def _begin(self, said: bytes) -> None:
        self.silent()
        self._socket.send(frame(TEXT, said))

    def next(self) -> Document:
        while not self._waiting:
            opcode, payload = self._socket.receive()
            if opcode == CLOSE:
                self._closed = True
                return {"disconnect": {"code": int.from_bytes(payload[:2], "big"), "reason": payload[2:].decode()}}
            if opcode != PING:
                self._waiting = [said for said in map(json.loads, payload.splitlines()) if said]
        return self._waiting.pop(0)

    def end_of_stream(self) -> None:
        if not self._closed:  # it was told by a push, and by its close frame likewise
            assert self.uni
            assert self._socket.receive()[0] == CLOSE

    def say(self, *commands: Document) -> None:
        self._socket.send(frame(TEXT, "\n".join(map(json.dumps, commands)).encode()))

    def close(self) -> None:
        self._socket.__exit__(None, None, None)


class StreamLine(Line):
    def _begin(self, said: bytes) -> None:
        self._client = Client(self._port)
        self._listener = Listener(self._client.ask("POST", self._path, said))

    def next(self) -> Document:
        return self._listener.next()

    def end_of_stream(self) -> None:
        self._listener.end()

    def say(self, *commands: Document) -> None:
        assert emulate(self._port, self.welcome, *commands) == 204

    def close(self) -> None:
        if self._client.response.isclosed():
            self._client.close()
        else:
            self._client.reset()


class UniWebSocketLine(WebSocketLine):
    uni = True


class UniStreamLine(StreamLine):
    uni = True


class EventsLine(Line):
    """`GET /events` for what its token subscribes it to. An end is told by an event, whose name says what to do."""

    uni = True

    def _begin(self, said: bytes) -> None:
        token = json.loads(said)["token"]
        rooms = jwt.decode(token, options={"verify_signature": False})["subs"]
        target = "/events?" + "&".join(f"channel={room}" for room in rooms)
        self._client = Client(self._port).ask("GET", target, headers={"Authorization": f"Bearer {token}"})
        self._parser = Parser()
        self._events: list[Event] = []

    def next(self) -> Document:
        while not self._events:
            data = self._client.response.read1(65_536)
            assert data, "the stream ended without a word"
            self._events = self._parser.feed(data)
        event = self._events.pop(0)
        if event.type == "subscribed":
            return {"connect": event.data}
        return {"disconnect": event.data} if event.type in ("expired", "drain") else {event.type: event.data}

    def end_of_stream(self) -> None:
        assert self._events == []
        assert self._client.response.read() == b""

    def say(self, *commands: Document) -> None:
        raise AssertionError("an event stream says nothing")

    def close(self) -> None:
        if self._client.response.isclosed():
            self._client.close()
        else:
            self._client.reset()


TRANSPORTS: dict[str, type[Line]] = {
    "websocket": WebSocketLine,
    "http_stream": StreamLine,
    "sse": StreamLine,
    "uni_websocket": UniWebSocketLine,
    "uni_http_stream": UniStreamLine,
    "uni_sse": UniStreamLine,
}
