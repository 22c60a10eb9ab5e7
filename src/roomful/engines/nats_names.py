"""Where everything lies in NATS: the streams, the subjects, and how a channel's name becomes part of one.

With the prefix `roomful`:

ROOMFUL_LIFE     roomful.life                               names the life of the log: every epoch begins with it
ROOMFUL_LOG      roomful.log.<channel>                      publications of channels with history
ROOMFUL_ONCE     roomful.once.<channel>                     publications with a key of channels without
ROOMFUL_ORDERS   roomful.order                              orders to all nodes
ROOMFUL_HERE     roomful.here.<node>                        a node has entries; who announces their leaves
                 roomful.here.<node>.<channel>.<client>     one entry of presence
ROOMFUL_LEASES   roomful.lease.<node>                       a node lives; gone when it wasn't renewed in time
no stream        roomful.live.<channel>                     what subscribed nodes hear
                 roomful.ordered, roomful.survey, roomful.answer.<node>
"""

from __future__ import annotations

import hashlib
import re

from roomful.model.errors import ConfigError

TOKEN_MAX = 800
"""A server takes no control line above 4096 bytes; one may hold a subject, a reply subject and a request's prefix."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-#@$,+/!()&;'")


def token(name: str) -> str:
    """Any text as one token of a subject, and no two alike: what isn't plain is written `=` and two digits a byte.

    So `.`, `*`, `>`, spaces, control characters and `=` itself never get into a subject. What would be too long is
    replaced by its SHA-256. Nobody reads a name out of a subject.
    """
    raw = name.encode("utf-8", "surrogatepass")
    spelled = "".join(chr(byte) if byte in _PLAIN else f"={byte:02x}" for byte in raw)
    if not spelled:
        return "="
    return spelled if len(spelled) <= TOKEN_MAX else f"=={hashlib.sha256(raw).hexdigest()}"


class Names:
    """Streams and subjects of one installation. prefix: in front of all, letters, digits, `-` and `_`."""

    def __init__(self, prefix: str) -> None:
        if not re.fullmatch(r"[-A-Za-z0-9_]{1,64}", prefix):
            raise ConfigError(f"engine.prefix: {prefix!r} has to be of letters, digits, - and _ for NATS")
        self._prefix = prefix
        upper = prefix.upper()
        self.life_stream = f"{upper}_LIFE"
        self.log_stream = f"{upper}_LOG"
        self.once_stream = f"{upper}_ONCE"
        self.orders_stream = f"{upper}_ORDERS"
        self.here_stream = f"{upper}_HERE"
        self.leases_stream = f"{upper}_LEASES"
        self.life = f"{prefix}.life"
        self.order = f"{prefix}.order"
        self.ordered = f"{prefix}.ordered"
        self.survey = f"{prefix}.survey"

    def every(self, kind: str) -> str:
        """All subjects of a kind: log, once, live, here, lease."""
        return f"{self._prefix}.{kind}.>"

    def log(self, channel: str) -> str:
        return f"{self._prefix}.log.{token(channel)}"

    def once(self, channel: str) -> str:
        return f"{self._prefix}.once.{token(channel)}"

    def live(self, channel: str) -> str:
        return f"{self._prefix}.live.{token(channel)}"

    def lease(self, node: str) -> str:
        return f"{self._prefix}.lease.{token(node)}"

    def answer(self, node: str) -> str:
        return f"{self._prefix}.answer.{token(node)}"

    def registration(self, node: str) -> str:
        return f"{self._prefix}.here.{token(node)}"

    def registrations(self) -> str:
        return f"{self._prefix}.here.*"

    def entry(self, node: str, channel: str, client: str) -> str:
        return f"{self._prefix}.here.{token(node)}.{token(channel)}.{token(client)}"

    def entries_of_node(self, node: str) -> str:
        return f"{self._prefix}.here.{token(node)}.*.*"

    def entries_of_channel(self, channel: str) -> str:
        return f"{self._prefix}.here.*.{token(channel)}.*"


def message_id(channel: str, key: str, generation: int) -> str:
    """An idempotency key as JetStream's. generation: the sequence under which the key was used before, in a life that
    has ended; 0 at first."""
    text = f"{token(channel)} {generation} {key}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
