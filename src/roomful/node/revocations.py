"""What is revoked, on all nodes: told by an order, kept in a log of the engine for nodes that start later.

    revoke ──▶ log (what is true) ──▶ order to all nodes ──▶ looked through 0.1 s later: who has lost its right ends

A node that starts reads the log, and so does one that has heard nothing for a while. With `when_deaf = "close"` such a
node sends all of its clients away after `UNSURE_S`, and lets in nobody with a token until it has read the log again.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import Literal

import msgspec

from roomful.model.disconnects import DISCONNECTS
from roomful.model.errors import BadRequest, InternalError, LimitExceeded, RoomfulError
from roomful.model.order import RevokeOrder
from roomful.model.publication import Draft, HistoryFilter, Position, Retention
from roomful.node import eager
from roomful.node.directory import Member
from roomful.node.wheel import Wheel
from roomful.rooms.revoked import Revoked
from roomful.seams.engine import Engine

log = logging.getLogger("roomful.node")

KINDS = ("user", "session", "token", "room", "document")

CHANNEL = "~revocations"
"""No namespace can have this name, so no client reaches the log."""
META_S = 7 * 86400.0
"""The log's epoch outlives its last entry by this."""
PAGE = 1_000

REVIEW_S = 0.1
"""However many revocations come meanwhile, the connections are looked through once."""
EXPIRE_S = 30.0
LOOK_S = 0.5
UNSURE_S = 2.0
"""An engine that is gone for longer than it takes to connect anew. It is noticed 7 s after it has fallen silent, at the
latest, so a client whose right was revoked is gone after 10 s also on a deaf node."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RevokeOrder).decode


class RevocationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[revocations]` table: how long and how many are remembered.

    keep_s: as long as your longest-lived token is valid; afterwards a token that lives longer would count again.
    max: revocations within that time, for each node about 0.3 KB; beyond it a further one is refused (106).
    when_deaf: what a node does that hears nothing from the engine. keep: its clients stay, and what was revoked
        meanwhile is applied when the node hears again. close: they are sent away after 10 s at the latest, and tokens
        are refused until then; so an engine that is down for everybody sends everybody away.
    """

    keep_s: float = 30 * 86400.0
    max: int = 100_000
    when_deaf: Literal["keep", "close"] = "keep"


