"""One `GET /poll`: what is new in some channels since the client's position, at once or as soon as there is something.

The server remembers nothing of it: the position is in the request, the log is the truth, and what comes live is only
a reason to answer. So any node can answer, an answer that got lost is asked for again, and overlapping polls each get
the same. It is a session for as long as it takes, so that tokens, hooks, orders and draining mean what they always do;
it stands in no presence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from roomful.model.client import Grant
from roomful.model.disconnects import DISCONNECTS, Disconnect
from roomful.model.errors import NotAvailable, RoomfulError
from roomful.model.facet import facet_of
from roomful.model.publication import Page, Position, Publication
from roomful.model.stream import Missing
from roomful.node import eager
from roomful.rooms.recovery import Gap, Merged, behind, merge
from roomful.seams.dialect import Dialect
from roomful.seams.transport import Receiver, Request
from roomful.session.connect import admit_to
from roomful.session.leaving import attempt
from roomful.session.recover import Entry
from roomful.session.session import Context, Session
from roomful.session.subscribe import look, wanting, watch

Since: TypeAlias = Mapping[str, Position | None]
"""Positions by channel, in the order of the sorted names; None where there is none."""


class News(msgspec.Struct, frozen=True):
    """What a poll is answered. next: the position behind it all. state: `data` of those channels that have such."""

    next: Since
    publications: list[tuple[str, Publication]] = []
    missing: list[Missing] = []
    state: dict[str, bytes] = {}
    changed: bool = False
    """A facet has, or may have, another state than the client knows."""

    @property
    def empty(self) -> bool:
        return not (self.publications or self.missing or self.changed)


class PollTransport:
    """What the session of a poll writes to: nothing. ended: how it was ended before it had an answer."""

    kind = "poll"
    framed = False
    has_close_frame = False
    paused = False

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.ended: tuple[int, str] | None = None
        self.receiver: Receiver | None = None

    def write(self, data: bytes, binary: bool) -> None:
        return

    def ping(self) -> bool:
        return False

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    def close(self, code: int, reason: str) -> None:
        if self.ended is None:
            self.ended = (code, reason)
            self.woken.set()
            if self.receiver is not None:
                asyncio.get_running_loop().call_soon(self.receiver.on_close, code, reason)


class Poll(Session):
    """since: the channels, with the client's positions. first: it has none yet, and gets them at once.

    dialect: for the hub, which encodes for whoever listens.
    """

    entered_as = "poll"

    __slots__ = ("_first", "_grants", "_live", "_since", "_transport")

    def __init__(
        self, context: Context, dialect: Dialect, request: Request, since: Since, *, first: bool = False
    ) -> None:
        self._transport = PollTransport()
        super().__init__(context, self._transport, dialect, request)
        self._transport.receiver = self
        self._since = since
        self._first = first
        self._grants: dict[str, Grant] = {}
        self._live: dict[str, list[tuple[Publication, str]]] | None = {}
        """What came since the log was read; None: it has to be read again."""

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self._since)

    async def ask(self, token: str, wait_s: float) -> News:
        """Something new, or nothing after `wait_s`; nothing also when the server stops.

        wait_s 0: at once in any case. Raises RoomfulError, and Disconnect when it was ended otherwise.
        """
        try:
            self._grants = await admit_to(self, token, self._since)
            self.context.node.directory.add(self)
            self.connected()
            watch(self, self)
            news = await self._look()
            if news.empty and wait_s > 0 and not self._first:
                news = await self._wait(wait_s)
            self._tell(news)
            return news
        except RoomfulError as error:
            self.refused("poll", error)
            raise
        finally:
            self.on_close(*DISCONNECTS["closed"])

    def _tell(self, news: News) -> None:
        """Those who trace it."""
        for missing in news.missing:
            place = missing.since.offset if missing.since else None
            self.happens("gap", channel=missing.channel, offset=place, reason=missing.reason)
        for channel, position in news.next.items():
            count = sum(channel == found for found, _ in news.publications)
            self.happens("polled", channel=channel, offset=position and position.offset, count=count)

    async def _wait(self, wait_s: float) -> News:
        """Listens first, looks then: what is published in between is in the log, or comes live, or both."""
        listening = []
        try:
            for channel in self._since:
                listener = _Listener(self, channel)
                await self.context.node.listen(channel, self.dialect, listener)
                listening.append(listener)
            return await self._first_news(asyncio.get_running_loop().time() + wait_s)
        finally:
            # A client that is gone cancels this; nothing of it may stay.
            for listener in listening:
                eager.start(attempt(self, listener.channel, self._unlisten(listener)))

    async def _unlisten(self, listener: _Listener) -> None:
        await self.context.node.unlisten(listener.channel, self.dialect, listener)

    async def _first_news(self, until: float) -> News:
        news = await self._look()
        while news.empty:
            try:
                async with asyncio.timeout_at(until):
                    await self._transport.woken.wait()
            except TimeoutError:
                return news
            self._transport.woken.clear()
            ended = self._transport.ended
            if ended == DISCONNECTS["shutdown"]:
                return news
            if ended is not None:
                raise Disconnect(*ended)
            news = self._merged(news) or await self._look_anew()
        return news

    async def _look_anew(self) -> News:
        """The log, and the whole state of a facet in which something has happened."""
        heard = self._since if self._live is None else self._live
        changed = any(facet_of(channel) is not None for channel in heard)
        news = await self._look()
        return msgspec.structs.replace(news, changed=news.changed or changed)

    def _merged(self, news: News) -> News | None:
        """The news with what came live; None: the log has to tell."""
        publications, next = [], dict(news.next)
        for channel, live in (self._live or {}).items():
            position = next[channel]
            if position is None or facet_of(channel) is not None:
                return None
            merged = merge(position, Page([], position), live)
            if not isinstance(merged, Merged):
                return None
            publications += [(channel, publication) for publication in merged.publications]
            next[channel] = merged.position
        return msgspec.structs.replace(news, publications=publications, next=next) if self._live else None

    async def _look(self) -> News:
        """What the log has, one page in all; an answer that isn't the last one is followed by another poll."""
        limits, namespaces = self.context.limits, self.context.node.namespaces
        self._live = {}
        news, left = News({}), limits.recovery_max_bytes
        for channel, since in self._since.items():
            wanted = msgspec.structs.replace(wanting(since), channel=channel)
            entry = await look(self, wanted, namespaces.of(channel), self._grants[channel], max_bytes=left)
            before = len(news.publications)
            news = _with(news, channel, since, entry)
            left = max(0, left - sum(len(p.data) for _, p in news.publications[before:]))
        return news

    def hear(self, channel: str, publication: Publication, epoch: str) -> None:
        """A publication has come live."""
        if self._live is not None:
            live = self._live.setdefault(channel, [])
            live.append((publication, epoch))
            if len(live) > self.context.limits.recovery_max:
                self._live = None
        self._transport.woken.set()

    def look_again(self) -> None:
        """Something has happened that only the log can tell."""
        self._live = None
        self._transport.woken.set()


