"""Tokens: which signatures are believed, what `sign` makes, and that nothing else ever comes out."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from roomful.auth.options import TokenOptions
from roomful.auth.tokens import PUBLIC_ALGORITHMS, TOKEN_MAX_BYTES, TokenAuthenticator, _key_of_set, sign
from roomful.model.errors import ConfigError, Expired, InvalidToken, TokenExpired
from roomful.seams.authenticator import Authenticator

NOW = 1_700_000_000.0
SECRET = "s" * 64
OTHER = "o" * 64

PRIVATE: dict[str, Any] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}
FITTING = {
    "RSA": {"RS256", "RS384", "RS512"},
    "P-256": {"ES256"},
    "P-384": {"ES384"},
    "P-521": {"ES512"},
    "Ed25519": {"EdDSA"},
}


def pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def authenticator(now: float = NOW, **options: Any) -> Authenticator:
    return TokenAuthenticator(TokenOptions(**options), clock=lambda: now)


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


async def refused(checker: Authenticator, token: str) -> str:
    """What the log says about it: the same for both kinds of token."""
    with pytest.raises(InvalidToken) as connecting:
        await checker.connection(token)
    with pytest.raises(InvalidToken) as subscribing:
        await checker.subscription(token)
    assert str(connecting.value) == str(subscribing.value)
    return str(connecting.value)


@pytest.mark.filterwarnings("ignore:The HMAC key:jwt.InsecureKeyLengthWarning")
async def test_the_published_vectors() -> None:
    checker = authenticator(hmac_secret="secret")
    who = await checker.connection(
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImV4cCI6MTg5MzQ1NjAwMH0"
        ".KbXrJ4O93HVq0nJ6trb1BH_gajV9pnebQ2FUDTGdhl8"
    )
    assert (who.user, who.expires_at) == ("42", NOW + 365 * 86400)
    said = await checker.subscription(
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiIsImNoYW5uZWwiOiIkb3JkZXJzIiwiZXhwIjoxODkzNDU2MDAwfQ"
        ".usqGZsL-jR_NE1y06-YozDdqUtMw95IwWmePuUoqqZg"
    )
    assert (said.user, said.channel) == ("42", "$orders")


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_hmac(algorithm: str) -> None:
    token = jwt.encode({"sub": "ann"}, SECRET, algorithm)
    assert (await authenticator(hmac_secret=SECRET).connection(token)).user == "ann"
    assert (await authenticator(hmac_secret=OTHER, hmac_previous_secret=SECRET).connection(token)).user == "ann"
    assert "no key" in await refused(authenticator(hmac_secret=OTHER), token)


@pytest.mark.parametrize("kind", PRIVATE)
@pytest.mark.parametrize("algorithm", sorted(set().union(*FITTING.values())))
async def test_a_public_key_serves_the_algorithms_it_fits(kind: str, algorithm: str) -> None:
    checker = authenticator(public_key=pem(PRIVATE[kind]), hmac_secret=SECRET)
    signer = next(name for name, fitting in FITTING.items() if algorithm in fitting)
    token = jwt.encode({"sub": "ann"}, PRIVATE[signer], algorithm)
    if kind == signer:
        assert (await checker.connection(token)).user == "ann"
        stranger = authenticator(public_key=pem(PRIVATE["RSA" if kind != "RSA" else "P-256"]))
        await refused(stranger, token)
    else:
        await refused(checker, token)


@pytest.mark.parametrize("kind", PRIVATE)
@pytest.mark.parametrize("header", [{"alg": "HS256"}, {"alg": "HS256", "kid": "1"}])
async def test_a_public_key_is_no_hmac_secret(kind: str, header: dict[str, Any]) -> None:
    text = pem(PRIVATE[kind])
    parts = forged(header, {"sub": "root"}).rpartition(".")[0]
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = base64.urlsafe_b64encode(algorithm.sign(parts.encode(), text.encode())).decode().rstrip("=")
    await refused(authenticator(public_key=text, jwks_url="http://127.0.0.1:9/"), f"{parts}.{signature}")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS1", "PS256", "ES256K", None, 1, ["HS256"]])
async def test_other_algorithms_are_never_accepted(alg: Any) -> None:
    checker = authenticator(hmac_secret=SECRET, public_key=pem(PRIVATE["RSA"]))
    for signature in (b"", b"x" * 32):
        await refused(checker, forged({"alg": alg}, {"sub": "root"}, signature))


@pytest.mark.parametrize(
    "header", [{}, {"alg": "HS256", "kid": 1}, {"alg": "HS256", "crit": ["exp"]}, {"alg": "HS256", "b64": False}]
)
async def test_headers_that_are_not_understood(header: dict[str, Any]) -> None:
    await refused(authenticator(hmac_secret=SECRET), forged(header, {"sub": "root"}, b"x" * 32))


async def test_no_key_no_token() -> None:
    await refused(authenticator(), jwt.encode({"sub": "ann"}, SECRET, "HS256"))


async def test_too_long() -> None:
    token = jwt.encode({"sub": "a" * TOKEN_MAX_BYTES}, SECRET, "HS256")
    assert "longer" in await refused(authenticator(hmac_secret=SECRET), token)


async def test_expiry_is_told_apart() -> None:
    checker = authenticator(hmac_secret=SECRET)
    with pytest.raises(TokenExpired):
        await checker.connection(jwt.encode({"exp": NOW}, SECRET, "HS256"))
    with pytest.raises(Expired):
        await checker.subscription(jwt.encode({"channel": "a", "expire_at": NOW}, SECRET, "HS256"))


@pytest.mark.parametrize("kind", PRIVATE)
def test_a_public_key_may_lie_in_a_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(pem(PRIVATE[kind]))
    TokenAuthenticator(TokenOptions(public_key=str(path)))


BAD_KEYS = {
    "no such file": ("nowhere.pem", "No such file"),
    "private": (
        PRIVATE["P-256"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "private key",
    ),
    "no marks": ("AAAA\nBBBB\n", "PEM form"),
    "nonsense": ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "PEM form"),
    "other curve": (pem(ec.generate_private_key(ec.SECP256K1())), "PEM form"),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_a_public_key_that_cannot_be_used(case: str) -> None:
    key, reason = BAD_KEYS[case]
    with pytest.raises(ConfigError, match=reason) as refusal:
        TokenAuthenticator(TokenOptions(public_key=key))
    assert "\n" not in str(refusal.value)


async def test_what_we_sign_we_accept() -> None:
    options = TokenOptions(hmac_secret=SECRET, audience="us", issuer="me", user_claim="uid")
    checker = TokenAuthenticator(options, clock=lambda: NOW + 59)
    token = sign(options, {"info": {"name": "Ann"}, "subs": {"news": {}}}, user="ann", now=NOW, ttl_s=60)
    who = await checker.connection(token)
    assert (who.user, who.expires_at, who.info, list(who.subs)) == ("ann", NOW + 60, b'{"name":"Ann"}', ["news"])
    said = await checker.subscription(sign(options, {"channel": "$chat:1"}, user="ann", now=NOW, ttl_s=None))
    assert (said.user, said.channel, said.grant.expires_at) == ("ann", "$chat:1", None)
    with pytest.raises(TokenExpired):
        await TokenAuthenticator(options, clock=lambda: NOW + 60).connection(token)


@pytest.mark.parametrize(("secret", "user"), [(None, "ann"), ("", "ann"), (SECRET, "~ann")])
def test_what_we_do_not_sign(secret: str | None, user: str) -> None:
    with pytest.raises(ConfigError):
        sign(TokenOptions(hmac_secret=secret), {}, user=user, now=NOW, ttl_s=60)


VALID = [
    jwt.encode({"sub": "ann", "exp": int(NOW + 60)}, SECRET, "HS256"),
    jwt.encode({"sub": "ann", "channel": "chat:1"}, PRIVATE["RSA"], "RS256", headers={"kid": "k"}),
    jwt.encode({"sub": "ann", "subs": {"a": {}}}, PRIVATE["P-256"], "ES256"),
]
RSA_PEM = pem(PRIVATE["RSA"])


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid token with one stretch of it replaced by something else."""
    token = draw(st.sampled_from(VALID))
    start = draw(st.integers(0, len(token)))
    end = draw(st.integers(start, min(len(token), start + 8)))
    return token[:start] + draw(st.text("abcXYZ019-_=.~é\0", max_size=8)) + token[end:]


