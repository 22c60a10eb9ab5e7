"""The tables: command type → handler, order type → handler."""

from __future__ import annotations

from collections.abc import Mapping

from roomful.model import command as c
from roomful.model.order import DisconnectOrder, DocumentRightsOrder, RefreshOrder, SubscribeOrder, UnsubscribeOrder
from roomful.session import orders
from roomful.session.connect import connect
from roomful.session.publish import publish
from roomful.session.query import history, presence, presence_stats
from roomful.session.refresh import refresh, sub_refresh
from roomful.session.rpc import rpc, send
from roomful.session.session import Handler, OrderHandler
from roomful.session.subscribe import subscribe, unsubscribe

HANDLERS: Mapping[type, Handler] = {
    c.Connect: connect,
    c.Subscribe: subscribe,
    c.Unsubscribe: unsubscribe,
    c.Publish: publish,
    c.Presence: presence,
    c.PresenceStats: presence_stats,
    c.History: history,
    c.Send: send,
    c.Rpc: rpc,
    c.Refresh: refresh,
    c.SubRefresh: sub_refresh,
}

ORDERS: Mapping[type, OrderHandler] = {
    SubscribeOrder: orders.subscribe,
    UnsubscribeOrder: orders.unsubscribe,
    DisconnectOrder: orders.disconnect_client,
    DocumentRightsOrder: orders.document_rights,
    RefreshOrder: orders.refresh,
}
