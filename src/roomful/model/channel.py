"""Channel names and their grammar, and the options of a namespace. Source: Centrifuge protocol, section 21."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal

import msgspec

from roomful.model.publication import Retention

DEFAULT_NAMESPACE = "default"
"""The namespace of channels whose name has none."""

RESERVED_NAMESPACES = frozenset({"typing", "people", "state"})
"""Facets of a room; a configuration can't define them."""

NAMESPACE_NAME = re.compile(r"[-A-Za-z0-9_.]{2,}")

PRIVATE_PREFIX = "$"
USER_BOUNDARY = "#"


def namespace_of(channel: str) -> str:
    """The namespace's name: the text between an optional leading `$` and the first `:`, or "default"."""
    start = 1 if channel.startswith(PRIVATE_PREFIX) else 0
    end = channel.find(":", start)
    return DEFAULT_NAMESPACE if end < 0 else channel[start:end]


def is_private(channel: str) -> bool:
    """Whether only a token or a hook can grant it."""
    return channel.startswith(PRIVATE_PREFIX)


def allowed_users(channel: str) -> frozenset[str] | None:
    """The user ids behind the last `#`, or None when the channel isn't limited to users."""
    _, boundary, users = channel.rpartition(USER_BOUNDARY)
    return frozenset(users.split(",")) if boundary else None


def personal_channel(user: str, namespace: str = "") -> str:
    """`#<user>` or `<namespace>:#<user>`."""
    return f"{namespace}:{USER_BOUNDARY}{user}" if namespace else f"{USER_BOUNDARY}{user}"


class Right(StrEnum):
    """Who may do something in a namespace without a token or a hook that says so."""

    NOBODY = "nobody"
    """Only a token or a hook grants it."""
    SUBSCRIBER = "subscriber"
    """Whoever is subscribed to the channel."""
    USER = "user"
    """Every client with a non-empty user id."""
    CLIENT = "client"
    """Everybody, also anonymous clients."""

    def allows(self, user: str, subscribed: bool) -> bool:
        """Whether a client with that user id, subscribed to the channel or not, has this right."""
        match self:
            case Right.NOBODY:
                return False
            case Right.SUBSCRIBER:
                return subscribed
            case Right.USER:
                return bool(user)
            case Right.CLIENT:
                return True


class ChannelOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[namespaces.<name>]` table: what the channels of a namespace can do.

    history_size, history_ttl_s: publications kept, and how long after the last one; both 0 (no history) or both set.
    history_meta_ttl_s: how much longer epoch and offset are remembered.
    recover: positioning and recovery forced for each subscription; needs history.
    position: positioning forced (without recovery on the client's side); needs history.
    mode: "stream" recovers all that was missed; "cache" gives each subscriber the newest publication at once (as
    recovered) and nothing that was missed before it; needs history, and forces recovery.
    delta: who asks for it gets what changed since the publication before instead of all of it; needs history, and only
    positioned subscriptions get it.
    tags_filter: subscribers may say by tags which publications they want.
    compact: a number stands for the channel's name in pushes to clients that offer to read it: true to those that speak
    JSON, "all" to those in Protobuf too, where centrifuge-js 5.8 offers it but would lose every push.
    presence: who is here is kept. join_leave: true emits and pushes to whoever asks, "all" pushes to everybody.
    subscribe, publish, history, see_presence: the rights.
    exclude_self: a client's publication isn't sent back to the connection that published it.
    user_limited: `dialog#42,43` may be subscribed by these users only.
    channel_regex: the part behind the namespace has to match it as a whole; without one it must be ASCII.
    data_format: what may be published: "json", "json_object", or "binary" (anything, also nothing; only clients that
    speak Protobuf can be in such a channel with others that publish no JSON).
    slow: what happens when a client reads too slowly for its outbox: "resume" (from the log), "latest" (newest for
    each key only; such a channel is never positioned), "close" (3008); None: resume with history, else close.
    """

    history_size: int = 0
    history_ttl_s: float = 0.0
    history_meta_ttl_s: float = 30 * 86400.0
    recover: bool = False
    position: bool = False
    mode: Literal["stream", "cache"] = "stream"
    delta: bool = False
    tags_filter: bool = False
    compact: bool | Literal["all"] = False
    presence: bool = False
    join_leave: bool | Literal["all"] = False
    subscribe: Literal["nobody", "user", "client"] = "nobody"
    publish: Right = Right.NOBODY
    history: Right = Right.SUBSCRIBER
    see_presence: Right = Right.SUBSCRIBER
    exclude_self: bool = False
    user_limited: bool = False
    channel_regex: str | None = None
    data_format: Literal["json", "json_object", "binary"] = "json"
    slow: Literal["resume", "latest", "close"] | None = None

    @property
    def retention(self) -> Retention:
        """How much of a channel's stream is kept."""
        return Retention(self.history_size, self.history_ttl_s, self.history_meta_ttl_s)

    @property
    def has_history(self) -> bool:
        return self.history_size > 0 and self.history_ttl_s > 0

    @property
    def slow_policy(self) -> Literal["resume", "latest", "close"]:
        """`slow`, or its default."""
        return self.slow or ("resume" if self.has_history else "close")