@given(st.text() | st.text("eyJ0.-_=", max_size=40) | mutated())
async def test_no_token_does_anything_else_than_pass_or_be_refused(token: str) -> None:
    checker = authenticator(hmac_secret=SECRET, public_key=RSA_PEM)
    for check in (checker.connection, checker.subscription):
        try:
            said = await check(token)
        except (InvalidToken, TokenExpired, Expired):
            continue
        assert token.rstrip("=") in VALID
        assert said.user == "ann"


MEMBERS = {
    "kty": st.sampled_from(["RSA", "EC", "OKP", "oct", "", "XYZ"]),
    "crv": st.sampled_from(["P-256", "P-384", "P-521", "secp256k1", "Ed25519", "Ed448", "X25519", ""]),
    "alg": st.sampled_from(["RS256", "ES256", "ES256K", "EdDSA", "HS256", "PS256", "none", "RSA-OAEP"]),
    "use": st.sampled_from(["sig", "enc"]),
    **dict.fromkeys(["n", "e", "x", "y", "k", "d"], st.text("AQab-_=é", max_size=44) | st.none() | st.integers()),
}


@given(st.fixed_dictionaries({}, optional=MEMBERS))
def test_any_entry_of_a_key_set_is_a_key_or_passed_over(entry: dict[str, Any]) -> None:
    key = _key_of_set(entry)
    assert key is None or key.algorithms <= PUBLIC_ALGORITHMS
