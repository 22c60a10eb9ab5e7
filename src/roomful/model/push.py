"""What a client gets unasked. The pushes of the Centrifuge protocol (sections 3.3 and 12)."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from roomful.model.client import ClientInfo
from roomful.model.publication import DeltaPublication, Publication


class PublicationPush(msgspec.Struct, frozen=True):
    """epoch is not on the wire: a dialect may need it (event ids), the Centrifuge ones leave it out.

    number: where it isn't 0, it stands for the channel's name (`SubscribeResult.number`); here, in joins and in leaves.
    """

    channel: str
    publication: Publication | DeltaPublication
    epoch: str = ""
    number: int = 0


class JoinPush(msgspec.Struct, frozen=True):
    channel: str
    info: ClientInfo
    number: int = 0


class LeavePush(msgspec.Struct, frozen=True):
    channel: str
    info: ClientInfo
    number: int = 0


class UnsubscribePush(msgspec.Struct, frozen=True):
    """The server ended a subscription. code from 2500 on: the client subscribes again by itself."""

    channel: str
    code: int
    reason: str


class SubscribePush(msgspec.Struct, frozen=True):
    """The server subscribed this connection to a channel."""

    channel: str
    recoverable: bool = False
    epoch: str = ""
    offset: int = 0
    positioned: bool = False
    data: bytes = b""


class MessagePush(msgspec.Struct, frozen=True):
    data: bytes


class RefreshPush(msgspec.Struct, frozen=True):
    """The connection's expiry changed. ttl: seconds."""

    expires: bool
    ttl: int


class DisconnectPush(msgspec.Struct, frozen=True):
    """Only where the transport has no close frame."""

    code: int
    reason: str


Push: TypeAlias = (
    PublicationPush
    | JoinPush
    | LeavePush
    | UnsubscribePush
    | SubscribePush
    | MessagePush
    | RefreshPush
    | DisconnectPush
)
