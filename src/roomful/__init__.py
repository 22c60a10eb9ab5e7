"""Roomful: rooms for people who work together, in one Python process or many.

What isn't here: engines (`roomful.engines`), tools for tests (`roomful.testing`).
"""

__version__ = "0.1.0"

from roomful.model.channel import ChannelOptions
from roomful.model.client import ClientInfo, Override
from roomful.model.disconnects import Disconnect
from roomful.model.errors import ApplicationError, ConfigError, Forbidden, RoomfulError
from roomful.model.event import (
    ConnectEvent,
    ConnectReply,
    DisconnectEvent,
    MessageEvent,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    RpcEvent,
    RpcReply,
    ServerRpcEvent,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
    SubscriptionOptions,
    UnsubscribeEvent,
)
from roomful.model.publication import Page, Position, Publication
from roomful.server.app import Roomful
from roomful.server.config import Config

__all__ = [
    "ApplicationError",
    "ChannelOptions",
    "ClientInfo",
    "Config",
    "ConfigError",
    "ConnectEvent",
    "ConnectReply",
    "Disconnect",
    "DisconnectEvent",
    "Forbidden",
    "MessageEvent",
    "Override",
    "Page",
    "Position",
    "Publication",
    "PublishEvent",
    "PublishReply",
    "RefreshEvent",
    "RefreshReply",
    "Roomful",
    "RoomfulError",
    "RpcEvent",
    "RpcReply",
    "ServerRpcEvent",
    "SubRefreshEvent",
    "SubRefreshReply",
    "SubscribeEvent",
    "SubscribeReply",
    "SubscriptionOptions",
    "UnsubscribeEvent",
]
