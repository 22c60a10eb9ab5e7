"""Orders, surveys and answers between nodes on Redis. See `seams.engine.Control`.

Orders have a stream of their own: a node that didn't hear for a while reads there what it was told meanwhile, so that a
client that was to be disconnected is. Surveys and answers are for who hears at the moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from roomful.engines.envelope import decode, encode, open_placed
from roomful.engines.redis_broker import RedisBroker
from roomful.engines.redis_names import CONTROL, Names
from roomful.engines.redis_servers import Servers
from roomful.model.errors import RoomfulError, WireError
from roomful.model.order import Answer, Order, Survey
from roomful.model.publication import HistoryFilter, Position, Retention
from roomful.seams.engine import Sink

log = logging.getLogger("roomful.engines")

KEEP = Retention(10_000, 600.0)
PAGE = 500
OWN_KEYS_MS = 15_000


class RedisControl:
    """living: the ids of all nodes that live."""

    def __init__(
        self, broker: RedisBroker, servers: Servers, names: Names, living: Callable[[], Awaitable[Collection[str]]]
    ) -> None:
        self._broker = broker
        self._servers = servers
        self._names = names
        self._living = living
        self._node_tag = b""
        self._position = Position("", 0)
        self._reading: asyncio.Task[None] | None = None
        self._again = False
        self.sink: Sink | None = None

    # seams.engine.Control

    async def send(self, order: Order) -> None:
        await self._broker.append(CONTROL, encode(order), KEEP, self._broker.own_mark(CONTROL), OWN_KEYS_MS)

    async def ask(self, survey: Survey) -> None:
        await self._broker.tell(CONTROL, encode(survey))

    async def answer(self, node: str, answer: Answer) -> None:
        await self._broker.tell(_tag_of(node), encode(answer))

    async def nodes(self) -> Collection[str]:
        return await self._living()

    # Its life

    async def start(self, node: str) -> None:
        """Hears from now on."""
        self._node_tag = _tag_of(node)
        for tag in (CONTROL, self._node_tag):
            await self._servers.listener(tag).subscribe(self._names.pubsub(tag))
        self._position, _ = await self._broker.read(CONTROL, HistoryFilter(), KEEP)

    async def stop(self) -> None:
        self.sink = None
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait((self._reading,))

    # What the listener brings

    def owns(self, tag: bytes) -> bool:
        return tag in (CONTROL, self._node_tag)

    def on_message(self, data: bytes) -> None:
        try:
            offset, epoch, body = open_placed(data)
            if not offset:
                self._deliver(body)
            elif self._reading is None and Position(epoch, offset - 1) == self._position:
                self._position = Position(epoch, offset)
                self._deliver(body)
            elif epoch != self._position.epoch or offset > self._position.offset:
                self.catch_up()
        except WireError as error:
            log.error("an order can't be understood, so it isn't carried out here: %s", error)

    def catch_up(self) -> None:
        """Orders may have been missed: they are read from their stream."""
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._catch_up())
        else:
            self._again = True

    async def _catch_up(self) -> None:
        try:
            more = True
            while more or self._again:
                more, self._again = False, self._again and more
                more = await self._read_page()
        except RoomfulError as error:
            log.warning("the orders of other nodes can't be read: %s", error)
        finally:
            self._reading = None

    async def _read_page(self) -> bool:
        """Delivers what follows our position; whether there is more."""
        head, entries = await self._broker.read(CONTROL, HistoryFilter(PAGE, self._position), KEEP)
        if head.epoch != self._position.epoch:
            log.warning("Redis has lost the orders of other nodes; what was ordered while this one was deaf is unknown")
            self._position = head
            return False
        for offset, body in entries:
            if offset > self._position.offset:
                self._position = Position(head.epoch, offset)
                try:
                    self._deliver(body)
                except WireError as error:
                    log.error("an order can't be understood, so it isn't carried out here: %s", error)
        return bool(entries) and self._position.offset < head.offset

    def _deliver(self, body: bytes) -> None:
        sink, message = self.sink, decode(body)
        if sink is None:
            return
        if isinstance(message, Survey):
            sink.on_survey(message)
        elif isinstance(message, Answer):
            sink.on_answer(message)
        elif isinstance(message, Order):
            sink.on_order(message)


def _tag_of(node: str) -> bytes:
    return b"node." + node.encode()
