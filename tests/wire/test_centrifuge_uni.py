"""Source: Centrifuge protocol, section 20."""

from __future__ import annotations

import json

import pytest

from roomful.model import command
from roomful.model.errors import WireError
from roomful.model.publication import Publication
from roomful.model.push import DisconnectPush, PublicationPush
from roomful.model.reply import ConnectResult, PublishResult, SubscribeResult
from roomful.wire.centrifuge_uni import CentrifugeUni
from tests.wire.fuzz import LIMIT_S, mutants

UNI = CentrifugeUni()


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"", command.Connect(0)),
        (b"{}", command.Connect(0)),
        (b'{"token":"T","name":"curl","data":{"a":1}}', command.Connect(0, "T", b'{"a":1}', name="curl")),
        (
            b'{"subs":{"news":{"recover":true,"epoch":"e","offset":7}}}',
            command.Connect(0, subs={"news": command.Subscribe(recover=True, epoch="e", offset=7)}),
        ),
        (b'{"connect":{"token":"T"},"id":1}', command.Connect(0)),  # unknown fields, like all others
    ],
)
def test_the_one_request(sent: bytes, meant: command.Connect) -> None:
    assert UNI.decode(sent) == [meant]


@pytest.mark.parametrize("sent", [b"[]", b"{", b"7", b'{"token":7}', b"{}\n{}", b"\xff", b"[" * 5_000])
def test_what_is_none(sent: bytes) -> None:
    with pytest.raises(WireError):
        UNI.decode(sent)


@pytest.mark.timeout(LIMIT_S)
def test_broken_requests() -> None:
    for mutant in mutants([b'{"token":"T","data":[{}],"subs":{"a":{"offset":1,"epoch":"e"}},"headers":{"a":"b"}}']):
        try:
            UNI.decode(mutant)
        except WireError:
            continue


def test_the_worked_example() -> None:
    result = ConnectResult("3c1f", "Roomful 0.1", ping=25, session="9be2", subs={"news": SubscribeResult()})
    assert json.loads(UNI.reply(0, result)) == {
        "connect": {"client": "3c1f", "version": "Roomful 0.1", "session": "9be2", "ping": 25, "subs": {"news": {}}}
    }
    assert UNI.push(PublicationPush("news", Publication(b'{"n":1}', 0))) == b'{"channel":"news","pub":{"data":{"n":1}}}'
    assert UNI.ping() == b"{}"
    assert UNI.push(DisconnectPush(3001, "shutdown")) == b'{"disconnect":{"code":3001,"reason":"shutdown"}}'


def test_there_are_no_other_replies() -> None:
    with pytest.raises(TypeError):
        UNI.reply(1, PublishResult())
