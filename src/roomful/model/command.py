"""What a client asks. One struct a command of the Centrifuge protocol (section 3); `id` links the reply."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from roomful.model.publication import Position
from roomful.model.tags_filter import FilterNode

COMPACT = 1
"""Bit of `Subscribe.flag`: a number may stand for the channel's name in pushes."""

REJECT_UNRECOVERED = 2
"""Bit of `Subscribe.flag`: answer error 112 when the position can't be recovered. Other bits are ignored."""


class Subscribe(msgspec.Struct, frozen=True):
    id: int = 0
    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: int = 0
    data: bytes = b""
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    delta: str = ""
    filter: FilterNode | None = None
    flag: int = 0
    type: int = 0


class Connect(msgspec.Struct, frozen=True):
    """subs: positions of server-side subscriptions that the client had, by channel."""

    id: int = 0
    token: str = ""
    data: bytes = b""
    subs: dict[str, Subscribe] = {}
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}


class Unsubscribe(msgspec.Struct, frozen=True):
    id: int
    channel: str = ""


class Publish(msgspec.Struct, frozen=True):
    id: int
    channel: str = ""
    data: bytes = b""
    type: int = 0


class Presence(msgspec.Struct, frozen=True):
    id: int
    channel: str = ""


class PresenceStats(msgspec.Struct, frozen=True):
    id: int
    channel: str = ""


class History(msgspec.Struct, frozen=True):
    """limit: 0 for the position alone, negative for as many as allowed."""

    id: int
    channel: str = ""
    limit: int = 0
    since: Position | None = None
    reverse: bool = False


class Send(msgspec.Struct, frozen=True):
    """Fire and forget: no id, no reply."""

    data: bytes = b""


class Rpc(msgspec.Struct, frozen=True):
    id: int
    method: str = ""
    data: bytes = b""


class Refresh(msgspec.Struct, frozen=True):
    id: int
    token: str = ""


class SubRefresh(msgspec.Struct, frozen=True):
    id: int
    channel: str = ""
    token: str = ""
    type: int = 0


class Pong(msgspec.Struct, frozen=True):
    """The empty command: the answer to a ping."""


class Unknown(msgspec.Struct, frozen=True):
    """A command with an id and no request that we know (`ping` included): a violation, answered by 3501."""

    id: int


Command: TypeAlias = (
    Connect
    | Subscribe
    | Unsubscribe
    | Publish
    | Presence
    | PresenceStats
    | History
    | Send
    | Rpc
    | Refresh
    | SubRefresh
    | Pong
    | Unknown
)
