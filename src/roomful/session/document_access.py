"""Who may do what with a document: token, then hook, then the `[documents]` table; nothing is open by default."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from roomful.model.client import ANONYMOUS_PREFIX, Credentials
from roomful.model.document import Rights
from roomful.model.errors import Expired, Forbidden, InternalError, InvalidToken, TokenExpired, Unauthorized
from roomful.model.event import DocumentOpenEvent, DocumentOpenReply
from roomful.node.connection_log import about
from roomful.node.document_options import DocumentOptions
from roomful.node.hooks import Hooks
from roomful.rooms.revoked import Revoked
from roomful.seams.authenticator import Authenticator
from roomful.seams.transport import Request

log = logging.getLogger("roomful.documents")

TOKEN_COOKIE = "roomful_token"
CLAIM = "documents"
"""`{"notes*": "write"}` in a connection token; the most specific pattern wins."""


@dataclass(frozen=True, slots=True)
class Access:
    """What was decided. expires_at: seconds since 1970, None never. token: the id of the token that was sent.

    issued_at: when what it was decided by was issued, seconds since 1970.
    """

    user: str
    rights: Rights
    expires_at: float | None = None
    token: str = ""
    issued_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Decides. insecure: `--dev`, every right to everybody. revoked: whose right is over. wall_clock: seconds since
    1970."""

    authenticator: Authenticator
    options: DocumentOptions
    hooks: Hooks
    insecure: bool
    revoked: Revoked = field(default_factory=Revoked)
    wall_clock: Callable[[], float] = time.time

    async def admit(self, event: DocumentOpenEvent, token: str) -> Access:
        """event: all but user and claims, which are the token's. token: "" for none.

        Raises Unauthorized (no token, or a bad one), TokenExpired, Forbidden, and what the hook raises.
        """
        came_at = self.wall_clock()
        known = await self._by_token(event, token) if token else None
        credentials = known or Credentials("", issued_at=came_at)
        reply = await self._by_hook(event, credentials)
        if self.insecure:
            return Access(credentials.user, Rights.WRITE)
        if reply is not None:
            rights, expires_at = reply.rights, reply.expires_at or credentials.expires_at
            user = credentials.user if reply.user is None else reply.user
            if user.startswith(ANONYMOUS_PREFIX):
                about(log, event).error(
                    "the hook of documents named the user %r; user ids can't start with %r", user, ANONYMOUS_PREFIX
                )
                raise InternalError
        else:
            rights, expires_at, user = (
                self._rights(event.document, credentials),
                credentials.expires_at,
                credentials.user,
            )
        if not rights.may_read:
            raise Unauthorized("a token is needed") if known is None and reply is None else Forbidden()
        issued_at = credentials.issued_at if reply is None else came_at
        access = Access(user, rights, expires_at, credentials.token, issued_at)
        if self.is_over(access, event.document):
            raise Forbidden("access was revoked")
        return access

    def is_over(self, access: Access, document: str) -> bool:
        """Whether that was revoked since it was decided."""
        revoked = self.revoked
        return not self.insecure and (
            revoked.ends(access.user, access.token, access.issued_at)
            or revoked.names("document", document, access.issued_at)
        )

    async def _by_token(self, event: DocumentOpenEvent, token: str) -> Credentials | None:
        try:
            return await self.authenticator.connection(token)
        except (InvalidToken, TokenExpired, Expired) as error:
            if self.insecure:
                return None
            if isinstance(error, InvalidToken):
                about(log, event).info("a bad token was sent for a document: %s", error)
                raise Unauthorized("invalid token") from None
            raise TokenExpired from None

    async def _by_hook(self, event: DocumentOpenEvent, known: Credentials) -> DocumentOpenReply | None:
        if not self.hooks.has(DocumentOpenEvent):
            return None
        asked = DocumentOpenEvent(
            document=event.document,
            user=known.user,
            token_claims=known.claims,
            client=event.client,
            headers=event.headers,
            query={name: value for name, value in event.query.items() if name != "token"},
            address=event.address,
            wire=event.wire,
            provider=event.provider,
        )
        reply: DocumentOpenReply | None = await self.hooks.call(asked, event.document)
        return reply

    def _rights(self, document: str, known: Credentials) -> Rights:
        claimed = claimed_rights(known.claims, document)
        if claimed is not None:
            return claimed
        allowed = self.options.access == "client" or (self.options.access == "user" and known.user != "")
        return Rights(self.options.rights) if allowed else Rights.NONE


def claimed_rights(claims: Mapping[str, Any], document: str) -> Rights | None:
    """What the claim `documents` says of one; None if it doesn't speak of it. Raises Unauthorized for a bad claim."""
    said = claims.get(CLAIM)
    if said is None:
        return None
    if not isinstance(said, dict) or not all(value in list(Rights) for value in said.values()):
        raise Unauthorized(f"the claim {CLAIM!r} has to be an object of patterns and rights")
    matching = [pattern for pattern in said if _matches(pattern, document)]
    if not matching:
        return None
    best = min(matching, key=lambda pattern: ("*" in pattern, -len(pattern.replace("*", "")), pattern))
    return Rights(said[best])


def token_of(request: Request) -> str:
    """The token of an HTTP request: parameter `token`, `Authorization: Bearer`, cookie `roomful_token`; "" for none."""
    if "token" in request.query:
        return request.query["token"]
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    for part in request.headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == TOKEN_COOKIE:
            return value.strip('"')
    return ""


def _matches(pattern: str, document: str) -> bool:
    # `*` is the only wild character: the others of fnmatch may stand in names.
    return fnmatchcase(document, pattern.replace("[", "[[]").replace("?", "[?]"))
