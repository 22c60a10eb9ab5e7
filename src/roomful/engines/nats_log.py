"""The logs of all channels in one stream: one subject a channel, consecutive offsets by a conditional publish.

A publish reads the channel's newest record (or remembers it), writes the next one under the condition that it is still
the newest, and reads again when another node was quicker. The server republishes what it has stored, and nothing else,
to the nodes that listen. See docs/decisions/0008-nats.md.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from roomful.engines import nats_record as records
from roomful.engines.envelope import decode, encode_draft
from roomful.engines.nats_expiry import Expiry
from roomful.engines.nats_jetstream import (
    EXPECTED_LAST,
    MESSAGE_ID,
    WRONG_LAST_SEQUENCE,
    Ack,
    JetStream,
    JetStreamError,
    Message,
)
from roomful.engines.nats_link import Link, LinkDown, NotSent
from roomful.engines.nats_names import Names, message_id
from roomful.engines.nats_record import HEADER, Record
from roomful.model.errors import InternalError, WireError
from roomful.model.publication import Draft, HistoryFilter, Look, Page, Position, Publication, Published, Retention

logger = logging.getLogger("roomful.engines.nats")

KEY_UNTIL = "Roomful-Key-Until"

KNOWN_MAX = 50_000
"""Newest records remembered, about 1 KB each. One that isn't costs a publish a round trip more."""

SPARE = 16
"""Records kept beyond a channel's size, because some are no publications."""

LOOKS_AT_ONCE = 100
"""Asked for in one turn of the loop, which takes about 6 ms."""
PAGES_AT_ONCE = 32


ReadT = TypeVar("ReadT")


