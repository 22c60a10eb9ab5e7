from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roomful.model.order import RevokeOrder
from roomful.rooms.revoked import Revoked


def test_27_what_was_issued_later_counts() -> None:
    revoked = Revoked()
    assert revoked.add(RevokeOrder("user", "ann", 100.5, 200.0))
    assert revoked.names("user", "ann", 100.0)
    assert revoked.names("user", "ann", 100.5)
    assert not revoked.names("user", "ann", 101.0)
    assert revoked.names("user", "ann")  # a token that doesn't tell its time
    assert not revoked.names("user", "bob", 1.0)
    assert not revoked.names("room", "ann", 1.0)


def test_27_a_connection_ends_by_its_user_or_by_its_token() -> None:
    revoked = Revoked()
    assert not revoked.ends("ann", "t1", 0.0)
    revoked.add(RevokeOrder("user", "ann", 100.0, 200.0))
    revoked.add(RevokeOrder("token", "t2", 100.0, 200.0))
    revoked.add(RevokeOrder("token", "", 100.0, 200.0))
    revoked.add(RevokeOrder("user", "", 100.0, 200.0))
    assert revoked.ends("ann", "t1", 50.0)
    assert not revoked.ends("ann", "t1", 150.0)
    assert revoked.ends("bob", "t2", 150.0)
    assert not revoked.ends("", "", 50.0)


def test_it_is_forgotten_in_its_time() -> None:
    revoked = Revoked()
    revoked.add(RevokeOrder("user", "ann", 100.0, 200.0))
    revoked.add(RevokeOrder("user", "bob", 100.0, 300.0))
    revoked.expire(200.0)
    assert [order.name for order in revoked] == ["bob"]


@given(st.permutations([(1.0, 9.0), (2.0, 5.0), (2.0, 8.0), (3.0, 4.0)]))
def test_27_the_order_in_which_they_are_heard_is_no_matter(orders: list[tuple[float, float]]) -> None:
    revoked = Revoked()
    for at, until in orders:
        revoked.add(RevokeOrder("room", "chat:1", at, until))
        assert not revoked.add(RevokeOrder("room", "chat:1", at, until))
    assert list(revoked) == [RevokeOrder("room", "chat:1", 3.0, 9.0)]
    assert len(revoked) == 1
