"""What answers a command. Field by field the result messages of the Centrifuge protocol (section 3)."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from roomful.model.client import ClientInfo
from roomful.model.publication import DeltaPublication, Publication


class Failure(msgspec.Struct, frozen=True):
    """An error reply. temporary: the client may retry the same thing later."""

    code: int
    message: str
    temporary: bool = False


class SubscribeResult(msgspec.Struct, frozen=True):
    """delta: payloads may come as deltas, and all publications are `DeltaPublication`s. number: stands for the
    channel's name in pushes from now on; 0: nothing does.
    """

    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    epoch: str = ""
    publications: list[Publication] | list[DeltaPublication] = []
    recovered: bool = False
    offset: int = 0
    positioned: bool = False
    data: bytes = b""
    was_recovering: bool = False
    delta: bool = False
    number: int = 0


class ConnectResult(msgspec.Struct, frozen=True):
    """ping: seconds between server pings, 0 for none. subs: server-side subscriptions, by channel."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0
    data: bytes = b""
    subs: dict[str, SubscribeResult] = {}
    ping: int = 0
    pong: bool = False
    session: str = ""
    node: str = ""
    time: int = 0


class UnsubscribeResult(msgspec.Struct, frozen=True):
    pass


class PublishResult(msgspec.Struct, frozen=True):
    pass


class PresenceResult(msgspec.Struct, frozen=True):
    """presence: by client id."""

    presence: dict[str, ClientInfo]


class PresenceStatsResult(msgspec.Struct, frozen=True):
    """num_clients: connections. num_users: distinct user ids."""

    num_clients: int
    num_users: int


class HistoryResult(msgspec.Struct, frozen=True):
    publications: list[Publication]
    epoch: str
    offset: int


class RpcResult(msgspec.Struct, frozen=True):
    data: bytes = b""


class RefreshResult(msgspec.Struct, frozen=True):
    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0


class SubRefreshResult(msgspec.Struct, frozen=True):
    expires: bool = False
    ttl: int = 0


Result: TypeAlias = (
    ConnectResult
    | SubscribeResult
    | UnsubscribeResult
    | PublishResult
    | PresenceResult
    | PresenceStatsResult
    | HistoryResult
    | RpcResult
    | RefreshResult
    | SubRefreshResult
)
