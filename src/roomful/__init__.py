"""Roomful: rooms for people who work together, in one Python process or many.

What isn't here: engines (`roomful.engines`), tools for tests (`roomful.testing`).
"""

__version__ = "0.1.0"

from roomful.model.channel import ChannelOptions
from roomful.model.client import ClientInfo, Override
from roomful.model.disconnects import Disconnect
from roomful.model.document import Rights
from roomful.model.errors import ApplicationError, ConfigError, Forbidden, RoomfulError
from roomful.model.event import (
    AwarenessEvent,
    ConnectEvent,
    ConnectReply,
    DisconnectEvent,
    DocumentChangeEvent,
    DocumentCloseEvent,
    DocumentLoadEvent,
    DocumentLoadReply,
    DocumentOpenEvent,
    DocumentOpenReply,
    DocumentStoreEvent,
    DocumentUnloadEvent,
    ForeignHistoryEvent,
    MessageEvent,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    RpcEvent,
    RpcReply,
    ServerRpcEvent,
    StatelessEvent,
    StatelessReply,
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
    "AwarenessEvent",
    "ChannelOptions",
    "ClientInfo",
    "Config",
    "ConfigError",
    "ConnectEvent",
    "ConnectReply",
    "Disconnect",
    "DisconnectEvent",
    "DocumentChangeEvent",
    "DocumentCloseEvent",
    "DocumentLoadEvent",
    "DocumentLoadReply",
    "DocumentOpenEvent",
    "DocumentOpenReply",
    "DocumentStoreEvent",
    "DocumentUnloadEvent",
    "Forbidden",
    "ForeignHistoryEvent",
    "MessageEvent",
    "Override",
    "Page",
    "Position",
    "Publication",
    "PublishEvent",
    "PublishReply",
    "RefreshEvent",
    "RefreshReply",
    "Rights",
    "Roomful",
    "RoomfulError",
    "RpcEvent",
    "RpcReply",
    "ServerRpcEvent",
    "StatelessEvent",
    "StatelessReply",
    "SubRefreshEvent",
    "SubRefreshReply",
    "SubscribeEvent",
    "SubscribeReply",
    "SubscriptionOptions",
    "UnsubscribeEvent",
]
