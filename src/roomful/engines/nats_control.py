"""Orders and questions between nodes. Orders are kept for an hour, so a node that didn't hear for a while gets them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import get_args

from roomful.engines.envelope import decode, encode
from roomful.engines.nats_deadline import Deadline
from roomful.engines.nats_jetstream import MESSAGE_ID, JetStream, StreamInfo
from roomful.engines.nats_link import Link, LinkDown, Reply
from roomful.engines.nats_names import Names
from roomful.engines.nats_presence import NatsPresence
from roomful.model.errors import WireError
from roomful.model.order import Answer, Order, Survey
from roomful.seams.engine import Sink

ORDERS = get_args(Order)

logger = logging.getLogger("roomful.engines.nats")


class NatsControl:
    """See `seams.engine.Control`. timely: bounds each call."""

    def __init__(
        self, link: Link, jetstream: JetStream, names: Names, presence: NatsPresence, timely: Deadline
    ) -> None:
        self._link = link
        self._names = names
        self._js = jetstream
        self._presence = presence
        self._timely = timely
        self._sink: Sink | None = None
        self._stream = ""
        self._heard = 0
        self._catching_up: asyncio.Task[None] | None = None

    # Calls

    async def send(self, order: Order) -> None:
        await self._timely(self._send(order))

    async def ask(self, survey: Survey) -> None:
        await self._timely(self._tell(self._names.survey, encode(survey)))

    async def answer(self, node: str, answered: Answer) -> None:
        await self._timely(self._tell(self._names.answer(node), encode(answered)))

    async def nodes(self) -> Collection[str]:
        return await self._timely(self._presence.nodes())

    async def _send(self, order: Order) -> None:
        body, key = encode(order), {MESSAGE_ID: self._js.unique_id()}
        while True:
            try:
                await self._js.publish(self._names.order, body, key)
                return
            except LinkDown:
                await self._link.opened()

    async def _tell(self, subject: str, body: bytes) -> None:
        self._link.tell(subject, body)
        await self._link.confirm()

    # Listening

    def listen(self, sink: Sink, node: str) -> None:
        """From the next connection on the sink gets what comes."""
        self._sink = sink
        self._link.listen(self._names.ordered, self._on_order)
        self._link.listen(self._names.survey, self._on_question)
        self._link.listen(self._names.answer(node), self._on_question)

    def begin(self, orders: StreamInfo) -> None:
        """Connected (again). Orders from before the first time aren't for this node."""
        if not self._stream:
            self._heard = orders.state.last_seq
        elif self._stream != orders.created or orders.state.last_seq < self._heard:
            self._heard = 0  # the server has forgotten what it had, so all that it has is new
        self._stream = orders.created
        if orders.state.last_seq > self._heard:
            self._catch_up_soon()

    def end(self) -> None:
        self._sink, self._stream = None, ""
        if self._catching_up is not None:
            self._catching_up.cancel()
            self._catching_up = None

    def _on_order(self, reply: Reply) -> None:
        sequence = int(reply.header("Nats-Sequence") or 0)
        if self._catching_up is None and sequence == self._heard + 1:
            self._deliver(sequence, reply.data)
        elif sequence > self._heard:
            self._catch_up_soon()

    def _on_question(self, reply: Reply) -> None:
        message, sink = decode(reply.data), self._sink
        if sink is None:
            return
        if isinstance(message, Survey):
            sink.on_survey(message)
        elif isinstance(message, Answer):
            sink.on_answer(message)

    def _deliver(self, sequence: int, data: bytes) -> None:
        self._heard = sequence
        try:
            order = decode(data)
        except WireError as error:
            logger.warning("an order that this version doesn't understand: %s", error)
            return
        if self._sink is not None and isinstance(order, ORDERS):
            self._sink.on_order(order)

    def _catch_up_soon(self) -> None:
        if self._catching_up is None:
            self._catching_up = asyncio.get_running_loop().create_task(self._catch_up())

    async def _catch_up(self) -> None:
        """Delivers the orders that were missed, from the stream, until there is none."""
        try:
            while (
                message := await self._js.next(self._names.orders_stream, self._names.order, self._heard + 1)
            ) is not None:
                self._deliver(message.sequence, message.data)
        except LinkDown as error:
            logger.info("orders that were missed are read after the next connection: %s", error)
        finally:
            self._catching_up = None