class ChannelLogs:
    """Streams of publications. Calls wait for a connection, as long as the caller lets them."""

    def __init__(self, link: Link, jetstream: JetStream, names: Names) -> None:
        self._link = link
        self._js = jetstream
        self._names = names
        self._stored = _Stored(link, jetstream)
        self._known: OrderedDict[str, Record] = OrderedDict()
        self._turns: dict[str, _Turn] = {}
        self._attempts = itertools.count(1)
        self._me = secrets.token_hex(4)
        self._expiry = Expiry(jetstream, names)
        self.life = ""
        """What every epoch of the server's present life begins with."""
        self.newest: Record | None = None
        """The record with the highest sequence seen in this life. A log without it has lost its end."""

    def tidy(self) -> None:
        """Has the server drop what has expired of the channels that this node wrote to."""
        self._expiry.tidy(self._js.now_ms())

    def begin(self, life: str) -> None:
        """The server's present life; nothing that was known of another one holds."""
        if life != self.life:
            self.life, self.newest = life, None
            self._known.clear()

    async def has_lost(self, seen: Record, last: int) -> bool:
        """Whether the log, whose last sequence is `last`, isn't the one any more in which a record was seen: it ends
        before it, or has another record in its place. One that was purged by now counts as seen."""
        if last < seen.sequence:
            return True
        found = (await self._js.at(self._names.log_stream, [seen.sequence]))[0]
        return found is not None and record_of(found).by != seen.by

    # Writing

    async def append(self, channel: str, draft: Draft, keep: Retention) -> Published:
        """Publishes to a channel with history."""
        async with self._turn(channel):
            return await self._append(channel, draft, keep)

    async def remove(self, channel: str) -> None:
        """Drops a channel's publications."""
        after = await self._write(channel, lambda newest, by: newest and records.cut(newest, by))
        if after is not None:
            await self._js.purge(self._names.log_stream, filter=self._names.log(channel), seq=after.sequence)

    async def _append(self, channel: str, draft: Draft, keep: Retention) -> Published:
        body, generation = encode_draft(draft), 0
        while True:
            headers = self._key_headers(channel, draft, generation)
            written = await self._write_publication(channel, body, headers, keep)
            if isinstance(written, Record):
                self._trim(channel, written, keep)
                return Published(written.position)
            # The key was used before: by this very attempt (then `_write_publication` knows), or by an earlier one.
            first = (await self._stored.at(self._names.log_stream, [written.seq]))[0]
            if first is None:  # trimmed meanwhile, so its place is forgotten, but not that it was published
                return Published(None, repeated=True)
            if self._is_forgotten(first):
                generation = first.sequence
                continue
            return Published(record_of(first).position, repeated=True)

    async def send_once(self, channel: str, draft: Draft) -> Published:
        """Publishes to a channel without history what has a key, and is remembered for the key's sake only."""
        body, generation = encode_draft(draft), 0
        while True:
            headers, by = self._key_headers(channel, draft, generation), self._attempt()
            headers["Roomful-By"] = by
            ack = await self._persistently(self._names.once(channel), body, headers)
            if not ack.duplicate:
                return Published()
            first = (await self._stored.at(self._names.once_stream, [ack.seq]))[0]
            if first is not None and first.header("Roomful-By") == by:
                return Published()
            if first is not None and self._is_forgotten(first):
                generation = first.sequence
                continue
            return Published(None, repeated=True)

    async def _persistently(self, subject: str, body: bytes, headers: dict[str, str]) -> Ack:
        """Publishes with a key, which makes it harmless to try again."""
        while True:
            try:
                return await self._js.publish(subject, body, headers)
            except LinkDown:
                await self._link.opened()

    def _key_headers(self, channel: str, draft: Draft, generation: int) -> dict[str, str]:
        if not draft.key:
            return {}
        until_ms = self._js.now_ms() + int(draft.idempotency_ttl_s * 1000)
        return {MESSAGE_ID: message_id(channel, draft.key, generation), KEY_UNTIL: str(until_ms)}

    def _is_forgotten(self, first: Message) -> bool:
        """Whether the time of the key that it was published with is up; the server may remember keys for longer."""
        return self._js.now_ms() >= int(first.header(KEY_UNTIL) or 0)

    async def _write_publication(
        self, channel: str, body: bytes, headers: dict[str, str], keep: Retention
    ) -> Record | Ack:
        """The record of the publication, or the acknowledgement that says that its key was used before."""
        while True:
            before = self._known.get(channel) or await self._newest(channel)
            now_ms, by = self._js.now_ms(), self._attempt()
            living = before if before and not before.is_over(now_ms, self.life) else None
            base = living or records.opened(self._new_epoch(), keep, now_ms, by)
            record = records.published(base, keep, now_ms, by)
            expected = before.sequence if before else 0
            written = await self._conditional(channel, expected, record, body, headers)
            if written is not None:
                return written

    async def _write(self, channel: str, make: Callable[[Record | None, str], Record | None]) -> Record | None:
        """Writes what `make` makes of the newest record, again and again until nobody else was quicker. None when it
        makes nothing."""
        while True:
            newest = await self._newest(channel)
            record = make(newest, self._attempt())
            if record is None:
                return None
            written = await self._conditional(channel, newest.sequence if newest else 0, record, b"", {})
            if isinstance(written, Record):
                return written

    async def _conditional(
        self, channel: str, expected: int, record: Record, body: bytes, headers: dict[str, str]
    ) -> Record | Ack | None:
        """One record behind the one with the sequence `expected`: the record with its sequence; None when another one
        is there; the acknowledgement when its key was used before.

        The condition makes it harmless to write again after a lost answer: only one of the two can be stored.
        """
        subject, life = self._names.log(channel), self.life
        headers = {EXPECTED_LAST: str(expected), HEADER: record.header(), **headers}
        unsure = False
        while True:
            try:
                if unsure:
                    if self.life != life:
                        raise InternalError("NATS lost its data while a publish was under way: it may have been sent")
                    found = await self._stored.next(self._names.log_stream, subject, expected + 1)
                    if found is not None:
                        return self._settle(channel, record, record_of(found))
                elif self.life != life:
                    return None
                ack = await self._js.publish(subject, body, headers)
            except LinkDown as error:
                unsure = unsure or not isinstance(error, NotSent)
                await self._link.opened()
                continue
            except JetStreamError as error:
                if error.error_code != WRONG_LAST_SEQUENCE:
                    raise
                self._known.pop(channel, None)
                return await self._settled(channel, expected, record) if unsure else None
            if ack.duplicate:
                found = (await self._stored.at(self._names.log_stream, [ack.seq]))[0] if unsure else None
                if found is not None and record_of(found).by == record.by:
                    return self._remember(channel, record_of(found))
                return ack
            return self._remember(channel, msgspec.structs.replace(record, sequence=ack.seq))

    async def _settled(self, channel: str, expected: int, record: Record) -> Record | None:
        found = await self._stored.next(self._names.log_stream, self._names.log(channel), expected + 1)
        return self._settle(channel, record, record_of(found)) if found is not None else None

    def _settle(self, channel: str, ours: Record, found: Record) -> Record | None:
        """What became of a record whose acknowledgement was lost, from the one that stands in its place."""
        self._known.pop(channel, None)
        if found.by == ours.by:
            return self._remember(channel, found)
        if found.offset > ours.offset:
            raise InternalError("whether NATS has stored it can't be said any more: what came next is trimmed already")
        return None

    def _trim(self, channel: str, record: Record, keep: Retention) -> None:
        """Now and then has the server drop what is beyond the size. Readers don't see it anyway."""
        self._expiry.note(channel, record)
        if record.offset > keep.size and record.offset % max(16, keep.size // 4) == 0:
            try:
                self._js.purge_soon(self._names.log_stream, filter=self._names.log(channel), keep=keep.size + SPARE)
            except LinkDown:
                logger.info("%r is trimmed later: NATS isn't connected", channel)

    # Reading

    async def page(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        head = await self._living(channel, keep)
        if wanted.limit == 0:
            return Page([], head.position)
        low, high = _bounds(head, wanted, self._js.now_ms())
        publications = await self._read(channel, head, low, high)
        if wanted.reverse:
            publications.reverse()
        if wanted.max_bytes is not None:
            publications = _within(publications, wanted.max_bytes)
        return Page(publications, head.position)

    async def heads(self, looks: Sequence[Look]) -> list[Position]:
        positions: list[Position] = []
        for start in range(0, len(looks), LOOKS_AT_ONCE):
            part = looks[start : start + LOOKS_AT_ONCE]
            newest = await self._stored.lasts(self._names.log_stream, [self._names.log(look.channel) for look in part])
            for look, message in zip(part, newest, strict=True):
                positions.append(await self._position(look, message))
        return positions

    async def _position(self, look: Look, message: Message | None) -> Position:
        if not look.keep.keeps:
            return Position("", 0)
        record = record_of(message) if message else None
        if record is not None:
            self._remember(look.channel, record)
            if not _is_short(record, look.known) and self._is_fresh(record, look.keep):
                return record.position
        return (await self._living(look.channel, look.keep, look.known)).position

    def _is_fresh(self, record: Record, keep: Retention) -> bool:
        now_ms = self._js.now_ms()
        return not record.is_over(now_ms, self.life) and records.touched(record, keep, now_ms, "-") is None

    async def _living(self, channel: str, keep: Retention, known: Position | None = None) -> Record:
        """The newest record of a living stream: begun if there is none (or only one that ends before `known`), its
        life prolonged."""

        def make(newest: Record | None, by: str) -> Record | None:
            now_ms = self._js.now_ms()
            if newest is None or newest.is_over(now_ms, self.life) or (known and _is_short(newest, known)):
                return records.opened(self._new_epoch(), keep, now_ms, by)
            living.append(newest)
            return records.touched(newest, keep, now_ms, by)

        living: list[Record] = []
        written = await self._write(channel, make)
        if written is not None:
            self._expiry.note(channel, written)
        return written or living[-1]

    async def _read(self, channel: str, head: Record, low: int, high: int) -> list[Publication]:
        """Publications of these offsets, oldest first; without those that were dropped meanwhile, and what is older."""
        found: list[Publication] = []
        places = head.places()
        while low <= high:
            if high not in places:
                places = await self._places_near(channel, head, high)
            offsets = [offset for offset in range(high, max(low, high - PAGES_AT_ONCE + 1) - 1, -1) if offset in places]
            if not offsets:
                break
            messages = await self._stored.at(self._names.log_stream, [places[offset] for offset in offsets])
            for offset, message in zip(offsets, messages, strict=True):
                if message is None or (record := record_of(message)).position != Position(head.epoch, offset):
                    return found[::-1]
                found.append(_publication(message, offset))
            places, high = record.places(), offsets[-1] - 1
        return found[::-1]

    async def _places_near(self, channel: str, head: Record, offset: int) -> dict[int, int]:
        """Places that hold that offset's, found by bisecting the stream's sequences; {} when it is gone."""
        low, high = 1, head.sequence
        while low <= high:
            middle = (low + high) // 2
            message = await self._stored.next(self._names.log_stream, self._names.log(channel), middle)
            record = record_of(message) if message else None
            if record is None or record.epoch != head.epoch or record.offset < offset:
                if record is None or record.sequence > high:
                    high = middle - 1
                else:
                    low = record.sequence + 1
            elif offset in (places := record.places()):
                return places
            else:
                high = middle - 1
        return {}

    async def _newest(self, channel: str) -> Record | None:
        message = await self._stored.last(self._names.log_stream, self._names.log(channel))
        return self._remember(channel, record_of(message)) if message else None

    # What is known

    def heard(self, channel: str, record: Record) -> None:
        """A record that the server has just stored: the next publish needn't ask for it."""
        known = self._known.get(channel)
        if known is None or known.sequence < record.sequence:
            self._remember(channel, record)

    def _remember(self, channel: str, record: Record) -> Record:
        self._known[channel] = record
        self._known.move_to_end(channel)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        if self.newest is None or self.newest.sequence < record.sequence:
            self.newest = record
        return record

    def _attempt(self) -> str:
        return f"{self._me}-{next(self._attempts):x}"

    def _new_epoch(self) -> str:
        return self.life + secrets.token_hex(4)

    # Turns

    @asynccontextmanager
    async def _turn(self, channel: str) -> AsyncIterator[None]:
        """One writer a channel on this node, in the order of their coming: they would only reject each other."""
        turn = self._turns.setdefault(channel, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                self._turns.pop(channel, None)


class _Stored:
    """What the server has stored, read again when the connection is lost meanwhile."""

    __slots__ = ("_js", "_link")

    def __init__(self, link: Link, jetstream: JetStream) -> None:
        self._link = link
        self._js = jetstream

    async def last(self, stream: str, subject: str) -> Message | None:
        return (await self.lasts(stream, [subject]))[0]

    async def lasts(self, stream: str, subjects: list[str]) -> list[Message | None]:
        return await self._again(lambda: self._js.lasts(stream, subjects))

    async def at(self, stream: str, sequences: list[int]) -> list[Message | None]:
        return await self._again(lambda: self._js.at(stream, sequences))

    async def next(self, stream: str, subject: str, sequence: int) -> Message | None:
        return await self._again(lambda: self._js.next(stream, subject, sequence))

    async def _again(self, read: Callable[[], Awaitable[ReadT]]) -> ReadT:
        while True:
            try:
                return await read()
            except LinkDown:
                await self._link.opened()


class _Turn:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


def record_of(message: Message) -> Record:
    """Raises WireError for a message that isn't ours."""
    return records.parse(message.header(HEADER) or "", message.sequence)


def _publication(message: Message, offset: int) -> Publication:
    publication = decode(message.data, offset)
    if not isinstance(publication, Publication):
        raise WireError(f"record {message.sequence} is no publication")
    return publication


def _is_short(record: Record, known: Position | None) -> bool:
    """Whether the stream ends before what somebody knows of it."""
    return known is not None and record.epoch == known.epoch and record.offset < known.offset


def _bounds(head: Record, wanted: HistoryFilter, now_ms: int) -> tuple[int, int]:
    """The first and the last offset that is asked for and there; the first one is greater when there is none."""
    low, high = head.oldest(now_ms), head.offset
    since = wanted.since.offset if wanted.since else None
    if wanted.reverse:
        high = high if since is None else min(high, since - 1)
        return (low if wanted.limit is None else max(low, high - wanted.limit + 1)), high
    low = low if since is None else max(low, since + 1)
    return low, (high if wanted.limit is None else min(high, low + wanted.limit - 1))


def _within(publications: list[Publication], max_bytes: int) -> list[Publication]:
    """As many of the first ones as fit, at least one."""
    total = 0
    for index, publication in enumerate(publications):
        total += len(publication.data)
        if total > max_bytes and index:
            return publications[:index]
    return publications
