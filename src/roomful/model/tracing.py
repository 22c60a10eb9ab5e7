"""What is told of the life of a connection and of a message to whoever traces them. Never a payload, never a token."""

from __future__ import annotations

import msgspec

HAPPENINGS = {
    # the life of a connection
    "connected": "the client was let in, by this transport",
    "refused": "a command of the client was answered with an error",
    "closed": "the connection ended; `count`: frames that still waited for it",
    # of a subscription
    "subscribed": "publications after `offset` come; `reason`: whether what was missed since `since` was `recovered` "
    "(`count` publications), or why not",
    "unsubscribed": "no more publications come; `code` 2500: a position was lost, the client subscribes again",
    "gap": "the client was told that something after `offset` may be missing, and why",
    "fell_behind": "the frame after `offset` didn't fit; from there on the log is read as the client reads",
    "read_on": "publications after `since` up to `offset` were sent from the log",
    "caught_up": "the client has everything up to `offset`, and gets what comes live again",
    "polled": "a poll was answered with `count` publications, up to `offset`",
    # of a message
    "published": "the engine took it, and gave it this offset; `client`: who published it, empty for the server's API",
    "arrived": "it reached this node, which has `count` subscribers for it",
    "held": "it reached this node, but something before it hasn't: the log is read, and gives both",
    "delivered": "it was handed to the client's socket",
    "queued": "the client doesn't read at the moment: it waits",
    "replaces": "it waits, in place of an older one with the same key, which isn't sent",
    "waiting": "the subscribe reply isn't out yet: it follows behind it",
    "left_to_log": "the subscription is behind: it will come from the log (`read_on`)",
    "seen_before": "the client has it already",
    "excluded": "whoever published it excluded this client",
    "filtered": "the subscription's tags filter leaves it out",
    # of the trace itself
    "tracing": "this node takes part, and looks at the deliveries to the `count` subscriptions there, 1,000 at most",
    "missed": "`count` happenings came too fast for the trace, and aren't shown",
    "interrupted": "the trace wasn't read for too long; what happened on this node meanwhile isn't known",
    "silent": "this node doesn't answer any more; what happens there isn't known",
    "too_many": "this node is traced by too many already, and takes no part",
    "end": "the server that was asked stops",
}
"""Everything that a trace shows; docs/monitoring.md has this table."""

OF_THE_CHANNEL = frozenset({"published", "arrived", "held"})
"""What concerns everybody in a channel, whoever did it."""


class Happening(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that has happened. at_ms: by the clock of its node, since 1970. See HAPPENINGS for the fields."""

    at_ms: int
    event: str
    node: str
    client: str = ""
    user: str = ""
    channel: str = ""
    since: int | None = None
    offset: int | None = None
    epoch: str = ""
    count: int | None = None
    code: int = 0
    reason: str = ""
    transport: str = ""
    trace: str = ""


class Wanted(msgspec.Struct, frozen=True):
    """What is traced: all that happens to a user, in a channel, or to that user in that channel. "": any."""

    user: str = ""
    channel: str = ""

    def concerns(self, user: str, channel: str) -> bool:
        """Whether a delivery to the user in the channel is of interest."""
        return self.user in ("", user) and self.channel in ("", channel)

    def includes(self, event: str, user: str, channel: str) -> bool:
        """Whether it is to be shown. A connection has no channel: it belongs to whoever traces its user."""
        if self.channel and channel != self.channel:
            return not channel and self.user == user != ""
        if self.user and user != self.user:
            return bool(self.channel) and event in OF_THE_CHANNEL
        return True


class TraceQuestion(msgspec.Struct, frozen=True):
    """Asked again and again for one trace. id: of the trace."""

    id: str
    wanted: Wanted


class TraceAnswer(msgspec.Struct, frozen=True):
    """What a node has seen since the last answer.

    first: number of the first happening, counted from the beginning of the trace at this node. missed: how many more
    came after these and were not kept. more: it has others, for the next question. refused: it traces enough already.
    """

    first: int = 0
    happenings: list[Happening] = []
    missed: int = 0
    more: bool = False
    refused: bool = False
