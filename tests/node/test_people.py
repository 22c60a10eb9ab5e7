"""What subscribers of `people:` are shown of three nodes' connections, through crashes, stops and lost messages."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.model.client import ClientInfo
from roomful.model.errors import InternalError, NotAvailable
from roomful.model.publication import Draft, Position, Publication
from roomful.node.lives import SETTLE_S
from roomful.node.people_options import PeopleOptions
from roomful.rooms.attendance import GRACE_S
from roomful.rooms.people import Custom
from roomful.rooms.recovery import Gap
from tests.node.people_world import CHANNEL, KEEP, LEASE_S, ROOM, WALL_S, PeopleWorld, Side, Viewer

FOUND_S = 3.0
"""Survivors have announced a death so long after the lease."""


@pytest.fixture
async def world() -> AsyncIterator[PeopleWorld]:
    world = PeopleWorld("a", "b", "c")
    yield world
    for side in world.sides.values():
        side.up, side.stopped = True, False
        await side.people.stop()


async def test_19_tabs_and_devices_on_all_nodes_are_one_person(world: PeopleWorld) -> None:
    viewer = await world["c"].watch()
    tab, phone = world["a"].join("a1"), world["b"].join("a2")
    await world.pass_time(1.0)
    assert viewer.told == [("ann", "online")]
    assert viewer.counts == (1, 0)
    world["a"].leave(tab)
    await world.pass_time(1.0)
    assert viewer.told == [("ann", "online")]
    world["b"].leave(phone)
    await world.pass_time(1.0)
    assert viewer.told == [("ann", "online"), ("ann", "gone")]
    assert viewer.counts == (0, 0)


async def test_who_comes_gets_the_whole_state_and_what_follows_it(world: PeopleWorld) -> None:
    world["a"].join("a1", info=b'{"name":"Ann"}')
    await world.pass_time(1.0)
    early, late = await world["b"].watch(), await world["c"].watch()
    for viewer in (early, late):
        assert viewer.people["ann"]["info"] == {"name": "Ann"}
        assert viewer.people["ann"]["since"] >= WALL_S
    world["c"].join("b1", "bob")
    await world.pass_time(1.0)
    assert early.told == late.told == [("bob", "online")]
    assert early.offset == late.offset
    assert await world["a"].snapshot() == {"ann": "online", "bob": "online"}  # without anybody who listens there


async def test_19_a_lost_person_is_away_at_once_and_gone_with_one_leave_after_the_grace(world: PeopleWorld) -> None:
    viewer, ann = await world["b"].watch(), world["a"].join("a1")
    await world.pass_time(1.0)
    world["a"].leave(ann, clean=False)
    await world.pass_time(1.5)
    assert viewer.statuses == {"ann": "away"}
    assert viewer.people["ann"]["last_seen"] == pytest.approx(WALL_S + 1_001.0, abs=0.5)
    await world.pass_time(GRACE_S - 2.0)
    assert viewer.statuses == {"ann": "away"}
    await world.pass_time(1.0)
    assert viewer.told == [("ann", "online"), ("ann", "away"), ("ann", "gone")]


async def test_19_a_crashed_nodes_people_are_away_after_the_lease_and_leave_once(world: PeopleWorld) -> None:
    viewers = [await world["b"].watch(), await world["c"].watch()]
    for user in ("ann", "bob"):
        world["a"].join(f"{user}-a", user)
    world["b"].join("bob-b", "bob")
    world["c"].join("cid-c", "cid")
    await world.pass_time(1.0)
    world["a"].stopped = True
    await world.pass_time(LEASE_S + FOUND_S)
    for viewer in viewers:
        assert viewer.statuses == {"ann": "away", "bob": "online", "cid": "online"}
    await world.pass_time(GRACE_S - LEASE_S)
    for viewer in viewers:
        assert viewer.statuses == {"bob": "online", "cid": "online"}
        assert viewer.told[3:] == [("ann", "away"), ("ann", "gone")]
    assert await world["b"].snapshot() == {"bob": "online", "cid": "online"}


async def test_19_a_survivor_that_nobody_watches_through_leaves_it_to_the_next(world: PeopleWorld) -> None:
    world["a"].join("a1")
    world["b"].join("b1", "bob")
    viewer = await world["c"].watch()
    await world.pass_time(1.0)
    world["a"].stopped = True
    await world.pass_time(LEASE_S + FOUND_S + 1.0)
    assert viewer.statuses == {"ann": "away", "bob": "online"}


@pytest.mark.parametrize("stopped_s", [LEASE_S + 5.0, GRACE_S + 20.0])
async def test_19_a_stopped_and_continued_node_resurrects_nobody(world: PeopleWorld, stopped_s: float) -> None:
    viewer = await world["b"].watch()
    infos = [world["a"].join(f"{user}-a", user) for user in ("ann", "bob")]
    world["b"].join("bob-b", "bob")
    await world.pass_time(1.0)
    world["a"].stopped = True
    await world.pass_time(stopped_s)
    told = list(viewer.told)
    world["a"].stopped = False
    world["a"].people.lives.notice(world.clock())  # whatever comes first looks at the clock first
    for info in infos:  # both clients had gone elsewhere, which it finds now
        world["a"].leave(info, clean=False)
    await world.pass_time(0.5)
    assert (await world["c"].snapshot()).get("ann") in (None, "away")  # a new look finds nobody again, either
    await world.pass_time(GRACE_S + 5.0)
    assert viewer.told == [*told, ("ann", "gone")] if ("ann", "gone") not in told else told
    assert viewer.statuses == {"bob": "online"}
    assert await world["c"].snapshot() == {"bob": "online"}


async def test_19_who_is_still_on_a_continued_node_comes_back_with_it(world: PeopleWorld) -> None:
    viewer = await world["b"].watch()
    world["a"].join("a1")
    await world.pass_time(1.0)
    world["a"].stopped = True
    await world.pass_time(GRACE_S + 5.0)
    assert viewer.told[-1] == ("ann", "gone")
    world["a"].stopped = False
    await world.pass_time(SETTLE_S + 3.0)
    assert viewer.statuses == {"ann": "online"}
    assert await world["c"].snapshot() == {"ann": "online"}


async def test_a_node_that_was_cut_off_tells_its_people_anew(
    world: PeopleWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    viewer, gone = await world["b"].watch(), world["a"].join("b1", "bob")
    world["a"].join("a1")
    await world.pass_time(1.0)
    world["a"].up = False
    world["a"].leave(gone)
    await world.pass_time(LEASE_S + FOUND_S)
    assert viewer.statuses == {"ann": "away", "bob": "away"}
    world["a"].up = True
    await world.pass_time(SETTLE_S + 3.0)
    assert viewer.statuses == {"ann": "online", "bob": "away"}
    await world.pass_time(GRACE_S)
    assert viewer.statuses == {"ann": "online"}
    templates = [record.msg for record in caplog.records]
    assert templates.count("nobody says which nodes live: %s") == 1
    assert templates.count("who is in %r was not told yet: %s") == 1
    assert templates.count("node %s is dead: %d people of it were in %r") == 1
    assert "node a is dead: 2 people of it were in 'chat:1'" in caplog.text


async def test_19_a_node_that_was_taken_for_dead_without_its_notice_is_heard_again(
    world: PeopleWorld, caplog: pytest.LogCaptureFixture
) -> None:
    viewers = [await world["b"].watch(), await world["c"].watch()]
    world["a"].join("a1")
    await world.pass_time(1.0)
    world.unseen = {"a"}
    await world.pass_time(3.0)
    world.unseen = set()
    await world.pass_time(2.0)
    world["a"].join("b1", "bob")
    await world.pass_time(2.0)
    for viewer in viewers:
        assert viewer.statuses == {"ann": "online", "bob": "online"}
        assert ("ann", "gone") not in viewer.told
    assert "this node was taken for dead: its people are told anew" in caplog.text
    await world.pass_time(GRACE_S)
    assert viewers[0].statuses == {"ann": "online", "bob": "online"}


async def test_a_node_is_not_buried_before_all_were_told(world: PeopleWorld, caplog: pytest.LogCaptureFixture) -> None:
    viewer = await world["b"].watch()
    world["a"].join("a1")
    await world.pass_time(1.0)
    send, world["b"].send = world["b"].send, failing  # type: ignore[method-assign]  # for a moment
    world["a"].stopped = True
    await world.pass_time(LEASE_S + FOUND_S)
    assert {(record.msg, record.getMessage()) for record in caplog.records} == {
        ("node %s can't be buried yet: %s", "node a can't be buried yet: nobody takes it")
    }
    assert viewer.statuses == {"ann": "online"}
    world["b"].send = send  # type: ignore[method-assign]
    await world.pass_time(2.0)
    assert viewer.statuses == {"ann": "away"}


async def failing(order: object) -> None:
    raise InternalError("nobody takes it")


async def test_what_the_engine_does_not_take_is_told_later(world: PeopleWorld) -> None:
    viewer, ann = await world["b"].watch(), world["a"].join("a1")
    await world.pass_time(1.0)
    world["a"].up = False
    world["a"].leave(ann)
    await world.pass_time(3.0)
    assert viewer.statuses == {"ann": "online"}
    world["a"].up = True
    await world.pass_time(2.0)
    assert viewer.told == [("ann", "online"), ("ann", "gone")]
    assert await world["c"].snapshot() == {}


async def test_a_node_that_stops_leaves_its_people_away(world: PeopleWorld) -> None:
    viewer, ann = await world["b"].watch(), world["a"].join("a1")
    await world.pass_time(1.0)
    world["a"].leave(ann, clean=False)
    await world["a"].people.stop()
    world.presence.drop("a")
    world["a"].stopped = True
    await world.settle()
    assert viewer.statuses == {"ann": "away"}
    await world.pass_time(GRACE_S - 5.0)
    assert viewer.statuses == {"ann": "away"}
    await world.pass_time(10.0)
    assert viewer.told == [("ann", "online"), ("ann", "away"), ("ann", "gone")]


async def test_a_hole_in_what_is_heard_ends_in_a_new_view(world: PeopleWorld) -> None:
    viewer = await world["b"].watch()
    world["b"].deaf = True
    world["a"].join("a1")
    await world.pass_time(1.0)
    world["b"].deaf = False
    world["a"].join("b1", "bob")
    await world.pass_time(1.0)
    assert (viewer.missed, viewer.told) == (1, [])
    await world["b"].watch()
    assert viewer.statuses == {"ann": "online", "bob": "online"}
    world["b"].facets.miss(CHANNEL, Position("e", 9), Gap.TRIMMED)
    assert viewer.missed == 2
    await world["b"].watch()
    assert viewer.statuses == {"ann": "online", "bob": "online"}


async def test_what_comes_while_a_view_is_read_is_put_on_top(world: PeopleWorld) -> None:
    world["a"].join("a1")
    await world.pass_time(1.0)
    world.slow = True
    for number in range(6):
        world["a"].join(f"b{number}", f"bob{number}")
        if number == 3:
            viewer = await world["b"].watch()
        await world.pass_time(0.25)
    await world.pass_time(1.0)
    assert viewer.statuses == {"ann": "online"} | {f"bob{number}": "online" for number in range(6)}


async def test_two_who_come_at_once_read_one_view(world: PeopleWorld) -> None:
    await world["b"].watch()
    reads = len(world["b"].people._rooms)
    await world["b"].watch(Viewer())
    assert len(world["b"].people._rooms) == reads == 1
    world["b"].unwatch()
    assert len(world["b"].people._rooms) == 0


async def test_a_view_that_can_not_be_read_is_an_error_and_no_empty_room(world: PeopleWorld) -> None:
    world["b"].up = False
    with pytest.raises(InternalError):
        await world["b"].watch()
    world["b"].up = True
    await world["b"].watch()


async def test_what_a_person_says_of_itself_stays_where_it_goes(world: PeopleWorld) -> None:
    viewer, tab = await world["b"].watch(), world["a"].join("a1")
    await world.pass_time(1.0)
    for side in world.sides.values():
        side.people.customize(ROOM, "ann", Custom(b'"busy"', WALL_S + 1))
    await world.pass_time(1.0)
    assert viewer.people["ann"]["custom"] == "busy"
    world["b"].join("a2")
    await world.pass_time(1.0)
    world["a"].leave(tab)
    await world.pass_time(1.0)
    assert viewer.people["ann"]["custom"] == "busy"
    world["b"].people.customize(ROOM, "ann", Custom(b"null", WALL_S + 2))
    await world.pass_time(1.0)
    assert "custom" not in viewer.people["ann"]


async def test_19_many_joins_are_few_publications_and_a_bounded_state() -> None:
    world = PeopleWorld("a", "b", "c")
    viewer = await world["c"].watch()
    for step in range(80):  # twenty seconds
        for number in range(25):
            world["a" if number % 2 else "b"].join(f"c{step}-{number}", f"u{step}-{number}")
        await world.pass_time(0.25)
    await world.pass_time(2.0)
    assert viewer.counts == (2_000, 0)
    assert len(viewer.people) == PeopleOptions().shown_max
    assert viewer.batches <= 2 * 25, "two nodes, one batch a second each, but for the beginning"
    assert world["a"].stats.people_changes + world["b"].stats.people_changes == 2_000
    state = await world["c"].people.snapshot(ROOM)
    assert len(state.data) < 20_000
    assert (await world["c"].people.look(ROOM)).online == 2_000
    for side in world.sides.values():
        await side.people.stop()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_19_whatever_happens_to_nodes_and_links_all_see_who_is_there_in_the_end(seed: int) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        world = PeopleWorld("a", "b", "c")
        world.slow = chance.random() < 0.5
        there: dict[str, list[ClientInfo]] = {name: [] for name in world.sides}
        for side in world.sides.values():
            await side.watch()
        for number in range(30):
            side = world[chance.choice("abc")]
            await happen(chance, side, there[side.name], number)
            await world.pass_time(chance.choice([0.25, 0.5, 1.0, 2.0, 20.0, 50.0]))
            for each in world.sides.values():
                await each.repair()
        for side in world.sides.values():
            side.up, side.stopped, side.deaf = True, False, False
        for side in world.sides.values():
            await side.repair()
        await world.pass_time(LEASE_S + GRACE_S + 10.0)
        truth = {info.user: "online" for infos in there.values() for info in infos}
        for side in world.sides.values():
            if side.viewer.offset < 0:
                await side.watch()  # it was told to come back
            assert await side.snapshot() == side.viewer.statuses == truth
            assert side.viewer.counts == (len(truth), 0)
            await side.people.stop()

    asyncio.run(scenario())


async def happen(chance: random.Random, side: Side, there: list[ClientInfo], number: int) -> None:
    """Something to one node: people, the process, its link, what it hears."""
    what = chance.choice(["join", "join", "join", "leave", "lose", "stop", "cut", "heal", "heal", "deaf", "back"])
    if what in ("join", "leave", "lose") and side.stopped:
        return
    if what == "join":
        there.append(side.join(f"c{number}", chance.choice(["ann", "bob", "cid"])))
    elif what in ("leave", "lose") and there:
        side.leave(there.pop(chance.randrange(len(there))), clean=what == "leave")
    elif what == "heal":
        side.up, side.stopped = True, False
    elif what == "back" and side.viewer.offset < 0 and side.up and not side.stopped:
        side.unwatch()
        with contextlib.suppress(InternalError):
            await side.watch()
    side.stopped |= what == "stop"
    side.up &= what != "cut"
    side.deaf = what == "deaf"


async def test_where_users_are(world: PeopleWorld) -> None:
    ann = world["a"].join("a1")
    world["a"].people.join("chat:2", ClientInfo("ann", "a1"))
    found = world["a"].people.where(["ann", "bob"])
    assert {user: {room: entry.status for room, entry in rooms.items()} for user, rooms in found.items()} == {
        "ann": {"chat:1": "online", "chat:2": "online"}
    }
    world["a"].leave(ann)
    await world.pass_time(1.0)
    assert list(world["a"].people.where(["ann"])["ann"]) == ["chat:2"]
    world["a"].people.leave("chat:2", ClientInfo("ann", "a1"), True)
    await world.pass_time(1.0)
    assert world["a"].people.where(["ann"]) == {}
    assert len(world["a"].people) == 0
    assert world["a"].people.idle


async def test_info_that_is_no_json_is_left_out(world: PeopleWorld) -> None:
    world["a"].join("a1", info=b"\xff")
    world["a"].join("b1", "bob", info=b'"\xff"')
    world["a"].join("c1", "cid", info=b"{}")
    await world.pass_time(1.0)
    viewer = await world["b"].watch()
    assert {user: person.get("info") for user, person in viewer.people.items()} == {
        "ann": None, "bob": None, "cid": {},
    }  # fmt: skip


async def test_what_another_version_says_is_passed_over(world: PeopleWorld, caplog: pytest.LogCaptureFixture) -> None:
    viewer = await world["b"].watch()
    await world["a"].publish(CHANNEL, Draft(b"?"), KEEP)
    await world["a"].add(CHANNEL, ClientInfo("ann", "a/ann", b"?"))
    assert await world["c"].snapshot() == {}
    assert sorted(record.msg for record in caplog.records) == [
        "an entry of somebody in %r can't be read: %s",
        "another node says of the people in %r what this version doesn't know: %s",
    ]
    world["a"].join("b1", "bob")
    await world.pass_time(1.0)
    assert viewer.told == [("bob", "online")]


async def test_a_defect_while_telling_is_logged_and_all_is_told_later(
    world: PeopleWorld, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = await world["b"].watch()
    publish, world["a"].publish = world["a"].publish, defective  # type: ignore[method-assign]  # for a moment
    world["a"].join("a1")
    await world.pass_time(1.0)
    world["a"].publish = publish  # type: ignore[method-assign]
    assert {(record.msg, record.exc_info is not None) for record in caplog.records} == {
        ("who is in %r could not be told; going on", True)
    }
    assert viewer.told == []
    await world.pass_time(3.0)
    assert viewer.told == [("ann", "online")]


async def test_a_defect_while_reading_is_logged_and_no_empty_room(
    world: PeopleWorld, caplog: pytest.LogCaptureFixture
) -> None:
    members, world["b"].members = world["b"].members, defective  # type: ignore[method-assign]  # for a moment
    with pytest.raises(InternalError):
        await world["b"].watch()
    world["b"].members = members  # type: ignore[method-assign]
    assert [(record.msg, record.exc_info is not None) for record in caplog.records] == [
        ("who is in %r could not be read", True)
    ]
    await world["b"].watch()


async def defective(*_: object) -> Any:
    raise ArithmeticError("a defect")


async def test_who_can_not_be_withdrawn_from_a_node_that_was_stopped_is_told_anew(
    world: PeopleWorld, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = await world["b"].watch()
    world["a"].join("a1")
    await world.pass_time(1.0)
    world["a"].up, world["a"].stopped = False, True
    await world.pass_time(LEASE_S + FOUND_S)
    world["a"].stopped = False
    world["a"].people.lives.notice(world.clock())
    assert "a person of %r stays entered until it is told anew: %s" in {record.msg for record in caplog.records}
    world["a"].up = True
    await world.pass_time(SETTLE_S + 3.0)
    assert viewer.statuses == await world["c"].snapshot() == {"ann": "online"}


async def test_clients_publish_nothing(world: PeopleWorld) -> None:
    with pytest.raises(NotAvailable):
        await world["a"].people.publish(ROOM, ClientInfo("ann", "a1"), b"{}")
    assert world["a"].people.hear(ROOM, Publication(b""), "")


@pytest.fixture
async def alone() -> AsyncIterator[Side]:
    """A node of an engine that no other node can be on."""
    world = PeopleWorld("a", alone=True)
    yield world["a"]
    await world["a"].people.stop()


async def test_who_is_alone_where_nobody_looks_is_told_when_somebody_does(alone: Side) -> None:
    ann = alone.join("a1", info=b'{"name":"Ann"}')
    await alone.world.pass_time(2.0)
    assert (alone.stats.people_batches, len(alone.world.presence), len(alone.people)) == (0, 0, 1)
    assert alone.people.where(["ann"])["ann"][ROOM].since == WALL_S + 1_000.0
    assert not alone.people.idle
    viewer = await alone.watch()
    assert viewer.people == {
        "ann": {"user": "ann", "status": "online", "since": WALL_S + 1_000.0, "info": {"name": "Ann"}}
    }
    alone.leave(ann)
    await alone.world.pass_time(0.5)
    assert viewer.told == [("ann", "gone")]


async def test_who_came_and_went_where_nobody_looked_leaves_nothing(alone: Side) -> None:
    for user, clean in (("ann", True), ("", False)):
        info = alone.join("a1", user)
        await alone.world.pass_time(1.0)
        alone.leave(ClientInfo(user, "another"), clean)
        assert len(alone.people) == 1
        alone.leave(info, clean)
        assert (len(alone.people), alone.people.where(["ann", "~a1"])) == (0, {})
        assert alone.people.idle
    assert await alone.snapshot() == {}


async def test_where_nobody_looks_a_page_that_reloads_is_not_seen_to_flap(alone: Side) -> None:
    ann = alone.join("a1")
    await alone.world.pass_time(10.0)
    alone.leave(ann, clean=False)
    await alone.world.pass_time(0.5)
    alone.join("a2")
    await alone.world.pass_time(2.0)
    viewer = await alone.watch()
    assert viewer.people["ann"]["since"] == WALL_S + 1_000.0


WHAT_HAPPENS = st.lists(
    st.tuples(
        st.sampled_from(("join", "leave", "lose", "say", "look", "wait")),
        st.sampled_from(("ann", "bob", "")),
        st.integers(1, 2),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(WHAT_HAPPENS)
def test_it_makes_no_difference_whether_it_was_told_before_anybody_looked(steps: list[tuple[str, str, int]]) -> None:
    asyncio.run(_play_both(steps))


async def _play_both(steps: list[tuple[str, str, int]]) -> None:
    sides = [PeopleWorld("a", alone=alone)["a"] for alone in (True, False)]
    for step in [*steps, ("look", "", 1)]:
        seen = [await _take_step(side, *step) for side in sides]
        assert seen[0] == seen[1]
    for side in sides:
        await side.people.stop()


async def _take_step(side: Side, what: str, user: str, number: int) -> object:
    """What is seen after a look, when whatever happened before it has been told."""
    info = ClientInfo(user, f"{user}{number}")
    match what:
        case "join":
            side.people.join(ROOM, info)
        case "leave" | "lose":
            side.leave(info, clean=what == "leave")
        case "say":
            side.people.customize(ROOM, user, Custom(b'"busy"', side.world.clock()))
        case "wait":
            await side.world.pass_time(GRACE_S if number == 2 else 0.25)
        case "look":
            await side.world.pass_time(2.5)
            roster = await side.people.look(ROOM)
            people = {person.user: person for person in roster.people()}
            return people, roster.online, roster.away, side.people.where([user]), len(side.people)
    return None
