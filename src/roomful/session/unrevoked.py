"""Tokens that were not revoked: the one door through which every token of every transport goes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from roomful.model.client import Credentials
from roomful.model.errors import InternalError, InvalidToken
from roomful.model.facet import facet_of
from roomful.node.revocations import Revocations
from roomful.seams.authenticator import Authenticator, SubscriptionClaims

log = logging.getLogger("roomful.session")


class UnrevokedTokens:
    """An `Authenticator`: what another one believes, unless it was revoked.

    Raises InternalError, which is temporary, while nobody can know what is revoked.
    """

    __slots__ = ("_inner", "_revocations", "_warned")

    def __init__(self, inner: Authenticator, revocations: Revocations) -> None:
        self._inner = inner
        self._revocations = revocations
        self._warned = False

    def believe(self, inner: Authenticator) -> None:
        """From now on it is that one."""
        self._inner = inner

    async def connection(self, token: str) -> Credentials:
        """Without the rooms that were revoked since the token was issued."""
        credentials = await self._inner.connection(token)
        self._check(credentials.user, credentials.token, credentials.issued_at, credentials.claims)
        lost = [name for name in credentials.subs if self._has_lost(name, credentials.issued_at)]
        if not lost:
            return credentials
        log.info("a token of user %r names rooms that were revoked: %s", credentials.user, ", ".join(lost))
        kept = {name: grant for name, grant in credentials.subs.items() if name not in lost}
        return msgspec.structs.replace(credentials, subs=kept)

    async def subscription(self, token: str) -> SubscriptionClaims:
        claims = await self._inner.subscription(token)
        self._check(claims.user, claims.grant.token, claims.issued_at, claims.claims)
        if self._has_lost(claims.channel, claims.issued_at):
            raise InvalidToken("the room was revoked")
        return claims

    def _check(self, user: str, token: str, issued_at: float, claims: Mapping[str, Any]) -> None:
        if self._revocations.unsure:
            raise InternalError("it can't be said at the moment what was revoked")
        if self._revocations.revoked.ends(user, token, issued_at):
            raise InvalidToken("it was revoked")
        if not self._warned and self._revocations.outlives(claims.get("exp")):
            self._warned = True
            log.warning("tokens are valid for longer than what is revoked is remembered: raise [revocations] keep_s")

    def _has_lost(self, channel: str, issued_at: float) -> bool:
        facet = facet_of(channel)
        revoked = self._revocations.revoked
        return revoked.names("room", channel, issued_at) or (
            facet is not None and revoked.names("room", facet.base, issued_at)
        )
