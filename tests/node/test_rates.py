from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.errors import TooManyRequests
from roomful.node.rate_options import ConnectionRates, RateOptions, RoomRates, VisitorRates
from roomful.node.rates import Allowance, Rates
from roomful.node.stats import Stats
from roomful.testing.clock import VirtualClock

TWO = "1/s burst 2"
FOUR = "1/s burst 4"


class World:
    def __init__(self, **options: object) -> None:
        self.stats, self.clock = Stats(), VirtualClock(100.0)
        self.rates = Rates(self.stats, self.clock, RateOptions(**options))  # type: ignore[arg-type]  # of any kind

    def allowance(self, client: str, user: str = "", address: str = "192.0.2.1") -> Allowance:
        allowance = self.rates.allowance(client, address)
        assert allowance is not None
        allowance.belongs_to(user or f"~{client}", "connect")
        return allowance


def refused(allowance: Allowance, command: str) -> float:
    """How long until it may."""
    with pytest.raises(TooManyRequests) as caught:
        allowance.spend(command)
    assert (caught.value.code, caught.value.temporary) == (111, True)
    assert caught.value.retry_after_s is not None
    return caught.value.retry_after_s


def test_nothing_is_limited_unless_it_is_configured() -> None:
    assert World().rates.allowance("client", "192.0.2.1") is None


def test_each_connection_has_its_own() -> None:
    world = World(connection=ConnectionRates(rpc=TWO))
    one, other = world.allowance("one", "ann"), world.allowance("other", "ann")
    for _ in range(2):
        one.spend("rpc")
    assert refused(one, "rpc") == 1.0
    other.spend("rpc")
    for _ in range(9):
        one.spend("send")  # nothing is said about it
    world.clock.advance(1.0)
    one.spend("rpc")
    assert world.stats.rate_limited == {("connection", "rpc"): 1}


def test_connections_of_a_user_share_and_anonymous_ones_do_not() -> None:
    world = World(user=VisitorRates(rpc=TWO))
    for client in ("one", "other"):
        world.allowance(client, "ann").spend("rpc")
    assert refused(world.allowance("third", "ann"), "rpc") == 1.0
    for client in ("a", "b", "c"):
        world.allowance(client).spend("rpc")


def test_an_address_is_shared_by_all_its_users() -> None:
    world = World(address=VisitorRates(rpc=TWO))
    network = ("2001:db8::1", "2001:db8::2", "2001:db8::3")
    for number, address in enumerate(network[:2]):
        world.allowance(f"c{number}", f"u{number}", address).spend("rpc")
    assert refused(world.allowance("c3", "u3", network[2]), "rpc") == 1.0
    world.allowance("c4", "u3", "2001:db8:0:1::1").spend("rpc")
    for _ in range(9):
        world.allowance("c5", "u5", "").spend("rpc")  # on a Unix socket nobody has an address


def test_who_is_refused_by_one_has_spent_nothing_of_the_others() -> None:
    world = World(connection=ConnectionRates(rpc=TWO), user=VisitorRates(rpc=FOUR))
    one, other = world.allowance("one", "ann"), world.allowance("other", "ann")
    for _ in range(2):
        one.spend("rpc")
    for _ in range(9):
        refused(one, "rpc")
    for _ in range(2):
        other.spend("rpc")
    assert refused(other, "rpc") == 1.0
    assert world.stats.rate_limited == {("connection", "rpc"): 9, ("user", "rpc"): 1}


def test_an_address_pays_for_a_connect_before_it_is_known_whose_it_is() -> None:
    world = World(user=VisitorRates(connect="1/s"), address=VisitorRates(connect=TWO))
    for client in ("one", "other"):
        allowance = world.rates.allowance(client, "192.0.2.1")
        assert allowance is not None
        allowance.spend("connect")
    third = world.rates.allowance("third", "192.0.2.1")
    assert third is not None
    refused(third, "connect")
    third.belongs_to("ann", "connect")
    third.belongs_to("ann", "connect")  # is known already
    with pytest.raises(TooManyRequests):
        world.rates.allowance("fourth", "").belongs_to("ann", "connect")  # type: ignore[union-attr]  # checked above


def test_rooms_pay_all_together_or_not_at_all() -> None:
    world = World(room=RoomRates(subscribe=TWO))
    ann = world.allowance("one", "ann")
    ann.spend("subscribe")  # says nothing of any room
    for _ in range(2):
        ann.spend_rooms("subscribe", ["chat:1"])
    for _ in range(5):
        with pytest.raises(TooManyRequests):
            ann.spend_rooms("subscribe", ["chat:2", "chat:1"])
    for _ in range(2):
        ann.spend_rooms("subscribe", ["chat:2"])
    assert world.stats.rate_limited == {("room", "subscribe"): 5}


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(0.0, 0.7)), max_size=120))
def test_no_user_ever_gets_more_and_each_gets_all_that_is_his(asked: list[tuple[str, float]]) -> None:
    """Beside the others of his address, who have an own one each, it is as if he were alone."""
    world = World(user=VisitorRates(rpc=TWO))
    alone = {user: World(user=VisitorRates(rpc=TWO)) for user in "abc"}
    for user, pause in asked:
        for each in (world, *alone.values()):
            each.clock.advance(pause)
        answers = []
        for each in (world, alone[user]):
            try:
                each.allowance(f"of {user}", user).spend("rpc")
                answers.append(None)
            except TooManyRequests as error:
                answers.append(error.retry_after_s)
        assert answers[0] == answers[1]


def test_a_rate_that_is_none_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no rate"):
        World(room=RoomRates(publish="often"))


def test_the_message_says_when_too() -> None:
    """For clients whose protocol has no other place for it."""
    world = World(connection=ConnectionRates(publish="3/s burst 1"))
    ann = world.allowance("one", "ann")
    ann.spend("publish")
    with pytest.raises(TooManyRequests, match=r"^too many of publish by this connection, retry after 0\.34 s$"):
        ann.spend("publish")
