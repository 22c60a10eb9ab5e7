from __future__ import annotations

import pytest

from roomful.seams.transport import Request
from roomful.transports.credentials import token_of


@pytest.mark.parametrize(
    ("headers", "query", "token"),
    [
        ({}, {}, ""),
        ({"authorization": "Bearer a.b.c"}, {}, "a.b.c"),
        ({"authorization": "bearer  a.b.c "}, {"token": "no"}, "a.b.c"),
        ({"authorization": "Basic dXNlcjpwdw=="}, {"token": "a.b.c"}, "a.b.c"),  # of a proxy in front
        ({"authorization": "Bearer"}, {"token": "a.b.c"}, "a.b.c"),
        ({"authorization": "Bearer "}, {}, ""),
        ({"cookie": "theme=dark; roomful_token=a.b.c; x=y"}, {"token": "no"}, "a.b.c"),
        ({"cookie": 'roomful_token="a.b.c"'}, {}, "a.b.c"),
        ({"cookie": "roomful_token=;=;;;roomful_tokens=x"}, {"token": "a.b.c"}, "a.b.c"),
        ({"cookie": "xroomful_token=no"}, {}, ""),
        ({"authorization": "Bearer a.b.c", "cookie": "roomful_token=no"}, {}, "a.b.c"),
        ({}, {"token": "a.b.c"}, "a.b.c"),
    ],
)
def test_where_a_token_may_stand(headers: dict[str, str], query: dict[str, str], token: str) -> None:
    assert token_of(Request("/events", query, headers)) == token
