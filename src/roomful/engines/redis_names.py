"""What Roomful calls things in Redis. Braces hold the tag: in a cluster, what has the same tag lies on the same server.

The tag of a channel is its name behind a dot, so no channel can be taken for one of our own names, and none makes an
empty tag. The length in front of a channel's idempotency keys keeps channel and key apart whatever they contain.
"""

from __future__ import annotations

CONTROL = b"control"
"""The stream of orders to all nodes."""
NODES = b"nodes"
"""The leases of all nodes."""


class Names:
    """prefix: in front of everything, so that several installations may share a server."""

    __slots__ = ("_prefix", "_pubsub", "leases")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._pubsub = self._prefix + b":c:{"
        self.leases = self._prefix + b":nodes:{" + NODES + b"}"

    @staticmethod
    def tag(channel: str) -> bytes:
        return b"." + channel.encode()

    def pubsub(self, tag: bytes) -> bytes:
        """Where publications of a tag are heard."""
        return b"%s%s}" % (self._pubsub, tag)

    def tag_of(self, pubsub: bytes) -> bytes:
        """The tag that `pubsub` was made of."""
        return pubsub[len(self._pubsub) : -1]

    def meta(self, tag: bytes) -> bytes:
        """A stream's epoch and top offset."""
        return b"%s:m:{%s}" % (self._prefix, tag)

    def log(self, tag: bytes) -> bytes:
        """A stream's publications."""
        return b"%s:l:{%s}" % (self._prefix, tag)

    def mark(self, tag: bytes, key: bytes) -> bytes:
        """What an idempotency key has led to."""
        return b"%s:k:%d:{%s}:%s" % (self._prefix, len(tag), tag, key)

    def present(self, tag: bytes) -> bytes:
        """Who is in a channel."""
        return b"%s:p:{%s}" % (self._prefix, tag)

    def held(self, owner: str) -> bytes:
        """In which channels an owner has entries."""
        return b"%s:h:{%s}" % (self._prefix, owner.encode())

    def reaping(self, owner: str) -> bytes:
        """Whether somebody is just taking a dead owner's entries out."""
        return b"%s:r:{%s}" % (self._prefix, owner.encode())
