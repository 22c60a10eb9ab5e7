"""What may be set about connections: the `[connection]` and `[limits]` tables."""

from __future__ import annotations

import msgspec

from roomful.node.rate_options import RateOptions


class ConnectionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[connection]` table. Defaults are those that Centrifuge clients are made for (protocol, section 22).

    ping_s, pong_s: server ping interval, and how long the answer may take; ping_s 0: no pings.
    stale_s: a connection that hasn't said `connect` by then is closed (3502).
    expired_grace_s: how long an expired connection or subscription may take to refresh.
    revalidate_s: the RefreshEvent hook is asked so often about every connection to rooms, with `periodic` set; who may
    not stay is ended (4503). A hook that fails is asked again; after twice as long without an answer the connection is
    ended, too (3005, so that it comes back and is looked at anew). Spread over the interval. 0: never.
    hook_deadline_s: a hook that takes longer fails its command with error 100.
    personal_channel: each user is subscribed to `#<user>`; personal_namespace puts it in a namespace.
    single_connection: a user's newer connection closes the older ones (3504); needs presence on the personal channel.
    server_time: the connect reply tells the server's time.
    """

    ping_s: float = 25.0
    pong_s: float = 8.0
    stale_s: float = 10.0
    expired_grace_s: float = 25.0
    revalidate_s: float = 0.0
    hook_deadline_s: float = 10.0
    personal_channel: bool = False
    personal_namespace: str = ""
    single_connection: bool = False
    server_time: bool = False


class LimitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[limits]` table: everything that a stranger could make grow.

    message_max_bytes: one message from a client (larger: 1009). outbox_max_bytes: waiting for one client that reads
    slowly. outboxes_max_bytes: waiting for all of them in one process, documents' included; beyond it nothing more
    waits for whoever has at least half the average waiting, as if its own budget were spent, and when that isn't enough
    those for whom most waits are closed (3008). 0 for no limit.
    inbox_max_bytes: commands of one client that wait for a hook; above it we stop reading from its socket.
    channels_max: subscriptions of one connection (106; server-side ones: 3505). channel_max_bytes: a channel's name.
    history_max: publications in one history reply. recovery_max, recovery_max_bytes: one page of recovery.
    connections_per_user_max: 0 for no limit (3504).
    handshakes_per_s: of one process, for WebSocket, streams and polls; beyond, a client is answered with 503 and
    `Retry-After` (`/events`: event `drain`) before its token is looked at. 0 for no limit.
    unauthenticated_per_address_max: connections of one IPv4 address, or one IPv6 network of 64 bits, that haven't said
    yet who they are (429). 0 for no limit. Behind a proxy, `server.trusted_proxies` has to name it.
    rates: the tables `[limits.rates.connection]`, `.user`, `.address` and `.room`; see below.
    """

    message_max_bytes: int = 65_536
    outbox_max_bytes: int = 1_048_576
    outboxes_max_bytes: int = 268_435_456
    inbox_max_bytes: int = 262_144
    channels_max: int = 128
    channel_max_bytes: int = 255
    history_max: int = 300
    recovery_max: int = 300
    recovery_max_bytes: int = 262_144
    connections_per_user_max: int = 0
    handshakes_per_s: float = 500.0
    unauthenticated_per_address_max: int = 100
    rates: RateOptions = RateOptions()
