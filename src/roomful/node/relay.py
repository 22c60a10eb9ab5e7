"""Commands that came to another node than that of their session: carried there, in order, and confirmed.

Clients without WebSocket send by single requests, and a load balancer gives each to any node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TypeAlias
from uuid import uuid4

from roomful.model.errors import InternalError
from roomful.model.order import Answer, CommandsOrder
from roomful.seams.engine import Control

DEADLINE_S = 5.0
"""Clients give up their commands after that long, too."""


class Arrival(Enum):
    """What became of commands."""

    TAKEN = b"taken"
    UNKNOWN = b"unknown"
    """There is no such session, any more or at all."""
    NOWHERE = b"nowhere"
    """There is no such node."""
    TOO_MANY = b"too many"
    """More wait already for what the session has under way than one may have waiting."""


Taker: TypeAlias = Callable[[bytes], bool]
"""Takes a message for a session; False if too much waits there already. Never raises."""


class Relay:
    """The way of commands to the sessions of one node, and from it to those of others."""

    def __init__(self, control: Control, node: str, deadline_s: float = DEADLINE_S) -> None:
        self._control = control
        self._node = node
        self._deadline_s = deadline_s
        self._takers: dict[str, Taker] = {}  # by session
        self._last: dict[str, asyncio.Future[None]] = {}  # by session: the one that is being sent last
        self._waiting: dict[str, asyncio.Future[Arrival]] = {}  # by id: sent, and not answered yet

    def open(self, session: str, taker: Taker) -> None:
        """From now on there is such a session here."""
        self._takers[session] = taker

    def close(self, session: str) -> None:
        """There is none any more; nothing happens if there never was."""
        self._takers.pop(session, None)

    async def carry(self, node: str, session: str, data: bytes) -> Arrival:
        """Gives a session what its client has sent; in the order of the calls, for each session.

        Raises RoomfulError when the other node, or the engine, doesn't answer in time: nobody knows then whether the
        commands arrived.
        """
        if node == self._node:
            return self._give(session, data)
        order = CommandsOrder(node, session, data, uuid4().hex, self._node)
        arrived: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()
        self._waiting[order.id] = arrived
        try:
            if not await self._send(order):
                return Arrival.NOWHERE
            await asyncio.wait((arrived,), timeout=self._deadline_s)
        finally:
            del self._waiting[order.id]
        if not arrived.done():
            raise InternalError("the node of this session doesn't answer")
        return arrived.result()

    def take(self, order: CommandsOrder) -> Answer | None:
        """An order has come; what is to be answered, None if it isn't for this node."""
        if order.node != self._node:
            return None
        return Answer(order.id, self._node, self._give(order.session, order.data).value)

    def on_answer(self, answer: Answer) -> bool:
        """Whether it was an answer to something that was sent from here, and is waited for."""
        arrived = self._waiting.get(answer.id)
        if arrived is None:
            return False
        if not arrived.done():
            arrived.set_result(Arrival(answer.body))
        return True

    def _give(self, session: str, data: bytes) -> Arrival:
        taker = self._takers.get(session)  # by its hash: how long that takes tells nothing of other sessions
        if taker is None:
            return Arrival.UNKNOWN
        return Arrival.TAKEN if taker(data) else Arrival.TOO_MANY

    async def _send(self, order: CommandsOrder) -> bool:
        """After those that were sent to that session before; False when there is no such node."""
        before = self._last.get(order.session)
        sent = self._last[order.session] = asyncio.get_running_loop().create_future()
        try:
            if before is not None:
                await asyncio.wait((before,))
            if order.node not in await self._control.nodes():
                return False
            await self._control.send(order)
            return True
        finally:
            sent.set_result(None)
            if self._last[order.session] is sent:
                del self._last[order.session]
