"""Channels in Redis: a stream for each that keeps history, Pub/Sub as the wake-up. See `seams.engine.Broker`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from itertools import count
from typing import Any

from roomful.engines.envelope import NOWHERE, Join, Leave, decode, encode, encode_draft, open_placed
from roomful.engines.redis_names import Names
from roomful.engines.redis_scripts import HEADS, HISTORY, PUBLISH
from roomful.engines.redis_servers import Servers
from roomful.model.client import ClientInfo
from roomful.model.errors import InternalError, WireError
from roomful.model.publication import Draft, HistoryFilter, Look, Page, Position, Publication, Published, Retention
from roomful.seams.engine import Sink

log = logging.getLogger("roomful.engines")

NONE = -1
KEEP_OWN_KEYS_MS = 15_000
"""Our own keys only have to outlive our own retries."""


class RedisBroker:
    """The broker of one node."""

    def __init__(self, servers: Servers, names: Names) -> None:
        self._servers = servers
        self._names = names
        self._nonce = secrets.token_hex(4).encode()
        self._keys = count()
        self.sink: Sink | None = None

    # seams.engine.Broker

    async def subscribe(self, channel: str) -> None:
        tag = self._names.tag(channel)
        await self._servers.listener(tag).subscribe(self._names.pubsub(tag))

    async def unsubscribe(self, channel: str) -> None:
        tag = self._names.tag(channel)
        done = self._servers.listener(tag).unsubscribe(self._names.pubsub(tag))
        if done is not None:
            await done

    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        tag, body = self._names.tag(channel), encode_draft(draft)
        if draft.key:
            mark = self._names.mark(tag, b"u" + draft.key.encode())
            reply = await self.append(tag, body, keep, mark, _ms(draft.idempotency_ttl_s))
        elif keep.keeps:
            reply = await self.append(tag, body, keep, self.own_mark(tag), KEEP_OWN_KEYS_MS)
        else:
            # No key, so it isn't repeated when the connection is lost: in a channel without history a publication
            # that may not have arrived is for its publisher to repeat.
            name = self._names.pubsub(tag)
            await self._servers.link(tag).call(self._servers.publish, name, NOWHERE + body, again=False)
            return Published()
        repeated = reply.startswith(b"=")
        offset, epoch = reply[repeated:].split(b" ")
        position = Position(epoch.decode(), int(offset)) if epoch else None
        return Published(position, repeated and bool(draft.key))

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        await self.tell(self._names.tag(channel), encode(Join(info)))

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        await self.tell(self._names.tag(channel), encode(Leave(info)))

    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        if not keep.keeps:
            return Page([], Position("", 0))
        head, entries = await self.read(self._names.tag(channel), wanted, keep)
        publications: list[Publication] = []
        total = 0
        for offset, body in entries:
            publication = _publication(body, offset)
            total += len(publication.data)
            if wanted.max_bytes is not None and total > wanted.max_bytes and publications:
                break
            publications.append(publication)
        return Page(publications, head)

    async def heads(self, looks: Sequence[Look]) -> list[Position]:
        heads = [Position("", 0)] * len(looks)
        kept = [index for index, look in enumerate(looks) if look.keep.keeps]
        tags = [self._names.tag(looks[index].channel) for index in kept]
        parts = list(self._servers.together(tags))
        calls = []
        for part in parts:
            keys = [key for n in part for key in (self._names.meta(tags[n]), self._names.log(tags[n]))]
            known = [value for n in part for value in _known(looks[kept[n]])]
            link = self._servers.link(tags[part[0]])
            calls.append(link.run(HEADS, len(keys), *keys, *known, self._nonce, again=True))
        for part, reply in zip(parts, await asyncio.gather(*calls), strict=True):
            for n, epoch, top in zip(part, reply[::2], reply[1::2], strict=True):
                heads[kept[n]] = Position(epoch.decode(), int(top))
        return heads

    async def remove_history(self, channel: str) -> None:
        tag = self._names.tag(channel)
        await self._servers.link(tag).call("DEL", self._names.log(tag), again=True)

    # What control and presence use too

    async def append(self, tag: bytes, body: bytes, keep: Retention, mark: bytes, mark_ms: int) -> bytes:
        """Publishes a body with its place. The place, with a "=" in front when the mark was there."""
        names = self._names
        reply: bytes = await self._servers.link(tag).run(
            PUBLISH,
            3,
            names.meta(tag),
            names.log(tag),
            mark,
            self._servers.publish,
            names.pubsub(tag),
            body,
            keep.size if keep.keeps else 0,
            _ms(keep.ttl_s),
            _ms(keep.ttl_s + keep.meta_ttl_s),
            mark_ms,
            self._nonce,
            again=True,
        )
        return reply

    async def read(
        self, tag: bytes, wanted: HistoryFilter, keep: Retention
    ) -> tuple[Position, list[tuple[int, bytes]]]:
        """The head of a stream, and offset and body of the entries that are wanted, perhaps one too many in bytes."""
        epoch, top, entries = await self._servers.link(tag).run(
            HISTORY,
            2,
            self._names.meta(tag),
            self._names.log(tag),
            _ms(keep.meta_ttl_s),
            NONE if wanted.limit is None else wanted.limit,
            NONE if wanted.since is None else wanted.since.offset,
            int(wanted.reverse),
            NONE if wanted.max_bytes is None else wanted.max_bytes,
            self._nonce,
            again=True,
        )
        return Position(epoch.decode(), int(top)), [(int(id[:-2]), fields[1]) for id, fields in entries]

    async def tell(self, tag: bytes, body: bytes) -> None:
        """Publishes a body without a place, once at most."""
        name = self._names.pubsub(tag)
        await self._servers.link(tag).call(self._servers.publish, name, NOWHERE + body, again=False)

    def own_mark(self, tag: bytes) -> bytes:
        """A key that nobody else draws: it makes a retry of ours harmless."""
        return self._names.mark(tag, b"n%s.%d" % (self._nonce, next(self._keys)))

    # What the listener brings

    def on_message(self, tag: bytes, data: bytes) -> None:
        """A message of a channel."""
        sink = self.sink
        if sink is None:
            return
        channel = tag[1:].decode()
        try:
            offset, epoch, body = open_placed(data)
            message: Any = decode(body, offset)
        except WireError as error:
            log.error("node of another version, or a stranger, in %r: %s", channel, error)
            return
        match message:
            case Publication():
                sink.on_publication(channel, message, epoch)
            case Join():
                sink.on_join(channel, message.info)
            case Leave():
                sink.on_leave(channel, message.info)


def _publication(body: bytes, offset: int) -> Publication:
    try:
        message = decode(body, offset)
    except WireError as error:
        raise InternalError(f"the log can't be read: {error}") from None
    if not isinstance(message, Publication):
        raise InternalError(f"the log holds a {type(message).__name__}")
    return message


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _known(look: Look) -> tuple[int, str, int]:
    return _ms(look.keep.meta_ttl_s), look.known.epoch, look.known.offset
