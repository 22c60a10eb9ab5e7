"""Which nodes live, and whether the others may have taken this one for dead.

A node that was stopped, or couldn't reach the engine for a while, may have lost its lease: the others have buried it,
and what it says from before then mustn't be believed. So it is silent while it is in doubt, and then begins a new life.
Source: design, section 7.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from roomful.model.errors import RoomfulError
from roomful.model.order import BurialOrder
from roomful.node import eager
from roomful.node.wheel import Wheel
from roomful.seams.engine import Control

log = logging.getLogger("roomful.node")

LOOK_S = 1.0
"""How often it asks who lives."""
SETTLE_S = 2.0
"""A node that was stopped finds within this time which connections were closed meanwhile."""


class Listener(Protocol):
    """Who is told. None of these raises."""

    @property
    def idle(self) -> bool:
        """Nobody has to be asked."""
        ...

    def on_frozen(self) -> None:
        """This process was stopped for so long that its lease may have ended."""
        ...

    def on_new_life(self) -> None:
        """What was said in earlier lives holds no more."""
        ...

    def on_living(self, nodes: Collection[str]) -> None:
        """These nodes live, this one among them."""
        ...


class Lives:
    """The lives of one node. safe_s: a lease can't have ended so soon after the node was known to live.

    frozen_at: this process was stopped at that time, by the wheel's clock, and is still in doubt for that.
    """

    __slots__ = ("_asking", "_beat_at", "_confirmed_at", "_control", "_doubted_at", "_listener", "_node", "_safe_s",
                 "_unreadable", "_wheel", "frozen_at", "number", "wheel_slot")  # fmt: skip

    def __init__(self, node: str, control: Control, wheel: Wheel, listener: Listener, safe_s: float) -> None:
        self._node = node
        self._control = control
        self._wheel = wheel
        self._listener = listener
        self._safe_s = safe_s
        self._beat_at: float | None = None
        self._confirmed_at = 0.0
        self._doubted_at: float | None = None
        self._asking = False
        self._unreadable = False
        self.frozen_at: float | None = None
        self.number = 1
        self.wheel_slot = 0

    @property
    def in_doubt(self) -> bool:
        return self._doubted_at is not None

    def wake(self) -> None:
        """From now on there is something to ask for."""
        if self._beat_at is None:
            self._beat_at = self._confirmed_at = self._wheel.now()
            self._wheel.schedule(self, self._beat_at + LOOK_S)

    def notice(self, now: float) -> None:
        """Finds out whether the process was stopped; to be called before anything that it may have slept through."""
        if self._beat_at is None:
            return
        if now - self._beat_at > self._safe_s:
            log.warning("this node was stopped for %.0f s: its people are told anew", now - self._beat_at)
            if self.frozen_at is None:
                self.frozen_at = self._beat_at
            self._beat_at = now
            self._doubt(now)
            self._listener.on_frozen()
        elif now - self._confirmed_at > self._safe_s:
            self._doubt(now)

    def on_burial(self, order: BurialOrder) -> None:
        """A node was taken for dead. If it was this one it lives all the same, and says so in a new life.

        That the lease ended may go unnoticed here: an engine that finds it lost begins another one by itself.
        """
        if order.node == self._node and order.life >= self.number and not self.in_doubt:
            log.warning("this node was taken for dead: its people are told anew")
            self.number = order.life + 1
            self._listener.on_new_life()

    def on_due(self, now: float) -> float | None:
        self.notice(now)
        if self._listener.idle and not self.in_doubt:
            self._beat_at = None
            return None
        self._beat_at = now
        if not self._asking:
            self._asking = True
            eager.later(self._ask(now))
        return now + LOOK_S

    async def _ask(self, asked_at: float) -> None:
        try:
            living = await self._control.nodes()
        except RoomfulError as error:
            if not self._unreadable:
                log.warning("nobody says which nodes live: %s", error)
            self._unreadable = True
            return
        finally:
            self._asking = False
        self._unreadable = False
        if self._node not in living:
            self._doubt(self._wheel.now())
            return
        self._confirmed_at = max(self._confirmed_at, asked_at)
        if self._doubted_at is not None:
            if asked_at < self._doubted_at + SETTLE_S:
                return
            self._doubted_at = self.frozen_at = None
            self.number += 1
            self._listener.on_new_life()
        self._listener.on_living(living)

    def _doubt(self, now: float) -> None:
        if self._doubted_at is None:
            self._doubted_at = now
