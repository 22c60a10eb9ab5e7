"""When a payload travels as a delta. Source: Centrifuge protocol, section 15.3."""

from __future__ import annotations

import pytest
from centrifuge.fossil import apply_delta
from hypothesis import given
from hypothesis import strategies as st

from roomful.model.publication import DeltaPublication, Publication
from roomful.wire import fossil
from roomful.wire.delta import KEPT_MAX_BYTES, delta_of

LONG = '{"text":"caf%s","more":"' + "x" * 40 + '"}'


def test_what_changed_by_a_byte_within_a_character_travels_as_utf8() -> None:
    base, payload = ((LONG % accent).encode() for accent in "éè")
    delta = delta_of(DeltaPublication(Publication(payload), base))
    assert delta is not None
    assert "è" in delta.decode()
    assert apply_delta(base, delta) == payload


@pytest.mark.parametrize(
    ("base", "payload"),
    [(None, b"x" * 40), (b"", b"x" * 40), (b"x" * 40, b""), (b"y" * 40, b"x" * 40), (b"[1]", b"[2]")],
)
def test_what_goes_whole(base: bytes | None, payload: bytes) -> None:
    assert delta_of(DeltaPublication(Publication(payload), base)) is None


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
def test_a_delta_is_shorter_and_gives_the_payload(start: bytes, end: bytes, middle: bytes) -> None:
    base, payload = start + end, start + middle + end
    delta = delta_of(DeltaPublication(Publication(payload), base))
    if delta is not None:
        assert len(delta) < len(payload)
        assert apply_delta(base, delta) == payload


def test_it_is_made_once_for_all_who_have_the_same_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """But one of large payloads isn't remembered."""
    made: list[int] = []

    def create(base: bytes, payload: bytes) -> bytes:
        made.append(len(payload))
        return b"delta"

    monkeypatch.setattr(fossil, "create", create)
    for size in (99, KEPT_MAX_BYTES):
        word = DeltaPublication(Publication(b"made once " * size), b"the base of " * 9)
        assert [delta_of(word) for _ in range(3)] == [b"delta"] * 3
    assert made == [990, *[10 * KEPT_MAX_BYTES] * 3]
