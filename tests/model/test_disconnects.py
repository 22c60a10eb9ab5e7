from __future__ import annotations

import pytest

from roomful.model.disconnects import DISCONNECTS, UNSUBSCRIBES, Disconnect, Unsubscribe, disconnect, unsubscribe


@pytest.mark.parametrize("name", DISCONNECTS)
def test_each_disconnect_fits_a_close_frame(name: str) -> None:
    code, reason = DISCONNECTS[name]
    assert 3000 <= code <= 3999 or (name == "revoked" and 4500 <= code <= 4999)
    assert 0 < len(reason.encode()) <= 123
    assert repr(disconnect(name)) == repr(Disconnect(code, reason))


@pytest.mark.parametrize(
    ("code", "comes_back"),
    [
        (1006, True),
        (3000, True),
        (3499, True),
        (3500, False),
        (3999, False),
        (4000, True),
        (4500, False),
        (4999, False),
    ],
)
def test_clients_decide_by_the_number(code: int, comes_back: bool) -> None:
    assert Disconnect(code, "x").reconnect is comes_back


@pytest.mark.parametrize("name", UNSUBSCRIBES)
def test_each_unsubscribe_says_why(name: str) -> None:
    code, reason = UNSUBSCRIBES[name]
    assert 2000 <= code <= 2999
    assert reason
    assert unsubscribe(name).resubscribe is (code >= 2500)
    assert repr(unsubscribe(name)) == repr(Unsubscribe(code, reason))


def test_no_code_stands_twice() -> None:
    for table in (DISCONNECTS, UNSUBSCRIBES):
        codes = [code for code, _ in table.values()]
        assert len(set(codes)) == len(codes)
