"""The facade: what it asks of the engine and what the engine reports; draining and stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from roomful.engines.memory import MemoryEngine
from roomful.model.channel import ChannelOptions
from roomful.model.client import ClientInfo
from roomful.model.errors import BadRequest, InternalError, NotAvailable, UnknownChannel
from roomful.model.order import DisconnectOrder, Order, Survey
from roomful.model.publication import Draft, HistoryFilter, Position
from roomful.node import eager
from roomful.node.hooks import Hooks
from roomful.node.namespaces import Namespaces
from roomful.node.node import Node
from roomful.node.stats import Stats
from roomful.node.wheel import Wheel
from roomful.rooms.revoked import Revoked
from roomful.wire.dialect import JSON_BARE
from tests.node.test_hub import Subscriber

NAMESPACES = {
    "default": ChannelOptions(),
    "log": ChannelOptions(history_size=10, history_ttl_s=60),
    "room": ChannelOptions(presence=True, join_leave=True),
}
ANN = ClientInfo("ann", "client-1")


class Member:
    """A session, as far as the node knows it. farewell: what its ending waits for."""

    secret = ""
    tokens = ()
    validated_at = 0.0

    def __init__(self, node: Node, client: str, user: str = "ann", farewell: asyncio.Event | None = None) -> None:
        self.client, self.user = client, user
        self.ended: list[tuple[int, str]] = []
        self.orders: list[Order] = []
        self.said_farewell = False
        self._node = node
        self._farewell = farewell
        node.connections.add(self)
        node.directory.add(self)

    def review(self, revoked: Revoked, rooms: Collection[str]) -> None: ...

    def obey(self, order: Order) -> None:
        self.orders.append(order)

    def end(self, code: int, reason: str) -> None:
        self.ended.append((code, reason))
        self._node.connections.discard(self)
        self._node.directory.remove(self)
        eager.later(self._say_farewell())

    async def _say_farewell(self) -> None:
        await (self._farewell.wait() if self._farewell else asyncio.sleep(0))
        self.said_farewell = True


class Engine(MemoryEngine):
    """Notes whether it was left."""

    stopped = False

    async def stop(self) -> None:
        self.stopped = True
        await super().stop()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    stats = Stats()
    node = Node(
        id="node-1",
        version="1.0",
        engine=Engine(),
        namespaces=Namespaces(NAMESPACES, 255),
        hooks=Hooks(stats),
        stats=stats,
        wheel=Wheel(),
    )
    await node.start()
    yield node
    await node.stop()


# Channels


async def test_a_publication_comes_home(node: Node) -> None:
    subscriber = Subscriber()
    await node.listen("log:1", JSON_BARE, subscriber)
    published = await node.publish("log:1", Draft(b"1"))
    ((publication, epoch, _),) = subscriber.got
    assert published.position == Position(epoch, 1)
    assert (publication.data, node.stats.publications) == (b"1", 1)
    await node.unlisten("log:1", JSON_BARE, subscriber)
    await node.publish("log:1", Draft(b"2"))
    assert len(subscriber.got) == 1
    assert await node.position("log:1") == Position(epoch, 2)


async def test_without_history_there_is_no_position(node: Node) -> None:
    assert (await node.publish("news", Draft(b"1"))).position is None


@pytest.mark.parametrize("tags", [{"a": 1}, {1: "a"}, {"a": None}])
async def test_tags_are_text(node: Node, tags: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="tags"):
        await node.publish("log:1", Draft(b"1", tags=tags))
    assert (await node.position("log:1")).offset == 0


async def test_the_tag_event_may_not_be_one_of_ours(node: Node) -> None:
    with pytest.raises(BadRequest, match="gap"):
        await node.publish("log:1", Draft(b"1", tags={"event": "gap"}))
    assert (await node.position("log:1")).offset == 0


@pytest.mark.parametrize(("channel", "error"), [("nowhere:1", UnknownChannel), ("", BadRequest), ("ü", BadRequest)])
async def test_a_bad_name(node: Node, channel: str, error: type[Exception]) -> None:
    for call in (
        node.publish(channel, Draft(b"1")),
        node.history(channel, HistoryFilter()),
        node.position(channel),
        node.remove_history(channel),
        node.presence(channel),
        node.presence_counts(channel),
    ):
        with pytest.raises(error):
            await call


async def test_what_isnt_kept(node: Node) -> None:
    for call in (
        node.history("news", HistoryFilter()),
        node.position("news"),
        node.remove_history("news"),
        node.presence("news"),
        node.presence_counts("log:1"),
    ):
        with pytest.raises(NotAvailable):
            await call


async def test_presence_and_its_announcements(node: Node) -> None:
    subscriber = Subscriber()
    await node.listen("room:1", JSON_BARE, subscriber)
    await node.appear("room:1", ANN)
    await node.announce_join("room:1", ANN)
    assert await node.presence("room:1") == {"client-1": ANN}
    assert await node.presence_counts("room:1") == (1, 1)
    await node.disappear("room:1", ANN, clean=True)
    await node.announce_leave("room:1", ANN)
    assert await node.presence("room:1") == {}
    assert [client for _, client in subscriber.noticed] == ["client-1", "client-1"]
    await node.unlisten("room:1", JSON_BARE, subscriber)


async def test_an_announcement_that_fails_goes_no_further(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_channel: str, _info: ClientInfo) -> None:
        raise InternalError

    for name in ("publish_join", "publish_leave"):
        monkeypatch.setattr(node.engine.broker, name, fail)
    await node.announce_join("room:1", ANN)
    await node.announce_leave("room:1", ANN)
    assert [record.msg for record in caplog.records] == [
        "the join of a client in %r was not announced: %s",
        "the leave of a client from %r was not announced: %s",
    ]


async def test_listening_that_fails_leaves_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_channel: str) -> None:
        raise InternalError

    monkeypatch.setattr(node.engine.broker, "subscribe", fail)
    with pytest.raises(InternalError):
        await node.listen("log:1", JSON_BARE, Subscriber())
    assert len(node.hub) == 0
    assert node._interest._heard == set()


async def test_in_figures(node: Node) -> None:
    for channel, number in (("log:1", 2), ("log:2", 1), ("news", 1)):
        for _ in range(number):
            await node.listen(channel, JSON_BARE, Subscriber())
    Member(node, "1")
    Member(node, "2")
    info = node.info()
    assert (info.uid, info.version, info.num_clients, info.num_users) == ("node-1", "1.0", 2, 1)
    assert (info.num_channels, info.num_subs) == (3, 4)
    assert info.uptime_s >= 0
    assert node.channels() == {"log:1": 2, "log:2": 1, "news": 1}
    assert node.channels("log:?") == {"log:1": 2, "log:2": 1}


async def test_an_order_reaches_whom_it_means(node: Node) -> None:
    members = [Member(node, str(number), user) for number, user in enumerate(("ann", "bob", "ann"))]
    order = DisconnectOrder("ann")
    await node.order(order)
    assert [member.orders for member in members] == [[order], [], [order]]


# The end


async def test_draining_sends_everybody_away_and_waits_for_their_farewells(node: Node) -> None:
    members = [Member(node, str(number)) for number in range(20)]
    await node.drain(1.0)
    assert all(member.ended == [(3001, "shutdown")] for member in members)
    assert all(member.said_farewell for member in members)
    assert not node.engine.stopped  # type: ignore[attr-defined]


async def test_draining_goes_in_no_order_that_a_client_could_know(node: Node) -> None:
    order: list[str] = []

    class Noting(Member):
        def end(self, code: int, reason: str) -> None:
            order.append(self.client)
            super().end(code, reason)

    clients = [str(number) for number in range(30)]
    for client in clients:
        Noting(node, client)
    await node.drain(0.1)
    assert sorted(order) == sorted(clients)
    assert order != clients


async def test_draining_gives_up_in_time_on_a_farewell_that_never_ends(node: Node) -> None:
    never = asyncio.Event()
    member = Member(node, "1", farewell=never)
    async with asyncio.timeout(5):
        await node.drain(0.05)
    assert not member.said_farewell
    never.set()


async def test_who_comes_while_it_drains_is_sent_away_too(node: Node) -> None:
    class Returning(Member):
        def end(self, code: int, reason: str) -> None:
            super().end(code, reason)
            late.append(Member(node, "late" + self.client))

    late: list[Member] = []
    Returning(node, "1")
    await node.drain(0.5)
    assert [member.ended for member in late] == [[(3001, "shutdown")]]


async def test_a_drain_without_anybody_is_over_at_once(node: Node) -> None:
    async with asyncio.timeout(5):
        await node.drain(3600.0)


async def test_stopping_ends_who_is_left_and_leaves_the_engine_after_their_farewells(node: Node) -> None:
    left: list[bool] = []

    class Noting(Member):
        async def _say_farewell(self) -> None:
            await super()._say_farewell()
            left.append(node.engine.stopped)  # type: ignore[attr-defined]

    members = [Noting(node, str(number)) for number in range(5)]
    await node.stop()
    assert [member.ended for member in members] == [[(3001, "shutdown")]] * 5
    assert left == [False] * 5
    assert node.engine.stopped  # type: ignore[attr-defined]


async def test_stopping_gives_up_in_time_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roomful.node.node.FAREWELL_S", 0.05)
    never = asyncio.Event()
    Member(node, "1", farewell=never)
    async with asyncio.timeout(5):
        await node.stop()
    assert node.engine.stopped  # type: ignore[attr-defined]
    never.set()


async def test_29_all_nodes_answer_and_this_one_is_among_them(node: Node) -> None:
    await node.listen("log:1", JSON_BARE, Subscriber())
    await node.listen("news", JSON_BARE, Subscriber())
    in_use = await node.all_channels("log:*")
    assert (in_use.channels, in_use.missing, in_use.partial) == ({"log:1": 1}, [], False)
    nodes = await node.all_info()
    assert [each.uid for each in nodes.nodes] == ["node-1"]
    assert not nodes.partial


async def test_29_a_question_that_this_version_doesnt_know_stays_unanswered(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.on_survey(Survey("1", "node-2", "weather"))
    assert [(record.msg, record.args) for record in caplog.records] == [
        ("node %s asks for %r, which this version doesn't know", ("node-2", "weather"))
    ]


async def test_29_an_answer_that_cant_be_sent_is_logged(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise InternalError("the broker is gone")

    monkeypatch.setattr(node.engine.control, "answer", fail)
    node.on_survey(Survey("1", "node-2", "info"))
    assert [record.msg for record in caplog.records] == ["node %s was not answered: %s"]
    assert "node node-2 was not answered: the broker is gone" in caplog.text
