"""HOT. Who listens on this node: channel → how it is spelled → filter → subscribers.

Each publication is encoded once for each spelling that is present, and looked at once for each filter, however many
subscribers share them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import count
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from roomful.model.errors import Unencodable
from roomful.model.publication import DeltaPublication, Position, Publication
from roomful.model.push import JoinPush, LeavePush, PublicationPush, Push
from roomful.rooms.recovery import Gap
from roomful.rooms.tags_filter import Match
from roomful.seams.dialect import Dialect

NO_TAGS: Mapping[str, str] = {}


class Subscriber(Protocol):
    """What the hub knows of a subscription. None of these raises or awaits."""

    base: int
    """Offset of the publication that its client got last; 0: of none, or not known."""

    def deliver(self, publication: Publication, epoch: str, frame: bytes) -> None: ...

    def skip(self, publication: Publication, epoch: str) -> None:
        """A publication that its filter leaves out: its position moves on all the same."""
        ...

    def notice(self, frame: bytes | None, client: str) -> None:
        """A join or a leave of that client; None: this subscriber's encoding can't carry it."""
        ...

    def refuse(self) -> None:
        """Something was published that this subscriber's encoding can't carry."""
        ...

    def miss(self, head: Position | None, gap: Gap) -> None:
        """What was published up to the log's head may never come live; None: and no log could give it back."""
        ...

    def watch(self) -> None:
        """Somebody traces what is delivered to it: it is to tell the node's tracer, as long as that has traces."""
        ...


class Manner(msgspec.Struct, frozen=True):
    """How a subscriber wants what is published, beside its dialect.

    compact: a number in place of the channel's name. delta: as a delta, where its client has the base. match: only what
    has such tags; not together with delta.
    """

    compact: bool = False
    delta: bool = False
    match: Match | None = None


PLAIN = Manner()


Subscribers: TypeAlias = dict[Subscriber, None]


class Group(NamedTuple):
    """Subscribers who share every frame, by filter."""

    dialect: Dialect
    compact: bool
    delta: bool
    circles: tuple[tuple[Match | None, Collection[Subscriber]], ...]


class Audience:
    """Who listens to one channel: one subscriber so far, or any number by dialect and manner.

    Most rooms have one, and the dictionaries that find one among many take half a kilobyte.

    number: what stands for its name where that was agreed; no other channel of this node ever has the same; 0 until it
    is. previous: the newest in its log, with its epoch, for subscribers with delta: the base of the next one.
    """

    __slots__ = ("_groups", "_lone", "_speakers", "number", "previous")

    def __init__(self) -> None:
        self.number = 0
        self.previous: tuple[Publication, str] | None = None
        self._lone: tuple[Dialect, Manner, Subscriber] | None = None
        self._speakers: dict[tuple[Dialect, Manner], Subscribers] | None = None
        self._groups: tuple[Group, ...] | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        """All that is there now; put together when the first of a kind has come or the last one has gone."""
        if self._speakers is None:
            if self._lone is None:
                return ()
            dialect, manner, subscriber = self._lone
            return (Group(dialect, manner.compact, manner.delta, ((manner.match, (subscriber,)),)),)
        if self._groups is None:
            circles: dict[tuple[Dialect, bool, bool], list[tuple[Match | None, Subscribers]]] = {}
            for (dialect, manner), subscribers in self._speakers.items():
                circles.setdefault((dialect, manner.compact, manner.delta), []).append((manner.match, subscribers))
            self._groups = tuple(Group(*spelling, tuple(found)) for spelling, found in circles.items())
        return self._groups

    def add(self, dialect: Dialect, manner: Manner, subscriber: Subscriber) -> None:
        if self._speakers is None:
            if self._lone is None:
                self._lone = dialect, manner, subscriber
                return
            first, self._lone, self._speakers = self._lone, None, {}
            self.add(*first)
        subscribers = self._speakers.get((dialect, manner))
        if subscribers is None:
            subscribers = self._speakers[dialect, manner] = {}
            self._groups = None
        subscribers[subscriber] = None

    def remove(self, dialect: Dialect, manner: Manner, subscriber: Subscriber) -> bool:
        """Whether nobody is left."""
        if self._speakers is None:
            if self._lone == (dialect, manner, subscriber):
                self._lone = None
            return self._lone is None
        subscribers = self._speakers.get((dialect, manner))
        if subscribers is not None:
            subscribers.pop(subscriber, None)
            if not subscribers:
                del self._speakers[dialect, manner]
                self._groups = None
                if manner.delta:
                    self.previous = None
        return not self._speakers

    def __len__(self) -> int:
        return int(self._lone is not None) if self._speakers is None else sum(map(len, self._speakers.values()))


