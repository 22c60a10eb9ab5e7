"""What `GET /poll` answers, in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from roomful.model.command import Command
from roomful.model.errors import Unencodable, WireError
from roomful.model.publication import Position, Publication
from roomful.model.push import Push
from roomful.model.reply import Failure, Result
from roomful.model.stream import Missing
from roomful.wire.event_stream import json_text, missing_fields, publication_fields
from roomful.wire.payload import raw_json
from roomful.wire.stream_id import spell


def news(
    next: Iterable[Position | None],
    publications: Iterable[tuple[str, Publication]],
    missing: Iterable[Missing],
    state: Mapping[str, bytes],
) -> bytes:
    """The body of an answer. next: in the order of the sorted channels. Raises Unencodable."""
    return json_text(
        {
            "next": spell(next),
            "publications": [publication_fields(channel, publication) for channel, publication in publications],
            "gap": [missing_fields(each) for each in missing],
            "state": {channel: raw_json(data) for channel, data in state.items()},
        }
    )


class PollDialect:
    """The dialect of polls that wait: what they hear wakes them, and only then is anything spelled, once for each."""

    name = "poll"
    binary = False
    json = True
    joins = True
    unidirectional = True

    def decode(self, data: bytes) -> list[Command]:
        """There is nothing to say but the request itself."""
        raise WireError("a client of /poll says nothing")

    def reply(self, id: int, result: Result | Failure) -> bytes:
        raise Unencodable("there are no commands in a poll, so there are no replies")

    def push(self, push: Push) -> bytes:
        return b""

    def ping(self) -> bytes:
        return b""

    def join(self, frames: list[bytes]) -> bytes:
        return b""


POLL = PollDialect()
