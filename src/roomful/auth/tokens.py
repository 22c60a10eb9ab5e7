"""Connection and subscription tokens: verified, and signed for `roomful token`. Source: Centrifuge protocol, section 6.

A key fixes the algorithms it may be used with, so a public key never serves as an HMAC secret, and `none` has no key.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import jwt
import msgspec

from roomful.auth.claims import connection_credentials, subscription_claims
from roomful.auth.jwks import Jwks
from roomful.auth.options import TokenOptions
from roomful.model.client import ANONYMOUS_PREFIX, Credentials
from roomful.model.errors import ConfigError, InvalidToken
from roomful.seams.authenticator import SubscriptionClaims

TOKEN_MAX_BYTES = 65_536
"""As large as a message may be; checking a longer one would be work for nothing."""

HMAC_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
PUBLIC_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"})
ALGORITHMS = HMAC_ALGORITHMS | PUBLIC_ALGORITHMS

PUBLIC_MEMBERS = frozenset({"kty", "crv", "n", "e", "x", "y", "use", "alg"})
"""Of an entry in a key set: what a public key has; all of them strings."""


class _Key(msgspec.Struct, frozen=True):
    """material: a secret, or a public key as the JWT library holds it."""

    material: Any
    algorithms: frozenset[str]


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str = ""


class TokenAuthenticator:
    """The `Authenticator` of a server that believes tokens by the keys of the `[tokens]` table.

    Beside the errors of the contract it raises InternalError (temporary) when a key set can't be fetched. Without any
    key every token is invalid. clock: seconds since 1970.
    """

    __slots__ = ("_clock", "_jwks", "_jws", "_keys", "_options")

    def __init__(self, options: TokenOptions, *, clock: Callable[[], float] = time.time) -> None:
        """Raises ConfigError for a public key that can't be used."""
        self._options = options
        self._clock = clock
        self._jws = jwt.PyJWS(sorted(ALGORITHMS))
        self._keys = _configured_keys(options)
        self._jwks: Jwks[_Key] | None = None
        if options.jwks_url:
            self._jwks = Jwks(options.jwks_url, _key_of_set, fresh_s=options.jwks_fresh_s, retry_s=options.jwks_retry_s)

    async def connection(self, token: str) -> Credentials:
        return connection_credentials(await self._verify(token), self._options, self._clock(), digest_of(token))

    async def subscription(self, token: str) -> SubscriptionClaims:
        return subscription_claims(await self._verify(token), self._options, self._clock(), digest_of(token))

    async def _verify(self, token: str) -> bytes:
        """The payload of a token with a good signature; raises InvalidToken for all others."""
        header = _header(token)
        for key in await self._candidates(header):
            try:
                return bytes(self._jws.decode(token, key.material, [header.alg]))
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError) as error:
                raise InvalidToken("not a token that we understand") from error
        raise InvalidToken(f"no key of ours has signed this {header.alg} token")

    async def _candidates(self, header: _Header) -> list[_Key]:
        keys = [key for key in self._keys if header.alg in key.algorithms]
        if self._jwks and header.kid and header.alg not in HMAC_ALGORITHMS:
            keys += [key for key in await self._jwks.find(header.kid) if header.alg in key.algorithms]
        return keys


def digest_of(token: str) -> str:
    """A name for a token that has none; nothing of the token can be told from it."""
    return "~" + blake2b(token.encode("utf-8", "replace"), digest_size=16).hexdigest()


def sign(options: TokenOptions, claims: dict[str, Any], *, user: str, now: float, ttl_s: float | None) -> str:
    """A token (HS256) that a server with these options accepts; with the claim `channel`, a subscription token.

    claims: go along as they are. ttl_s: None for a token that never expires. Raises ConfigError.
    """
    if not options.hmac_secret:
        raise ConfigError("signing a token needs [tokens] hmac_secret; other keys are in your application's hands")
    if user.startswith(ANONYMOUS_PREFIX):
        raise ConfigError(f"a user id can't start with {ANONYMOUS_PREFIX}: {user}")
    said: dict[str, Any] = {options.user_claim: user, "iat": int(now), **claims}
    if ttl_s is not None:
        said["exp"] = int(now + ttl_s)
    if options.audience is not None:
        said["aud"] = options.audience
    if options.issuer is not None:
        said["iss"] = options.issuer
    return jwt.encode(said, options.hmac_secret, "HS256")


def _header(token: str) -> _Header:
    """What the token says about its signature; nothing in it is proved."""
    if len(token) > TOKEN_MAX_BYTES:
        raise InvalidToken(f"longer than {TOKEN_MAX_BYTES} bytes")
    segment = token.partition(".")[0]
    try:
        text = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        header = msgspec.json.decode(text, type=_Header)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidToken("not a token") from error
    if header.alg not in ALGORITHMS:
        raise InvalidToken("an algorithm that we don't accept")
    return header


def _configured_keys(options: TokenOptions) -> list[_Key]:
    secrets = (options.hmac_secret, options.hmac_previous_secret)
    keys = [_Key(secret, HMAC_ALGORITHMS) for secret in secrets if secret]
    if options.public_key:
        keys.append(_key_of_pem(options.public_key))
    return keys


def _key_of_pem(pem_or_path: str) -> _Key:
    is_text = "-----BEGIN" in pem_or_path or "\n" in pem_or_path
    pem = pem_or_path if is_text else _read_pem(Path(pem_or_path))
    if "PRIVATE KEY-----" in pem:
        raise ConfigError("tokens.public_key holds a private key; give only the public one to a server")
    key = _public_key(pem)
    if key is None:
        raise ConfigError("tokens.public_key has to be an RSA, EC (P-256, P-384, P-521) or Ed25519 key in PEM form")
    return key


def _read_pem(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError as error:
        raise ConfigError(f"tokens.public_key: {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"tokens.public_key: {path} is no PEM file") from error


def _key_of_set(entry: dict[str, Any]) -> _Key | None:
    """One entry of a key set; None if it is of no use here: a secret, for encryption, of another kind, broken."""
    public = {name: value for name, value in entry.items() if name in PUBLIC_MEMBERS and isinstance(value, str)}
    named = public.get("alg")
    if public.get("kty") == "oct" or public.get("use", "sig") != "sig" or (named and named not in PUBLIC_ALGORITHMS):
        return None
    try:
        key = _public_key(jwt.PyJWK(public).key)
    except (jwt.PyJWTError, ValueError):
        return None
    return key and (_Key(key.material, key.algorithms & {named}) if named else key)


def _public_key(material: Any) -> _Key | None:
    """The key (of a PEM text or a key object) with the algorithms that it fits; None if it fits none."""
    prepared = {name: _prepared(name, material) for name in PUBLIC_ALGORITHMS}
    fitting = {name: key for name, key in prepared.items() if key is not None}
    return _Key(next(iter(fitting.values())), frozenset(fitting)) if fitting else None


def _prepared(algorithm: str, material: Any) -> Any:
    try:
        return jwt.get_algorithm_by_name(algorithm).prepare_key(material)
    except (jwt.PyJWTError, TypeError, ValueError):
        return None
