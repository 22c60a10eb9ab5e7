"""Tokens to credentials."""

from __future__ import annotations

from typing import Protocol

import msgspec

from roomful.model.client import Credentials, Grant


class SubscriptionClaims(msgspec.Struct, frozen=True):
    """A verified subscription token. client: "" unless the token is bound to one connection.

    issued_at: seconds since 1970; 0 for a token that doesn't tell. The grant has the token's id.
    """

    user: str
    channel: str
    client: str
    grant: Grant
    claims: dict[str, object] = {}
    issued_at: float = 0.0


class Authenticator(Protocol):
    """Verifies; grants nothing by itself. Source: Centrifuge protocol, section 6.

    Both raise InternalError, which is temporary, while the keys that would decide can't be fetched.
    """

    async def connection(self, token: str) -> Credentials:
        """Raises TokenExpired (`exp` passed or `nbf` ahead), Expired (`expire_at` passed), InvalidToken (all else)."""
        ...

    async def subscription(self, token: str) -> SubscriptionClaims:
        """Raises TokenExpired, InvalidToken, Expired. Whether channel, user and client fit is the caller's question."""
        ...
