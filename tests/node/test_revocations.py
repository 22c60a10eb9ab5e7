"""What is revoked, kept in the engine: for nodes that start later, through a log that was lost, while deaf."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from roomful.engines.memory import MemoryEngine
from roomful.model.errors import BadRequest, InternalError, LimitExceeded
from roomful.model.order import RevokeOrder
from roomful.model.publication import Draft
from roomful.node.revocations import CHANNEL, RevocationOptions, Revocations
from roomful.node.wheel import Wheel
from roomful.rooms.revoked import Revoked
from roomful.testing.clock import VirtualClock

START = 1_000.0


class Engine:
    """Several nodes on one memory broker; orders reach the nodes that hear."""

    def __init__(self, clock: VirtualClock) -> None:
        self.memory = MemoryEngine(clock=clock)
        self.broker = self.memory.broker
        self.presence = self.memory.presence
        self.control = self
        self.nodes_: list[Revocations] = []
        self.ready = True

    async def send(self, order: RevokeOrder) -> None:
        for node in self.nodes_:
            node.on_order(order)


class Deaf:
    """One node's view of that engine while it hears nothing."""

    def __init__(self, engine: Engine) -> None:
        self.broker: Any = engine.broker
        self.control = engine
        self.ready = True


class Member:
    def __init__(self, client: str, validated_at: float, secret: str = "", tokens: Collection[str] = ()) -> None:
        self.client, self.user, self.secret = client, "ann", secret
        self.validated_at = validated_at
        self.tokens = tokens
        self.reviews: list[Collection[str]] = []
        self.ended: list[tuple[int, str]] = []

    def review(self, revoked: Revoked, rooms: Collection[str]) -> None:
        self.reviews.append(rooms)

    def end(self, code: int, reason: str) -> None:
        self.ended.append((code, reason))


class Cluster:
    def __init__(self) -> None:
        self.clock = VirtualClock(START)
        self.wheel = Wheel(self.clock)
        self.engine = Engine(self.clock)

    async def node(self, members: Collection[Any] = (), engine: Any = None, **options: Any) -> Revocations:
        node = Revocations(
            engine or self.engine, self.wheel, self.clock, members, RevocationOptions(**{"keep_s": 3600.0, **options})
        )
        await node.start()
        self.engine.nodes_.append(node)
        return node

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            self.wheel.advance()


def said(node: Revocations) -> set[tuple[str, str]]:
    return {(order.kind, order.name) for order in node.revoked}


