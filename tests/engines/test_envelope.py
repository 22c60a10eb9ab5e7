from __future__ import annotations

from contextlib import suppress
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.engines.envelope import Join, Leave, decode, encode, encode_draft, open_placed, place
from roomful.model.client import ClientInfo, Grant, Override
from roomful.model.errors import WireError
from roomful.model.order import (
    Answer,
    BurialOrder,
    CommandsOrder,
    DisconnectOrder,
    DocumentRightsOrder,
    Order,
    PersonStatusOrder,
    RefreshOrder,
    RevokeOrder,
    SubscribeOrder,
    Survey,
    UnsubscribeOrder,
)
from roomful.model.publication import Draft, Position, Publication

INFO = st.builds(ClientInfo, st.text(), st.text(), st.binary(), st.binary())
DRAFT = st.builds(
    Draft,
    st.binary(),
    st.none() | INFO,
    st.none() | st.dictionaries(st.text(), st.text()),
    st.frozensets(st.text(), max_size=3),
)
MESSAGES = [
    Join(ClientInfo("ann", "client-1", b'{"name":"Ann"}', b"{}")),
    Leave(ClientInfo("", "client-1")),
    SubscribeOrder("ann", "a", "c", "s", Grant(b"1", b"2", 3.5, Override(presence=True), True), Position("e", 2**60)),
    UnsubscribeOrder("ann", "", code=2500, reason="é"),
    DisconnectOrder("ann", whitelist=["a", "b"]),
    RefreshOrder("ann", expired=True, expires_at=5.0, info=b"\xff"),
    DocumentRightsOrder("ann", "notes", "read"),
    RevokeOrder("user", "ann", 1.5, 2.5),
    PersonStatusOrder("chat:1", "ann", b'"busy"', 6.5),
    BurialOrder("node-1", 7),
    CommandsOrder("node-1", "session", b"\x00\xff", "1", "node-2"),
    Survey("1", "node-1", "channels", b"*"),
    Answer("1", "node-2", bytes(range(256))),
]


@given(DRAFT, st.integers(0, 2**53), st.text("0123456789abcdef-", max_size=40))
def test_a_draft_comes_back_as_a_publication_in_its_place(draft: Draft, offset: int, epoch: str) -> None:
    read_offset, read_epoch, body = open_placed(place(offset, epoch, encode_draft(draft)))
    assert (read_offset, read_epoch) == (offset, epoch)
    assert decode(body, offset) == Publication(draft.data, offset, draft.info, draft.tags, draft.exclude)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_everything_else_comes_back_as_it_was(message: Any) -> None:
    assert decode(encode(message)) == message


def test_every_order_can_be_sent() -> None:
    assert {type(message) for message in MESSAGES} >= {*get_args(Order)}


def test_it_is_compact() -> None:
    assert len(place(7, "abcdef", encode_draft(Draft(b"x" * 200)))) == 200 + 17


@given(
    st.binary()
    | st.builds(
        lambda body, kind: b"1" + kind + body, st.binary(), st.sampled_from(list("pjlsudrqacDRPBz")).map(str.encode)
    )
)
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for read in (open_placed, decode):
        with suppress(WireError):
            read(data)


@given(st.data())
def test_a_damaged_message_is_a_message_or_an_error(data: st.DataObject) -> None:
    whole = encode(data.draw(st.sampled_from(MESSAGES)))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    with suppress(WireError):
        decode(damaged)


def test_another_version_is_an_error() -> None:
    with pytest.raises(WireError, match="not a message of version 1"):
        decode(b"2" + encode_draft(Draft(b"1"))[1:])


def test_every_field_of_a_draft_is_carried_or_the_brokers_own() -> None:
    assert {field.name for field in msgspec.structs.fields(Draft)} == {
        "data",
        "info",
        "tags",
        "exclude",
        "key",
        "idempotency_ttl_s",
    }
