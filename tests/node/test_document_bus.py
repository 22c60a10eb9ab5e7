"""Documents on several nodes, which share a store and an engine, in one process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pycrdt import Doc, Text

from roomful.model.channel import ChannelOptions
from roomful.model.document import AwarenessEntry
from roomful.model.errors import InternalError, NotAvailable, UnknownChannel
from roomful.model.publication import Draft, Retention
from roomful.node import documents
from roomful.node.document_bus import PREFIX, DocumentBus, Stored, channel_of
from roomful.node.document_options import DocumentOptions
from roomful.node.documents import Documents
from roomful.node.hooks import Hooks
from roomful.node.live_document import LiveDocument
from roomful.node.namespaces import Namespaces
from roomful.node.node import Node
from roomful.node.stats import Stats
from roomful.node.wheel import Wheel
from roomful.stores.memory import MemoryStore
from roomful.testing.clock import VirtualClock
from tests.node.test_live_document import Member
from tests.testing.test_engine_contract import Fanout, SharedEngine

_numbers = itertools.count(1)


class Peer:
    """One node of several. deaf: the engine brings it nothing."""

    def __init__(self, fanout: Fanout, clock: VirtualClock, store: MemoryStore) -> None:
        number = next(_numbers)
        self.engine = SharedEngine(fanout)
        self.clock = clock
        self.node = Node(
            id=f"node-{number}",
            version="test",
            engine=self.engine,
            namespaces=Namespaces({}, 255),
            hooks=Hooks(Stats()),
            stats=Stats(),
            wheel=Wheel(clock),
        )
        self.documents = Documents(
            store,
            DocumentOptions(),
            self.node.wheel,
            self.node.hooks,
            DocumentBus(self.node, alone=False),
            new_client_id=lambda: 9_000_000 + next(_numbers),
        )
        self.deaf = False
        take = self.node.on_publication
        self.node.on_publication = (  # type: ignore[method-assign]  # the link that breaks
            lambda channel, publication, epoch: None if self.deaf else take(channel, publication, epoch)
        )

    async def open(self, name: str = "notes") -> Typist:
        live = await self.documents.open(name)
        await settle()
        return Typist(live, self.clock)


class Typist:
    def __init__(self, live: LiveDocument, clock: VirtualClock) -> None:
        self.live = live
        self.clock = clock
        self.doc: Doc[Any] = Doc()
        self.member = Member()
        live.awareness.join(self.member, "", clock())
        live.enter(self.member)
        live.listen(self.member)

    async def type(self, text: str) -> None:
        self.doc.apply_update(self.live.room.diff(self.doc.get_state()))
        before = self.doc.get_state()
        content = self.doc.get("t", type=Text)
        content += text
        self.live.edit(self.doc.get_update(before), None, "", None, lambda _: None)
        await self.live.settled()
        await settle()

    def show(self, clock: int) -> None:
        entry = AwarenessEntry(self.doc.client_id, clock, b"{}")
        self.live.announce(self.live.awareness.receive(self.member, [entry], self.clock()))

    @property
    def text(self) -> str:
        return str(self.live.room.live().get("t", type=Text))

    @property
    def sees(self) -> set[int]:
        return {entry.client for entry in self.live.awareness.entries()}


async def settle() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


class Cluster:
    def __init__(self) -> None:
        self.clock = VirtualClock(1000.0)
        self.fanout = Fanout(self.clock)
        self.store = MemoryStore()
        self.peers: list[Peer] = []

    async def peer(self, store: MemoryStore | None = None) -> Peer:
        peer = Peer(self.fanout, self.clock, store or self.store)
        await peer.node.start()
        await peer.documents.start()
        self.peers.append(peer)
        return peer

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1.0)
            for peer in self.peers:
                peer.node.wheel.advance()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    yield cluster
    for peer in cluster.peers:
        await peer.documents.stop()
        await peer.node.stop()


async def test_edits_reach_the_other_node(cluster: Cluster) -> None:
    here, there = await (await cluster.peer()).open(), await (await cluster.peer()).open()
    await here.type("hello")
    assert there.text == "hello"
    assert there.member.got[-1].endswith(b"hello\x00"), "its clients are sent it"
    await there.type(" world")
    assert here.text == "hello world"
    assert here.live.seq == there.live.seq == (await cluster.store.heads(["notes"]))["notes"]


async def test_edits_on_both_nodes_at_once(cluster: Cluster) -> None:
    here, there = await (await cluster.peer()).open(), await (await cluster.peer()).open()
    for number in range(20):
        await asyncio.gather(here.type(f"a{number} "), there.type(f"b{number} "))
    await settle()
    assert here.text == there.text
    assert len(here.text.split()) == 40


async def test_a_node_that_heard_nothing_catches_up_at_the_next_message(cluster: Cluster) -> None:
    deaf = await cluster.peer()
    here, there = await (await cluster.peer()).open(), await deaf.open()
    deaf.deaf = True
    for number in range(5):
        await here.type(f"{number} ")
    assert there.text == ""
    deaf.deaf = False
    await here.type("!")
    assert there.text == "0 1 2 3 4 !"


async def test_a_lapse_of_the_engine_is_made_good_for_at_once(cluster: Cluster) -> None:
    deaf = await cluster.peer()
    here, there = await (await cluster.peer()).open(), await deaf.open()
    deaf.deaf = True
    await here.type("hello")
    deaf.node.on_lapse([channel_of("notes")])
    await settle()
    assert there.text == "hello"


async def test_entries_that_were_compacted_away_meanwhile(cluster: Cluster) -> None:
    deaf = await cluster.peer()
    typing = await cluster.peer()
    here, there = await typing.open(), await deaf.open()
    deaf.deaf = True
    for number in range(5):
        await here.type(f"{number} ")
    await typing.documents._caretakers["notes"]._compact()
    await here.type("!")
    deaf.deaf = False
    deaf.node.on_lapse([channel_of("notes")])
    await settle()
    assert there.text == "0 1 2 3 4 !"
    assert there.live.seq == here.live.seq


async def test_large_updates_are_read_from_the_log(cluster: Cluster) -> None:
    here, there = await (await cluster.peer()).open(), await (await cluster.peer()).open()
    await here.type("x" * 100_000)
    assert len(there.text) == 100_000


async def test_people_on_other_nodes_are_seen_and_gone_when_they_go(cluster: Cluster) -> None:
    first, second = await cluster.peer(), await cluster.peer()
    here, there = await first.open(), await second.open()
    here.show(1)
    await settle()
    assert there.sees == {here.doc.client_id}
    late = await (await cluster.peer()).open()
    assert late.sees == {here.doc.client_id}, "who comes later asks who is there"
    cluster.clock.advance(1.0)
    here.live.leave(here.member, cluster.clock())
    await settle()
    assert there.sees == late.sees == set()


async def test_people_of_a_node_that_crashed_are_gone_in_two_heartbeats(cluster: Cluster) -> None:
    crashing, other = await cluster.peer(), await cluster.peer()
    here, there = await crashing.open(), await other.open()
    here.show(1)
    there.show(1)
    await settle()
    cluster.peers.remove(crashing)
    for clock in range(2, 5):
        cluster.pass_time(12)
        there.show(clock)
        await settle()
    assert there.sees == {there.doc.client_id}
    await crashing.documents.stop()
    await crashing.node.stop()


async def test_a_document_that_was_left_is_heard_no_more_and_may_come_back_at_once(cluster: Cluster) -> None:
    peer = await cluster.peer()
    other = await (await cluster.peer()).open()
    for number in range(3):
        typist = await peer.open()
        assert len(typist.text.split()) == number
        typist.live.leave(typist.member, cluster.clock())
        peer.documents.forget(typist.live)  # and at once …
        again = await peer.documents.open("notes")
        await other.type(f"{number} ")
        await settle()
        assert len(str(again.room.live().get("t", type=Text)).split()) == number + 1
        again.release(cluster.clock())
        peer.documents.forget(again)
        await settle()
    assert peer.engine.channels == set()


async def test_a_node_with_another_store_gives_way(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    peer = await cluster.peer()
    here = await peer.open()
    here.show(1)
    stranger = await cluster.peer(MemoryStore())
    with pytest.raises(NotAvailable, match="another document store"):
        await stranger.open()
    with pytest.raises(NotAvailable, match="another document store"):
        await stranger.open("other")
    assert "another document store" in stranger.documents.trouble
    assert peer.documents.trouble == ""
    await here.type("we go on")
    assert not here.live.failed
    assert "node %s has another document store; documents are not available on this node" in {
        record.msg for record in caplog.records
    }


async def test_a_message_that_cannot_be_read_costs_nothing(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    peer = await cluster.peer()
    here = await peer.open()
    await peer.engine.broker.publish(channel_of("notes"), Draft(b"\xff"), Retention())
    await here.type("hello")
    assert here.text == "hello"
    assert "a message about document %r can't be read: %s" in {record.msg for record in caplog.records}


async def test_an_entry_that_cannot_be_read_costs_nothing(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    peer, other = await cluster.peer(), await cluster.peer()
    here = await peer.open()
    other.documents.bus.send("notes", Stored(other.node.id, cluster.store.id, here.live.seq + 1, 9, [b"\xff"]))
    await settle()
    assert [record.msg for record in caplog.records] == ["document %r: another node has stored what can't be read: %s"]
    await here.type("hello")
    assert (here.text, here.live.failed) == ("hello", False)


async def test_who_was_not_told_reads_it_in_the_log(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    typing = await cluster.peer()
    here, there = await typing.open(), await (await cluster.peer()).open()
    with monkeypatch.context() as broken:
        broken.setattr(typing.node, "publish_internal", unavailable)
        await here.type("hello")
    assert {record.msg for record in caplog.records} == {"other nodes were not told about document %r: %s"}
    assert (here.text, there.text) == ("hello", "")
    await here.type("!")
    assert there.text == "hello!"


async def unavailable(*_: object) -> Any:
    raise InternalError("it is gone")


async def test_heads_that_cannot_be_read_are_asked_for_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(documents, "LOOK_S", 0.0)  # at every turn of the loop
    deaf = await cluster.peer()
    here, there = await (await cluster.peer()).open(), await deaf.open()
    deaf.deaf = True
    with monkeypatch.context() as broken:
        broken.setattr(cluster.store, "heads", unavailable)
        await here.type("hello")
    assert {record.msg for record in caplog.records} == {"the heads of the documents could not be read: %s"}
    assert there.text == ""
    await settle()
    assert there.text == "hello"


async def test_a_document_is_closed_though_its_channel_cannot_be_left(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await cluster.peer()
    typist = await peer.open()
    await typist.type("hello")
    typist.live.leave(typist.member, cluster.clock())
    with monkeypatch.context() as broken:
        broken.setattr(peer.node, "untap", unavailable)
        peer.documents.forget(typist.live)
        await settle()
    assert [record.msg for record in caplog.records] == ["a channel of a document that is closed could not be left: %s"]
    assert len(peer.documents) == 0
    assert (await peer.open()).text == "hello"


def test_no_client_reaches_these_channels() -> None:
    channel = channel_of("notes")
    assert channel.startswith(PREFIX)
    assert channel.isascii()
    assert len(channel_of("日本" * 100)) == len(channel) < 64
    for others in (None, ChannelOptions(subscribe="client")):  # --dev opens every namespace that a client could name
        with pytest.raises(UnknownChannel):
            Namespaces({}, 255, others=others).of(channel)
