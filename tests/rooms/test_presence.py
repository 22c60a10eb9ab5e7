from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from roomful.model.client import ClientInfo
from roomful.rooms.presence import Left, Presence

NODES = ("n1", "n2", "n3")
CHANNELS = ("a", "b")

infos = st.builds(
    ClientInfo, user=st.sampled_from(["", "ann", "bob"]), client=st.sampled_from(["c1", "c2", "c3", "c4"])
)


class PresenceMachine(RuleBasedStateMachine):
    """Presence against one flat table of entries."""

    def __init__(self) -> None:
        super().__init__()
        self.presence = Presence()
        self.now = 0.0
        self.leases: dict[str, float] = {}
        self.entries: dict[tuple[str, str], tuple[ClientInfo, str]] = {}

    def take_out(self, nodes: set[str]) -> list[Left]:
        gone = [(key, info) for key, (info, node) in self.entries.items() if node in nodes]
        for key, _ in gone:
            del self.entries[key]
        return [(channel, info) for (channel, _), info in gone]

    @rule(node=st.sampled_from(NODES), seconds=st.sampled_from([1.0, 10.0]))
    def renew(self, node: str, seconds: float) -> None:
        assert self.presence.renew(node, self.now + seconds) == (node in self.leases)
        self.leases[node] = self.now + seconds

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), channel=st.sampled_from(CHANNELS), info=infos)
    def add(self, data: st.DataObject, channel: str, info: ClientInfo) -> None:
        node = data.draw(st.sampled_from(sorted(self.leases)))
        before = self.entries.pop((channel, info.client), None)
        assert self.presence.add(channel, info, node) == (before and before[0])
        self.entries[channel, info.client] = (info, node)

    @rule(channel=st.sampled_from(CHANNELS), client=st.sampled_from(["c1", "c2", "c3"]))
    def remove(self, channel: str, client: str) -> None:
        before = self.entries.pop((channel, client), None)
        assert self.presence.remove(channel, client) == (before and before[0])

    @rule(node=st.sampled_from(NODES))
    def drop(self, node: str) -> None:
        self.leases.pop(node, None)
        assert sorted(self.presence.drop(node), key=repr) == sorted(self.take_out({node}), key=repr)

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 20.0]))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        ended = {node for node, until in self.leases.items() if until <= self.now}
        self.leases = {node: until for node, until in self.leases.items() if node not in ended}
        assert sorted(self.presence.expire(self.now), key=repr) == sorted(self.take_out(ended), key=repr)

    @invariant()
    def each_channel_has_its_members(self) -> None:
        for channel in CHANNELS:
            members = {client: info for (name, client), (info, _) in self.entries.items() if name == channel}
            assert self.presence.members(channel) == members
            assert self.presence.counts(channel) == (len(members), len({info.user for info in members.values()}))

    @invariant()
    def nothing_is_kept_for_empty_channels(self) -> None:
        assert len(self.presence) == len({(channel, node) for (channel, _), (_, node) in self.entries.items()})


TestPresenceMachine = PresenceMachine.TestCase
PresenceMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_a_node_needs_a_lease() -> None:
    with pytest.raises(KeyError):
        Presence().add("a", ClientInfo("ann", "c1"), "n1")


def test_a_failed_add_changes_nothing() -> None:
    presence = Presence()
    presence.renew("n1", 1.0)
    presence.add("a", ClientInfo("ann", "c1"), "n1")
    with pytest.raises(KeyError):
        presence.add("a", ClientInfo("bob", "c1"), "n2")
    assert presence.members("a") == {"c1": ClientInfo("ann", "c1")}


def test_a_lost_lease_is_noticed() -> None:
    presence = Presence()
    assert not presence.renew("n1", 10.0)
    assert presence.renew("n1", 20.0)
    presence.expire(20.0)
    assert not presence.renew("n1", 30.0)


def test_members_are_a_copy() -> None:
    presence = Presence()
    presence.renew("n1", 10.0)
    presence.add("a", ClientInfo("ann", "c1"), "n1")
    presence.members("a").clear()
    assert presence.counts("a") == (1, 1)