class Hub:
    """The subscribers of one node. A channel without any takes no memory."""

    __slots__ = ("_audiences", "_numbers")

    def __init__(self) -> None:
        self._audiences: dict[str, Audience] = {}
        self._numbers = count(1)

    def add(self, channel: str, dialect: Dialect, subscriber: Subscriber, manner: Manner = PLAIN) -> int:
        """The number that stands for the channel from the first compact subscriber on, as long as somebody listens; 0
        before that."""
        audience = self._audiences.get(channel)
        if audience is None:
            audience = self._audiences[channel] = Audience()
        if manner.compact and not audience.number:
            audience.number = next(self._numbers)
        audience.add(dialect, manner, subscriber)
        return audience.number

    def remove(self, channel: str, dialect: Dialect, subscriber: Subscriber, manner: Manner = PLAIN) -> None:
        """Nothing happens if it isn't there."""
        audience = self._audiences.get(channel)
        if audience is not None and audience.remove(dialect, manner, subscriber):
            del self._audiences[channel]

    def broadcast(self, channel: str, publication: Publication, epoch: str) -> None:
        """Gives a publication to every subscriber of the channel."""
        audience = self._audiences.get(channel)
        if audience is None:
            return
        deltas = False
        for group in audience.groups:
            dialect, compact, delta, circles = group
            number = audience.number if compact else 0
            if delta:
                deltas = True
                _broadcast_deltas(channel, publication, epoch, number, group, audience.previous)
                continue
            frame: bytes | None = None
            # Copies, because a delivery may end a subscription: 2 ns for each of 1,000 subscribers.
            for match, subscribers in circles:
                if match is not None and not match(publication.tags or NO_TAGS):
                    for subscriber in tuple(subscribers):
                        subscriber.skip(publication, epoch)
                    continue
                if frame is None:
                    try:
                        frame = dialect.push(PublicationPush(channel, publication, epoch, number))
                    except Unencodable:
                        for subscriber in tuple(subscribers):
                            subscriber.refuse()
                        continue
                for subscriber in tuple(subscribers):
                    subscriber.deliver(publication, epoch, frame)
        if deltas and publication.offset:
            audience.previous = publication, epoch

    def skip(self, channel: str, publication: Publication, epoch: str) -> None:
        """A publication that no subscriber of the channel is to get: their positions move on all the same."""
        for subscriber in self.listening(channel):
            subscriber.skip(publication, epoch)

    def notify(self, channel: str, push: JoinPush | LeavePush) -> None:
        """Gives a join or a leave to every subscriber that wants them."""
        audience = self._audiences.get(channel)
        if audience is None:
            return
        numbered = type(push)(channel, push.info, audience.number)
        for group in audience.groups:
            # None: connection infos are the application's, they may be anything.
            frame = _encoded(group.dialect, numbered if group.compact else push)
            for _, subscribers in group.circles:
                for subscriber in tuple(subscribers):
                    subscriber.notice(frame, push.info.client)

    def miss(self, channel: str, head: Position | None, gap: Gap) -> None:
        """The node itself can't give back what lies before `head`: each subscriber who needs it is told. None: all."""
        for subscriber in self.listening(channel):
            subscriber.miss(head, gap)

    def listening(self, channel: str) -> list[Subscriber]:
        """The channel's subscribers here; a copy."""
        audience = self._audiences.get(channel)
        if audience is None:
            return []
        return [each for group in audience.groups for _, subscribers in group.circles for each in subscribers]

    def __contains__(self, channel: str) -> bool:
        return channel in self._audiences

    def __len__(self) -> int:
        """Channels with subscribers."""
        return len(self._audiences)

    def channels(self) -> Iterator[tuple[str, int]]:
        """Each channel with the number of its subscribers here."""
        for channel, audience in self._audiences.items():
            yield channel, len(audience)

    def subscribers(self, channel: str) -> int:
        """How many subscribers the channel has here."""
        audience = self._audiences.get(channel)
        return 0 if audience is None else len(audience)


def _broadcast_deltas(
    channel: str,
    publication: Publication,
    epoch: str,
    number: int,
    group: Group,
    previous: tuple[Publication, str] | None,
) -> None:
    """As a delta to those whose client has the previous publication, whole to all others."""
    base = previous[0] if previous is not None and previous[1] == epoch else None
    frames: dict[bool, bytes | None] = {}
    for _, subscribers in group.circles:
        for subscriber in tuple(subscribers):
            ready = base is not None and subscriber.base == base.offset
            if ready not in frames:
                word = DeltaPublication(publication, base.data if base is not None and ready else None)
                frames[ready] = _encoded(group.dialect, PublicationPush(channel, word, epoch, number))
            frame = frames[ready]
            if frame is None:
                subscriber.refuse()
            else:
                subscriber.deliver(publication, epoch, frame)


def _encoded(dialect: Dialect, push: Push) -> bytes | None:
    """A frame; None when the dialect can't carry it."""
    try:
        return dialect.push(push)
    except Unencodable:
        return None
