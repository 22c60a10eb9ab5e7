"""What the options of the reference server are called here. Source: Centrifuge protocol, sections 21.2, 21.3, 22.

Who brings a configuration along finds each option either under its name here, or told that there is none. The
appendix of `docs/configuration.md` is this table, and a key that isn't ours is looked up in it.
"""

from __future__ import annotations

from typing import NamedTuple


class Ours(NamedTuple):
    """keys: options here, as paths with `*` for a namespace's name; none: not available. note: what to know."""

    keys: tuple[str, ...]
    note: str = ""

    def __str__(self) -> str:
        names = ", ".join(f"`{key}`" for key in self.keys) or "not available"
        return f"{names}: {self.note}" if self.note else names


def _namespace(*options: str, note: str = "") -> Ours:
    return Ours(tuple(f"namespaces.*.{option}" for option in options), note)


NAMESPACE_OPTIONS: dict[str, Ours] = {
    "presence": _namespace("presence"),
    "join_leave": _namespace("join_leave"),
    "force_push_join_leave": _namespace("join_leave", note='`"all"`'),
    "history_size": _namespace("history_size"),
    "history_ttl": _namespace("history_ttl_s"),
    "history_meta_ttl": _namespace("history_meta_ttl_s"),
    "force_positioning": _namespace("position"),
    "allow_positioning": _namespace("history", note="whoever may read history may ask for it"),
    "force_recovery": _namespace("recover"),
    "allow_recovery": _namespace("history", note="whoever may read history may ask for it"),
    "force_recovery_mode": _namespace("mode"),
    "auto_cache_recover": _namespace("mode", note='always with `"cache"`'),
    "allowed_delta_types": _namespace("delta", note="a switch, as there is only `fossil`"),
    "delta_publish": _namespace("delta", note="every publication can travel as a delta"),
    "allow_tags_filter": _namespace("tags_filter"),
    "allow_subscribe_for_client": _namespace("subscribe", note='`"user"`'),
    "allow_subscribe_for_anonymous": _namespace("subscribe", note='`"client"`'),
    "allow_publish_for_client": _namespace("publish", note='`"user"`'),
    "allow_publish_for_subscriber": _namespace("publish", note='`"subscriber"`'),
    "allow_publish_for_anonymous": _namespace("publish", note='`"client"`'),
    "allow_presence_for_client": _namespace("see_presence", note='`"user"`'),
    "allow_presence_for_subscriber": _namespace("see_presence", note='`"subscriber"`, the default'),
    "allow_presence_for_anonymous": _namespace("see_presence", note='`"client"`'),
    "allow_history_for_client": _namespace("history", note='`"user"`'),
    "allow_history_for_subscriber": _namespace("history", note='`"subscriber"`, the default'),
    "allow_history_for_anonymous": _namespace("history", note='`"client"`'),
    "allow_user_limited_channels": _namespace("user_limited"),
    "channel_regex": _namespace("channel_regex"),
    "publication_data_format": _namespace("data_format"),
    "subscribe_proxy_enabled": Ours(("webhooks.*.events",), "`subscribe`, or a Python hook on `SubscribeEvent`"),
    "publish_proxy_enabled": Ours(("webhooks.*.events",), "`publish`, or a Python hook on `PublishEvent`"),
    "sub_refresh_proxy_enabled": Ours(("webhooks.*.events",), "`sub_refresh`, or a Python hook on `SubRefreshEvent`"),
    "subscribe_stream_proxy_enabled": Ours(()),
    "subscription_type": Ours((), "always `stream`"),
    "map.*": Ours(()),
    "shared_poll.*": Ours(()),
    "client_publish_debounce_interval": Ours(()),
    "allow_channel_compaction": _namespace("compact"),
    "keep_latest_publication": Ours(()),
    "batch_*": Ours(()),
}
"""Section 21.2."""

CLIENT_OPTIONS: dict[str, Ours] = {
    "insecure": Ours((), "`roomful serve --dev`, on loopback only"),
    "allow_anonymous_connect_without_token": Ours(("tokens.anonymous",)),
    "disallow_anonymous_connection_tokens": Ours((), "a Python hook on `ConnectEvent` may refuse an empty user"),
    "token.*": Ours(
        (
            "tokens.hmac_secret",
            "tokens.hmac_previous_secret",
            "tokens.public_key",
            "tokens.jwks_url",
            "tokens.audience",
            "tokens.issuer",
            "tokens.user_claim",
        ),
        "no regular expressions; the previous secret is valid as long as it is set",
    ),
    "subscription_token.*": Ours((), "the keys of `[tokens]` serve both"),
    "allowed_origins": Ours(("server.allowed_origins",)),
    "user_id_http_header": Ours((), "a Python hook on `ConnectEvent` may read `event.headers`"),
    "subscribe_to_user_personal_channel.enabled": Ours(("connection.personal_channel",)),
    "subscribe_to_user_personal_channel.personal_channel_namespace": Ours(("connection.personal_namespace",)),
    "subscribe_to_user_personal_channel.single_connection": Ours(("connection.single_connection",)),
    "connect_include_server_time": Ours(("connection.server_time",)),
}
"""Section 21.3."""

LIMITS: dict[str, Ours] = {
    "ping interval, pong timeout": Ours(("connection.ping_s", "connection.pong_s")),
    "stale (no connect)": Ours(("connection.stale_s",)),
    "grace of an expired connection or subscription": Ours(("connection.expired_grace_s",)),
    "channels of a connection": Ours(("limits.channels_max",)),
    "length of a channel name": Ours(("limits.channel_max_bytes",)),
    "outgoing queue of a connection": Ours(("limits.outbox_max_bytes",)),
    "messages joined in a WebSocket message": Ours((), "all that one turn of the event loop has for a connection"),
    "inbound message": Ours(("limits.message_max_bytes",)),
    "write timeout": Ours((), "the outbox's limit and the pong timeout end a connection that takes nothing"),
    "presence renewal": Ours(()),
    "position check period": Ours(()),
    "publications in a history reply, in a recovery": Ours(("limits.history_max", "limits.recovery_max")),
    "history meta TTL": _namespace("history_meta_ttl_s"),
    "idempotency window": Ours(("engine.idempotency_ttl_s",)),
    "commands of a connection processed at once": Ours((), "always one after the other"),
    "connections of a user": Ours(("limits.connections_per_user_max",)),
    "connections in all, per second": Ours(()),
}
"""Section 22."""


def counterpart(name: str) -> Ours | None:
    """What an option of the reference is called here; None if it is none of theirs."""
    return NAMESPACE_OPTIONS.get(name) or CLIENT_OPTIONS.get(name)
