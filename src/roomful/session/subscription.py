"""HOT. One subscription of one connection: what may be sent, in which order, and what to do about a hole.

    PENDING ──reply──▶ LIVE ◀──caught up── BEHIND          ENDED from everywhere
                        └───frame doesn't fit──▶┘           LATEST instead of LIVE where the policy is "latest"

PENDING: publications wait until the subscribe reply is out. LIVE: each has to be the next one. BEHIND: the log is ahead
of the client; nothing is queued, pages are read from the log as the socket drains (`catch_up.py`).
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Protocol

import msgspec

from roomful.model.disconnects import UNSUBSCRIBES
from roomful.model.publication import Position, Publication
from roomful.node.hub import PLAIN, Manner
from roomful.rooms.recovery import Gap
from roomful.session.outbox import Outbox


class Phase(Enum):
    PENDING = auto()
    LIVE = auto()
    LATEST = auto()
    BEHIND = auto()
    ENDED = auto()


PENDING, LIVE, LATEST, BEHIND, ENDED = Phase  # enum attributes are slow to look up, and this is the hot path


class Traits(msgspec.Struct, frozen=True):
    """What was agreed for a subscription; equal ones are shared.

    tracked: the channel has a stream, and we know which offset the client has. positioned, recoverable: what the client
    was told. cached: it gets the newest publication at once, and only that one of what was missed. notices: it gets
    joins and leaves. announced: its own join and leave are published. present: it stands in presence. latest, closes:
    the slow policy. server_side: we subscribed it, not the client.
    """

    tracked: bool = False
    positioned: bool = False
    recoverable: bool = False
    cached: bool = False
    notices: bool = False
    announced: bool = False
    present: bool = False
    latest: bool = False
    closes: bool = False
    server_side: bool = False


class Holder(Protocol):
    """What a subscription needs of its session. None of these raises or awaits."""

    client: str

    def watch(self, subscription: Subscription) -> None:
        """Have it tell what it delivers."""
        ...

    def lose(self, subscription: Subscription, gap: Gap) -> None:
        """The client's position can't be continued: tell it so (2500, or 3010 for a server-side one)."""
        ...

    def fall_behind(self, subscription: Subscription) -> None:
        """Read on from the log as soon as there is room."""
        ...

    def end_slow(self) -> None:
        """3008."""
        ...

    def end_inappropriate(self) -> None:
        """3506."""
        ...


class Arrival(msgspec.Struct, eq=False):
    """A subscription that doesn't exist yet: somebody is asked about it, or an earlier one is still leaving.

    ending: the server wants it to end as soon as it has begun.
    """

    channel: str
    ending: tuple[int, str] | None = None


SKIPPED_BYTES = 64
"""What a publication that a filter leaves out counts for while it waits for the subscribe reply."""


class Waiting(msgspec.Struct, frozen=True):
    """A frame that waits for the subscribe reply. publication None: a notice about `client`. frame None: a publication
    that the filter leaves out."""

    frame: bytes | None
    publication: Publication | None = None
    epoch: str = ""
    client: str = ""


class Subscription:
    """One subscription. `epoch` and `offset`: the position that the client has, or will have with what is queued."""

    __slots__ = (
        "_missed_unlogged",
        "_outbox",
        "_waiting",
        "_waiting_bytes",
        "base",
        "channel",
        "ending",
        "epoch",
        "expires_at",
        "holder",
        "info",
        "joining",
        "manner",
        "number",
        "offset",
        "phase",
        "reading",
        "renewing",
        "seen",
        "server_refresh",
        "token",
        "traits",
    )

    def __init__(self, holder: Holder, outbox: Outbox, channel: str, traits: Traits, manner: Manner = PLAIN) -> None:
        self.holder = holder
        self._outbox = outbox
        self.channel = channel
        self.traits = traits
        self.manner = manner
        self.number = 0
        """Stands for the channel's name; 0: nothing does."""
        self.phase = PENDING
        self.epoch = ""
        self.offset = 0
        self.base = 0
        """Offset of the publication that the client got last, or will with what is queued; 0: it can't be a base."""
        self.info = b""
        self.expires_at: float | None = None
        self.server_refresh = False
        self.token = ""
        """The id of the subscription token that gave it, "" if none did."""
        self.renewing = False
        """The hook that renews it is just being asked."""
        self.ending: tuple[int, str] | None = None
        """Set while PENDING: the server wants it to end as soon as it has begun."""
        self.joining: asyncio.Future[None] | None = None
        """Done when the announcement of its join, which is under way, has arrived."""
        self.reading = False
        """A page of the log is being read for it."""
        self.seen = 0
        """The newest that has arrived live while it couldn't be sent: the log has it."""
        self._waiting: list[Waiting] | None = []
        self._waiting_bytes = 0
        self._missed_unlogged = False

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset)

    def deliver(self, publication: Publication, epoch: str, frame: bytes) -> None:
        """A publication has come; `frame` is its push in this client's dialect."""
        if self.phase is not LIVE:
            self._deliver_aside(publication, epoch, frame)
            return
        offset = publication.offset
        if offset and self.traits.tracked:
            if offset != self.offset + 1 or epoch != self.epoch:
                self._check(publication, epoch)
                return
            self.offset = offset
        if publication.exclude and self.holder.client in publication.exclude:
            return
        if self._outbox.put(frame):
            self.base = offset
        else:
            self._overflow(offset)

    def skip(self, publication: Publication, epoch: str) -> None:
        """A publication has come that the filter leaves out: a step for the position, and nothing else."""
        offset = publication.offset
        if not offset or not self.traits.tracked:
            return
        if self.phase is LIVE:
            if offset == self.offset + 1 and epoch == self.epoch:
                self.offset = offset
            else:
                self._check(publication, epoch)
        elif self.phase is PENDING:
            self._wait(Waiting(None, publication, epoch))
        else:
            self._deliver_aside(publication, epoch, b"")

    def wants(self, publication: Publication) -> bool:
        """Whether its client is to get a publication of the log at all."""
        if self.holder.client in publication.exclude:
            return False
        match = self.manner.match
        return match is None or match(publication.tags or {})

    def notice(self, frame: bytes | None, client: str) -> None:
        """A join or a leave of `client` has come; None: this client's encoding can't carry it."""
        if not self.traits.notices:
            return
        if frame is None:
            self.refuse()
        elif self.phase is PENDING:
            self._wait(Waiting(frame, client=client))
        elif self.phase is LATEST:
            if not self._outbox.put_latest((self.channel, "~" + client), frame):
                self.holder.end_slow()
        elif self.phase is BEHIND:
            # Its own join comes right behind the reply, also where that began a catch-up: it is one small frame.
            if client != self.holder.client or not self._outbox.put(frame):
                self._missed_unlogged = True
        elif self.phase is LIVE and not self._outbox.put(frame):
            self._overflow(0)

    def refuse(self) -> None:
        """Something was published that this client's encoding can't carry."""
        if self.phase is not ENDED:
            self.holder.end_inappropriate()

    def miss(self, head: Position | None, gap: Gap) -> None:
        """The node has missed something before `head` of the log; None: what no log can give back."""
        if head is None or not self.traits.tracked:
            if self.phase is PENDING:
                self.ending = UNSUBSCRIBES["insufficient_state"]
            elif self.phase is not ENDED:
                self.holder.lose(self, gap)
        elif self.phase is LIVE and (self.epoch != head.epoch or self.offset < head.offset):
            self.holder.lose(self, gap)  # who is behind, or begins, reads the log by itself

    def watch(self) -> None:
        self.holder.watch(self)

    def begin(self, position: Position, *, complete: bool, base: int = 0) -> None:
        """The subscribe reply, which tells `position`, is queued: let live publications through.

        complete: the reply holds everything up to the head; else the rest is read from the log. base: the newest
        publication that the reply holds.
        """
        self.epoch, self.offset, self.base = position.epoch, position.offset, base
        waiting, self._waiting = self._waiting, None
        if self.traits.latest:
            self.phase = LATEST
        elif waiting is None or not complete:
            self.fall_behind()
        else:
            self.phase = LIVE
        for item in waiting or ():
            if item.publication is None:
                self.notice(item.frame, item.client)
            elif item.frame is None:
                self.skip(item.publication, item.epoch)
            else:
                self.deliver(item.publication, item.epoch, item.frame)

    def catch_up_with(self, head: Position) -> bool:
        """Whether the client has everything up to `head` and to whatever came live meanwhile; then it is live again."""
        if self.offset < max(head.offset, self.seen):
            return False
        if self._missed_unlogged:
            self._missed_unlogged = False
            self.holder.lose(self, Gap.UNLOGGED)
        if self.phase is BEHIND:
            self.phase = LIVE
        return True

    def _check(self, publication: Publication, epoch: str) -> None:
        """Not the next one: already seen, or something is missing. Source: Centrifuge protocol, section 10.5."""
        if epoch != self.epoch:
            self.holder.lose(self, Gap.EPOCH)
        elif publication.offset > self.offset + 1:
            self.seen = publication.offset
            self.holder.lose(self, Gap.DEAF)

    def _deliver_aside(self, publication: Publication, epoch: str, frame: bytes) -> None:
        if self.phase is PENDING:
            self._wait(Waiting(frame, publication, epoch))
        elif self.phase is BEHIND:
            if not publication.offset:
                self._missed_unlogged = True
            elif epoch != self.epoch:
                self.holder.lose(self, Gap.EPOCH)
            self.seen = max(self.seen, publication.offset)
        elif self.phase is LATEST:
            if self.holder.client in publication.exclude:
                return
            if not self._outbox.put_latest((self.channel, _key(publication)), frame):
                self.holder.end_slow()

    def _wait(self, item: Waiting) -> None:
        if self._waiting is None:
            offset = item.publication.offset if item.publication else 0
            self.seen = max(self.seen, offset)
            self._missed_unlogged |= not offset
            return
        self._waiting_bytes += SKIPPED_BYTES if item.frame is None else len(item.frame)
        if self._waiting_bytes <= self._outbox.max_bytes:
            self._waiting.append(item)
        elif self.traits.tracked:
            self._waiting = None  # the log has them all; begin() reads on from there
            self._wait(item)
        else:
            self.holder.end_slow()

    def _overflow(self, offset: int) -> None:
        """The frame of `offset` doesn't fit; 0: it isn't in the log."""
        if not self.traits.tracked or self.traits.closes:
            self.holder.end_slow()
            return
        if offset:
            self.offset = offset - 1
            self.seen = offset
        else:
            self._missed_unlogged = True
        self.fall_behind()

    def fall_behind(self) -> None:
        """Nothing live goes out any more until the log has been read up to its head."""
        self.phase = BEHIND
        self.holder.fall_behind(self)


def _key(publication: Publication) -> str:
    """What a newer publication of a `latest` channel replaces: the same tag `key`, else the same publisher."""
    tag = (publication.tags or {}).get("key")
    if tag is not None:
        return "=" + tag
    return publication.info.client if publication.info else ""