class Revocations:
    """Of one node (`node.wheel.Timed`). wall_clock: seconds since 1970. connections: all that are open."""

    def __init__(
        self,
        engine: Engine,
        wheel: Wheel,
        wall_clock: Callable[[], float],
        connections: Collection[Member],
        options: RevocationOptions,
    ) -> None:
        self.revoked = Revoked()
        self.wheel_slot = 0
        self._engine = engine
        self._wheel = wheel
        self._wall_clock = wall_clock
        self._connections = connections
        self._options = options
        self._retention = Retention(options.max, options.keep_s, options.keep_s + META_S)
        self._kept: deque[float] = deque()  # the ends of those that the log has, in its order
        self._position = Position("", 0)
        self._rooms: set[str] = set()  # revoked since the last review
        self._sessions: set[str] = set()
        self._review_due = math.inf
        self._expire_due = -math.inf
        self._unready_since = math.inf
        self._unsure = False
        self._reading = False
        self._stale = False

    @property
    def unsure(self) -> bool:
        """Whether others may have revoked what this node has not heard of, and it must not let in anybody then."""
        return self._unsure

    def outlives(self, expires_at: float | None) -> bool:
        """Whether a token that ends then, None for never, may be valid again after it was revoked, if anything is."""
        if not self.revoked:
            return False
        return expires_at is None or expires_at > self._wall_clock() + self._options.keep_s

    async def start(self) -> None:
        """Reads what is revoked. Raises RoomfulError when the engine fails."""
        await self._read()
        self._wheel.schedule(self, self._wheel.now() + LOOK_S)

    async def revoke(self, kind: str, name: str, keep_s: float | None = None) -> None:
        """Takes it back on all nodes. When it answers, the engine has it.

        keep_s: for as long, at most `[revocations] keep_s`, which it is by default. Raises BadRequest; LimitExceeded
        when too much is revoked already; what the engine raises.
        """
        if kind not in KINDS or not name:
            raise BadRequest(f"say one of {', '.join(KINDS)}, and which")
        keep_s = self._options.keep_s if keep_s is None else keep_s
        if not 0 < keep_s <= self._options.keep_s:
            raise BadRequest(f"keep_s lies above 0, and is at most {self._options.keep_s:g}, as [revocations] keep_s")
        now = self._wall_clock()
        while self._kept and self._kept[0] <= now:
            self._kept.popleft()
        if len(self._kept) >= self._options.max:
            raise LimitExceeded(f"{self._options.max} revocations are in force, as many as [revocations] max allows")
        order = RevokeOrder(kind, name, now, now + keep_s)
        await self._append(order)
        await self._engine.control.send(order)

    def on_order(self, order: RevokeOrder) -> None:
        """A node, perhaps this one, has revoked something."""
        if self._take(order):
            log.info("access of a %s was revoked", order.kind)

    def _take(self, order: RevokeOrder) -> bool:
        """Whether it is news."""
        if order.until <= self._wall_clock() or not self.revoked.add(order):
            return False
        self._kept.append(order.until)
        if order.kind in ("room", "document"):
            self._rooms.add(order.name)
        elif order.kind == "session":
            self._sessions.add(order.name)
        if self._review_due == math.inf:
            self._review_due = self._wheel.now() + REVIEW_S
            self._wheel.schedule(self, self._review_due)
        return True

    def on_due(self, now: float) -> float | None:
        if now >= self._review_due:
            self._review_due = math.inf
            self._review()
        self._look(now)
        if now >= self._expire_due:
            self._expire_due = now + EXPIRE_S
            self.revoked.expire(self._wall_clock())
        return min(now + LOOK_S, self._review_due)

    def _review(self) -> None:
        rooms, self._rooms = self._rooms, set()
        sessions, self._sessions = self._sessions, set()
        for member in tuple(self._connections):
            if sessions and not sessions.isdisjoint((member.client, member.secret)):
                for token in member.tokens:  # or it would be back in a moment
                    eager.start(self._revoke_token(token))
                member.end(*DISCONNECTS["revoked"])
            else:
                member.review(self.revoked, rooms)

    async def _revoke_token(self, token: str) -> None:
        try:
            await self.revoke("token", token)
        except RoomfulError as error:
            log.error("the token of a session that was revoked could not be revoked, it may come back: %s", error)

    # Whether this node can know

    def _look(self, now: float) -> None:
        if not self._engine.ready:
            self._unready_since = min(self._unready_since, now)
            self._stale = True
            silent = now - self._unready_since >= UNSURE_S
            if silent and not self._unsure and self._options.when_deaf == "close":
                self._unsure = True
                self._send_away()
        elif self._stale and not self._reading:
            self._unready_since = math.inf
            eager.start(self._read_again())

    def _send_away(self) -> None:
        """Nobody knows whether these may still be here. Where the engine is heard, they can be told."""
        members = [member for member in tuple(self._connections) if member.validated_at <= self._unready_since]
        if members:
            log.warning("the engine is silent, so revocations aren't heard: sending %d clients away", len(members))
        for member in members:
            member.end(*DISCONNECTS["force_reconnect"])

    async def _read_again(self) -> None:
        self._reading = True
        try:
            await self._read()
        except RoomfulError as error:
            log.warning("what was revoked meanwhile can't be read yet: %s", error)
        else:
            self._stale = self._unsure = False
        finally:
            self._reading = False

    async def _read(self) -> None:
        """What the log has, from where we are. Of a log that was lost, the others get to know what we know."""
        while True:
            since = self._position if self._position.epoch else None
            page = await self._engine.broker.history(CHANNEL, HistoryFilter(PAGE, since), self._retention)
            if since is not None and page.head.epoch != since.epoch:
                self._position = Position("", 0)
                for order in self.revoked:
                    await self._append(order)
                continue
            for publication in page.publications:
                self._take_kept(publication.data)
            last = page.publications[-1].offset if page.publications else page.head.offset
            self._position = Position(page.head.epoch, last)
            if last >= page.head.offset:
                return

    def _take_kept(self, body: bytes) -> None:
        try:
            self._take(_decode(body))
        except msgspec.DecodeError as error:
            log.error("something was revoked in a way that this version doesn't understand: %s", error)

    async def _append(self, order: RevokeOrder) -> None:
        """Once, however many nodes do it."""
        body = _encode(order)
        key = blake2b(body, digest_size=16).hexdigest()
        published = await self._engine.broker.publish(CHANNEL, Draft(body, key=key), self._retention)
        if published.position is None:
            raise InternalError("the engine keeps no log")
