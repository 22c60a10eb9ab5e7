"""What the payload of a verified token says. Source: Centrifuge protocol, sections 6.2 and 6.3.

Pure: time is an argument. A claim of a wrong type makes the whole token invalid; unknown claims are left to hooks.
"""

from __future__ import annotations

import base64
from typing import Any, TypeVar

import msgspec

from roomful.auth.options import TokenOptions
from roomful.model.client import ANONYMOUS_PREFIX, Credentials, Grant, Override
from roomful.model.errors import Expired, InvalidToken, TokenExpired
from roomful.seams.authenticator import SubscriptionClaims

LIFE_MAX_S = 365 * 86400.0
"""No connection and no subscription lives longer without a new token."""


class _Switch(msgspec.Struct, frozen=True):
    value: bool


class _Override(msgspec.Struct, frozen=True):
    presence: _Switch | None = None
    join_leave: _Switch | None = None
    force_push_join_leave: _Switch | None = None
    force_recovery: _Switch | None = None
    force_positioning: _Switch | None = None


class _Look(msgspec.Struct, frozen=True):
    """How one subscription is to look: in a subscription token, or an entry of a connection token's `subs`."""

    info: msgspec.Raw = msgspec.Raw()
    b64info: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    b64data: str | None = None
    override: _Override | None = None


class _Registered(msgspec.Struct, frozen=True):
    """The claims that both kinds of token have."""

    exp: float | None = None
    expire_at: float | None = None
    nbf: float | None = None
    iat: float | None = None
    jti: str | None = None
    aud: str | list[str] | None = None
    iss: str | None = None


class _ConnectionPayload(_Registered, frozen=True):
    info: msgspec.Raw = msgspec.Raw()
    b64info: str | None = None
    channels: list[str] | None = None
    subs: dict[str, _Look] | None = None
    meta: dict[str, Any] | None = None


class _SubscriptionPayload(_Registered, frozen=True):
    channel: str = ""
    client: str | None = None


Kind = TypeVar("Kind")


def connection_credentials(payload: bytes, options: TokenOptions, now: float, digest: str = "") -> Credentials:
    """Who a connection token's owner is. now: seconds since 1970. digest: its id if it has none of its own (`jti`).

    Raises TokenExpired, Expired, InvalidToken."""
    said, claims = _read(payload, _ConnectionPayload), _read(payload, dict[str, Any])
    if "channel" in claims:
        raise InvalidToken("a subscription token can't open a connection")
    user = _user(claims, options.user_claim)
    _check_parties(said, options)
    try:
        expires_at = _expiry(said, options.leeway_s, now)
    except TokenExpired as error:
        error.user = user
        raise
    return Credentials(
        user=user,
        info=_payload(said.info, said.b64info),
        expires_at=expires_at,
        subs=_server_side(said),
        meta=said.meta or {},
        claims=claims,
        token=said.jti or digest,
        issued_at=said.iat or 0.0,
    )


def subscription_claims(payload: bytes, options: TokenOptions, now: float, digest: str = "") -> SubscriptionClaims:
    """What a subscription token grants, and to whom. digest: its id if it has none of its own (`jti`).

    Raises TokenExpired, Expired, InvalidToken."""
    said, look, claims = _read(payload, _SubscriptionPayload), _read(payload, _Look), _read(payload, dict[str, Any])
    if not said.channel:
        raise InvalidToken("a subscription token needs a channel")
    user = _user(claims, options.user_claim)
    _check_parties(said, options)
    expires_at = _expiry(said, options.leeway_s, now)
    grant = _grant(look, expires_at, said.jti or digest)
    return SubscriptionClaims(user, said.channel, said.client or "", grant, claims, said.iat or 0.0)


def _read(payload: bytes, kind: type[Kind]) -> Kind:
    """The payload as one view of it. Typed views hold `info` and `data` byte by byte as they were signed."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidToken("the claims can't be read") from error


def _user(claims: dict[str, Any], name: str) -> str:
    user = claims.get(name, "")
    if not isinstance(user, str):
        raise InvalidToken(f"{name} is no string")
    if user.startswith(ANONYMOUS_PREFIX):
        raise InvalidToken(f"a user id can't start with {ANONYMOUS_PREFIX}")
    return user


def _check_parties(said: _Registered, options: TokenOptions) -> None:
    """Whether the token was made for us, and by whom we trust."""
    audience = said.aud if isinstance(said.aud, list) else [said.aud]
    if options.audience is not None and options.audience not in audience:
        raise InvalidToken("it is for another audience")
    if options.issuer is not None and options.issuer != said.iss:
        raise InvalidToken("it comes from another issuer")


def _expiry(said: _Registered, leeway_s: float, now: float) -> float | None:
    """When what the token opens ends: `expire_at` (0: never), else `exp`; None never."""
    if said.exp is not None and said.exp + leeway_s <= now:
        raise TokenExpired
    if said.nbf is not None and said.nbf - leeway_s > now:
        raise TokenExpired("token not valid yet")
    end = said.exp if said.expire_at is None else said.expire_at or None
    if end is None:
        return None
    if end + leeway_s <= now:
        raise Expired
    return min(end + leeway_s, now + LIFE_MAX_S)


def _server_side(said: _ConnectionPayload) -> dict[str, Grant]:
    if said.subs is not None:
        return {channel: _grant(look, None) for channel, look in said.subs.items()}
    return {channel: Grant() for channel in said.channels or ()}


def _grant(look: _Look, expires_at: float | None, token: str = "") -> Grant:
    return Grant(
        info=_payload(look.info, look.b64info),
        data=_payload(look.data, look.b64data),
        expires_at=expires_at,
        override=_override(look.override),
        token=token,
    )


def _override(said: _Override | None) -> Override:
    if said is None:
        return Override()
    switches = {name: getattr(said, name) for name in said.__struct_fields__}
    return Override(**{name: switch.value for name, switch in switches.items() if switch is not None})


def _payload(json: msgspec.Raw, b64: str | None) -> bytes:
    """Binary when given as base64, else the JSON text; null counts as absent."""
    if not b64:
        text = bytes(json)
        return b"" if text == b"null" else text
    try:
        return base64.b64decode(b64, validate=True)
    except ValueError as error:
        raise InvalidToken("b64info or b64data is no base64") from error
