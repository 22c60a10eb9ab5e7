"""Who a connected client is."""

from __future__ import annotations

from typing import Any

import msgspec

ANONYMOUS_PREFIX = "~"
"""An anonymous connection is the person `~<client id>`; no user id begins with it."""


class ClientInfo(msgspec.Struct, frozen=True):
    """What others may see of a connection: in presence, in join and leave, beside what it publishes.

    user: the user id, empty for an anonymous client.
    client: the connection's id, a UUID in text form.
    conn_info, chan_info: JSON text in UTF-8, empty when absent; given by token, hook or the API.
    Source: Centrifuge protocol, ClientInfo.
    """

    user: str
    client: str
    conn_info: bytes = b""
    chan_info: bytes = b""


def person_of(info: ClientInfo) -> str:
    """The person whose connection it is: the user id, or `~<client id>` for an anonymous one."""
    return info.user or ANONYMOUS_PREFIX + info.client


class Override(msgspec.Struct, frozen=True):
    """Namespace settings that one subscription replaces; None leaves the namespace's own.

    Source: Centrifuge protocol, token claim `override`.
    """

    presence: bool | None = None
    join_leave: bool | None = None
    force_push_join_leave: bool | None = None
    force_recovery: bool | None = None
    force_positioning: bool | None = None


class Grant(msgspec.Struct, frozen=True):
    """The right to one channel, and how the subscription is to look.

    info: becomes `chan_info` (JSON text). data: goes into the subscribe result.
    expires_at: seconds since 1970; None never. server_refresh: a hook renews it, not the client. token: the id of the
    subscription token that gave it, "" if none did.
    """

    info: bytes = b""
    data: bytes = b""
    expires_at: float | None = None
    override: Override = Override()
    server_refresh: bool = False
    token: str = ""


class Credentials(msgspec.Struct, frozen=True):
    """Who the client is, as a token or a hook says.

    info: becomes `conn_info` (JSON text). expires_at: seconds since 1970; None never.
    subs: server-side subscriptions. meta: private, never sent to clients.
    claims: all claims of the verified token, for hooks; empty without one.
    token: the token's id, "" without one. issued_at: seconds since 1970; 0 for a token that doesn't tell.
    """

    user: str
    info: bytes = b""
    expires_at: float | None = None
    subs: dict[str, Grant] = {}
    meta: dict[str, Any] = {}
    claims: dict[str, Any] = {}
    token: str = ""
    issued_at: float = 0.0
