"""Where everything lies in NATS: the streams, the subjects, and how a channel's name becomes part of one.

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

LIFE, LOG, ONCE = "ROOMFUL_LIFE", "ROOMFUL_LOG", "ROOMFUL_ONCE"
ORDERS, HERE, LEASES = "ROOMFUL_ORDERS", "ROOMFUL_HERE", "ROOMFUL_LEASES"

ORDER, ORDERED, SURVEY = "roomful.order", "roomful.ordered", "roomful.survey"

TOKEN_MAX = 800
"""A server takes no control line above 4096 bytes; one may hold a subject, a reply subject and a request's prefix."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-#@,+/!()&;'")


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


def log(channel: str) -> str:
    return f"roomful.log.{token(channel)}"


def once(channel: str) -> str:
    return f"roomful.once.{token(channel)}"


def live(channel: str) -> str:
    return f"roomful.live.{token(channel)}"


def lease(node: str) -> str:
    return f"roomful.lease.{token(node)}"


def answer(node: str) -> str:
    return f"roomful.answer.{token(node)}"


def registration(node: str) -> str:
    return f"roomful.here.{token(node)}"


def entry(node: str, channel: str, client: str) -> str:
    return f"roomful.here.{token(node)}.{token(channel)}.{token(client)}"


def entries_of_node(node: str) -> str:
    return f"roomful.here.{token(node)}.*.*"


def entries_of_channel(channel: str) -> str:
    return f"roomful.here.*.{token(channel)}.*"


def message_id(channel: str, key: str, generation: int) -> str:
    """An idempotency key as JetStream's. generation: the sequence under which the key was used before, in a life that
    has ended; 0 at first."""
    text = f"{token(channel)} {generation} {key}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
