"""What an EventSource makes of the bytes that it gets. Source: HTML Standard, section 9.2.6."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One that is dispatched. data: as JSON."""

    type: str
    data: Any
    last_event_id: str


class Parser:
    """One stream after the other. last_event_id: of the last whole event. retry_ms: what the server asked for."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms = 0
        self.reconnected()

    def reconnected(self) -> None:
        """A new stream begins; half an event that the last one ended with is forgotten."""
        self._rest = b""
        self._id = self.last_event_id
        self._type = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        """The events that have become whole."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if (event := self._line(line.decode())) is not None]

    def _line(self, line: str) -> Event | None:
        assert "\r" not in line
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id":
                self._id = value
            case "retry":
                self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        type, data = self._type or "message", "\n".join(self._data)
        self._type, self._data = "", []
        return Event(type, json.loads(data), self.last_event_id) if data else None


def read(stream: bytes) -> list[Event]:
    """The events of a whole stream."""
    return Parser().feed(stream)
