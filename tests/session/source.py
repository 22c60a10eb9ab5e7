"""An EventSource in memory, without the HTTP around it: it comes back by itself, with its last event id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from roomful.model.disconnects import Disconnect
from roomful.model.errors import RoomfulError
from roomful.model.publication import Position
from roomful.node import eager
from roomful.seams.transport import Request
from roomful.session.event_stream import EventStream
from roomful.testing.client import MemoryTransport
from roomful.wire.event_stream import EVENTS, EVENTS_MANY
from roomful.wire.stream_id import parse
from tests.event_source import Event, Parser
from tests.session.world import World


class Source:
    """channels: in any order. events: all that have come. error: why it was refused. started: a 200 has come."""

    def __init__(self, world: World, channels: Sequence[str], token: str = "", last_event_id: str = "") -> None:
        self.world = world
        self.channels = sorted(channels)
        self.token = token
        self.events: list[Event] = []
        self.error: RoomfulError | Disconnect | None = None
        self.started = False
        self.transport: MemoryTransport | None = None
        self.parser = Parser()
        self.parser.last_event_id = last_event_id
        self._read = 0

    def connect(self) -> EventStream:
        """A new stream; everything that doesn't wait has happened when it returns."""
        context = self.world.context
        options = msgspec.structs.replace(context.options, ping_s=0.0, expired_grace_s=0.0)
        self.parser.reconnected()
        self.error, self.started, self._read = None, False, 0
        transport = self.transport = MemoryTransport()
        session = EventStream(
            replace(context, options=options),
            transport,
            EVENTS if len(self.channels) == 1 else EVENTS_MANY,
            Request("/events"),
            dict(zip(self.channels, self._positions(), strict=True)),
            self._start,
        )
        transport.receiver = session
        eager.start(self._follow(session))
        return session

    def cut(self) -> None:
        """The connection is gone; what was written is still read."""
        if self.transport is None:
            return
        self.pump()
        transport, self.transport = self.transport, None
        if transport.closed is None and transport.receiver is not None:
            transport.closed = (1006, "")
            transport.receiver.on_close(1006, "")

    def pump(self) -> list[Event]:
        """Reads what has come; the new events."""
        if self.transport is None:
            return []
        written = b"".join(self.transport.written[self._read :])
        self._read = len(self.transport.written)
        events = self.parser.feed(written)
        self.events += events
        return events

    def _positions(self) -> list[Position | None]:
        known = self.parser.last_event_id
        return parse(known, len(self.channels)) if known else [None] * len(self.channels)

    def _start(self) -> None:
        self.started = True

    async def _follow(self, session: EventStream) -> None:
        try:
            await session.follow(self.token)
        except (RoomfulError, Disconnect) as error:
            self.error = error
            session.on_close(1006, "")
