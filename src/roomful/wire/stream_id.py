"""The position of a whole stream, as `/events` and `/poll` spell it: `epoch:offset` of each channel, joined by commas.

The channels themselves aren't in it: the parts stand in the order of the sorted names; `-` is a channel that has no
position. What an epoch is made of is the engine's business, so all but a few letters of it are percent-encoded: the
text goes through an HTTP header, a URL and a line of an event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from roomful.model.errors import WireError
from roomful.model.publication import Position

NONE = "-"

EPOCH_MAX = 200
"""Letters of a spelled epoch."""

OFFSET_MAX = 2**63 - 1
"""What every engine can count up to."""

_OFFSET = re.compile(r"0|[1-9][0-9]{0,18}")


def spell(positions: Iterable[Position | None]) -> str:
    """positions: of the channels in the order of their sorted names."""
    return ",".join(NONE if p is None else f"{quote(p.epoch, safe='')}:{p.offset}" for p in positions)


def parse(text: str, count: int) -> list[Position | None]:
    """The positions of `count` channels. Raises WireError for all that `spell` would never write."""
    parts = text.split(",", count)
    if len(parts) != count:
        raise WireError(f"a position of {count} channels has {count} parts")
    return [None if part == NONE else _position(part) for part in parts]


def _position(part: str) -> Position:
    epoch, colon, offset = part.partition(":")
    if not colon or not epoch or len(epoch) > EPOCH_MAX or not _OFFSET.fullmatch(offset) or int(offset) > OFFSET_MAX:
        raise WireError("a position is epoch:offset")
    known = unquote(epoch, errors="surrogateescape")
    if quote(known, safe="", errors="surrogateescape") != epoch or not known.isprintable():
        raise WireError("an epoch is spelled as the server spelled it")
    return Position(known, int(offset))
