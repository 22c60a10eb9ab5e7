"""Lines about a connection say whose it is."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from roomful.model.event import ConnectEvent, RpcEvent
from roomful.node.connection_log import FIELDS, about

log = logging.getLogger("roomful.test")


@dataclass
class Connection:
    client: str = "client-1"
    user: str = ""
    trace: str = "trace-1"


@pytest.mark.parametrize(
    ("connection", "known"),
    [
        (Connection(user="ann"), {"client": "client-1", "user": "ann", "trace": "trace-1"}),
        (Connection(), {"client": "client-1", "trace": "trace-1"}),
        (ConnectEvent(client="client-1"), {"client": "client-1"}),
        (RpcEvent(client="client-1", user="ann", method="", data=None), {"client": "client-1", "user": "ann"}),
        (None, {}),
    ],
)
def test_what_is_known_of_it_stands_in_fields(
    connection: object, known: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    about(log, connection).warning("a bad %s", "token")
    (record,) = caplog.records
    assert record.getMessage() == "a bad token"
    assert {field: getattr(record, field) for field in FIELDS if hasattr(record, field)} == known