async def test_27_all_nodes_hear_of_it_and_those_that_start_later(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    cluster = Cluster()
    one, two = await cluster.node(), await cluster.node()
    await one.revoke("user", "ann")
    await two.revoke("token", "7")
    for node in (one, two, await cluster.node()):
        assert said(node) == {("user", "ann"), ("token", "7")}
    assert [(record.msg, record.args) for record in caplog.records] == [
        ("access of a %s was revoked", (kind,)) for kind in ("user", "user", "token", "token")
    ], "a line for each node that heard it, and no name in it"


async def test_27_it_is_over_in_its_time() -> None:
    cluster = Cluster()
    node = await cluster.node()
    await node.revoke("user", "ann")
    await node.revoke("user", "bob", keep_s=60.0)
    cluster.pass_time(95)  # it is looked for every 30 s
    assert said(node) == {("user", "ann")}
    assert said(await cluster.node()) == {("user", "ann")}


async def test_27_however_many_come_the_connections_are_looked_through_once() -> None:
    cluster = Cluster()
    member = Member("1", START)
    node = await cluster.node([member])
    for number in range(50):
        await node.revoke("user", f"user-{number}")
    await node.revoke("room", "chat:1")
    assert member.reviews == []
    cluster.pass_time(0.3)
    assert member.reviews == [{"chat:1"}]
    cluster.pass_time(5)
    assert len(member.reviews) == 1


async def test_27_a_session_takes_its_token_along() -> None:
    cluster = Cluster()
    members = [Member("1", START, "secret", ["t1"]), Member("2", START, "", ["t2"])]
    node = await cluster.node(members)
    await node.revoke("session", "secret")
    cluster.pass_time(0.3)
    assert ("token", "t1") in said(node)
    assert ("token", "t2") not in said(node)
    assert [member.ended for member in members] == [[(4503, "access revoked")], []]


async def test_27_a_session_whose_token_cannot_be_revoked_is_ended_and_it_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Cluster()
    member = Member("1", START, "secret", ["t1"])
    node = await cluster.node([member], max=1)
    await node.revoke("session", "secret")
    cluster.pass_time(0.3)
    assert said(node) == {("session", "secret")}
    assert member.ended == [(4503, "access revoked")]
    assert [record.msg for record in caplog.records] == [
        "the token of a session that was revoked could not be revoked, it may come back: %s"
    ]
    assert "secret" not in caplog.text


async def test_27_what_another_version_has_revoked_hides_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    node = await cluster.node()
    await node.revoke("user", "ann")
    await cluster.engine.broker.publish(CHANNEL, Draft(b"\xc1"), node._retention)
    await node.revoke("user", "bob")
    assert said(await cluster.node()) == {("user", "ann"), ("user", "bob")}
    assert [record.msg for record in caplog.records] == [
        "something was revoked in a way that this version doesn't understand: %s"
    ]


@pytest.mark.parametrize(
    ("kind", "name", "keep_s"),
    [("users", "ann", None), ("user", "", None), ("user", "ann", 0.0), ("user", "ann", -1.0), ("user", "ann", 3601.0)],
)
async def test_what_makes_no_sense(kind: str, name: str, keep_s: float | None) -> None:
    node = await Cluster().node()
    with pytest.raises(BadRequest):
        await node.revoke(kind, name, keep_s)


async def test_27_none_is_forgotten_for_another() -> None:
    cluster = Cluster()
    node = await cluster.node(max=3)
    for user in ("ann", "bob", "cid"):
        await node.revoke("user", user, keep_s=60.0)
    with pytest.raises(LimitExceeded):
        await node.revoke("user", "dan")
    assert said(await cluster.node(max=3)) == {("user", "ann"), ("user", "bob"), ("user", "cid")}
    cluster.pass_time(61)
    await node.revoke("user", "dan")


async def test_27_a_deaf_node_sends_away_who_was_there_and_catches_up(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    deaf, others = Deaf(cluster.engine), await cluster.node()
    members = [Member("1", START)]
    node = await cluster.node(members, deaf, when_deaf="close")
    cluster.engine.nodes_.remove(node)
    cluster.pass_time(5)
    deaf.ready = False
    await others.revoke("user", "ann")
    cluster.pass_time(1.2)
    assert not node.unsure
    cluster.pass_time(2.2)
    late = Member("2", cluster.clock())
    members.append(late)
    assert node.unsure
    assert members[0].ended == [(3011, "force reconnect")]
    deaf.ready = True
    cluster.pass_time(1.2)
    assert not node.unsure
    assert said(node) == {("user", "ann")}
    assert late.ended == []
    assert "the engine is silent, so revocations aren't heard: sending %d clients away" in {
        record.msg for record in caplog.records
    }


async def test_27_a_deaf_node_keeps_its_clients_unless_told_otherwise_and_catches_up() -> None:
    cluster = Cluster()
    deaf, others = Deaf(cluster.engine), await cluster.node()
    member = Member("1", START)
    node = await cluster.node([member], deaf)
    cluster.engine.nodes_.remove(node)
    deaf.ready = False
    await others.revoke("user", "ann")
    cluster.pass_time(60)
    assert not node.unsure
    assert member.ended == []
    deaf.ready = True
    cluster.pass_time(1.5)
    assert said(node) == {("user", "ann")}
    assert len(member.reviews) == 1


async def test_27_it_stays_unsure_until_the_log_was_read(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    deaf = Deaf(cluster.engine)
    node = await cluster.node([], deaf, when_deaf="close")
    deaf.ready = False
    cluster.pass_time(5)

    class Broken:
        async def history(self, *_: Any) -> Any:
            raise InternalError("not yet")

    working, deaf.broker = deaf.broker, Broken()
    deaf.ready = True
    cluster.pass_time(3)
    assert node.unsure
    deaf.broker = working
    cluster.pass_time(1.2)
    assert not node.unsure
    assert "what was revoked meanwhile can't be read yet: %s" in {record.msg for record in caplog.records}


async def test_27_a_log_that_was_lost_is_written_again_by_those_who_know() -> None:
    cluster = Cluster()
    deaf = Deaf(cluster.engine)
    nodes = [await cluster.node([], deaf), await cluster.node([], deaf)]
    await nodes[0].revoke("user", "ann")
    deaf.ready = False
    cluster.pass_time(1)
    cluster.engine.broker.streams.remove(CHANNEL)
    cluster.engine = Engine(cluster.clock)
    deaf.broker = cluster.engine.broker
    deaf.ready = True
    cluster.pass_time(2)
    assert said(await cluster.node()) == {("user", "ann")}
