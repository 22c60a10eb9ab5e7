"""HOT What `GET /events` sends: Server-Sent Events with names, ids and JSON. Source: HTML Standard, section 9.2.

A client commits to an id when its event is whole, so the id stands in the very event that it is about: a cut anywhere
gives the event and its id, or neither of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from roomful.model import push as p
from roomful.model.command import Command
from roomful.model.disconnects import UNSUBSCRIBES, Disconnect
from roomful.model.errors import Unencodable, WireError
from roomful.model.publication import Position, Publication
from roomful.model.push import Push
from roomful.model.reply import Failure, Result
from roomful.model.stream import EVENT_TAG, Joined, Missing
from roomful.wire.payload import client_info, raw_json
from roomful.wire.stream_id import spell

_ENDS_OF_CREDENTIALS = frozenset({3005, 3006, *(code for code, _ in UNSUBSCRIBES.values())})
"""Clients of the Centrifuge protocol come back from these by themselves, because they can fetch a new token."""

_write = msgspec.json.Encoder().encode


class ServerSentEvents:
    """The dialect of one-channel streams, whose frames carry their ids and are shared as a whole, or, with
    `ids=False`, of those whose ids are put in for each stream (`stamped`)."""

    binary = False
    json = True
    joins = True
    unidirectional = True

    def __init__(self, *, ids: bool) -> None:
        self.name = "events" if ids else "events-many"
        self._ids = ids

    def decode(self, data: bytes) -> list[Command]:
        """There is nothing to say on a stream but the request itself."""
        raise WireError("a client of /events says nothing")

    def reply(self, id: int, result: Result | Failure) -> bytes:
        raise Unencodable("there are no commands on /events, so there are no replies")

    def push(self, push: Push) -> bytes:
        """An event; a comment for words that /events doesn't have. Raises Unencodable."""
        match push:
            case p.PublicationPush(channel, Publication() as publication, epoch):
                position = Position(epoch, publication.offset) if publication.offset else None
                return self._event(_name(publication), publication_fields(channel, publication), position)
            case p.JoinPush(channel, info):
                return self._event("join", {"channel": channel, "info": client_info(info)})
            case p.LeavePush(channel, info):
                return self._event("leave", {"channel": channel, "info": client_info(info)})
            case p.UnsubscribePush(channel, code, reason):
                return self._event("expired", {"channel": channel, "code": code, "reason": reason})
            case p.DisconnectPush(code, reason):
                return self._event(_ending(code), {"code": code, "reason": reason})
            case _:
                return b":\n\n"

    def subscribed(self, channels: Mapping[str, Joined], positions: Iterable[Position | None]) -> bytes:
        data = {"channels": {channel: _joined(joined) for channel, joined in channels.items()}}
        return self.stamped(self._event("subscribed", data), positions)

    def missing(self, missing: Missing, positions: Iterable[Position | None]) -> bytes:
        return self.stamped(self._event("gap", missing_fields(missing)), positions)

    def stamped(self, frame: bytes, positions: Iterable[Position | None]) -> bytes:
        return b"%sid: %s\n\n" % (frame[:-1], spell(positions).encode())

    def ping(self) -> bytes:
        """A comment: proxies see life, applications don't."""
        return b":\n\n"

    def join(self, frames: list[bytes]) -> bytes:
        return b"".join(frames)

    def _event(self, name: str, fields: dict[str, Any], position: Position | None = None) -> bytes:
        lines = b"" if name == "message" else b"event: %s\n" % _text(name)
        if position is not None and self._ids:
            lines += b"id: %s\n" % spell((position,)).encode()
        return b"%sdata: %s\n\n" % (lines, json_text(fields))


def retry(retry_ms: int) -> bytes:
    """The first bytes of a stream: how long its client is to wait before it comes back."""
    return b"retry: %d\n\n" % retry_ms


def _ending(code: int) -> str:
    """The last event's name. `expired`: only other credentials can help; `drain`: come back."""
    hopeless = code in _ENDS_OF_CREDENTIALS or not Disconnect(code, "").reconnect
    return "expired" if hopeless else "drain"


def publication_fields(channel: str, publication: Publication) -> dict[str, Any]:
    """A publication as `/events` and `/poll` show it; what is absent isn't written. Raises Unencodable."""
    fields: dict[str, Any] = {"channel": channel, "data": raw_json(publication.data)}
    if publication.offset:
        fields["offset"] = publication.offset
    if publication.info is not None:
        fields["info"] = client_info(publication.info)
    if publication.tags:
        fields["tags"] = publication.tags
    return fields


def missing_fields(missing: Missing) -> dict[str, Any]:
    """A gap as `/events` and `/poll` show it."""
    return {"channel": missing.channel, "from": missing.since, "to": missing.to, "reason": missing.reason}


def json_text(value: Any) -> bytes:
    """On one line. Raises Unencodable."""
    try:
        return _write(value)
    except UnicodeEncodeError as error:
        raise Unencodable(f"a text isn't Unicode: {error}") from error


def _joined(joined: Joined) -> dict[str, Any]:
    fields: dict[str, Any] = {"recovered": joined.recovered}
    if joined.position is not None:
        fields |= {"epoch": joined.position.epoch, "offset": joined.position.offset}
    if joined.data:
        fields["data"] = raw_json(joined.data)
    return fields


def _name(publication: Publication) -> str:
    return (publication.tags or {}).get(EVENT_TAG) or "message"


def _text(name: str) -> bytes:
    """Of a log that somebody else has written: nothing breaks out of its line."""
    return "".join(letter for letter in name if letter.isprintable()).encode("utf-8", "replace")


EVENTS = ServerSentEvents(ids=True)
EVENTS_MANY = ServerSentEvents(ids=False)
