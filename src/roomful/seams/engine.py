"""The engine: what nodes share. A broker, a presence store and a control channel; memory, Redis and NATS have one each.

Every implementation passes `roomful/testing/engine_contract.py`. Nothing here knows who is connected: the node gives a
`Sink`, the engine calls it for what arrives, also for what this very node published (one way home for all).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from roomful.model.client import ClientInfo
from roomful.model.order import Answer, Order, Survey
from roomful.model.publication import Draft, HistoryFilter, Look, Page, Position, Publication, Published, Retention


class Sink(Protocol):
    """What an engine calls. Synchronous; never raises; called on the node's event loop."""

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        """A publication of a channel this node is subscribed to; in a stream, offsets come in order.

        epoch: "" for a channel without history.
        """
        ...

    def on_join(self, channel: str, info: ClientInfo) -> None: ...

    def on_leave(self, channel: str, info: ClientInfo) -> None: ...

    def on_order(self, order: Order) -> None: ...

    def on_survey(self, survey: Survey) -> None:
        """A node, perhaps this one, asks all nodes."""
        ...

    def on_answer(self, answer: Answer) -> None:
        """A node, perhaps this one, answers a survey of this node."""
        ...

    def on_lapse(self, channels: Collection[str]) -> None:
        """For a while these channels were not heard, and now they are again: what was published to them meanwhile may
        never come. Compare with the log; where there is none, say so."""
        ...


class Broker(Protocol):
    """Channels, their streams, and who hears them.

    Delivery is at most once while live; the stream is the truth, and whoever has a position can prove from it what was
    missed. Per channel, all nodes see publications in one order, the order of their offsets.
    """

    async def subscribe(self, channel: str) -> None:
        """After this returns, everything published to the channel reaches the sink. Idempotent."""
        ...

    async def unsubscribe(self, channel: str) -> None:
        """The node no longer cares. A publication that is under way may still reach the sink. Idempotent."""
        ...

    async def publish(self, channel: str, draft: Draft, keep: Retention) -> Published:
        """Numbers the draft, appends it to the stream (if `keep` keeps one), trims, and sends it to all subscribed
        nodes: one atomic step for each channel. When this returns a position, the log has it.

        A `draft.key` seen before in this channel publishes nothing and answers with the first result. Raises
        RoomfulError when the engine can't say within its deadline whether it was published.
        """
        ...

    async def publish_join(self, channel: str, info: ClientInfo) -> None:
        """Best effort, never stored."""
        ...

    async def publish_leave(self, channel: str, info: ClientInfo) -> None:
        """Best effort, never stored."""
        ...

    async def history(self, channel: str, wanted: HistoryFilter, keep: Retention) -> Page:
        """Publications and the stream's head, from one read. Creates the stream (and so its epoch) if there is none:
        a channel with history has a position from the first look on. Renews the life of the stream's meta."""
        ...

    async def heads(self, looks: Sequence[Look]) -> list[Position]:
        """The head of each stream, in the order of the looks, as `history` would give it; in as few round trips as
        can be. A stream of the same epoch that is shorter than a node knew it has lost its end: it begins a new epoch.
        """
        ...

    async def remove_history(self, channel: str) -> None:
        """Drops the publications; epoch and top offset stay."""
        ...


class PresenceStore(Protocol):
    """Which clients are in which channel. Entries live by the lease of the node that added them.

    The engine renews its node's lease. Of a node that died the others announce one leave for each entry; a node that
    finds its lease lost adds its entries again and announces a join for each.
    """

    async def add(self, channel: str, info: ClientInfo) -> None:
        """Adds or replaces the entry of `info.client`."""
        ...

    async def remove(self, channel: str, client: str) -> None:
        """Removes the entry; nothing happens if there is none."""
        ...

    async def members(self, channel: str) -> Mapping[str, ClientInfo]:
        """By client id; a snapshot."""
        ...

    async def counts(self, channel: str) -> tuple[int, int]:
        """How many clients, and how many distinct users (all anonymous ones count as one)."""
        ...


class Control(Protocol):
    """What nodes tell and ask each other, this one included."""

    async def send(self, order: Order) -> None:
        """Every node's sink gets it once, soon; also those that don't hear at the moment, as soon as they do."""
        ...

    async def ask(self, survey: Survey) -> None:
        """Every node that hears at the moment gets it once. Not kept for the others: they are missed by name."""
        ...

    async def answer(self, node: str, answer: Answer) -> None:
        """That node gets it; nothing happens if it is gone."""
        ...

    async def nodes(self) -> Collection[str]:
        """The ids of the nodes that live, this one among them. One that crashed counts until its lease ends."""
        ...


class Engine(Protocol):
    """The three together, and their life."""

    @property
    def broker(self) -> Broker: ...

    @property
    def presence(self) -> PresenceStore: ...

    @property
    def control(self) -> Control: ...

    @property
    def ready(self) -> bool:
        """Whether it hears and can publish. False at most 10 s after that has ceased, however it did."""
        ...

    @property
    def alone(self) -> bool:
        """Whether no other node can ever be on it: what only other nodes would look at needn't be told to it."""
        ...

    async def start(self, sink: Sink, node: str) -> None:
        """Connects. node: this node's id. Raises RoomfulError with one clear sentence when it can't."""
        ...

    async def stop(self) -> None:
        """Disconnects, and drops what belongs to this node. Idempotent."""
        ...