class _Listener:
    """A poll in one channel (`node.hub.Subscriber`)."""

    __slots__ = ("_poll", "base", "channel")

    def __init__(self, poll: Poll, channel: str) -> None:
        self.base = 0
        self._poll = poll
        self.channel = channel

    def deliver(self, publication: Publication, epoch: str, frame: bytes) -> None:
        self._poll.hear(self.channel, publication, epoch)

    def notice(self, frame: bytes | None, client: str) -> None:
        return

    def skip(self, publication: Publication, epoch: str) -> None:
        return

    def watch(self) -> None:
        return  # the poll's answer tells what it got

    def refuse(self) -> None:
        self._poll.look_again()

    def miss(self, head: Position | None, gap: Gap) -> None:
        self._poll.look_again()


def _with(news: News, channel: str, since: Position | None, entry: Entry) -> News:
    """The news of one more channel. Raises NotAvailable where a poll could only lose what isn't kept."""
    result, recoverable = entry.result, entry.subscription.traits.recoverable
    if not recoverable and facet_of(channel) is None:
        raise NotAvailable(f"{channel} keeps no history that a poll could go on in; follow it by /events")
    next = entry.position if result.positioned else None
    publications, missing = entry.missed, news.missing
    if entry.gap is not None and entry.page is not None:
        to, publications = behind(entry.gap, entry.page)
        missing = [*missing, Missing(channel, since, to, entry.gap)]
        next = Position(to.epoch, publications[-1].offset) if publications else to
    return News(
        {**news.next, channel: next},
        [*news.publications, *((channel, publication) for publication in publications)],
        missing,
        {**news.state, channel: result.data} if result.data else news.state,
        news.changed or (not recoverable and next != since),
    )
