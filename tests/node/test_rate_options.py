from __future__ import annotations

from roomful.node.rate_options import RateOptions, RoomRates, VisitorRates


def test_what_somebody_has_written() -> None:
    options = RateOptions(user=VisitorRates(publish="1/s", connect="2/s"), room=RoomRates(open="3/s"))
    assert list(options.configured()) == [
        ("user", "publish", "1/s"),
        ("user", "connect", "2/s"),
        ("room", "open", "3/s"),
    ]
    assert list(RateOptions().configured()) == []
