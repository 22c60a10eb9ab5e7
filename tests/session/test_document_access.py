from __future__ import annotations

from typing import Any

import pytest

from roomful.auth.tokens import TokenAuthenticator, sign
from roomful.model.document import Rights
from roomful.model.errors import Forbidden, RoomfulError, TokenExpired, Unauthorized
from roomful.model.event import DocumentOpenEvent, DocumentOpenReply
from roomful.node.document_options import DocumentOptions
from roomful.node.hooks import Hooks
from roomful.node.stats import Stats
from roomful.seams.transport import Request
from roomful.session.document_access import Access, Gate, claimed_rights, token_of
from tests.session.document_world import TOKENS

NOW = 1_700_000_000.0


def token(user: str, ttl_s: float | None = None, **claims: Any) -> str:
    return sign(TOKENS, claims, user=user, now=NOW, ttl_s=ttl_s)


def gate(hooks: Hooks | None = None, *, insecure: bool = False, **options: Any) -> Gate:
    authenticator = TokenAuthenticator(TOKENS, clock=lambda: NOW)
    return Gate(
        authenticator=authenticator,
        options=DocumentOptions(**options),
        hooks=hooks or Hooks(Stats()),
        insecure=insecure,
    )


async def outcome(gate: Gate, token: str = "", document: str = "notes") -> Access | type[RoomfulError]:
    """What was decided, but for by what."""
    try:
        access = await gate.admit(DocumentOpenEvent(document), token)
        return Access(access.user, access.rights, access.expires_at)
    except RoomfulError as error:
        return type(error)


@pytest.mark.parametrize(
    ("options", "anonymous", "ann"),
    [
        ({}, None, None),
        ({"access": "user"}, None, Rights.WRITE),
        ({"access": "client"}, Rights.WRITE, Rights.WRITE),
        ({"access": "client", "rights": "read"}, Rights.READ, Rights.READ),
        ({"access": "user", "rights": "comment"}, None, Rights.COMMENT),
    ],
)
async def test_the_table(options: dict[str, Any], anonymous: Rights | None, ann: Rights | None) -> None:
    opened = gate(**options)
    assert await outcome(opened) == (Access("", anonymous) if anonymous else Unauthorized)
    assert await outcome(opened, token("ann")) == (Access("ann", ann) if ann else Forbidden)


@pytest.mark.parametrize(
    ("claim", "document", "rights"),
    [
        ({"notes": "read"}, "notes", Rights.READ),
        ({"notes*": "write"}, "notes/1", Rights.WRITE),
        ({"*": "write", "secret*": "none"}, "secrets", Rights.NONE),
        ({"*": "read", "notes*": "comment", "notes/1": "write"}, "notes/1", Rights.WRITE),
        ({"*": "read", "notes*": "comment", "notes/1": "write"}, "notes/2", Rights.COMMENT),
        ({"a[b]?": "write"}, "ab1", None),
        ({"a[b]?": "write"}, "a[b]?", Rights.WRITE),
        ({"other": "write"}, "notes", None),
        ({}, "notes", None),
    ],
)
def test_claims(claim: dict[str, str], document: str, rights: Rights | None) -> None:
    assert claimed_rights({"documents": claim}, document) == rights


@pytest.mark.parametrize("claim", ["write", ["notes"], {"notes": "all"}, {"notes": 1}])
def test_a_claim_that_makes_no_sense_grants_nothing(claim: Any) -> None:
    with pytest.raises(Unauthorized):
        claimed_rights({"documents": claim}, "notes")


async def test_a_claim_stands_before_the_table() -> None:
    opened = gate(access="client")
    assert await outcome(opened, token("ann", documents={"notes": "read"})) == Access("ann", Rights.READ)
    assert await outcome(opened, token("ann", documents={"notes": "none"})) is Forbidden
    assert await outcome(gate(), token("ann", documents={"n*": "write"})) == Access("ann", Rights.WRITE)


async def test_27_it_says_by_which_token_of_when() -> None:
    by_id = await gate(access="client").admit(DocumentOpenEvent("notes"), token("ann", jti="7"))
    assert (by_id.token, by_id.issued_at) == ("7", NOW)
    nameless = await gate(access="client").admit(DocumentOpenEvent("notes"), token("ann"))
    assert nameless.token.startswith("~")
    nobody = await gate(access="client").admit(DocumentOpenEvent("notes"), "")
    assert nobody.token == ""
    assert nobody.issued_at > NOW


async def test_tokens_that_are_none() -> None:
    assert await outcome(gate(access="client"), "rubbish") is Unauthorized
    assert await outcome(gate(access="client"), token("ann", ttl_s=-1)) is TokenExpired
    assert await outcome(gate(access="client"), token("ann", ttl_s=60)) == Access("ann", Rights.WRITE, NOW + 60)


async def test_dev_ignores_tokens_that_are_none_and_takes_the_user_of_others() -> None:
    opened = gate(insecure=True)
    assert await outcome(opened) == Access("", Rights.WRITE)
    assert await outcome(opened, "rubbish") == Access("", Rights.WRITE)
    assert await outcome(opened, token("ann", ttl_s=60)) == Access("ann", Rights.WRITE)


async def test_the_hook_decides_last() -> None:
    hooks = Hooks(Stats())
    asked: list[DocumentOpenEvent] = []

    async def hook(event: DocumentOpenEvent) -> DocumentOpenReply | None:
        asked.append(event)
        if event.user == "bob":
            raise Forbidden("not Bob")
        if event.user == "cid":
            return None
        return DocumentOpenReply(rights=Rights.READ, user="renamed", expires_at=NOW + 5)

    hooks.add(DocumentOpenEvent, "no*", hook)
    opened = gate(hooks, access="user")
    assert await outcome(opened, token("ann", documents={"notes": "write"})) == Access("renamed", Rights.READ, NOW + 5)
    assert asked[0].user == "ann"
    assert asked[0].token_claims["documents"] == {"notes": "write"}
    assert await outcome(opened, token("bob")) is Forbidden
    assert await outcome(opened, token("cid")) == Access("cid", Rights.WRITE)
    assert await outcome(opened, token("ann"), "other") == Access("ann", Rights.WRITE)


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (Request("/"), ""),
        (Request("/", query={"token": "a"}), "a"),
        (Request("/", headers={"authorization": "Bearer b"}), "b"),
        (Request("/", headers={"authorization": "Basic b"}), ""),
        (Request("/", headers={"cookie": 'x=1; roomful_token="c"; y=2'}), "c"),
    ],
)
def test_where_a_token_stands(request_: Request, found: str) -> None:
    assert token_of(request_) == found
