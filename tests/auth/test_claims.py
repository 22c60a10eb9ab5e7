"""Payloads of verified tokens: what they say, and what makes them invalid."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.auth.claims import LIFE_MAX_S, connection_credentials, subscription_claims
from roomful.auth.options import TokenOptions
from roomful.model.client import Credentials, Grant, Override
from roomful.model.errors import Expired, InvalidToken, TokenExpired

NOW = 1_700_000_000.0
ROOM = {"channel": "chat:1"}
DEFAULT = TokenOptions()

Read = Callable[..., Any]


def connection(claims: dict[str, Any], options: TokenOptions = DEFAULT) -> Credentials:
    return connection_credentials(json.dumps(claims).encode(), options, NOW)


def expiry_of_connection(claims: dict[str, Any], options: TokenOptions = DEFAULT) -> float | None:
    return connection(claims, options).expires_at


def expiry_of_subscription(claims: dict[str, Any], options: TokenOptions = DEFAULT) -> float | None:
    return subscription_claims(json.dumps({**claims, **ROOM}).encode(), options, NOW).grant.expires_at


BOTH = pytest.mark.parametrize("expiry", [expiry_of_connection, expiry_of_subscription])


@BOTH
@pytest.mark.parametrize(
    ("claims", "expires_at"),
    [
        ({}, None),
        ({"exp": None, "nbf": None, "expire_at": None}, None),
        ({"exp": NOW + 60}, NOW + 60),
        ({"exp": NOW + 0.5}, NOW + 0.5),
        ({"exp": NOW + 60, "expire_at": 0}, None),
        ({"expire_at": 0}, None),
        ({"exp": NOW + 60, "expire_at": NOW + 30}, NOW + 30),
        ({"expire_at": NOW + 90}, NOW + 90),
        ({"exp": NOW + 60, "expire_at": NOW + 90}, NOW + 90),
        ({"exp": NOW + 10 * LIFE_MAX_S}, NOW + LIFE_MAX_S),
        ({"exp": 10**25}, NOW + LIFE_MAX_S),
        ({"nbf": NOW}, None),
        ({"nbf": NOW - 0.25, "iat": NOW + 1000, "jti": "7"}, None),
    ],
)
def test_when_it_ends(expiry: Read, claims: dict[str, Any], expires_at: float | None) -> None:
    assert expiry(claims) == expires_at


@BOTH
@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"exp": NOW}, TokenExpired),
        ({"exp": 0}, TokenExpired),
        ({"exp": NOW - 1, "expire_at": NOW + 60}, TokenExpired),
        ({"exp": NOW - 1, "expire_at": 0}, TokenExpired),
        ({"nbf": NOW + 1}, TokenExpired),
        ({"expire_at": NOW}, Expired),
        ({"exp": NOW + 60, "expire_at": NOW - 60}, Expired),
        ({"expire_at": -1}, Expired),
    ],
)
def test_over_or_not_begun(expiry: Read, claims: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        expiry(claims)


@BOTH
def test_leeway_forgives_a_clock_that_is_off(expiry: Read) -> None:
    options = TokenOptions(leeway_s=5)
    assert expiry({"exp": NOW - 4, "nbf": NOW + 5}, options) == NOW + 1
    with pytest.raises(TokenExpired):
        expiry({"exp": NOW - 5}, options)
    with pytest.raises(TokenExpired):
        expiry({"nbf": NOW + 6}, options)


@BOTH
@pytest.mark.parametrize(
    "claims",
    [
        {"sub": 42},
        {"sub": None},
        {"sub": "~anonymous"},
        {"exp": "tomorrow"},
        {"exp": True},
        {"nbf": []},
        {"iat": "now"},
        {"expire_at": "0"},
        {"jti": 7},
        {"aud": 1},
        {"aud": [1]},
        {"iss": ["x"]},
        {"b64info": 1},
        {"b64info": "*"},
        {"b64info": "e30"},
    ],
)
def test_a_claim_of_a_wrong_kind_makes_the_token_invalid(expiry: Read, claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        expiry(claims)


@pytest.mark.parametrize(
    "claims",
    [
        {"channels": "chat:1"},
        {"channels": [1]},
        {"subs": ["chat:1"]},
        {"subs": {"chat:1": None}},
        {"subs": {"chat:1": {"override": {"presence": True}}}},
        {"subs": {"chat:1": {"override": {"presence": {"value": 1}}}}},
        {"subs": {"chat:1": {"b64data": "?"}}},
        {"meta": []},
        {"channel": "chat:1"},
        {"channel": ""},
    ],
)
def test_not_a_connection_token(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        connection(claims)


@pytest.mark.parametrize(
    "claims", [{}, {"channel": ""}, {"channel": 1}, {**ROOM, "client": 1}, {**ROOM, "override": 1}]
)
def test_not_a_subscription_token(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        subscription_claims(json.dumps(claims).encode(), TokenOptions(), NOW)


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b'{"info":"\xff"}', b'{"sub":"\\ud800"}', b'{"info":' + b"[" * 40_000],
)
def test_a_payload_that_is_no_object_of_claims(payload: bytes) -> None:
    with pytest.raises(InvalidToken):
        connection_credentials(payload, TokenOptions(), NOW)


def test_all_that_a_connection_token_can_say() -> None:
    claims = {
        "sub": "ann",
        "exp": NOW + 60,
        "info": {"name": "Ann"},
        "channels": ["ignored:1"],
        "subs": {
            "chat:1": {
                "info": [1],
                "b64data": "AAE=",
                "data": {"not": "this"},
                "override": {"presence": {"value": False}, "force_recovery": {"value": True}},
            },
            "news": {},
        },
        "meta": {"team": 7},
        "plan": "gold",
    }
    assert connection(claims) == Credentials(
        user="ann",
        info=b'{"name": "Ann"}',
        expires_at=NOW + 60,
        subs={
            "chat:1": Grant(info=b"[1]", data=b"\0\1", override=Override(presence=False, force_recovery=True)),
            "news": Grant(),
        },
        meta={"team": 7},
        claims=claims,
    )


def test_all_that_a_subscription_token_can_say() -> None:
    claims = {
        "sub": "ann",
        "channel": "$chat:1",
        "client": "c1",
        "expire_at": NOW + 60,
        "b64info": "/w==",
        "info": 1,
        "data": "welcome",
        "override": {"join_leave": {"value": True}, "force_push_join_leave": {"value": True}},
    }
    said = subscription_claims(json.dumps(claims).encode(), TokenOptions(), NOW)
    override = Override(join_leave=True, force_push_join_leave=True)
    assert (said.user, said.channel, said.client, said.claims) == ("ann", "$chat:1", "c1", claims)
    assert said.grant == Grant(info=b"\xff", data=b'"welcome"', expires_at=NOW + 60, override=override)


def test_little_said() -> None:
    assert connection({}) == Credentials(user="")
    assert connection({"channels": ["a", "b"]}).subs == {"a": Grant(), "b": Grant()}
    assert connection({"channels": ["a"], "subs": {}}).subs == {}
    assert connection({"info": None, "b64info": "", "channels": None, "subs": None, "meta": None}).info == b""


def test_info_stays_as_it_was_written() -> None:
    payload = b'{"info": {"b":1.50,  "a":"\\u00e9"}}'
    assert connection_credentials(payload, TokenOptions(), NOW).info == b'{"b":1.50,  "a":"\\u00e9"}'


def test_another_claim_may_hold_the_user() -> None:
    options = TokenOptions(user_claim="uid")
    assert connection({"sub": 42, "uid": "ann"}, options).user == "ann"
    assert connection({"sub": "bob"}, options).user == ""
    with pytest.raises(InvalidToken):
        connection({"sub": "ann", "uid": 42}, options)


@BOTH
@pytest.mark.parametrize("aud", ["us", ["them", "us"]])
def test_audience_and_issuer_fit(expiry: Read, aud: Any) -> None:
    assert expiry({"aud": aud, "iss": "me"}, TokenOptions(audience="us", issuer="me")) is None


@BOTH
@pytest.mark.parametrize(
    "claims", [{}, {"aud": "them", "iss": "me"}, {"aud": [], "iss": "me"}, {"aud": "us"}, {"aud": "us", "iss": "you"}]
)
def test_audience_or_issuer_does_not_fit(expiry: Read, claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        expiry({"exp": NOW - 1, **claims}, TokenOptions(audience="us", issuer="me"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
CLAIMS = "sub exp expire_at nbf iat jti aud iss info b64info data b64data channel channels client subs meta override"


@given(st.dictionaries(st.sampled_from(CLAIMS.split()), JSON) | JSON)
def test_any_payload_is_understood_or_refused(claims: Any) -> None:
    for read in (connection_credentials, subscription_claims):
        try:
            read(json.dumps(claims).encode(), TokenOptions(), NOW)
        except (InvalidToken, TokenExpired, Expired):
            continue
